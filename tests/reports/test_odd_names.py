"""Names of files that are bytes of no encoding, as Linux has them from old archives, and others."""

import os
import re
import shutil
from urllib.parse import unquote

import pytest
from awkward import make
from clips import make_clip

from depthcrafter_cli import disk
from depthcrafter_cli.media.reader import probe

TRIVIAL = ("--method", "trivial-gradient")


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
    done = cli("run", video, *told, *TRIVIAL)
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


@pytest.mark.skipif(disk.WINDOWS, reason="such names are not legal on Windows")
def test_pages_write_out_what_controls_a_terminal_or_turns_text_round(cli, tmp_path):
    name = "a\x1b[31m\n\x9b\u202e<b>.mp4"
    video = make_clip(tmp_path / "a.mp4", frames=2).rename(tmp_path / name)
    (tmp_path / "out").mkdir()
    for kind in ("npz", "npy"):
        done = cli("run", video, "--out", tmp_path / "out" / f"{name}.{kind}", *TRIVIAL)
        assert done.code == 0, done.err
    results = sorted((tmp_path / "out").glob("*.np?"))
    for given, page in (results[:1], "page.html"), (results, "index.html"):
        done = cli("report", *given, "--out", tmp_path / page)
        assert done.code == 0, done.err
    pages = list(tmp_path.glob("**/*.html"))
    assert len(pages) == 4
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert r"a\x1b[31m\n\x9b\u202e&lt;b&gt;.mp4" in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_an_exr_of_such_a_name_is_read(folder, tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    make("zips.exr", tmp_path).rename(folder / "a.exr")
    assert str(probe(folder / "a.exr").size) == "64x48"
