"""`run` beside the published order of stages: CPU seconds of whole processes, one thread, fp32.

    python benchmarks/order.py           # 25 M random parameters, 48 frames of 192x128, 5 steps
    python benchmarks/order.py --tiny    # 2 M random parameters, 405 frames of 64x64, one step

The published order is written here anew, on the libraries' own modules: all frames' embeddings, all
latents, windows of whole forward passes, then all decoded in chunks of 8, the whole clip in memory.
Ours is `depthcrafter run --cuts none`, otherwise by default: with its state and its record. Both
read one film, have the same weights, noise, windows and steps, and write an NPZ, in a process each,
in turns. A line has CPU seconds of the whole process, those after loading and the peak of memory,
of the published order and of ours, and the largest difference of disparity relative to its range;
then come the best of each. Exit code 1 where ours takes more than 0.70 of the seconds, of the
process or after loading (--tiny: 1.0), or differs by more than 0.001.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from memory import write_clip
from side_by_side import Pair
from torch import Tensor

from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.models.layout import network_configs, weight_files
from depthcrafter_cli.pipeline.conditioning import clip_pixels
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.denoise import FPS_ID, MOTION_BUCKET_ID, anchor, denoise
from depthcrafter_cli.pipeline.noise import FrameNoise
from depthcrafter_cli.pipeline.schedule import karras_schedule
from depthcrafter_cli.pipeline.stitch import stitch
from depthcrafter_cli.pipeline.windows import Layout, split
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.resources import peak_resident_bytes

TINY_MODEL = Path(__file__).parents[1] / "tests" / "data" / "parity" / "tiny_model"
COLUMN = "{:9.2f}{:8.2f}"


class Case(NamedTuple):
    """``frames`` end with a window of full length, so that ours has the published windows."""

    frames: int
    size: Size
    config: PipelineConfig
    limit: float


USUAL = Case(48, Size(128, 192), PipelineConfig(steps=5, window=20, overlap=6), limit=0.70)
TINY = Case(405, Size(64, 64), PipelineConfig(steps=1, window=25, overlap=5), limit=1.0)


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--tiny", action="store_true", help="many small frames")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of processes, 3 by default")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    case = TINY if given.tiny else USUAL
    if given.child:
        print(json.dumps(measured(given.child[0], Path(given.child[1]), case)))
        return 0
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="depthcrafter-order-") as folder:
        return compare(Path(folder), case, given.rounds)


def compare(folder: Path, case: Case, rounds: int) -> int:
    """Print a line for each pair of processes, then the best of each and their ratios."""
    if case is not TINY:
        write_model(folder / "model")
    write_clip(folder / "film.mp4", case.frames, case.size.height, case.size.width)
    print(f"{case.frames} frames of {case.size}, published order and ours")
    print(f"{'':6}{'whole, s':>17}{'after loading, s':>17}{'peak, MB':>17}    error")
    pairs = [one_pair(folder, number) for number in range(1, rounds + 1)]
    columns = zip(*pairs, strict=True)
    best = [Pair(min(p.plain for p in column), min(p.ours for p in column)) for column in columns]
    print("best  " + "".join(COLUMN.format(pair.plain, pair.ours) for pair in best))
    whole, loaded, peak = (pair.ratio for pair in best)
    print(f"ours / published: {whole:.3f}, {loaded:.3f} after loading, memory {peak:.3f}")
    return int(max(whole, loaded) > case.limit)


def one_pair(folder: Path, number: int) -> list[Pair]:
    """Run the published order, then ours; print their figures and how far results differ."""
    figures, disparity = [], []
    for kind in ("published", "ours"):
        out = folder / f"{kind}{number}.npz"
        command = [sys.executable, __file__, *sys.argv[1:], "--child", kind, str(out)]
        figures.append(json.loads(subprocess.check_output(command).splitlines()[-1]))
        raw = np.load(out)["depth"]
        disparity.append((raw - raw.min()) / (raw.max() - raw.min()))
    error, pairs = np.abs(np.subtract(*disparity)).max(), [*map(Pair, *figures)]
    print(f"{number:<6}" + "".join(map(COLUMN.format, *figures)), f"  {error:.1e}", flush=True)
    if not error <= 1e-3:  # NaN fails
        raise SystemExit(f"disparity differs by {error:.1e}, expected 1e-3 at most")
    return pairs


def write_model(folder: Path) -> None:
    """Write a random model of the published classes and depth, with narrower layers."""
    from diffusers import AutoencoderKLTemporalDecoder
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from depthcrafter_cli.models.unet import DepthUNet
    from depthcrafter_cli.training.networks import save_foundation

    torch.manual_seed(0)
    widths = {"block_out_channels": (64, 128, 128, 128), "num_attention_heads": (1, 2, 2, 2)}
    widths |= {"cross_attention_dim": 32, "addition_time_embed_dim": 32}
    unet = DepthUNet(**widths, projection_class_embeddings_input_dim=96)
    vae = AutoencoderKLTemporalDecoder(3, 3, ("DownEncoderBlock2D",) * 4, (32, 64, 64, 64), 2)
    tower = CLIPVisionConfig.from_pretrained(TINY_MODEL / "image_encoder")
    save_foundation(folder, unet, vae, CLIPVisionModelWithProjection(tower))


def measured(kind: str, out: Path, case: Case) -> tuple[float, float, float]:
    """Seconds of this process's CPU, whole and after loading, and its peak in megabytes."""
    torch.set_num_threads(1)
    model = TINY_MODEL if case is TINY else out.with_name("model")
    loaded = {"published": published, "ours": ours}[kind](out, model, case)
    whole = time.process_time()
    return whole, whole - loaded, peak_resident_bytes() / 1e6


