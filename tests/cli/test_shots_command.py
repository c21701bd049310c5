"""``depthcrafter shots``: lists and sheets of a film's shots."""

import json

import numpy as np
import pytest
from clips import COLOURS, make_film
from PIL import Image

from depthcrafter_cli.shots.cuts import read_cuts
from depthcrafter_cli.workflows.film import find_shots
from depthcrafter_cli.workflows.request import RunRequest


@pytest.fixture
def film(tmp_path):
    """Three shots of 12, 20 and 8 frames."""
    return make_film(tmp_path / "film.mp4", 12, 20, 8)


def test_lists_and_a_sheet_of_pictures(cli, film, tmp_path):
    outputs = [tmp_path / f"shots.{suffix}" for suffix in ("csv", "edl", "png")]
    done = cli("shots", film, *(part for out in outputs for part in ("--out", out)), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out.splitlines()[-1])["shots"] == [[0, 12], [12, 32], [32, 40]]
    timeline = find_shots(RunRequest(film, ())).timeline
    assert read_cuts(outputs[0], timeline) == read_cuts(outputs[1], timeline) == [12, 32]
    with Image.open(outputs[2]) as sheet:
        assert sheet.size == (3 * (3 * 160 + 6) - 6, 90 + 16 + 6)
        pixels = np.asarray(sheet)
    for shot, colour in enumerate(COLOURS):
        for place in range(3):
            left = shot * (3 * 160 + 6) + place * 160
            mean = pixels[16 : 16 + 90, left : left + 160].mean((0, 1))
            assert mean.argmax() == np.argmax(colour)


def test_what_cannot_be_written_is_refused_before_the_film_is_read(cli, film, tmp_path):
    other = cli("shots", film, "--out", tmp_path / "shots.xls")
    assert other.code == 2 and ".csv, .edl, .png" in other.err
    renamed = film.rename(tmp_path / "film.csv")
    content = renamed.read_bytes()
    same = cli("shots", renamed, "--out", renamed, "--overwrite")
    assert same.code == 2 and renamed.read_bytes() == content
    (tmp_path / "shots.csv").write_text("mine")
    taken = cli("shots", renamed, "--out", tmp_path / "shots.csv")
    assert taken.code == 6 and (tmp_path / "shots.csv").read_text() == "mine"
    below = cli("shots", renamed, "--out", tmp_path / "shots.csv" / "shots.edl")
    assert below.code == 6 and "is no folder" in below.err and "read" not in below.err


def test_no_film_is_an_input_error(cli, tmp_path):
    missing = cli("shots", tmp_path / "film.mp4", "--out", tmp_path / "shots.csv")
    assert missing.code == 3 and not (tmp_path / "shots.csv").exists()


def test_cuts_come_from_where_they_come_from_for_a_run(cli, film, tmp_path):
    mine, out = tmp_path / "mine.txt", tmp_path / "shots.csv"
    mine.write_text("25\n")
    for cuts, shots in ((mine, [[0, 25], [25, 40]]), ("none", [[0, 40]])):
        done = cli("shots", film, "--out", out, "--overwrite", "--cuts", cuts, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out.splitlines()[-1])["shots"] == shots
    missing = cli("shots", film, "--out", out, "--overwrite", "--cuts", tmp_path / "no.csv")
    assert missing.code == 3 and "--cuts" in missing.err
