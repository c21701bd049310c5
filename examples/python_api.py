"""Depth of a video from Python, some frames at a time, as soon as they are final.

python examples/python_api.py examples/bunny.mp4 depth.npy
"""

import sys
from pathlib import Path

import numpy as np

from depthcrafter_cli import DepthCrafterPipeline


def main(video: Path, out: Path) -> None:
    chunks = []
    with DepthCrafterPipeline.from_pretrained(warn=print) as pipeline:
        for depth in pipeline.stream(video):  # float32 [n, H, W], larger is nearer
            chunks.append(depth.disparity)
            print(f"{sum(map(len, chunks))} frames, {depth.times[-1]:.2f} s", flush=True)
    np.save(out, np.concatenate(chunks))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