def ours(out: Path, model: Path, case: Case) -> float:
    """As the command does; the process's CPU seconds when the networks were loaded."""
    from depthcrafter_cli.workflows.request import RunRequest
    from depthcrafter_cli.workflows.runs import run

    loaded, film = list[float](), out.with_name("film.mp4")
    settings = {name: getattr(case.config, name) for name in ("window", "overlap", "steps")}
    # In 405 tiny frames the drifting pattern looks cut, and shots have windows of their own.
    how = {"weights": str(model), "device": "cpu", "settings": settings, "cuts": "none"}
    asked = RunRequest(film, (out,), **how)
    run(asked, lambda event: event.stage == "load" and loaded.append(time.process_time()))
    return loaded[-1]


@torch.inference_mode()
def published(out: Path, model: Path, case: Case) -> float:
    """Each stage on all frames; the process's CPU seconds when the networks were loaded."""
    unet, vae, tower = networks(model)
    loaded, config, size = time.process_time(), case.config, case.size
    frames = np.stack([frame.rgb for frame in read_frames(out.with_name("film.mp4"), size)])
    chunk, sides = config.decode_chunk, np.array([size.height, size.width])
    video = torch.from_numpy(frames.astype(np.float32) / 255).permute(0, 3, 1, 2) * 2 - 1
    noise = FrameNoise(config.seed, (3, *sides), (4, *(sides // 8)))
    embeds = torch.cat([tower(clip_pixels(part)).image_embeds for part in video.split(chunk)])
    noisy = video + config.noise_aug * noise.images(0, len(video))
    known = torch.cat([vae.encode(part).latent_dist.mode() for part in noisy.split(chunk)])
    latents = torch.cat([*denoised(unet, noise, embeds, known, config)])
    latents /= vae.config.scaling_factor
    parts = [vae.decode(part, num_frames=len(part)).sample for part in latents.split(chunk)]
    depth = (torch.cat(parts) / 2 + 0.5).clamp(0, 1).mean(dim=1)
    np.savez_compressed(out, depth=((depth - depth.min()) / (depth.max() - depth.min())).numpy())
    return loaded


def networks(model: Path) -> Iterator[Any]:
    """The libraries' UNet, VAE and image encoder in float32. Malloc stays as it is, unlike ours."""
    from safetensors.torch import load_file

    from depthcrafter_cli.training.networks import trainable_networks

    for name, network in trainable_networks(network_configs(model))._asdict().items():
        held = load_file(weight_files(model, name)[0])
        network.load_state_dict({key: held[key].float() for key in held}, assign=True)
        yield network.eval()


def denoised(
    unet: Any, noise: FrameNoise, embeds: Tensor, known: Tensor, config: PipelineConfig
) -> Iterator[Tensor]:
    """Latents, window by window; each step is one pass of the libraries' denoiser."""
    schedule, before = karras_schedule(config.steps), None
    ids = torch.tensor([[FPS_ID, MOTION_BUCKET_ID, config.noise_aug]])
    for filled in split(range(len(known)), Layout(config.window, config.overlap)):
        at = slice(filled.window.start, filled.window.stop)

        def velocity(scaled: Tensor, timestep: float, at: slice = at) -> Tensor:
            sample = torch.cat([scaled, known[at]], dim=1)[None]
            return unet(sample, torch.tensor([timestep]), embeds[at, None], ids)[0]

        start = anchor(noise.latents(filled.window), before, schedule)
        latents = denoise(start, velocity, None, schedule, 1.0, lambda _: None)
        yield (stitched := stitch(latents, before))[: filled.final]
        before = stitched[filled.final :]


if __name__ == "__main__":
    sys.exit(main())
