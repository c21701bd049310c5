"""Compare this implementation with arrays of the reference program, case by case.

    python benchmarks/parity.py FOLDER

FOLDER holds ``.npz`` cases and, in subfolders, the model folders and the ``video/`` they name
(tests/data/parity is one). One line per case: the worst array, its largest absolute error, the
limit, PASS or FAIL. Exit code 1 on any FAIL.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthcrafter_cli.datasets.registry import DATASETS
from depthcrafter_cli.depth.colorize import colorize
from depthcrafter_cli.depth.normalize import normalize
from depthcrafter_cli.evaluation.alignment import align_clip
from depthcrafter_cli.evaluation.metrics import DepthMetrics, evaluate_clip
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.resize import model_size, reference_stride
from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.pipeline.conditioning import (
    Conditioning,
    clip_pixels,
    encode_embeds,
    to_signed,
)
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.decode import decode_rgb, on_grid
from depthcrafter_cli.pipeline.denoise import Velocity, euler_step
from depthcrafter_cli.pipeline.noise import NoiseSource, ReferenceNoise
from depthcrafter_cli.pipeline.pipeline import ShotPass, estimate_disparity
from depthcrafter_cli.pipeline.schedule import karras_schedule
from depthcrafter_cli.pipeline.windows import FilledWindow
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.types import ValueRange

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Deviation:
    """The largest absolute difference found in one array, and what is allowed."""

    array: str
    error: float
    limit: float

    @property
    def ok(self) -> bool:
        return self.error <= self.limit  # NaN fails


class Recorder(ShotPass):
    """A clip pass that keeps what the reference program's arrays show."""

    def __init__(self, components: Components, config: PipelineConfig, total: int) -> None:
        super().__init__(components, config, total, ignore)
        self.embeds: list[Tensor] = []
        self.video_latents: list[Tensor] = []
        self.unet_calls: list[tuple[Tensor, Tensor]] = []
        self.first_call: list[int] = []
        self.steps: list[list[Tensor]] = []
        self.windows: list[Tensor] = []
        self.stitched: list[Tensor] = []
        self.rgb: list[Tensor] = []
        self.raw: list[np.ndarray] = []

    def record(self, frames: np.ndarray) -> None:
        self.raw = list(self.run(frames))

    def velocity(self, conditioning: Conditioning) -> Velocity:
        network = super().velocity(conditioning)

        def recorded(scaled: Tensor, timestep: float) -> Tensor:
            output = network(scaled, timestep)
            sample = torch.cat([scaled, conditioning.latents], dim=1)
            self.unet_calls.append((sample, output))
            return output

        return recorded

    def latents(self, frames: Any) -> Iterator[Tensor]:
        for part in super().latents(frames):
            self.stitched.append(part)
            yield part

    def _counted(self, conditioning: Iterator[Conditioning]) -> Iterator[Conditioning]:
        for item in super()._counted(conditioning):
            self.embeds.append(item.embeds)
            self.video_latents.append(item.latents)
            yield item

    def denoised(
        self, filled: FilledWindow[Conditioning], noise: NoiseSource, overlap: Tensor | None
    ) -> Tensor:
        self.first_call.append(len(self.unet_calls))
        self.steps.append([])
        self.windows.append(super().denoised(filled, noise, overlap))
        return self.windows[-1]

    def step_done(self, latents: Tensor) -> None:
        self.steps[-1].append(latents)
        super().step_done(latents)


@lru_cache(maxsize=4)
def load(folder: Path) -> Components:
    return load_components(folder, device=torch.device("cpu"), dtype=torch.float32)


def deviation(array: str, ours: Any, golden: np.ndarray, limit: float) -> Deviation:
    mine = np.asarray(ours, dtype=np.float64)
    golden = np.asarray(golden, dtype=np.float64)
    if mine.size != golden.size:
        return Deviation(f"{array} (size {mine.size}, expected {golden.size})", float("inf"), limit)
    error = np.abs(mine.reshape(golden.shape) - golden).max(initial=0.0)
    return Deviation(array, float(error), limit)


