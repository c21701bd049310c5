"""Names as long as the disk allows, and names that are one file on some disk."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from processes import stop_at

from depthcrafter_cli import disk
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.numbered import numbered_files
from depthcrafter_cli.media.sinks import check_outputs
from depthcrafter_cli.workflows.batches.names import output_paths
from depthcrafter_cli.workflows.batches.sources import BatchVideo
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.run_plan import check_run

LONG = "日" * 81  # 243 bytes, as downloaders give them
ELSEWHERE = pytest.mark.skipif(disk.WINDOWS, reason="other names are legal on Windows")


def left(folder: Path) -> list[str]:
    """What is there of a run besides results and records."""
    return [path.name for path in folder.rglob("*") if path.suffix not in (".mp4", ".json", ".png")]


@ELSEWHERE
@pytest.mark.parametrize("letters", [LONG, "😀" * 62, "x" * 251], ids=len)
def test_a_batch_of_names_as_long_as_the_disk_allows(cli, clip, options, tmp_path, letters):
    folder, out, name = tmp_path / "in", tmp_path / "out", f"{letters}.mp4"
    folder.mkdir()
    shutil.copy(clip, folder / name)
    command = ["batch", folder, "--out", out, *options, "--format", "mp4", "--format", "png"]
    done = cli(*command)
    assert done.code == 0, done.err
    assert (out / name).is_file()
    made = next(path for path in out.iterdir() if path.is_dir())
    assert len(list(made.glob("*.png"))) == 16
    skipped = cli(*command, "--resume")
    assert skipped.code == 0 and left(out) == [made.name]


@pytest.mark.slow
@ELSEWHERE
def test_a_run_with_a_long_name_is_resumed(cli, clip, options, tmp_path):
    source, frames = tmp_path / f"{LONG}.mp4", tmp_path / ("f" * 255)
    out = tmp_path / "out" / source.name
    out.parent.mkdir()
    shutil.copy(clip, source)
    asked = [source, "--out", out, "--out", frames / f"{'p' * 240}_%05d.png", *options]
    assert stop_at("denoise", 2, asked, signal.SIGKILL)[0] == -signal.SIGKILL
    work = next(path for path in out.parent.iterdir() if path.suffix == ".work")
    assert cli("resume", work).code == 0
    assert left(out.parent) == [] and len(list(frames.iterdir())) == 16
    record = next(out.parent.glob("*.json"))
    assert json.loads(record.read_text())["request"]["outputs"][0] == str(out)
    again = cli("run", *asked, "--resume")
    assert again.code == 0 and "already finished" in again.err


@ELSEWHERE
@pytest.mark.parametrize("name", ["n" * 252 + ".mp4", "n" * 5000 + ".mp4", "n" * 247 + "_%05d.png",
                                  "n" * 256, "n" * 256 + "/d.mp4"])  # fmt: skip
def test_a_name_that_is_too_long_is_refused_before_the_start(cli, clip, options, tmp_path, name):
    refused = cli("run", clip, "--out", tmp_path / name, *options)
    assert refused.code == 6 and len(refused.err.splitlines()) == 1
    assert os.listdir(tmp_path) == ["clip.mp4"]  # noqa: PTH208


@pytest.mark.parametrize("taken", ["d.mp4", "e", "clip.mp4", "d.mp4.json"])
def test_state_is_not_where_the_input_or_a_result_is(cli, clip, options, tmp_path, taken):
    outputs = ["--out", tmp_path / "d.mp4", "--out", tmp_path / "e"]
    refused = cli("run", clip, *outputs, *options, "--work-dir", tmp_path / taken)
    assert refused.code == 2 and "--work-dir" in refused.err, refused.err
    assert os.listdir(tmp_path) == ["clip.mp4"]  # noqa: PTH208


@ELSEWHERE
def test_how_long_a_numbered_name_is_counts_with_the_numbers_it_gets(cli, clip, options, tmp_path):
    name = "n" * 246 + "_%04d.png"
    done = cli("run", clip, "--out", tmp_path / "a" / name, *options)
    assert done.code == 0, done.err
    assert {len(image.name) for image in (tmp_path / "a").iterdir()} == {255}
    late = ["--start-number", 9_999]  # only the first of its images could be written
    for command in (
        ("run", clip, "--out", tmp_path / "b" / name, *options, *late),
        ("run", clip, "--out", tmp_path / "c.npz", *options, "--keep-work"),
        ("finish", tmp_path / "c.npz.work", "--out", tmp_path / "b" / name, *late),
    ):
        refused = cli(*command)
        code = 0 if "--keep-work" in command else 6
        assert refused.code == code and not list(tmp_path.rglob("*_*9999.png")), refused.err


@ELSEWHERE
@pytest.mark.parametrize("name", ["aux.mp4", "CON", "nul/d.mp4", "d.mp4 ", "d.", "a:b.mp4",
                                  "com1.%d.png", "what?.npz"])  # fmt: skip
def test_names_that_windows_takes_for_something_else_are_refused_there(tmp_path, monkeypatch, name):
    clip = [BatchVideo(tmp_path / "a.mp4", name, "list.csv, line 2")]
    if Path(name).suffix in (".mp4", ".npz", ".png"):
        check_outputs([tmp_path / name], create_folders=True)
    output_paths(clip, tmp_path, ["png"])
    monkeypatch.setattr(disk, "WINDOWS", True)
    with pytest.raises(OutputError, match="Windows"):
        check_outputs([tmp_path / name], create_folders=True)
    with pytest.raises(UsageError, match=r"line 2 asks for .*Windows"):
        output_paths(clip, tmp_path, ["png"])


def test_two_outputs_that_are_one_file_on_some_disk_are_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for one, other in [
        ("a.mp4", "A.mp4"),
        ("ä.mp4", "a\u0308.mp4"),
        ("a.npz", "link/a.npz"),
        ("frames", "Frames/depth_%05d.png"),
    ]:
        with pytest.raises(UsageError, match="also another output"):
            check_outputs([tmp_path / one, tmp_path / other])
    (tmp_path / "A").mkdir()
    (tmp_path / "a").mkdir()
    check_outputs([tmp_path / "A" / "d.mp4", tmp_path / "a" / "d.mp4"])


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_input_by_another_name_is_no_output(cli, clip, options, tmp_path, link):
    before = clip.read_bytes()
    link(clip, tmp_path / "depth.mp4")
    refused = cli("run", clip, "--out", tmp_path / "depth.mp4", "--overwrite", *options)
    assert refused.code == 2 and "the input" in refused.err
    assert clip.read_bytes() == before


def test_the_input_is_not_replaced_on_a_disk_that_does_not_tell_letters_apart(
    clip, tmp_path, monkeypatch
):
    real = os.stat

    def stat(path, **more):
        try:
            return real(path, **more)
        except FileNotFoundError:
            return real(str(path).replace("CLIP", "clip"), **more)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(UsageError, match="the input"):
        check_outputs([clip.with_name("CLIP.mp4")], video=clip, overwrite=True)


def test_one_image_that_is_the_input_is_not_replaced(tmp_path):
    (tmp_path / "a_00001.png").touch()
    for source in (tmp_path / "a_00001.png", tmp_path / "a_%05d.png", tmp_path):
        with pytest.raises(UsageError, match="also the input"):
            check_outputs([tmp_path / "a_%d.png"], video=source, overwrite=True)


def test_the_record_replaces_neither_the_input_nor_an_output(cli, clip, options, tmp_path):
    strange = clip.rename(tmp_path / "d.npz.json")
    refused = cli("run", strange, "--out", tmp_path / "d.npz", "--overwrite", *options)
    assert refused.code == 2 and "the input" in refused.err
    outputs = ["--out", tmp_path / "e.npz", "--out", tmp_path / "e.npz.json" / "%d.png"]
    (tmp_path / "e.npz.json").mkdir()
    refused = cli("run", strange, *outputs, "--overwrite", *options)
    assert refused.code == 2 and "record" in refused.err


@pytest.mark.parametrize(
    ("rows", "formats", "says"),
    [
        ("a.mp4,x\nb.mp4,X", ["npz"], "would both become"),
        ("a.mp4,ä\nb.mp4,a\u0308", ["npz"], "would both become"),
        ("a.mp4,x\nb.mp4,x.npz", ["npz", "png"], "would both become"),
        ("a.mp4,x\nb.mp4,x.npz.json", ["npz", "png"], "would both become"),
        ("a.mp4,x\nb.mp4,x.npz.work", ["npz", "png"], "would both become"),
        ("a.mp4,x\nb.mp4,x.npz/y", ["npz"], "below what another video"),
        ("a.mp4,x\nb.mp4,x.npz.work/y", ["npz"], "below what another video"),
        ("a.mp4,b\nb.mp4,x", ["mp4"], "which is the source"),
        ("a.mp4,B\nb.mp4,x", ["mp4"], "which is the source"),
        ("a.mp4,link/b\nb.mp4,x", ["mp4"], "which is the source"),
        ("a.mp4,report", ["npz"], "which is the report"),
        ("a.mp4,y\nfolder,folder", ["png"], "which is the source"),
    ],
)
def test_names_of_a_batch_that_would_be_one_file_are_refused(tmp_path, clip, rows, formats, says):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clip, tmp_path / name)
    clips = [
        BatchVideo(tmp_path / source, name, "list.csv")
        for source, name in (row.split(",") for row in rows.splitlines())
    ]
    with pytest.raises(UsageError, match=says):
        output_paths(clips, tmp_path, formats, tmp_path / "report.npz.json")


def test_names_that_only_look_like_ours_are_as_good_as_others(cli, clip, options, tmp_path):
    mine = tmp_path / "out" / "x.partial.npz"
    mine.parent.mkdir()
    mine.write_bytes(b"a night's render")
    assert cli("run", clip, "--out", mine.with_name("x.npz"), *options).code == 0
    assert mine.read_bytes() == b"a night's render"
    listing = tmp_path / "list.csv"
    listing.write_text(f"source,name\n{clip},x.partial\n{clip},x\n")
    done = cli("batch", listing, "--out", tmp_path / "two", "--format", "npz", *options)
    assert done.code == 0, done.err
    for name in ("x", "x.partial"):
        with np.load(tmp_path / "two" / f"{name}.npz") as made:
            assert len(made["depth"]) == 16


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("names", [("d.partial.npz", "d.partial.mp4", "d.npz.partial.json"),
                                   (".d.npz", ".d.mp4", ".d.npz.json")])  # fmt: skip
def test_links_where_outputs_might_grow_lead_to_no_harm(cli, clip, options, tmp_path, link, names):
    victim = tmp_path / "victim"
    victim.write_bytes(b"a night's render")
    for name in names:
        hidden = disk.part_path(tmp_path / name[1:]) if name[0] == "." else tmp_path / name
        link(victim, hidden)
    outputs = ["--out", tmp_path / "d.npz", "--out", tmp_path / "d.mp4"]
    assert cli("run", clip, *outputs, *options).code == 0
    assert victim.read_bytes() == b"a night's render"
    assert not any((tmp_path / name).is_symlink() for name in ("d.npz", "d.mp4", "d.npz.json"))


@ELSEWHERE
def test_numbered_images_with_a_long_name_are_found_again(tmp_path):
    pattern = tmp_path / f"{'p' * 244}_%05d.png"
    check_outputs([pattern])
    (tmp_path / (pattern.name % 7)).touch()
    assert len(numbered_files(pattern)) == 1


@ELSEWHERE
def test_a_drive_that_is_not_there_is_said(tmp_path, clip, monkeypatch):
    isdir = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: "tmp" in str(path) and isdir(path))
    for create in (False, True):
        with pytest.raises(OutputError, match="There is no folder"):
            check_outputs([Path("/Z:/films/d.mp4")], video=clip, create_folders=create)
    request = RunRequest(clip, (tmp_path / "d.mp4",), work_dir=Path("/Z:/state"))
    with pytest.raises(OutputError, match="There is no folder /Z:"):
        check_run(request)
