"""Our stages beside diffusers' own modules: same weights, same inputs, one process.

    python benchmarks/speed.py                  # GPU: the published size, random weights
    python benchmarks/speed.py --compile        # and the fused pointwise operations
    OMP_NUM_THREADS=1 python benchmarks/speed.py --cpu  # nano and a model of 62 M parameters

Plain is what the published program runs: fp16, fp32 VAE encode, 8 frames a chunk. Runs of both
kinds alternate; a line gives the best time of each (CPU time on a CPU), their ratio, the largest
difference of the results relative to the largest one, and the ratio of floating-point operations.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.encoder import encode_images
from depthcrafter_cli.models.reordered.layers import Moments, normalize, silu
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.types import MemoryPlan

NANO = Path(__file__).parents[1] / "weights" / "nano"
Work = Callable[[], Tensor]


def main() -> int:
    parser = argparse.ArgumentParser(description="Our stages beside diffusers' own.")
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, minutes")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with torch.inference_mode():
        if arguments.cpu or not torch.cuda.is_available():
            return on_cpu(arguments.rounds)
        return on_gpu(arguments.rounds, compiled=arguments.compile)


def on_cpu(rounds: int) -> int:
    """nano's stages and the denoiser of 62 M parameters, float32, one thread."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    print("CPU time, one thread, float32")
    _header()
    nano = load_components(NANO, device=cpu, dtype=torch.float32)
    ratios = [denoiser("nano denoise", nano.unet, 24, 24, 40, nano.plan, rounds)]
    vae_stages("nano", nano, 192, 320, rounds)
    medium = DepthUNet(
        block_out_channels=(64, 128, 256, 256),
        num_attention_heads=(1, 2, 4, 4),
        cross_attention_dim=128,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    ).eval()
    ratios.append(denoiser("62 M denoise", medium, 16, 24, 32, nano.plan, rounds))
    print(f"largest denoiser ratio {max(ratios):.3f} (limit 0.95)")
    return int(max(ratios) > 0.95)