def limits(components: Components, steps: int) -> tuple[float, float]:
    """(depth, latents): one step cancels from sigma 700, deeper networks sum in longer chains."""
    hard = steps < 3 or len(components.unet.config.block_out_channels) > 2
    return (3e-4, 1e-3) if hard else (1e-4, 1e-4)


def pipeline_case(case: Arrays, meta: dict[str, Any], folder: Path) -> Iterator[Deviation]:
    """A clip through the pipeline, every array of it: conditioning, windows, steps, depth."""
    components = load(model_folder(folder, meta["model"]))
    config = PipelineConfig(
        steps=meta["num_inference_steps"],
        guidance=meta["guidance_scale"],
        window=meta["window_size"],
        overlap=meta["overlap"],
        noise_aug=meta["noise_aug_strength"],
        decode_chunk=meta["decode_chunk_size"],
        seed=meta["generator_seed"],
        noise="reference",
    )
    yield from noise_arrays(case, config, meta["H"], meta["W"], meta["T"])
    depth_limit, limit = limits(components, config.steps)
    seen = Recorder(components, config, meta["T"])
    seen.record(case["frames_u8"])
    yield deviation("clip_embeds", torch.cat(seen.embeds), case["clip_embeds"], 1e-4)
    yield deviation("video_latents", torch.cat(seen.video_latents), case["video_latents"], 1e-4)
    yield from schedule_arrays(case, config.steps)
    yield deviation("num_windows", len(seen.windows), case["num_windows"], 0)
    for k, first in enumerate(seen.first_call):
        yield from window_arrays(case, seen, k, first, limit)
    yield deviation("latents_all", torch.cat(seen.stitched), case["latents_all"], limit)
    yield decoded_array(case, seen, config, depth_limit)
    yield from depth_arrays(case, np.concatenate(seen.raw), depth_limit)


