"""Build, load and run a model of the published size, with random weights.

    python benchmarks/full_size.py            # about 4.6 GB of temporary disk
    python benchmarks/full_size.py --json

Nobody needs the published weights to know that they would fit: the networks are built from the
published configs, written as the published files are laid out (fp16), and must then have exactly
the published number of tensors, parameters and bytes; a safetensors file of equal size whose
header lists the same number of tensors under other names would be a rare coincidence. Our loader
then reads that folder in bf16 on the CPU, and one window of 2 frames at 64x64 runs through the
pipeline. Each step is a process of its own, so peak memory is that step's alone.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# tensors, parameters, bytes of the published fp16 file. For the UNet the file is that of SVD-XT,
# whose architecture DepthCrafter's UNet shares.
PUBLISHED = {
    "unet": (1428, 1_524_623_082, 3_049_435_868),
    "vae": (374, 97_742_847, 195_531_910),
    "image_encoder": (520, 632_076_800, 1_264_217_240),
}
RESIDENT_LIMIT = 6_000_000_000
_NEEDED_BYTES = 4_600_000_000
_RANDOM_VALUES = 1 << 20
_FILES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.fp16.safetensors",
    "image_encoder": "model.fp16.safetensors",
}


def main() -> int:
    """Run every step, print what was measured, return 1 if a figure is not the published one."""
    parser = argparse.ArgumentParser(description="Full-size model with random weights.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--step", choices=sorted(_STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_STEPS[arguments.step](arguments.folder)))
        return 0
    measured = measure()
    faults = check(measured)
    if arguments.json:
        print(json.dumps({**measured, "faults": faults}))
    else:
        _print_report(measured, faults)
    return 1 if faults else 0


def measure() -> dict[str, Any]:
    """Write, load and run the model in a temporary folder, each in a process of its own."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < _NEEDED_BYTES:
        raise SystemExit(f"needs {_NEEDED_BYTES:,} bytes in {tempfile.gettempdir()}, has {free:,}")
    with tempfile.TemporaryDirectory(prefix="depthcrafter-full-size-") as folder:
        return {step: _in_child(step, folder) for step in _STEPS}


def check(measured: dict[str, Any]) -> list[str]:
    """What differs from the published figures or exceeds the limit; empty if all is well."""
    faults = []
    for network, published in PUBLISHED.items():
        figures = tuple(
            measured["write"][network][key] for key in ("tensors", "parameters", "bytes")
        )
        if figures != published:
            faults.append(f"{network} has {figures}, published are {published}")
    for step in ("load", "run"):
        resident = measured[step]["peak_resident_bytes"]
        if resident > RESIDENT_LIMIT:
            faults.append(f"{step} held {resident:,} bytes, allowed are {RESIDENT_LIMIT:,}")
    if not measured["run"]["finite"] or measured["run"]["shape"] != [2, 64, 64]:
        faults.append(f"the run gave {measured['run']}")
    return faults


def _in_child(step: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--step", step, "--folder", folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def write_model(folder: Path) -> dict[str, Any]:
    """Write the published layout with random fp16 weights; what each file consists of."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLTemporalDecoder
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    import depthcrafter_cli.models
    from depthcrafter_cli.models.unet import DepthUNet

    configs = Path(depthcrafter_cli.models.__file__).parent / "configs"
    shutil.copytree(configs, folder, dirs_exist_ok=True)
    with init_empty_weights():
        clip = CLIPVisionConfig.from_pretrained(configs / "image_encoder")
        networks = {
            "unet": DepthUNet.from_config(DepthUNet.load_config(configs / "unet")),
            "vae": AutoencoderKLTemporalDecoder.from_config(
                AutoencoderKLTemporalDecoder.load_config(configs / "vae")
            ),
            "image_encoder": CLIPVisionModelWithProjection(clip),
        }
    written = {}
    for network, model in networks.items():
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        path = folder / network / _FILES[network]
        write_random_fp16(path, shapes)
        written[network] = {
            "tensors": len(shapes),
            "parameters": sum(math.prod(shape) for shape in shapes.values()),
            "bytes": path.stat().st_size,
        }
    return written


def write_random_fp16(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write a safetensors file without ever holding it: gigabytes of noise need no memory.

    The header is the one the safetensors library writes, so that sizes can be compared.
    """
    import numpy as np

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        begin, end = end, end + 2 * math.prod(shapes[name])
        header[name] = {"dtype": "F16", "shape": shapes[name], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    values = np.random.default_rng(0).standard_normal(_RANDOM_VALUES, dtype=np.float32)
    # Small, so that activations stay finite through every layer.
    block = (values * 0.02).astype(np.float16).tobytes()
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _ in range(end // len(block)):
            stream.write(block)
        stream.write(block[: end % len(block)])


def load_model(folder: Path) -> dict[str, Any]:
    """Load through our loader, bf16 on the CPU; seconds and peak resident bytes."""
    import torch

    from depthcrafter_cli.models.loading import load_components
    from depthcrafter_cli.workflows.resources import peak_resident_bytes

    before, start = peak_resident_bytes(), time.perf_counter()
    load_components(folder, device=torch.device("cpu"), dtype=torch.bfloat16)
    return {
        "seconds": time.perf_counter() - start,
        "resident_bytes_before": before,
        "peak_resident_bytes": peak_resident_bytes(),
    }


def run_model(folder: Path) -> dict[str, Any]:
    """One window of 2 frames at 64x64 through the pipeline, bf16 on the CPU."""
    import numpy as np

    from depthcrafter_cli import DepthCrafterPipeline
    from depthcrafter_cli.workflows.resources import peak_resident_bytes

    pipeline = DepthCrafterPipeline.from_pretrained(folder, device="cpu", dtype="bf16")
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    start = time.perf_counter()
    disparity = pipeline(frames).disparity
    return {
        "seconds": time.perf_counter() - start,
        "shape": list(disparity.shape),
        "finite": bool(np.isfinite(disparity).all()),
        "peak_resident_bytes": peak_resident_bytes(),
    }


def _print_report(measured: dict[str, Any], faults: list[str]) -> None:
    for network, figures in measured["write"].items():
        print(
            f"{network:14} {figures['tensors']:5} tensors {figures['parameters']:13,} parameters "
            f"{figures['bytes']:13,} bytes"
        )
    for step in ("load", "run"):
        figures = measured[step]
        print(
            f"{step:14} {figures['seconds']:8.1f} s, peak resident "
            f"{figures['peak_resident_bytes'] / 1e9:.2f} GB"
        )
    print("\n".join(f"FAIL {fault}" for fault in faults) or "PASS all figures as published")


_STEPS = {"write": write_model, "load": load_model, "run": run_model}

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
