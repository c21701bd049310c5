"""A format is one class and one line of what can be written: a sequence of TIFFs, made here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthcrafter_cli.media.sinks import tiff as tiff_file
from depthcrafter_cli.media.sinks.base import DepthFrame
from depthcrafter_cli.media.sinks.sequence import SequenceSink


class TiffSink(SequenceSink):
    """Normalised depth as 32-bit TIFFs."""

    suffix = ".tif"
    bytes_per_pixel = 4.0

    def _picture(self, frame: DepthFrame) -> Callable[[Path], None]:
        picture = Image.fromarray(frame.normalized.astype(np.float32))
        return lambda target: picture.save(target, format="TIFF")


@pytest.fixture(autouse=True)
def tiff(monkeypatch):
    monkeypatch.setattr(tiff_file, "TiffSink", TiffSink)


def pictures(folder: Path) -> list[str]:
    assert {np.asarray(Image.open(file)).dtype for file in folder.iterdir()} == {np.dtype("f4")}
    return sorted(file.name for file in folder.iterdir())


def test_a_run_writes_it_into_a_new_folder(cli, clip, options, tmp_path):
    out = tmp_path / "new" / "d_%05d.tif"
    done = cli("run", clip, "--out", out, *options, "--quiet", "--no-record")
    assert done.code == 0, done.err
    assert pictures(tmp_path / "new") == [f"d_{number:05}.tif" for number in range(16)]
    again = cli("run", clip, "--out", out, *options, "--quiet", "--no-record")
    assert again.code == 6 and "exists" in again.err


def test_a_batch_gives_each_clip_a_folder_of_them(cli, clip, options, tmp_path):
    done = cli("batch", clip, "--out", tmp_path / "out", "--format", "tif", *options, "--no-record")
    assert done.code == 0, done.err
    assert pictures(tmp_path / "out" / "clip") == [f"clip_{number:05}.tif" for number in range(16)]


def test_a_name_without_a_number_is_refused_with_one_that_has_it(cli, clip, options, tmp_path):
    refused = cli("run", clip, "--out", tmp_path / "d.tif", *options)
    assert refused.code == 2 and "d_%05d.tif" in refused.err