def noise_arrays(
    case: Arrays, config: PipelineConfig, height: int, width: int, total: int
) -> Iterator[Deviation]:
    source = ReferenceNoise(config, (3, height, width), (4, height // 8, width // 8), total)
    yield deviation("noise_latents", source.slots, case["noise_latents"], 0)
    yield deviation("noise_aug", source.images(0, total), case["noise_aug"], 0)


def schedule_arrays(case: Arrays, steps: int, suffix: str = "") -> Iterator[Deviation]:
    schedule = karras_schedule(steps)
    relative = np.float32(1e-6)
    yield deviation(
        "sigmas", np.array(schedule.sigmas) / 700, case[f"sigmas{suffix}"] / 700, relative
    )
    yield deviation("timesteps", schedule.timesteps, case[f"timesteps{suffix}"], 1e-6)
    scale = case[f"init_noise_sigma{suffix}"]
    yield deviation("init_noise_sigma", schedule.init_noise_sigma, scale, 1e-4)


def window_arrays(
    case: Arrays, seen: Recorder, k: int, first: int, limit: float
) -> Iterator[Deviation]:
    sample, velocity = seen.unet_calls[first]
    yield deviation(f"win{k}_unet_in0", sample, case[f"win{k}_unet_in0"], limit)
    yield deviation(f"win{k}_unet_out0", velocity, case[f"win{k}_unet_out0"], limit)
    if (free := f"win{k}_unet_out0_uncond") in case:
        yield deviation(free, seen.unet_calls[first + 1][1], case[free], limit)
    if (steps := f"win{k}_steps") in case:
        # Early steps carry noise of sigma up to 700: the error is measured in units of it.
        golden = case[steps].reshape(len(seen.steps[k]), -1)
        scale = np.maximum(1, np.abs(golden).max(axis=1, keepdims=True))
        ours = torch.stack(seen.steps[k]).numpy().reshape(golden.shape)
        yield deviation(steps, ours / scale, golden / scale, limit)
    yield deviation(f"win{k}_latents", seen.windows[k], case[f"win{k}_latents"], limit)


def decoded_array(case: Arrays, seen: Recorder, config: PipelineConfig, limit: float) -> Deviation:
    with torch.inference_mode():
        chunks = [
            decode_rgb(seen.components, part)
            for part in on_grid(seen.stitched, config.decode_chunk)
        ]
    listed = torch.cat(chunks)[torch.from_numpy(case["decoded_idx"])]
    return deviation("decoded", listed.permute(1, 0, 2, 3), case["decoded"], 2 * limit)


def depth_arrays(case: Arrays, raw: np.ndarray, limit: float) -> Iterator[Deviation]:
    low, high = float(raw.min()), float(raw.max())
    if "depth_raw_min" in case:
        yield deviation("depth_raw_min", low, case["depth_raw_min"], limit)
        yield deviation("depth_raw_max", high, case["depth_raw_max"], limit)
    yield deviation("depth", normalize(raw, ValueRange(low, high)), case["depth"], limit)


def video_case(case: Arrays, meta: dict[str, Any], folder: Path) -> Iterator[Deviation]:
    """From a video file to depth, as the published command line does it."""
    components = load(model_folder(folder, meta["model"]))
    frames = published_frames(meta, folder)
    config = PipelineConfig(
        steps=meta["num_denoising_steps"],
        guidance=meta["guidance_scale"],
        window=meta["window_size"],
        overlap=meta["overlap"],
        seed=meta["seed"],
        noise="reference",
    )
    total, height, width, _ = frames.shape
    if "noise_aug" in case:
        yield from noise_arrays(case, config, height, width, total)
    raw = np.concatenate([*estimate_disparity(components, config, frames, total=total)])
    yield from depth_arrays(case, raw, limits(components, config.steps)[0])


def published_frames(args: dict[str, Any], folder: Path) -> np.ndarray:
    """Frames as the published reader picks and scales them, uint8 [T, H, W, 3]."""
    path = folder / "video" / Path(args["video"]).name
    info = probe(path)
    dataset = args.get("dataset", "open")
    size = (
        model_size(info.size, args["max_res"])
        if dataset == "open"
        else DATASETS[dataset.lower()].model_size
    )
    fps, length = args["target_fps"], args["process_length"]
    options = ReadOptions(
        stride=1 if fps == -1 else reference_stride(info.rate, Fraction(fps)),
        max_frames=None if length == -1 else length,
    )
    return np.stack([frame.rgb for frame in read_frames(path, size, options)])


def scheduler_case(case: Arrays, _folder: Path) -> Iterator[Deviation]:
    """Sigmas, timesteps and a roll-out against a fake network, for several step counts."""
    for steps in sorted(int(key[7:]) for key in case if key.startswith("sigmas_")):
        yield from schedule_arrays(case, steps, f"_{steps}")
        schedule = karras_schedule(steps)
        latents = torch.from_numpy(case[f"toy_in_{steps}"])
        for step, timestep in enumerate(schedule.timesteps):
            sigma, following = schedule.sigmas[step : step + 2]
            velocity = torch.sin(3 * latents / (sigma**2 + 1) ** 0.5) + 0.1 * timestep
            latents = euler_step(latents, velocity, sigma, following)
        yield deviation(f"toy_out_{steps}", latents, case[f"toy_out_{steps}"], 2e-4)


def clip_case(case: Arrays, folder: Path) -> Iterator[Deviation]:
    """CLIP's input (every 7th row and column) and embedding, from small to large frames."""
    components = load(model_folder(folder, "tiny_model"))
    for key in [key for key in case if key.startswith("frame_")]:
        size = key.removeprefix("frame_")
        video = to_signed(torch.from_numpy(case[key]))
        with torch.inference_mode():
            pixels = clip_pixels(video)[:, :, ::7, ::7]
            embeds = encode_embeds(components, [video])
        yield deviation(f"pixel_values_{size}", pixels, case[f"pixel_values_{size}"], 1e-4)
        yield deviation(f"embed_{size}", embeds, case[f"embed_{size}"], 1e-4)


def vae_case(case: Arrays, folder: Path) -> Iterator[Deviation]:
    """The temporal decoder on the fixed grid of 8."""
    components = load(model_folder(folder, "tiny_model"))
    latents = torch.from_numpy(case["latents"][0])
    with torch.inference_mode():
        rgb = torch.cat([decode_rgb(components, chunk) for chunk in on_grid([latents], 8)])
    yield deviation("decoded_chunk8", rgb.permute(1, 0, 2, 3), case["decoded_chunk8"], 1e-4)


def colour_case(case: Arrays, _folder: Path) -> Iterator[Deviation]:
    """The inferno colours of a normalised depth."""
    yield deviation(
        "vis", colorize(case["depth"], "inferno", dither=False) / 255, case["vis"], 0.5 / 255 + 1e-6
    )


def reader_case(case: Arrays, folder: Path) -> Iterator[Deviation]:
    """Frames of the published reader, bit for bit."""
    for key in [key for key in case if key.endswith("/args_json")]:
        index = key.split("/")[0]
        frames = published_frames(json.loads(case[key].item()), folder)
        yield deviation(f"{index}/frames_u8", frames, case[f"{index}/frames_u8"], 0)


def metrics_case(case: Arrays, _folder: Path) -> Iterator[Deviation]:
    """The evaluation protocol: every metric, the fitted scale and shift, the valid pixels."""
    for key in [key for key in case if key.endswith("/args_json")]:
        name = key.removesuffix("/args_json")
        args = json.loads(case[key].item())
        found = evaluate_clip(
            align_clip(
                case[f"{name}/pred"],
                case[f"{name}/gt"][:, 0],
                max_depth=args["dataset_max_depth"],
                domain=args["domain"],
                max_frames=args["seq_len"],
            )
        )
        ours = [getattr(found, field.name) for field in fields(DepthMetrics)]
        yield deviation(f"{name}/result", ours, case[f"{name}/result"], 1e-5)
        fit = (found.scale, found.shift)
        yield deviation(f"{name}/scale_shift", fit, case[f"{name}/scale_shift"], 1e-6)
        yield deviation(f"{name}/n_valid", found.n_valid, case[f"{name}/n_valid"], 0)


KINDS: dict[str, Callable[[Arrays, Path], Iterator[Deviation]]] = {
    "toy_in_5": scheduler_case,
    "frame_64x128": clip_case,
    "decoded_chunk8": vae_case,
    "vis": colour_case,
    "0/frames_u8": reader_case,
    "metric_names": metrics_case,
}


def model_folder(folder: Path, name: str) -> Path:
    """The model a case names, by its last path component; the only one there if it is absent."""
    named = folder / Path(name).name
    if named.is_dir():
        return named
    present = sorted(path.parent for path in folder.glob("*/model_index.json"))
    if not present:
        raise FileNotFoundError(f"no model folder {named.name!r} in {folder}")
    return present[0]


def check(path: Path) -> list[Deviation]:
    """Every array of one case file."""
    with np.load(path, allow_pickle=False) as archive:
        case = {key: archive[key] for key in archive.files}
    if "meta_json" in case:
        meta = json.loads(case["meta_json"].item())
        run = video_case if "video" in meta else pipeline_case
        return list(run(case, meta, path.parent))
    for marker, run_kind in KINDS.items():
        if marker in case:
            return list(run_kind(case, path.parent))
    raise ValueError(f"{path.name} is no case this program knows: its arrays are {sorted(case)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    torch.set_num_threads(1)
    failed = False
    for path in sorted(folder.glob("*.npz")):
        try:
            found = check(path)
        except Exception as error:  # a broken case must not hide the ones after it
            failed = True
            print(f"{path.stem:28} {type(error).__name__}: {error}  FAIL", flush=True)
            continue
        worst = max(found, key=lambda item: item.error / max(item.limit, 1e-12))
        passed = all(item.ok for item in found)
        failed |= not passed
        print(
            f"{path.stem:28} {len(found):3} arrays  worst {worst.array}: max error "
            f"{worst.error:.2e} (limit {worst.limit:.0e})  {'PASS' if passed else 'FAIL'}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
