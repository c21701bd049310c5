"""Depth of a video from Python: frames in, disparity out, one chunk at a time.

python examples/python_api.py examples/bunny.mp4 depth.npy
"""

import sys
from pathlib import Path

import numpy as np

from depthcrafter_cli import DepthCrafterPipeline
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.resize import model_size
from depthcrafter_cli.models.weights import find_weights


def main(video: Path, out: Path) -> None:
    pipeline = DepthCrafterPipeline.from_pretrained()
    size = model_size(probe(video).size, find_weights().settings.max_res)
    frames = (frame.rgb for frame in read_frames(video, size))
    chunks = []
    for disparity in pipeline(frames):  # float32 [n, H, W] in [0, 1], larger is nearer
        chunks.append(disparity)
        print(f"{sum(map(len, chunks))} frames", flush=True)
    np.save(out, np.concatenate(chunks))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
