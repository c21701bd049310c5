"""What a batch is about: folders, patterns and lists, names that stay inside, checks up front."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from clips import make_clip, picture
from PIL import Image

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.batches.names import output_paths
from depthcrafter_cli.workflows.batches.sources import find_videos
from depthcrafter_cli.workflows.request import COLUMNS


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", frames=2, size=Size(128, 128))


@pytest.fixture
def tree(tmp_path, clip) -> Path:
    """Two videos, a folder of images, and what is no input."""
    root = tmp_path / "in"
    for place in ("a.mp4", "b/a.MOV", "b/.hidden.mp4", "out/old.mp4"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / place)
    (root / "frames").mkdir()
    for index in range(2):
        Image.new("RGB", (64, 64), (index, 9, 9)).save(root / "frames" / f"{index}.png")
    (root / "notes.txt").write_text("nothing")
    (root / "a.mp4.work").mkdir()
    (root / "a.mp4.work" / "disparity.spool").write_bytes(b"state of a run")
    return root


def names(sources, out) -> list[str]:
    return [clip.name for clip in find_videos([str(source) for source in sources], out, COLUMNS)]


def test_folders_patterns_and_lists_give_mirrored_names(tree, tmp_path):
    out = tree / "out"
    assert names([tree], out) == ["a", "b/a", "frames"]
    assert names([tree / "**" / "*.[mM]*"], out) == ["a", "b/a"]
    assert names([tree / "*"], out) == ["a", "frames"]
    assert names([tree / "b" / "a.MOV", tree / "frames"], out) == ["a", "frames"]
    listing = tmp_path / "list.txt"
    listing.write_text(f"# a comment\nin/b/a.MOV\n\n{tree / 'a.mp4'}\nin/frames/%d.png\n")
    assert names([listing], out) == ["in/b/a", "a", "in/frames/%d"]
    clips = find_videos([str(listing)], out, COLUMNS)
    paths = output_paths(clips, out, ["npz", "png"])
    assert paths[0] == (out / "in/b/a.npz", out / "in/b/a/a_%05d.png")
    assert paths[2][0] == out / "in/frames.npz"


@pytest.mark.parametrize("junctions", [False, True])
def test_folders_that_links_lead_to_are_read_once_and_circles_end(
    tree, tmp_path, junctions, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tree / "a.mp4", elsewhere / "c.mp4")
    (elsewhere / "round").symlink_to(elsewhere)
    (elsewhere / "up").symlink_to(tmp_path)
    (tree / "link").symlink_to(elsewhere)
    (tree / "again").symlink_to(tree / "b")
    (tree / "self").symlink_to(tree / "self")
    if junctions:  # which Windows takes for folders
        monkeypatch.setattr(Path, "is_symlink", lambda _: False)
        monkeypatch.setattr(os.path, "islink", lambda _: False)
    assert names([tree], tree / "out") == ["a", "b/a", "frames", "link/c"]


def test_lists_of_windows_and_of_spreadsheets_are_read(tree, tmp_path):
    quoted = tmp_path / "quoted.txt"
    quoted.write_text(f'"{tree / "a.mp4"}"\n"in\n""\n')
    assert names([quoted], tmp_path / "out") == ["a", '"in']
    table = tmp_path / "table.csv"
    table.write_text("Source;Name;Side-by-Side\nin/a.mp4;first;yes\n")
    (clip,) = find_videos([str(table)], tmp_path / "out", COLUMNS)
    assert (clip.name, clip.options) == ("first", {"side_by_side": "yes"})


def test_an_address_in_a_list_is_refused_by_its_line(tmp_path):
    (tmp_path / "list.txt").write_text("\nhttps://example.org/a.mp4\n")
    with pytest.raises(InputError, match=r"list.txt, line 2: got the address"):
        find_videos([str(tmp_path / "list.txt")], tmp_path / "out", COLUMNS)


def test_links_that_lead_round_end_a_pattern_too(tree, tmp_path):
    for name in ("one", "two"):
        (tree / "b" / name).symlink_to(tree)
    found = [
        str(clip.path) for clip in find_videos([str(tree / "**" / "*.*")], tree / "out", COLUMNS)
    ]
    assert found == [str(tree / "a.mp4"), str(tree / "b" / "a.MOV")]


def test_what_is_hidden_is_left_out_and_named(tree, tmp_path):
    (tree / ".trash").mkdir()
    shutil.copy(tree / "a.mp4", tree / ".trash" / "old.mp4")
    told = []
    find_videos([str(tree)], tree / "out", COLUMNS, told.append)
    assert len(told) == 1 and "2 hidden" in told[0] and "2 of other kinds (.spool, .txt)" in told[0]
    assert ".hidden.mp4" in told[0] and ".trash" in told[0]
    told.clear()
    with pytest.raises(InputError, match="holds no video"):
        find_videos([str(tree / "b" / ".*")], tree / "out", COLUMNS, told.append)
    assert "1 hidden" in told[0]
    assert names([tree / "b" / ".hidden.mp4"], tree / "out") == [".hidden"]


def test_a_folder_of_the_users_may_end_like_one_of_ours(tree):
    (tree / "show.work").mkdir()
    shutil.copy(tree / "a.mp4", tree / "show.work" / "c.mp4")
    assert names([tree], tree / "out") == ["a", "b/a", "frames", "show.work/c"]


def test_a_clip_that_nobody_has_thought_of_fails_alone(cli, tree, tiny_folder, tmp_path):
    (tree / "frames" / "\u24601.png").touch()  # a digit, yet no number
    odd = tree / os.fsdecode(b"caf\xe9.mp4")  # from an old archive: no UTF-8
    shutil.copy(tree / "a.mp4", odd)
    (tree / "self.mp4").symlink_to(tree / "self.mp4")
    report = tmp_path / "report.csv"
    done = cli("batch", tree, "--out", tree / "out", "--weights", tiny_folder, "--steps", 1,
               "--report", report)  # fmt: skip
    assert done.code == 7, done.err
    with report.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        states = {row["name"]: row["status"] for row in csv.DictReader(lines)}
    assert states == {
        "a": "done", "b/a": "done", odd.stem: "done", "frames": "failed", "self": "failed"
    }  # fmt: skip


def test_hidden_files_neither_make_a_folder_a_clip_nor_keep_it_from_being_one(tree):
    leftovers = tree / "leftovers"  # as macOS leaves them on foreign disks
    leftovers.mkdir()
    (leftovers / "._0.png").write_bytes(b"resource fork")
    (tree / "frames" / "._take.mov").write_bytes(b"resource fork")
    assert names([tree], tree / "out") == ["a", "b/a", "frames"]
    assert names([tree / "*"], tree / "out") == ["a", "frames"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../a", "expected one below"),
        ("b/../../a", "expected one below"),
        ("/etc/a", "expected one below"),
        ("..\\a", "expected one below"),
        ("away/a", "which leads to"),
    ],
)
def test_no_name_leads_out_of_the_output_folder(cli, clip, tmp_path, name, says):
    out, listing = tmp_path / "out", tmp_path / "list.csv"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "away").symlink_to(tmp_path / "elsewhere")
    listing.write_text(f"video,name\n{clip},{name}\n")
    refused = cli("batch", listing, "--out", out)
    assert refused.code == 2 and says in refused.err and "line 2" in refused.err
    assert not any((tmp_path / "elsewhere").iterdir()) and not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("video,colour\nA,red\n", "colour"),
        ("name\nb\n", "expected video"),
        ("video,steps\nA,many\n", "column steps 'many', expected a whole number"),
        ("video,steps\nA,0\n", "column steps 0, expected at least 1"),
        ("video,side-by-side\nA,perhaps\n", "expected yes or no"),
        ("video,normalize\nA,wild\n", "column normalize 'wild'"),
        ("video,crf\nA,99\n", "column crf 99, expected 0 to 51"),
        ("video\nA,b,c\n", "line 2"),
        ("video,name\nA,x\nB,x\n", "would both become"),
        ("video,name\nA,Shot/x\nB,shot/X\n", "would both become"),
        ("video,name\n,x\n", "line 2"),
        ("video\n", "holds no video"),
        ('"video,name\nA,x\n', "is not CSV"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_before_anything_is_done(
    cli, clip, tmp_path, text, says
):
    listing, other = tmp_path / "list.csv", tmp_path / "b.mp4"
    shutil.copy(clip, other)
    listing.write_text(text.replace("A", str(clip)).replace("B", str(other)))
    refused = cli("batch", listing, "--out", tmp_path / "out", "--dry-run")
    assert refused.code in (2, 3) and says in refused.err, refused.err
    assert "Traceback" not in refused.err and not (tmp_path / "out").exists()


def test_clips_of_a_list_have_options_of_their_own(cli, clip, tiny_folder, tmp_path):
    listing, out = tmp_path / "list.csv", tmp_path / "out"
    listing.write_text(
        f"source,name,max-res,steps,side_by_side,start\n{clip},one/x,64,1,yes,\n{clip},y,,2,,0.04\n"
    )
    command = ["batch", listing, "--out", out, "--weights", tiny_folder, "--colormap", "gray"]
    done = cli(*command, "--json")
    assert done.code == 0, done.err
    records = {name: json.loads((out / f"{name}.mp4.json").read_text()) for name in ("one/x", "y")}
    asked = {name: record["request"] for name, record in records.items()}
    assert asked["one/x"]["side_by_side"] and not asked["y"]["side_by_side"]
    assert asked["y"]["colormap"] == asked["one/x"]["colormap"] == "gray"
    assert records["y"]["model_size"] == "128x128" and records["y"]["frames"] == 1
    assert records["one/x"]["model_size"] == "64x64" and records["one/x"]["frames"] == 2
    assert records["one/x"]["settings"]["steps"] == 1 and records["y"]["settings"]["steps"] == 2
    loads = [line for line in done.out.splitlines() if '"stage": "load"' in line]
    assert len(loads) == 2  # begin and end, once


def test_a_dry_run_writes_nothing_and_tells_what_would_be_done(cli, tree, tiny_folder, tmp_path):
    (tree / "broken.mp4").touch()
    out, report = tmp_path / "out", tmp_path / "report.json"
    command = ["batch", tree, "--out", out, "--weights", tiny_folder, "--report", report]
    told = cli(*command, "--dry-run", "--format", "npz", "--format", "png")
    assert told.code == 7 and "1 of 5 videos" in told.err
    assert "4 to do, 1 failed" in told.out
    assert all(str(out / made) in told.out for made in ("b/a.npz", "b/a/a_%05d.png"))
    assert not out.exists() and not report.exists()
    refused = cli(*command, "--dry-run", "--devices", "cpu,gpu")  # as the batch itself would be
    assert refused.code == 2 and "gpu" in refused.err


def test_a_report_replaces_nothing_but_a_report(cli, tree, tiny_folder, tmp_path):
    listing = tmp_path / "list.csv"
    listing.write_text(f"source\n{tree / 'a.mp4'}\n")
    said = listing.read_text()
    options = ["--out", tmp_path / "out", "--weights", tiny_folder, "--steps", 1]
    refused = cli("batch", listing, *options, "--report", listing, "--resume")
    assert refused.code == 6 and "--resume" not in refused.err and listing.read_text() == said
    for report in (tmp_path / "report.csv", tmp_path / "report.json"):
        for _ in range(2):
            done = cli("batch", listing, *options, "--report", report, "--resume")
            assert done.code == 0, done.err
        refused = cli("batch", listing, *options, "--report", report)
        assert refused.code == 6 and "--resume" in refused.err


def test_every_clip_is_in_one_shard(cli, tree, tiny_folder, tmp_path):
    command = ["batch", tree, "--out", tmp_path / "out", "--weights", tiny_folder, "--dry-run"]
    parts = [cli(*command, "--json", "--shard", f"{part}/3") for part in (1, 2, 3)]
    ends = [json.loads(part.out.splitlines()[-1]) for part in parts]
    found = [clip["name"] for end in ends for clip in end["videos"]]
    assert sorted(found) == ["a", "b/a", "frames", "out/old"]
    assert len(found) == 4
    refused = cli(*command, "--shard", "0/3")
    assert refused.code == 2 and "--shard '0/3'" in refused.err


@pytest.mark.slow
def test_completeness_is_what_lets_a_clip_be_skipped(cli, clip, tiny_folder, tmp_path):
    out = tmp_path / "out"
    command = ["batch", clip, "--out", out, "--weights", tiny_folder, "--steps", 1, "--json"]
    assert cli(*command).code == 0
    made = (out / "a.mp4").stat().st_mtime_ns
    skipped = cli(*command, "--skip-existing")
    assert skipped.code == 0 and '"skipped": 1' in skipped.out
    (out / "a.mp4").write_bytes(b"cut off")
    kept = cli(*command, "--skip-existing")
    assert kept.code == 7 and "--overwrite" in kept.out
    mended = cli(*command, "--skip-existing", "--overwrite")
    assert mended.code == 0 and (out / "a.mp4").stat().st_mtime_ns > made
    kept = out / "a.mp4.work"
    assert cli(*command, "--overwrite", "--keep-work").code == 0 and kept.is_dir()
    assert cli(*command, "--skip-existing").code == 0 and kept.is_dir()
    (kept / "published.jsonl").touch()  # as a run leaves it that is killed at its very end
    assert cli(*command, "--resume").code == 0 and not kept.exists()
    assert cli(*command, "--overwrite", "--keep-work").code == 0 and kept.is_dir()
    changed = cli(*command, "--steps", 2, "--resume", "--overwrite")
    assert changed.code == 0 and not kept.exists(), changed
    refused = cli(*command, "--resume", "--no-record")
    assert refused.code == 2


def test_a_clip_of_another_version_is_skipped_with_a_warning_or_made_again(
    cli, clip, tiny_folder, tmp_path
):
    out, report = tmp_path / "out", tmp_path / "report.json"
    command = ["batch", clip, "--out", out, "--weights", tiny_folder, "--steps", 1]
    assert cli(*command).code == 0
    record = out / "a.mp4.json"
    record.write_text(record.read_text().replace('"program": "depthcrafter ', '"program": "older '))
    again = [*command, "--resume", "--report", report]
    assert cli(*again).code == 0
    (told,) = json.loads(report.read_text())["videos"]
    assert told["status"] == "skipped" and "made by older" in told["warnings"][0]
    assert cli(*again, "--overwrite").code == 0
    (told,) = json.loads(report.read_text())["videos"]
    assert (told["status"], told["warnings"]) == ("done", [])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--engine", "spark"], "expected one of auto, local, processes, ray"),
        (["--engine", "local", "--devices", "cpu,cpu"], "--engine processes"),
        (["--devices", "cuda:77"], "cuda:77"),
        (["--engine", "ray", "--devices", "cuda:1"], "Ray chooses"),
        (["--ray-address", "auto"], "--engine ray"),
        (["--ray-address", "127.0.0.1:9", "--engine", "ray"], "no answer from Ray"),
        (["--retries", "-1"], "--retries"),
        (["--format", "bmp"], "got --format bmp"),
        (["--dtype", "fp61"], "--dtype"),
        (["--report", "report.xml"], ".json or .csv"),
    ],
)
def test_options_that_make_no_sense_are_refused(cli, clip, tmp_path, options, says):
    refused = cli("batch", clip, "--out", tmp_path / "out", *options)
    assert refused.code == 2 and says in refused.err, refused.err


def test_without_ray_the_command_that_brings_it_is_said(cli, clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = cli("batch", clip, "--out", tmp_path / "out", "--engine", "ray")
    assert refused.code == 2 and 'pip install "depthcrafter[ray]"' in refused.err


def test_every_name_that_the_reader_takes_is_a_clip(tmp_path, clip):
    names_of = "m2t qt divx 3gpp insv mpv lrv rmvb ogm mod wtv MTS h264 hevc y4m apng dvr-ms 360"
    for suffix in names_of.split():
        shutil.copy(clip, tmp_path / f"c_{suffix}.{suffix}")
    found = {Path(name).name for name in names([tmp_path], tmp_path / "out")}
    assert found == {f"c_{suffix}" for suffix in names_of.split()}


def test_what_is_left_out_is_named_with_its_reason(tmp_path, clip):
    root, told = tmp_path / "in", []
    root.mkdir()
    shutil.copy(clip, root / "a.mp4")
    find_videos([str(root)], tmp_path / "out", COLUMNS, told.append)
    assert told == []
    for name in ("a.foo", "b.webm_", "poster.jpg", "a.srt", "notes.txt", "LICENSE"):
        (root / name).touch()
    for source in (root, root / "*"):
        told.clear()
        (found,) = find_videos([str(source)], tmp_path / "out", COLUMNS, told.append)
        assert found.name == "a" and len(told) == 1
        assert "4 whose names are of no video" in told[0] and "a.foo" in told[0]
        assert "2 of other kinds (.srt, .txt)" in told[0] and "a.srt" not in told[0]


@pytest.mark.parametrize("pattern", ["*.mp4", "take [2]*.mp4", "**/*.mp4", "take [[]2].mp4"])
def test_brackets_of_folders_and_names_are_themselves(tmp_path, clip, pattern):
    root = tmp_path / "shots [final]"
    root.mkdir()
    shutil.copy(clip, root / "take [2].mp4")
    assert names([root / pattern], tmp_path / "out") == ["take [2]"]


@pytest.mark.parametrize("pattern", ["s[1].%04d.png", "s[1].####.png"])
def test_a_numbered_pattern_is_one_clip(tmp_path, pattern):
    for number in range(1, 4):
        Image.new("RGB", (64, 64)).save(tmp_path / f"s[1].{number:04d}.png")
    clips = find_videos([str(tmp_path / pattern)], tmp_path / "out", COLUMNS)
    assert output_paths(clips, tmp_path / "out", ["mp4"]) == [(tmp_path / "out" / "s[1].mp4",)]


def test_what_is_done_stays_done_where_gaps_of_others_are_held_at_last(cli, options, tmp_path):
    for shot, numbers in {"whole": (1, 2, 3), "torn": (1, 2, 4)}.items():
        (tmp_path / "in" / shot).mkdir(parents=True)
        for number in numbers:
            image = tmp_path / "in" / shot / f"a.{number:04d}.png"
            Image.fromarray(picture(number, Size(64, 64))).save(image)
    command = ["batch", tmp_path / "in", "--out", tmp_path / "out", *options, "--resume"]
    assert cli(*command).code == 7
    advised = cli(*command, "--gaps", "hold")
    assert advised.code == 0 and "1 skipped" in advised.out, advised
    again = cli(*command)
    assert again.code == 7 and "torn" in again.err, again
