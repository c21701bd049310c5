"""Names of files that are bytes of no encoding, as Linux has them from old archives."""

import os
import re
import shutil
from urllib.parse import unquote

import pytest
from awkward import make
from clips import make_clip

from depthcrafter_cli.media.reader import probe


@pytest.fixture
def folder(tmp_path):
    try:
        folder = tmp_path / os.fsdecode(b"caf\xe9")
        folder.mkdir()
    except (OSError, UnicodeDecodeError):
        pytest.skip("this file system has no such names")
    return folder


def test_results_and_pages_of_names_of_no_encoding(cli, folder, tmp_path):
    video = folder / os.fsdecode(b"cl\xefp.mp4")
    shutil.move(make_clip(tmp_path / "a.mp4", frames=2), video)
    outs = [folder / name for name in (os.fsdecode(b"d\xe9.npz"), "d.mkv", "e/%04d.exr")]
    told = [part for out in outs for part in ("--out", out)]
    done = cli("run", video, *told, "--method", "trivial-gradient")
    assert done.code == 0, done.err
    assert cli("check", folder / "e").code == 0
    index = tmp_path / "index.html"
    done = cli("report", outs[0], outs[1], "--out", index)
    assert done.code == 0, done.err
    links = re.findall('href="([^"]*)"', index.read_text(encoding="utf-8"))
    assert links
    for link in links:
        page = tmp_path / unquote(link, errors="surrogateescape")
        assert r"<h1>cl\xefp.mp4</h1>" in page.read_text(encoding="utf-8")


def test_an_exr_of_such_a_name_is_read(folder, tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    make("zips.exr", tmp_path).rename(folder / "a.exr")
    assert str(probe(folder / "a.exr").size) == "64x48"
