"""``depthcrafter run`` from the outside: files, exit codes, and nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import make_audio, picture
from PIL import Image

from depthcrafter_cli import disk
from depthcrafter_cli.text import read_rate
from depthcrafter_cli.types import Size

CLIP = Path(__file__).parents[1] / "data" / "parity" / "video" / "clip_a.mp4"  # 13 frames, 180x100


@pytest.fixture
def small(tiny_folder) -> list[object]:
    """Options for a run of a second: the tiny model, one step, 64 pixels."""
    return ["--weights", tiny_folder, "--steps", "1", "--max-res", "128"]


def test_one_run_writes_every_format_with_the_inputs_frames_and_times(cli, small, tmp_path):
    video, arrays, folder = tmp_path / "d.mp4", tmp_path / "d.npz", tmp_path / "png"
    outputs = ["--out", video, "--out", arrays, "--out", folder]
    done = cli("run", CLIP, *outputs, *small, "--max-frames", "5", "--json")
    assert done.code == 0, done.err
    with av.open(str(CLIP)) as source, av.open(str(video)) as result:
        shown = [(frame.pts * frame.time_base, frame.width, frame.height)
                 for frame in result.decode(video=0)]  # fmt: skip
        times = [frame.pts * frame.time_base for frame in source.decode(video=0)][:5]
    assert [time for time, *_ in shown] == [time - times[0] for time in times]
    assert shown[0][1:] == (180, 100)
    with np.load(arrays, allow_pickle=False) as archive:
        depth, (low, high) = archive["depth"], archive["range"]
    assert depth.shape == (5, 100, 180)
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    expected = np.clip((depth - low) / (high - low), 0, 1) * 65535
    assert np.abs(np.stack(pictures) - expected).max() <= 1
    record = json.loads((tmp_path / "d.mp4.json").read_text())
    assert record["frames"] == 5 and record["value_range"] == pytest.approx([low, high])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "d.mp4", "d.mp4.json", "d.npz", "png"
    ]  # fmt: skip


def test_json_events_tell_the_plan_the_stages_and_the_end(cli, small, tmp_path):
    done = cli("run", CLIP, "-o", tmp_path / "d.npz", *small, "--max-frames", "2", "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    told = next(event for event in events if event["event"] == "plan")
    assert (told["model_size"], told["frames"], told["shots"]) == ("128x64", 2, 1)
    assert events[-1]["event"] == "done" and events[-1]["frames"] == 2
    stages = {event["stage"] for event in events if event["event"] == "progress"}
    assert stages == {"read", "load", "condition", "denoise", "decode", "write"}


def test_reference_mode_equals_the_published_program_end_to_end(cli, tiny_folder, tmp_path):
    golden = CLIP.parents[1] / "o4_e2e_clip_a.npz"
    out, video = tmp_path / "d.npz", tmp_path / "d.mp4"
    settings = ["--window", 8, "--overlap", 3, "--max-res", 128, "--weights", tiny_folder]
    outs = ["--out", out, "--out", video, "--colormap", "gray", "--crf", 0]
    done = cli("run", CLIP, *outs, *settings, "--reference", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    with np.load(out) as ours, np.load(golden) as theirs:
        low, high = ours["range"]
        normalized = (ours["depth"] - low) / (high - low)
        assert np.abs(normalized - theirs["depth"]).max() <= 1e-4
    with av.open(str(video)) as container:
        pictures = (picture.to_ndarray() for picture in container.decode(video=0))
        levels = np.stack([luma[: normalized.shape[1]] for luma in pictures])
    cut_off = np.floor(normalized * 255) * 219 / 255 + 16
    assert abs((levels - cut_off).mean()) < 0.1  # 0.43 if it were rounded


def test_a_constant_range_and_side_by_side(cli, small, tmp_path):
    out = tmp_path / "d.mp4"
    options = ["--side-by-side", "--normalize", "fixed 0 1", "--colormap", "gray"]
    done = cli("run", CLIP, "--out", out, *small, *options, "--max-frames", "2", "--no-record")
    assert done.code == 0, done.err
    with av.open(str(out)) as result:
        stream = result.streams.video[0]
        assert (stream.width, stream.height) == (360, 100)
    assert [path.name for path in tmp_path.iterdir()] == ["d.mp4"]


def bad_inputs(folder: Path) -> dict[str, Path]:
    text, empty, sound = folder / "text.mp4", folder / "empty.mp4", folder / "sound.mp4"
    text.write_text("this is no video")
    empty.touch()
    make_audio(sound)
    return {"missing": folder / "no.mp4", "text": text, "empty": empty, "audio only": sound}


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "audio only"])
def test_a_bad_input_is_one_sentence_and_exit_code_3(cli, small, tmp_path, kind):
    inputs = bad_inputs(tmp_path)
    before = sorted(tmp_path.iterdir())
    done = cli("run", inputs[kind], "--out", tmp_path / "d.mp4", *small)
    assert done.code == 3
    assert len(done.err.strip().splitlines()) == 1 and "Traceback" not in done.err
    assert "expected" in done.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--out", "{}/d.tga"], 2, "suffix"),
        (["--out", "{}/d.mp4", "--colormap", "infernal"], 2, "inferno"),
        (["--out", "{}/d.mp4", "--overlap", "110"], 2, "overlap"),
        (["--out", "{}/d.mp4", "--normalize", "most"], 2, "--normalize"),
        (["--out", "{}/d.mp4", "--start", "soon"], 2, "--start"),
        (["--out", "{}/d.mp4", "--fps", "1000"], 2, "--fps"),
        (["--out", "{}/d.mp4", "--size", "big"], 2, "--size"),
        (["--out", "{}/d.mp4", "--size", "99x99", "--reference"], 2, "--reference"),
        (["--out", "{}/d.mp4", "--max-res", "0"], 2, "--max-res"),
        (["--out", "{}/d.mp4", "--out", "{}/no/folder/d.tga"], 2, "suffix"),
        (["--out", "{}/d.mp4", "--max-vram", "lots"], 2, "8000MB"),
        (["--out", "{}/d.mp4", "--size", "16400x64"], 6, "16400x64 pixels"),
        (["--out", "{}/d.npz", "--out", "{}/d.mov", "--size", "64x16387"], 6, "64x16388"),
        (["--out", "{}/d.mp4", "--size", "8200x64", "--side-by-side"], 6, "16400x64 pixels"),
        (["--out", "{}/d.mp4", "--weights", "{}/nowhere"], 4, "weights pull"),
        (["--out", "{}/d.mp4", "--start", "99"], 3, "--start"),
        (["--out", "{}/d.mp4", "--dtype", "fp61"], 2, "--dtype"),
        (["--out", "/"], 2, "a whole disk"),
        (["--out", "{}/d.mp4", "--work-dir", "/"], 2, "a whole disk"),
        (["--out", "%05d"], 2, "_%05d.png"),
        (["--out", os.devnull], 6, "keeps for a device" if disk.WINDOWS else "is no folder"),
        (["--out", f"{__file__}/below/d.mp4"], 6, "is no folder"),
        (["--out", f"{__file__}/below/"], 6, "is no folder"),
        (["--out", "d.mp4", "--work-dir", __file__], 6, "is no folder"),
        (["--out", "d.mp4", "--cuts", "9" * 5000], 3, "expected"),
        (["--out", "d.mp4", "--weights", "9" * 5000], 4, "weights pull"),
        ([], 2, "--out"),
    ],
)
def test_a_request_that_cannot_succeed_is_refused_with_its_code(
    cli, small, tmp_path, options, code, says
):
    done = cli("run", CLIP, *small, *[option.format(tmp_path) for option in options])
    assert (done.code, says in done.err) == (code, True), done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("here", [".", "../frames"])
def test_the_folder_one_is_in_gets_the_pictures(cli, small, tmp_path, monkeypatch, here):
    folder = tmp_path / "frames"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = cli("run", CLIP, "--out", here, *small, "--max-frames", "1")
    assert done.code == 0, done.err
    assert [file.name for file in folder.iterdir()] == ["depth_00000.png"]
    assert sorted(tmp_path.iterdir()) == [folder, tmp_path / "frames.json"]


def test_rates_written_as_floats_and_odd_names_are_taken_as_meant(cli, small, tmp_path):
    clip = tmp_path / "Title [dQw4w9].mp4"
    shutil.copy(CLIP, clip)
    rate = "23.976023976023978"
    assert read_rate(rate) == Fraction(24000, 1001)
    done = cli("run", clip, "--out", tmp_path / "d.npz", *small, "--max-frames", "1")
    assert done.code == 0 and str(clip) in done.err, done.err


def test_existing_files_are_kept_without_overwrite(cli, small, tmp_path):
    out = tmp_path / "d.npz"
    out.write_text("mine")
    refused = cli("run", CLIP, "--out", out, *small, "--max-frames", "1")
    assert refused.code == 6 and "--overwrite" in refused.err and out.read_text() == "mine"
    assert cli("run", CLIP, "--out", out, *small, "--max-frames", "1", "--overwrite").code == 0
    assert np.load(out)["depth"].shape == (1, 100, 180)


def test_a_quiet_run_says_errors_and_no_warnings(cli, small, tmp_path):
    shot, out = tmp_path / "shot", tmp_path / "d.npz"
    shot.mkdir()
    for index in range(3):
        Image.fromarray(picture(index, Size(64, 64))).save(shot / f"{index}.png")
    broken = shot / "2.png"
    broken.write_bytes(broken.read_bytes()[:-60])
    told = cli("run", shot, "--out", out, *small)
    assert told.code == 0 and "warning: " in told.err and "2.png" in told.err
    quiet = cli("run", shot, "--out", out, *small, "--overwrite", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    refused = cli("run", shot, "--out", out, *small, "--quiet")
    assert refused.code == 6 and "--overwrite" in refused.err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    command = [sys.executable, "-X", "importtime", "-m", "depthcrafter_cli", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in finished.stderr.splitlines()}
    assert "depthcrafter_cli" in finished.stdout or "depthcrafter" in finished.stdout
    typers = "import sys, typer; sys.exit('rich' in sys.modules)"  # old releases load it themselves
    allowed = {"rich"} if subprocess.run([sys.executable, "-c", typers]).returncode else set()
    heavy = {"torch", "diffusers", "transformers", "av", "numpy", "matplotlib", "rich"}
    assert not loaded & (heavy - allowed)
