"""Depth from Python: what may be handed over, what comes back, and the programs of the docs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import make_clip, picture
from PIL import Image
from processes import ENVIRONMENT

from depthcrafter_cli import DepthModel, infer
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.types import Size

ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
SIZE = Size(50, 70)
PICTURES = np.stack([picture(index, SIZE) for index in range(5)])
SETTINGS = {"steps": 1, "window": 4, "overlap": 1, "decode_chunk": 3}


@pytest.fixture(scope="module")
def model(tiny_folder):
    with DepthModel(weights=str(tiny_folder), device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def expected(model):
    return model(PICTURES, **SETTINGS).disparity


FORMS = {
    "a list of arrays": list(PICTURES),
    "PIL images": [Image.fromarray(each) for each in PICTURES],
    "floats": (PICTURES / 255).astype(np.float32),
    "float16": (PICTURES / 255).astype(np.float16),
    "sixteen bits": PICTURES.astype(np.uint16) * 257,
    "channels first": PICTURES.transpose(0, 3, 1, 2),
    "a batch of one": PICTURES[None],
    "a tensor": torch.from_numpy(PICTURES).permute(0, 3, 1, 2),
    "a tensor in half precision": torch.from_numpy(PICTURES).half() / 255,
    "alpha beside it": np.concatenate([PICTURES, PICTURES[..., :1]], axis=-1),
}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_may_come_in_many_forms(model, expected, form):
    depth = model(FORMS[form], **SETTINGS)
    assert depth.disparity.shape == (5, SIZE.height, SIZE.width)
    assert depth.disparity.dtype == np.float32
    assert np.allclose(depth.times, np.arange(5) / 24)
    limit = 0.02 if "half" in form or "float16" in form else 0
    assert np.abs(depth.disparity - expected).max() <= limit


def test_a_stream_gives_what_a_list_does_and_beyond_a_window_what_its_first_frames_do(model):
    """Its length is not known, so windows begin at fixed places and not evenly spread."""
    whole = SETTINGS | {"window": 5, "overlap": 2}
    made = model(iter(PICTURES), **whole).disparity
    assert np.array_equal(made, model(list(PICTURES), **whole).disparity)
    short = SETTINGS | {"window": 3, "overlap": 1, "decode_chunk": 1}
    made = model(iter(PICTURES), **short).disparity
    assert np.array_equal(made, model(list(PICTURES), **short).disparity)


def test_a_path_gives_what_run_writes(cli, tmp_path, tiny_folder):
    clip = make_clip(tmp_path / "clip.mp4", frames=9, size=Size(60, 90))
    options = ["--weights", tiny_folder, "--seed", 3, "--start", 0.1, "--quiet", "--device", "cpu"]
    done = cli("run", clip, "--out", tmp_path / "d.npz", *options)
    assert done.code == 0, done.err
    depth = infer(clip, weights=str(tiny_folder), device="cpu", seed=3, start=0.1)
    with np.load(tmp_path / "d.npz") as written:
        assert np.array_equal(depth.disparity, written["depth"])
        assert np.array_equal(depth.times, written["times"])


def test_damage_of_a_video_is_told(tmp_path, tiny_folder):
    clip = make_clip(tmp_path / "clip.mkv", frames=40, size=Size(64, 64))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    told = []
    depth = infer(clip, weights=str(tiny_folder), device="cpu", warn=told.append, **SETTINGS)
    assert 0 < len(depth.times) < 40
    assert any("clip.mkv" in sentence for sentence in told)


def test_frames_come_as_soon_as_they_are_final_and_steps_are_told(model, expected):
    told = []
    parts = list(model.stream(PICTURES, observer=told.append, **SETTINGS))
    assert [len(part.disparity) for part in parts] == [3, 2]
    assert np.array_equal(np.concatenate([part.disparity for part in parts]), expected)
    assert {event.stage for event in told} >= {"condition", "denoise", "decode"}
    assert max(event.total for event in told if event.stage == "denoise") == 2


def test_settings_and_sizes_belong_to_the_call(model, expected):
    other = model(PICTURES, **{**SETTINGS, "seed": 7})
    assert not np.array_equal(other.disparity, expected)
    assert model(PICTURES, size="30x20", **SETTINGS).disparity.shape == (5, 20, 30)
    assert np.array_equal(model(PICTURES, **SETTINGS).disparity, expected)


def test_networks_stay_loaded_until_they_are_unloaded(model, expected):
    def loads():
        told = []
        result = model(PICTURES, observer=told.append, **SETTINGS)
        assert np.array_equal(result.disparity, expected)
        return any(event.stage == "load" for event in told)

    assert not loads()
    model.unload()
    assert loads() and not loads()


def test_other_methods_are_called_the_same_way():
    depth = infer(PICTURES, method="trivial-gradient")
    assert depth.disparity.shape == (5, SIZE.height, SIZE.width)
    assert (np.diff(depth.disparity[0, :, 0]) >= 0).all()


@pytest.mark.parametrize(
    ("video", "options", "error", "says"),
    [
        ([], {}, InputError, "got no pictures"),
        (PICTURES[0], {}, InputError, r"shape \[50, 70, 3\]"),
        (PICTURES.astype(np.float32), {}, InputError, "expected 0 to 1"),
        (np.full((2, 64, 64, 3), np.nan, np.float32), {}, InputError, "expected 0 to 1"),
        (PICTURES.astype(np.int64), {}, InputError, "int64"),
        ([PICTURES[0], PICTURES[1][:40]], {}, InputError, "one size"),
        (PICTURES, {"stepps": 1}, UsageError, "stepps"),
        (PICTURES, {"steps": 0}, UsageError, "`steps`|steps"),
        (PICTURES, {"start": 1}, UsageError, "`start`"),
        (PICTURES, {"size": "big"}, UsageError, "big"),
        ("nowhere.mp4", {}, InputError, "nowhere.mp4"),
    ],
)
def test_what_is_wrong_is_an_error_of_the_call(model, video, options, error, says):
    with pytest.raises(error, match=says) as caught:
        model(video, **options)
    assert isinstance(caught.value, ValueError)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("program", range(len(PROGRAMS)))
def test_the_programs_of_the_docs_run(tmp_path, program):
    make_clip(tmp_path / "clip.mp4", frames=10, size=Size(64, 96))
    (tmp_path / "program.py").write_text(PROGRAMS[program])
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout
