"""What examples/record_supertuxkart.py records is what a recipe's folder of clips takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from depthcrafter_cli.training.config import SourceConfig
from depthcrafter_cli.training.data.sources import open_source

SCRIPT = Path(__file__).parents[2] / "examples" / "record_supertuxkart.py"
DATA = Path("/usr/share/games/supertuxkart/data")  # Debian's

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not DATA.is_dir(), reason="needs Debian's supertuxkart-data")
def test_clips_have_pictures_and_depth_of_a_drive(tmp_path):
    pytest.importorskip("platformdirs")
    if subprocess.run([sys.executable, "-c", "import pystk2"], capture_output=True).returncode:
        pytest.skip("needs PySuperTuxKart2")
    options = ["--clips", "3", "--frames", "2", "--track", "fortmagma", "--data", str(DATA)]
    command = [sys.executable, str(SCRIPT), str(tmp_path), *options]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "fortmagma: 3 clips" in told
    clips = open_source(SourceConfig(kind="folder", path=str(tmp_path), height=128, width=256))
    assert [clips.shape(index) for index in range(len(clips))] == [(2, 128, 256)] * 3
    grounded = 0
    for index in range(3):
        clip = clips.read(index, range(2))
        assert bool(clip.valid.all()) and float(clip.disparity.max()) <= 1
        assert np.ptp(clip.rgb.numpy()) > 50
        assert not np.array_equal(clip.rgb[0], clip.rgb[1])
        bottom, middle = clip.disparity[:, -16:].median(), clip.disparity[:, 48:64].median()
        grounded += int(bottom > 1.5 * middle)
    assert grounded  # seen ahead, the ground comes before what stands on it
