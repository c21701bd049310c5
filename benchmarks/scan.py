"""How long it takes to find the clips of a large folder: the first time, and again.

    python benchmarks/scan.py --clips 100000

The clips are of one frame, 8 x 8 pixels, written to a temporary folder.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from depthcrafter_cli.training.config import SourceConfig
from depthcrafter_cli.training.data.sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100_000)
    count = parser.parse_args().clips
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["XDG_CACHE_HOME"] = os.environ["LOCALAPPDATA"] = str(root / "cache")
        model = root / "model"
        model.mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(model / "rgb.png")
        np.savez(model / "disparity.npz", disparity=np.ones((1, 8, 8), np.float32))
        for number in range(count):
            home = root / "clips" / f"{number:06}"
            (home / "rgb").mkdir(parents=True)
            shutil.copyfile(model / "rgb.png", home / "rgb" / "0.png")
            shutil.copyfile(model / "disparity.npz", home / "disparity.npz")
        source = SourceConfig("folder", path=str(root / "clips"), height=8, width=8)
        for scan in ("first", "second"):
            begin, cpu = time.perf_counter(), time.process_time()
            found = len(open_source(source))
            wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
            print(f"{scan} scan of {found} clips: {wall:.1f} s, {cpu:.1f} s of CPU")


if __name__ == "__main__":
    main()