def on_gpu(rounds: int, *, compiled: bool) -> int:
    """The published size at 1024x576, then each lever on its own."""
    from full_size import write_model

    device = torch.device("cuda", 0)
    print(f"{torch.cuda.get_device_name()}, 1024x576, 110 frames, fp16")
    _header()
    with tempfile.TemporaryDirectory(prefix="depthcrafter-speed-") as folder:
        write_model(Path(folder))
        model = load_components(Path(folder), device=device, dtype=torch.float16)
    denoiser("denoise, a step", model.unet, 110, 72, 128, model.plan, rounds)
    for share in (2, 4):
        smaller = MemoryPlan(model.plan.values // share, park_skips=True)
        denoiser(f"  parked, 1/{share}", model.unet, 110, 72, 128, smaller, rounds)
    vae_stages("", model, 576, 1024, rounds)
    levers(device, rounds, compiled=compiled)
    one_key(model.unet, rounds)
    encode_precision(model, rounds)
    return 0


def denoiser(
    name: str, unet: DepthUNet, frames: int, height: int, width: int, plan: MemoryPlan, rounds: int
) -> float:
    """One step on one window; the ratio of times."""
    like = next(unet.parameters())
    sample = torch.randn(frames, 8, height, width).to(like)
    embeds = torch.randn(frames, 1, unet.config.cross_attention_dim).to(like)
    ids = torch.tensor([[7.0, 127.0, 0.02]]).to(like)
    level = torch.tensor([1.0], device=like.device)
    window = WindowForward(unet, embeds, plan, Residency(like.device, hosted=False))
    return compare(
        name,
        lambda: unet(sample[None], level, embeds, ids)[0],
        lambda: window(sample, level, ids),
        rounds,
    )


def vae_stages(name: str, model: Components, height: int, width: int, rounds: int) -> None:
    """Encode and decode 8 frames, as planned and as frugal as can be."""
    vae: AutoencoderKLTemporalDecoder = model.vae
    decoder, plan = vae.decoder, model.plan
    images = torch.rand(8, 3, height, width).to(vae.encoder.conv_in.weight) * 2 - 1
    latents = torch.randn(8, 4, height // 8, width // 8).to(decoder.conv_in.weight)
    indicator = torch.zeros(1, 8).to(latents)
    rows = MemoryPlan(plan.values, frugal_encode=True, frugal_decode=True)
    plain_encode: Work = lambda: vae.encode(images).latent_dist.mode()  # noqa: E731
    plain_decode: Work = lambda: decoder(latents, indicator, num_frames=8)  # noqa: E731
    compare(
        f"{name} encode by rows", plain_encode, lambda: encode_images(vae, images, rows), rounds
    )
    compare(f"{name} decode", plain_decode, lambda: decode_latents(decoder, latents, plan), rounds)
    compare(
        f"{name} decode, frugal",
        plain_decode,
        lambda: decode_latents(decoder, latents, rows),
        rounds,
    )


def levers(device: torch.device, rounds: int, *, compiled: bool) -> None:
    """What makes ours faster, each on its own, on tensors of the first level."""
    norm = torch.nn.GroupNorm(32, 320).to(device, torch.float16)
    conv = torch.nn.Conv2d(320, 320, 3, padding=1).to(device, torch.float16)
    video = torch.randn(1, 320, 110, 72, 128, device=device, dtype=torch.float16)
    tokens = video[0].permute(1, 2, 3, 0).flatten(1, 2).contiguous()

    def ours() -> Tensor:
        return silu(normalize(tokens, norm, Moments.of(tokens, 32, together=True)))

    def as_tokens(result: Tensor) -> Tensor:
        return result[0].permute(1, 2, 3, 0).flatten(1, 2)

    compare("GroupNorm+SiLU, window", lambda: as_tokens(F.silu(norm(video))), ours, rounds)
    if compiled:
        fused = torch.compile(ours)
        compare("  the same, compiled", lambda: as_tokens(F.silu(norm(video))), fused, rounds)
    image = torch.randn(16, 320, 72, 128, device=device, dtype=torch.float16)
    last = image.contiguous(memory_format=torch.channels_last)
    compare("3x3, channels last", lambda: conv(image), lambda: conv(last), rounds)


def one_key(unet: DepthUNet, rounds: int) -> None:
    """Cross-attention with its single key as attention, and as the linear map it is."""
    attention = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    like = attention.to_v.weight
    tokens = torch.randn(16, 72 * 128, attention.to_q.in_features).to(like)
    embeds = torch.randn(16, 1, like.shape[1]).to(like)
    compare(
        "cross-attention",
        lambda: attention(tokens, encoder_hidden_states=embeds),
        lambda: attention.to_out[0](attention.to_v(embeds)).expand_as(tokens),
        rounds,
    )


def encode_precision(model: Components, rounds: int) -> None:
    """The VAE's encoder in TF32 and in bf16: faster, but not exact; the error is printed."""
    vae = model.vae
    images = torch.rand(8, 3, 576, 1024, device=model.device) * 2 - 1

    def exact() -> Tensor:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        return vae.encode(images).latent_dist.mode()

    def tf32() -> Tensor:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        return vae.encode(images).latent_dist.mode()

    def bf16() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return vae.encode(images).latent_dist.mode().float()

    compare("encode in TF32", exact, tf32, rounds)
    compare("encode in bf16", exact, bf16, rounds)


def compare(name: str, plain: Work, ours: Work, rounds: int) -> float:
    """Print a line; the ratio of our best time to the plain one's, NaN where plain cannot run."""
    try:
        expected, work = _counted(plain)
    except torch.cuda.OutOfMemoryError:
        print(f"{name:<24} plain does not fit")
        return float("nan")
    found, our_work = _counted(ours)
    error = float((found - expected).abs().max() / expected.abs().max())
    del found, expected
    times = [(_seconds(plain), _seconds(ours)) for _ in range(rounds)]
    slow, fast = (min(column) for column in zip(*times, strict=True))
    print(
        f"{name:<24} {slow:>9.3f} {fast:>9.3f} {fast / slow:>7.3f} {error:>9.1e} "
        f"{our_work / max(work, 1):>7.3f}",
        flush=True,
    )
    return fast / slow


def _header() -> None:
    print(f"{'':<24} {'plain s':>9} {'ours s':>9} {'ratio':>7} {'error':>9} {'FLOPs':>7}")


def _counted(work: Work) -> tuple[Tensor, int]:
    with FlopCounterMode(display=False) as counter:
        result = work()
    return result, counter.get_total_flops()


def _seconds(work: Work) -> float:
    if not torch.cuda.is_initialized():
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
