"""Our stages beside diffusers' own modules: same weights, same inputs, one process.

    python benchmarks/speed.py                  # GPU: the published size, random weights
    python benchmarks/speed.py --part stages    # or only --part levers: either takes minutes
    python benchmarks/speed.py --compile        # and the levers fused by torch.compile
    OMP_NUM_THREADS=1 python benchmarks/speed.py --cpu  # a tiny model and one of 62 M parameters

Plain is what the reference program runs: fp16, fp32 VAE encode, 8 frames a chunk. Runs of both
kinds alternate; a line gives the best time of each (CPU time on a CPU), their ratio, the largest
difference of the results relative to the largest one, and the ratio of floating-point operations.
Needs 5 GB of temporary disk on a GPU.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from levers import levers
from side_by_side import Pair, Work, compare, header

from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.reordered.blocks import note_shares
from depthcrafter_cli.models.reordered.decoder import decode_latents
from depthcrafter_cli.models.reordered.encoder import encode_images
from depthcrafter_cli.models.reordered.unet import WindowForward
from depthcrafter_cli.models.residency import Residency
from depthcrafter_cli.models.unet import DepthUNet
from depthcrafter_cli.pipeline.conditioning import clip_pixels, encode_embeds, encode_latents
from depthcrafter_cli.training.networks import trainable_networks
from depthcrafter_cli.types import MemoryPlan

TINY = Path(__file__).parents[1] / "tests" / "data" / "parity" / "tiny_model"
STEPS, WINDOW, OVERLAP = 5, 110, 25
LIMIT = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description="Our stages beside diffusers' own.")
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")
    parser.add_argument("--part", choices=("all", "stages", "levers"), default="all")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, minutes")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    here = on_cpu if arguments.cpu or not torch.cuda.is_available() else on_gpu
    with torch.inference_mode():
        return here(arguments.part, arguments.rounds, arguments.compile)


def on_cpu(part: str, rounds: int, compiled: bool) -> int:
    """The stages of a tiny model and the denoiser of 62 M parameters, float32, one thread."""
    torch.set_num_threads(1)
    print("CPU time, one thread, float32")
    header()
    tiny = load_components(
        TINY, device=torch.device("cpu"), dtype=torch.float32, build=trainable_networks
    )
    failed = False
    if part != "levers":
        medium = DepthUNet(
            block_out_channels=(64, 128, 256, 256),
            num_attention_heads=(1, 2, 4, 4),
            cross_attention_dim=128,
            addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=96,
        ).eval()
        note_shares(medium)
        pairs = [
            denoiser("tiny denoise", tiny.unet, (24, 24, 40), tiny.plan, rounds),
            denoiser("62 M denoise", medium, (16, 24, 32), tiny.plan, rounds),
        ]
        vae_stages("tiny ", tiny, 192, 320, rounds)
        largest = max(pair.ratio for pair in pairs)
        print(f"largest denoiser ratio {largest:.3f} (limit {LIMIT})")
        failed = largest > LIMIT
    if part != "stages":
        levers(tiny, (24, 24, 40), rounds, compiled=compiled)
    return int(failed)


def on_gpu(part: str, rounds: int, compiled: bool) -> int:
    """The published size at 1024x576, then each lever on its own."""
    from full_size import write_model

    device = torch.device("cuda", 0)
    print(f"{torch.cuda.get_device_name(device)}, 1024x576, {WINDOW} frames, fp16")
    header()
    with tempfile.TemporaryDirectory(prefix="depthcrafter-speed-") as folder:
        write_model(Path(folder))
        model = load_components(
            Path(folder), device=device, dtype=torch.float16, build=trainable_networks
        )
    shape = (WINDOW, 72, 128)
    if part != "levers":
        step = denoiser("denoise, a step", model.unet, shape, model.plan, rounds)
        clip, encode, decode = vae_stages("", model, 576, 1024, rounds)
        _summary(step, clip, encode, decode)
        for name, plan in _variants(model.plan):
            denoiser(name, model.unet, shape, plan, max(2, rounds // 2))
    if part != "stages":
        levers(model, shape, rounds, compiled=compiled)
    return 0


def _variants(plan: MemoryPlan) -> tuple[tuple[str, MemoryPlan], ...]:
    return (
        ("  chunks twice as large", replace(plan, chunk_values=2 * plan.chunk_values)),
        ("  chunks half as large", replace(plan, chunk_values=plan.chunk_values // 2)),
        ("  skips on the host", replace(plan, offload_skips=True)),
        (
            "  skips on the host, quarter",
            replace(plan, offload_skips=True, chunk_values=plan.chunk_values // 4),
        ),
    )


def _summary(step: Pair, clip: Pair, encode: Pair, decode: Pair) -> None:
    """Of a long clip, overlap included: what a frame takes, and how much faster ours is."""
    plain, ours = (
        (getattr(clip, kind) + getattr(encode, kind) + getattr(decode, kind)) / 8
        + STEPS * getattr(step, kind) / (WINDOW - OVERLAP)
        for kind in ("plain", "ours")
    )
    print(f"a frame: plain {1e3 * plain:.1f} ms, ours {1e3 * ours:.1f} ms: {plain / ours:.2f} x")


def denoiser(
    name: str, unet: DepthUNet, shape: tuple[int, int, int], plan: MemoryPlan, rounds: int
) -> Pair:
    """One step on one window of so many frames, height and width of latents."""
    like = next(unet.parameters())
    sample = torch.randn(shape[0], 8, *shape[1:]).to(like)
    embeds = torch.randn(shape[0], 1, unet.config.cross_attention_dim).to(like)
    ids = torch.tensor([[7.0, 127.0, 0.02]]).to(like)
    level = torch.tensor([1.0], device=like.device)
    window = WindowForward(unet, embeds, plan, Residency(like.device, offloaded=False))
    return compare(
        name,
        lambda: unet(sample[None], level, embeds, ids)[0],
        lambda: window(sample, level, ids),
        rounds,
    )


def vae_stages(
    name: str, model: Components, height: int, width: int, rounds: int
) -> tuple[Pair, Pair, Pair]:
    """Image encoder, encode and decode of 8 frames, as planned; then as recompute as can be."""
    vae, decoder, plan = model.vae, model.vae.decoder, model.plan
    video = torch.rand(8, 3, height, width) * 2 - 1
    parts = video.split(plan.encode_batch)
    images = video.to(vae.encoder.conv_in.weight)
    latents = torch.randn(8, 4, height // 8, width // 8).to(decoder.conv_in.weight)
    indicator = torch.zeros(1, 8).to(latents)
    rows = replace(plan, encode_by_rows=True, recompute_decode=True)

    def embed() -> torch.Tensor:
        pixels = clip_pixels(video.to(model.device)).to(model.dtype)
        return model.image_encoder(pixels).image_embeds

    def plain_encode() -> torch.Tensor:
        return vae.encode(video.to(images)).latent_dist.mode()

    def plain_decode() -> torch.Tensor:
        return decoder(latents, indicator, num_frames=8)

    def line(stage: str, plain: Work, ours: Work) -> Pair:
        return compare(f"{name}{stage}", plain, ours, rounds)

    clip = line("image encoder", embed, lambda: encode_embeds(model, parts))
    encode = line("encode", plain_encode, lambda: encode_latents(model, parts))
    decode = line("decode", plain_decode, lambda: decode_latents(decoder, latents, plan))
    line("encode by rows", plain_encode, lambda: encode_images(vae, images, rows))
    line("decode, recompute", plain_decode, lambda: decode_latents(decoder, latents, rows))
    return clip, encode, decode


if __name__ == "__main__":
    sys.exit(main())
