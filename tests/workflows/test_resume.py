"""Runs that stop, and go on: killed, interrupted, out of disk, changed under way, kept."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip, picture
from filelock import FileLock
from PIL import Image
from processes import ENVIRONMENT, stop_at

from depthcrafter_cli.errors import InputError, MemoryLimitError
from depthcrafter_cli.media.identity import identity, require_unchanged
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.run_plan import plan
from depthcrafter_cli.workflows.state import RunState

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_killed_runs_resume_to_identical_files(tiny_folder):
    """The benchmark with fewer kills: in denoising, the final write, decoding, at the end."""
    script = [ROOT / "benchmarks" / "kill_resume.py", "--rounds", "4", "--frames", "13"]
    source = ["--source", ROOT / "tests" / "data" / "parity" / "video" / "clip_a.mp4"]
    command = [sys.executable, *script, *source, "--weights", tiny_folder]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (["--seed", 1], 2, "differs in --seed (1 now, 42 before), expected"),
        (["--start", "0.1"], 2, "differs in --start (1/10 now, the default before), expected"),
        (["--window", 7], 2, "differs in --window (7 now, 6 before), expected"),
        (["--max-res", 64, "--steps", 2], 2, "differs in --steps (2 now, 1 before), expected"),
        (["--reference"], 2, "differs in --reference (on now, off before), expected"),
        ("clip", 3, "not what it was"),
    ],
)
def test_a_run_that_differs_is_not_resumed(cli, clip, options, tmp_path, change, code, says):
    out = tmp_path / "d.npz"
    kept = cli("run", clip, "--out", out, *options, "--keep-work", "--no-record")
    assert kept.code == 0, kept.err
    if change == "clip":
        make_clip(clip, frames=15, size=Size(64, 64))
        change = []
    out.unlink()
    refused = cli("run", clip, "--out", out, *options, *change, "--resume", "--no-record")
    assert (refused.code, says in refused.err) == (code, True), refused.err
    assert "Traceback" not in refused.err


def test_a_kept_run_goes_on_to_another_look_and_stays(cli, clip, options, tmp_path):
    out, other, work = tmp_path / "d.mp4", tmp_path / "d.npz", tmp_path / "d.mp4.work"
    command = ["run", clip, "--out", out, *options]
    assert cli(*command, "--keep-work").code == 0
    look = ["--colormap", "gray", "--normalize", "percentile 5 95", "--size", "32x48", "--crf", 30,
            "--side-by-side", "--out", other]  # fmt: skip
    taken = cli(*command, *look, "--resume")
    assert taken.code == 6 and f"{out} exists" in taken.err and "--overwrite" in taken.err
    done = cli(*command, *look, "--resume", "--overwrite", "--json")
    assert done.code == 0 and '"write"' in done.out and '"stage": "denoise"' not in done.out, done
    again = cli("resume", work)
    assert again.code == 0 and "already finished" in again.err and work.exists(), again
    made = [out.read_bytes(), other.read_bytes()]
    fresh = cli(*command, *look, "--overwrite")
    assert fresh.code == 0 and [out.read_bytes(), other.read_bytes()] == made, fresh


def test_settings_that_are_the_defaults_make_no_other_run(cli, clip, options, tmp_path):
    out = tmp_path / "d.npz"
    command = ["run", clip, "--out", out, *options, "--keep-work"]
    assert cli(*command).code == 0
    out.unlink()
    same = ["--seed", 42, "--noise-aug", 0.02, "--max-res", 100, "--dtype", "fp32", "--resume"]
    done = cli(*command, *same, "--overwrite", "--json")
    assert done.code == 0 and '"stage": "denoise"' not in done.out, done


def test_a_kept_run_is_finished_otherwise_without_its_model_or_input(
    cli, clip, options, tmp_path, tiny_folder
):
    model, out, other = tmp_path / "model", tmp_path / "d.npz", tmp_path / "frames"
    shutil.copytree(tiny_folder, model)
    options[1] = model
    assert cli("run", clip, "--out", out, *options, "--keep-work").code == 0
    shutil.rmtree(model)
    clip.unlink()
    folder = tmp_path / "d.npz.work"
    again = tmp_path / "again.npz"
    choices = ["--normalize", "percentile 5 95", "--size", "32x48"]
    done = cli("finish", folder, "--out", other, "--out", again, *choices)
    assert done.code == 0, done.err
    assert len(list(other.iterdir())) == 16
    with np.load(out) as first, np.load(again) as second:
        assert second["depth"].shape == (16, 48, 32)
        assert list(second["range"]) == pytest.approx(
            np.percentile(first["depth"], [5, 95]), abs=1e-3
        )
    refused = cli("finish", folder, "--out", other, "--size", "model")
    assert refused.code == 6 and "--overwrite" in refused.err
    refused = cli("finish", folder, "--out", tmp_path / "big.mp4", "--size", "32x16400")
    assert refused.code == 6 and "32x16400 pixels" in refused.err


def test_depth_is_not_shown_beside_another_video(cli, clip, options, tmp_path):
    assert cli("run", clip, "--out", tmp_path / "d.npz", *options, "--keep-work").code == 0
    folder, out = tmp_path / "d.npz.work", tmp_path / "e.mp4"
    make_clip(clip, frames=4, size=Size(64, 64))
    refused = cli("finish", folder, "--out", out, "--side-by-side")
    assert refused.code == 3 and "not what it was" in refused.err and not out.exists()
    assert cli("finish", folder, "--out", out).code == 0


def test_what_is_another_of_an_input_is_told(tmp_path):
    """So that a video that was moved or copied can be put back as it was."""
    clip = make_clip(tmp_path / "clip.mp4", frames=4)
    os.utime(clip, (86399, 86399))
    before = identity(clip)
    require_unchanged(clip, before)

    def told(path: Path) -> str:
        with pytest.raises(InputError) as refusal:
            require_unchanged(path, before)
        return re.search(r"began \((.*)\)", str(refusal.value))[1]

    os.utime(clip, (-1, -1) if os.name == "posix" else (1, 1))
    assert told(clip) == "its date was 1970-01-01 23:59:59.000000 UTC"
    moved = clip.rename(tmp_path / "moved.mp4")
    os.utime(moved, (86399, 86399))
    assert told(moved) == f"it was {clip}"
    assert told(clip) == "it is gone"
    make_clip(clip, frames=5)
    assert told(clip) == "its contents are others"


def test_a_run_does_not_go_on_with_shorter_windows_than_it_began_with(tiny_folder, tmp_path):
    clip = make_clip(tmp_path / "long.mp4", frames=400, size=Size(64, 64))
    request = RunRequest(
        clip, (tmp_path / "d.npz",), weights=str(tiny_folder), device="cpu",
        settings={"window": 400, "overlap": 2, "decode_chunk": 3},
    )  # fmt: skip
    assert 60 < plan(replace(request, max_vram=0.54)).method.memory.workload.window < 400
    RunState(request.work_folder).begin(plan(request).saved)
    with pytest.raises(MemoryLimitError, match="windows of 400 frames, and no more than"):
        plan(replace(request, max_vram=0.54, resume=True))
    again = plan(replace(request, resume=True))
    assert (
        again.resumed and again.method.memory.workload.window == again.method.config.window == 400
    )


@pytest.mark.slow
def test_an_unfinished_run_cannot_be_finished_without_inference(cli, clip, options, tmp_path):
    stop_at("decode", 3, [clip, "--out", tmp_path / "d.npz", *options], signal.SIGTERM)
    refused = cli("finish", tmp_path / "d.npz.work", "--out", tmp_path / "e.npz")
    assert refused.code == 2 and "resume" in refused.err
    nothing = cli("resume", tmp_path / "elsewhere")
    assert nothing.code == 2 and "work" in nothing.err


def test_a_finished_run_is_not_repeated_but_a_damaged_output_is_noticed(
    cli, clip, options, tmp_path
):
    out = tmp_path / "d.npz"
    assert cli("run", clip, "--out", out, *options).code == 0
    made = out.stat().st_mtime_ns
    again = cli("run", clip, "--out", out, *options, "--resume")
    assert again.code == 0 and "already finished" in again.err
    assert out.stat().st_mtime_ns == made
    out.write_bytes(out.read_bytes()[:-10])
    refused = cli("run", clip, "--out", out, *options, "--resume")
    assert refused.code == 6


def test_a_result_of_other_weights_or_another_version_is_not_simply_complete(
    cli, clip, options, tmp_path, tiny_folder
):
    out, model = tmp_path / "d.npz", tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    command = ["run", clip, "--out", out, *options, "--weights", model]
    assert cli(*command).code == 0
    record = out.with_name("d.npz.json")
    record.write_text(record.read_text().replace('"program": "depthcrafter ', '"program": "older '))
    made = out.stat().st_mtime_ns
    skipped = cli(*command, "--resume")
    assert skipped.code == 0 and "made by older" in skipped.err and "already" in skipped.err
    assert out.stat().st_mtime_ns == made
    renewed = cli(*command, "--resume", "--overwrite")
    assert renewed.code == 0 and "already finished" not in renewed.err
    again = cli(*command, "--resume", "--overwrite")
    assert again.code == 0 and "already finished" in again.err and "made by" not in again.err
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused = cli(*command, "--resume")
    assert refused.code == 6 and "other weights" in refused.err and "--overwrite" in refused.err
    assert cli(*command, "--resume", "--overwrite").code == 0


def test_two_runs_do_not_write_the_same_output(cli, clip, options, tmp_path):
    out = tmp_path / "d.npz"
    with FileLock(tmp_path / ".d.npz.lock"):
        refused = cli("run", clip, "--out", tmp_path / "other.mp4", "--out", out, *options)
        assert refused.code == 6 and "another run" in refused.err
    assert cli("run", clip, "--out", out, *options).code == 0
    frames = tmp_path / "frames"
    frames.mkdir()
    with FileLock(frames / ".depth_05d.png.lock"):
        for same in (frames, frames / "depth_%05d.png"):
            refused = cli("run", clip, "--out", same, *options)
            assert refused.code == 6 and "another run" in refused.err
    assert cli("run", clip, "--out", frames, *options).code == 0
    assert [file.name for file in tmp_path.rglob("*") if "lock" in file.name] == []


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    cli, clip, options, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        command = ["run", clip, "--out", disk / "d.npz", *options]
        full = cli(*command, "--json")
        assert full.code == 6, full.out
        message = json.loads(full.out.splitlines()[-1])["message"]
        assert "free" in message and "Traceback" not in full.err
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        resumed = cli(*command, "--resume")
        assert resumed.code == 0, resumed.err
        assert cli("run", clip, "--out", tmp_path / "w.npz", *options).code == 0
        with np.load(disk / "d.npz") as ours, np.load(tmp_path / "w.npz") as expected:
            np.testing.assert_array_equal(ours["depth"], expected["depth"])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_an_input_that_changes_under_way_ends_the_run(clip, options, tmp_path):
    command = [sys.executable, "-m", "depthcrafter_cli", "run", clip, "--json", *options]
    command += ["--out", tmp_path / "d.npz", "--steps", 40]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    for line in process.stdout:
        if '"denoise"' in line:
            os.utime(clip, (1, 1))
            break
    rest = process.communicate(timeout=600)[0]
    assert process.returncode == 3
    assert "not what it was" in rest and not (tmp_path / "d.npz").exists()


def test_a_folder_of_other_things_is_neither_used_nor_emptied(cli, clip, options, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    refused = cli("run", clip, "--out", tmp_path / "d.npz", *options, "--work-dir", mine)
    assert refused.code == 6 and "--work-dir" in refused.err
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]
    for existing in (True, False):
        work = tmp_path / f"empty{existing}"
        if existing:
            work.mkdir()
        command = ["run", clip, "--out", tmp_path / f"{work.name}.npz", *options]
        assert cli(*command, "--work-dir", work).code == 0
        assert not work.exists()


@pytest.mark.slow
def test_a_run_that_may_replace_its_output_may_do_so_when_it_goes_on(cli, clip, options, tmp_path):
    out = tmp_path / "d.npz"
    out.write_bytes(b"of before")
    command = [clip, "--out", out, "--overwrite", *options]
    stop_at("denoise", 1, command, signal.SIGKILL)
    assert out.read_bytes() == b"of before"
    assert cli("resume", f"{out}.work").code == 0
    with np.load(out) as arrays:
        assert len(arrays["depth"]) == 16


@pytest.mark.slow
def test_what_was_begun_with_overwrite_is_not_begun_again_by_resume(
    cli, clip, options, tmp_path, monkeypatch
):
    work, began = tmp_path / "d.npz.work", ["run", clip, "--out", tmp_path / "d.npz", *options]
    stop_at("denoise", 2, [clip, "--out", tmp_path / "d.npz", "--overwrite", *options],
            signal.SIGKILL)  # fmt: skip
    state = (work / "window.safetensors").read_bytes()
    before = clip.stat().st_mtime_ns
    os.utime(clip, (1, 1))
    refused = cli("resume", work)
    assert refused.code == 3 and "not what it was" in refused.err
    assert (work / "window.safetensors").read_bytes() == state
    os.utime(clip, ns=(before, before))
    monkeypatch.setattr("depthcrafter_cli.__version__", "newer")
    refused = cli("resume", work)
    assert refused.code == 2 and "differs in program" in refused.err
    assert f"depthcrafter resume {work}" not in refused.err  # which is what was tried
    assert (work / "window.safetensors").read_bytes() == state
    assert cli(*began, "--resume", "--overwrite").code == 0


def test_memory_that_is_short_for_now_does_not_begin_a_run_again(tiny_folder, tmp_path):
    clip = make_clip(tmp_path / "long.mp4", frames=400, size=Size(64, 64))
    request = RunRequest(
        clip, (tmp_path / "d.npz",), weights=str(tiny_folder), device="cpu", overwrite=True,
        settings={"window": 400, "overlap": 2, "decode_chunk": 3},
    )  # fmt: skip
    RunState(request.work_folder).begin(plan(request).saved)
    with pytest.raises(MemoryLimitError, match="windows of 400 frames, and no more than"):
        plan(replace(request, max_vram=0.54, resume=True))


def test_a_run_goes_on_with_its_weights_though_better_ones_came(
    cli, clip, options, tmp_path, tiny_folder, monkeypatch
):
    root = tmp_path / "root"
    shutil.copytree(tiny_folder, root / "nano")
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(root))
    plain = options[2:]
    assert options[0] == "--weights"
    kept = ["run", clip, "--out", tmp_path / "d.npz", *plain, "--keep-work", "--no-record"]
    assert cli(*kept).code == 0
    (tmp_path / "d.npz").unlink()
    shutil.copytree(tiny_folder, root / "depthcrafter")
    refused = cli(*kept, "--resume")
    assert refused.code == 2 and "differs in model" in refused.err
    assert cli("resume", tmp_path / "d.npz.work").code == 0
    assert cli(*kept, "--resume", "--weights", "nano", "--overwrite").code == 0


def test_a_kept_run_of_the_weights_found_first_is_finished_once(
    cli, clip, options, tmp_path, tiny_folder, monkeypatch
):
    shutil.copytree(tiny_folder, tmp_path / "root" / "nano")
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(tmp_path / "root"))
    kept = ["run", clip, "--out", tmp_path / "d.npz", *options[2:], "--keep-work"]
    assert cli(*kept).code == 0
    again = cli("resume", tmp_path / "d.npz.work")
    assert again.code == 0 and "already finished" in again.err


def test_that_no_state_is_left_to_keep_is_said(cli, clip, options, tmp_path):
    command = ["run", clip, "--out", tmp_path / "d.npz", *options]
    assert cli(*command).code == 0
    again = cli(*command, "--resume", "--keep-work")
    assert again.code == 0 and "without --keep-work" in again.err


def test_outputs_may_lie_in_the_folder_of_the_images(cli, options, tmp_path):
    shot = tmp_path / "shot"
    shot.mkdir()
    for index in range(8):
        Image.fromarray(picture(index, Size(64, 64))).save(shot / f"{index}.png")
    done = cli("run", shot, "--out", shot / "depth.mp4", *options)
    assert done.code == 0, done.err


def test_a_variants_name_means_the_variant_whatever_folders_there_are(tmp_path, monkeypatch):
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)
    kept = RunRequest(Path("a.mp4"), (Path("b.mp4"),), weights="nano").to_json()["weights"]
    assert kept == "nano"
    kept = RunRequest(Path("a.mp4"), (Path("b.mp4"),), weights="./nano").to_json()["weights"]
    assert kept == str(tmp_path / "nano")


def test_options_that_a_former_version_had_not_are_as_by_default(tmp_path):
    asked = RunRequest(tmp_path / "a.mp4", (tmp_path / "b.mp4",))
    made = asked.to_json()
    del made["reading"]["matrix"], made["reference"]
    assert asked.same_result(made)
    made["reading"]["matrix"] = "bt709"
    assert not asked.same_result(made)
