"""What ``check`` says of depth: what was planted is found, and a clean clip has nothing."""

import json
import os

import numpy as np
import pytest
from clips import make_clip
from PIL import Image

from depthcrafter_cli.datasets.generated import HELD_OUT
from depthcrafter_cli.evaluation.checks import Checker
from depthcrafter_cli.evaluation.flow import flow_back, warped
from depthcrafter_cli.structured import parse_object
from depthcrafter_cli.synthetic import draw_clip
from depthcrafter_cli.types import Size, ValueRange

FRAMES, HEIGHT, WIDTH = 24, 48, 64


def scene(frames: int = FRAMES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and their true disparity: a rough box that moves before a rough wall."""
    rng = np.random.default_rng(seed)
    wall = np.kron(rng.integers(30, 220, (HEIGHT // 4, WIDTH // 4, 3)), np.ones((4, 4, 1)))
    box = np.kron(rng.integers(30, 220, (5, 5, 3)), np.ones((4, 4, 1)))
    slope = np.linspace(0.1, 0.4, HEIGHT)[:, None] + np.linspace(0, 0.1, WIDTH)
    pictures = np.repeat(wall[None], frames, 0).astype(np.uint8)
    depth = np.repeat(slope[None], frames, 0).astype(np.float32)
    for index in range(frames):
        left = 4 + index % 36
        pictures[index, 14:34, left : left + 20] = box
        depth[index, 14:34, left : left + 20] = np.linspace(0.85, 0.9, 20)
    return pictures, depth


def kinds(depth, pictures=None, shots=(0,), **how):
    checker = Checker(shots, **how)
    for index, frame in enumerate(depth):
        checker.add(frame, None if pictures is None else pictures[index])
    return [(finding.kind, finding.frame) for finding in checker.findings()]


def test_a_clean_clip_has_nothing_with_its_video_or_without():
    pictures, depth = scene()
    assert kinds(depth, pictures, flow=True, joins=(9,), overlap=3) == []
    assert kinds(depth, joins=(9,), overlap=3, ranges=[ValueRange(0.1, 0.9)]) == []


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_true_depth_of_drawn_clips_has_nothing(seed):
    clip = draw_clip(HELD_OUT + seed, 12, 48, 64)
    depth = clip.depth.numpy()
    disparity = np.where(np.isfinite(depth), 1 / np.clip(depth, 0.3, None), 0).astype(np.float32)
    assert kinds(disparity, clip.rgb.numpy(), flow=True) == []


def test_a_jump_where_windows_join_is_found_at_its_frame():
    pictures, depth = scene()
    depth[13:] = 0.85 * depth[13:] + 0.1
    with_joins = kinds(depth, pictures, joins=(12,), overlap=3, flow=True)
    assert with_joins == [("seam", 13)]
    assert kinds(depth, joins=(12,), overlap=3) == [("seam", 13)]
    assert kinds(depth, joins=(3,), overlap=3) == [("jump", 13)]


def test_a_jump_with_the_picture_may_be_a_cut():
    (one, near), (other, far) = scene(12), scene(12, seed=5)
    depth = np.concatenate([near, 0.6 * far[::-1] + 0.3])
    checker = Checker((0,))
    for frame, picture in zip(depth, np.concatenate([one, other]), strict=True):
        checker.add(frame, picture)
    (finding,) = checker.findings()
    assert (finding.kind, finding.frame) == ("jump", 12) and "`cuts`" in finding.says
    assert kinds(depth, np.concatenate([one, other]), shots=(0, 12)) == []


def test_a_seam_that_is_blended_over_the_overlap_is_found():
    _pictures, depth = scene()
    share = np.clip((np.arange(FRAMES) - 9) / 6, 0, 1)[:, None, None]
    drifted = depth * (1 - 0.15 * share) + 0.1 * share
    assert kinds(drifted, joins=(9,), overlap=6) == [("seam", 9)]
    assert kinds(depth, joins=(9,), overlap=6) == []


@pytest.mark.parametrize("with_video", [True, False])
def test_flicker_is_found(with_video):
    pictures, depth = scene()
    gain = 1 + 0.04 * (-1) ** np.arange(FRAMES)[:, None, None]
    assert kinds(depth * gain, pictures if with_video else None) == [("flicker", 0)]


def test_flicker_of_a_part_of_what_stands_still_is_found():
    pictures, depth = scene()
    depth[::2, 36:, :] += 0.15
    assert kinds(depth, pictures) == [("flicker", 0)]


def test_depth_that_does_not_follow_the_motion_is_found():
    rng = np.random.default_rng(2)
    wide = np.kron(rng.integers(30, 220, (12, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    near = np.linspace(0.1, 0.9, 160, dtype=np.float32) + np.zeros((HEIGHT, 1), np.float32)
    pans = [slice(2 * index, 2 * index + WIDTH) for index in range(FRAMES)]
    pictures = np.stack([wide[:, pan] for pan in pans])
    follows = np.stack([near[:, pan] for pan in pans])
    assert kinds(follows, pictures, flow=True) == []
    gain = 1 + 0.12 * (-1) ** np.arange(FRAMES)[:, None, None]
    assert kinds(follows * gain, pictures, flow=True) == [("unsteady", 0)]


def test_a_clipped_range_is_found():
    _pictures, depth = scene()
    assert kinds(depth, ranges=[ValueRange(0.2, 0.95)]) == [("clipped", 0)]  # far
    assert kinds(np.minimum(depth, 0.4), ranges=[ValueRange(0.1, 0.4)]) == [("clipped", 0)]


def test_a_shot_with_another_scale_is_found():
    _pictures, depth = scene(12)
    film = np.concatenate([depth, 0.08 * depth, depth[::-1]])
    assert kinds(film, shots=(0, 12, 24)) == [("scale", 12)]
    assert kinds(np.concatenate([depth, 0.6 * depth]), shots=(0, 12)) == []


def test_constant_and_broken_depth_is_found():
    _pictures, depth = scene(6)
    assert kinds(np.zeros_like(depth)) == [("constant", 0)]
    depth[3, 5, 5] = np.nan
    assert ("not finite", 3) in kinds(depth)


def test_flow_finds_a_shift_and_what_it_covers():
    rng = np.random.default_rng(3)
    wide = np.kron(rng.integers(0, 255, (16, 24, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    before, now = wide[:, 20:116], wide[:, 17:113]  # it moved to the right by 3
    way, trusted = flow_back(now, before)
    inside = way[8:-8, 8:-8]
    assert np.abs(np.median(inside[..., 0]) + 3) < 0.1 and trusted.mean() > 0.8
    ramp = np.repeat(np.arange(96, dtype=np.float32)[None], 96, 0)
    assert np.abs(np.median((ramp - warped(ramp, way))[8:-8, 8:-8]) - 3) < 0.1


@pytest.mark.slow
def test_a_run_is_checked_with_its_record(cli, clip, options, tmp_path):
    out = tmp_path / "depth.npz"
    assert cli("run", clip, "--out", out, "--max-res", 64, *options).code == 0
    clip.unlink()  # which is not what the planted depth is of
    _pictures, depth = scene(16)
    joins = {"joined": 4, "nowhere": 2}  # windows of 6 that share 2
    for where, frame in joins.items():
        planted = depth.copy()
        planted[frame:] = 0.8 * planted[frame:] + 0.15
        np.savez(out, depth=planted, times=np.arange(16) / 24)
        done = cli("check", out, "--json")
        events = [json.loads(line) for line in done.out.splitlines()]
        said = [event for event in events if event["event"] == "finding"]
        found = [each for each in said if each["kind"] in ("seam", "jump")]
        assert done.code == 0 and [each["frame"] for each in found] == [frame], done.err
        assert (found[0]["kind"] == "seam") == (where == "joined")
        assert "video is not known, gone" in events[0]["message"]


def test_results_are_shown_beside_the_video_that_they_are_of_alone(cli, clip, tmp_path):
    out, html = tmp_path / "depth.npz", iter(tmp_path / f"{number}.html" for number in range(2))
    assert cli("run", clip, "--out", out, "--method", "trivial-gradient").code == 0
    looks = ["check", out], ["report", out, "--out"]
    os.utime(clip, (1, 1))  # as a copy has
    for look in looks:
        done = cli(*look, *([next(html)] if "report" in look else []))
        assert done.code == 0 and "another than was read" not in done.err
    make_clip(clip, frames=16, size=Size(48, 80))
    for look in looks:
        done = cli(*look, *([next(html)] if "report" in look else []))
        assert done.code == 0 and "another than was read" in done.err


def test_files_of_other_programs_are_checked_beside_their_video(cli, tmp_path):
    pictures, depth = scene(12)
    (tmp_path / "frames").mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "frames" / f"{index:03}.png")
    np.savez(tmp_path / "theirs_depths.npz", depths=depth)
    told = ["check", tmp_path / "theirs_depths.npz", "--video", tmp_path / "frames"]
    clean = cli(*told, "--out", tmp_path / "a.png", "--out", tmp_path / "a.json")
    assert clean.code == 0 and clean.out.startswith("Nothing was found in 12 frames.\n"), clean.err
    assert json.loads((tmp_path / "a.json").read_text())["findings"] == []
    assert Image.open(tmp_path / "a.png").width > 3 * 480
    np.savez(
        tmp_path / "theirs_depths.npz",
        depths=np.asfortranarray(depth * (1 + 0.05 * (-1) ** np.arange(12))[:, None, None]),
    )
    said = cli(*told).out.splitlines()
    assert said[0].startswith("Depth flickers: what stands still changes by ")
    short = cli("check", tmp_path / "theirs_depths.npz", "--video",
                make_clip(tmp_path / "short.mp4", frames=5, size=Size(48, 64)))  # fmt: skip
    assert short.code == 3 and "has 5 frames, expected 12" in short.err


def test_values_that_cannot_be_counted_with_are_told_and_stay_out_of_the_report(cli, tmp_path):
    depth = scene(4)[1]
    depth[1], depth[2, 3], depth[3, 4] = 1e38, np.inf, np.nan
    np.savez(tmp_path / "d.npz", depth=depth)
    out = [tmp_path / "found.json", tmp_path / "found.png"]
    done = cli("check", tmp_path / "d.npz", *(word for path in out for word in ("--out", path)))
    assert done.code == 0 and "3 frames, from 1 on, hold values" in done.out, done.err
    assert "RuntimeWarning" not in done.err
    assert parse_object(out[0].read_text())["frames"] == 4  # which refuses Infinity and NaN
    done = cli("report", tmp_path / "d.npz", "--out", tmp_path / "page.html")
    assert (done.code, "RuntimeWarning" in done.err) == (0, False), done.err


def test_a_name_that_is_too_long_is_no_result(cli, tmp_path):
    done = cli("check", tmp_path / ("x" * 300))
    assert done.code == 3 and "check the path" in done.err, done.err


def test_a_folder_of_frames_has_one_size(cli, tmp_path):
    for index, height in enumerate((8, 8, 9)):
        Image.new("I;16", (12, height)).save(tmp_path / f"{index}.png")
    (tmp_path / "._0.png").write_bytes(b"macOS")
    done = cli("check", tmp_path)
    assert done.code == 3 and "2.png cannot be read (it is of 12x9" in done.err


def test_a_result_that_lacks_frames_of_its_record_is_told(cli, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=3, size=Size(48, 64))
    out = tmp_path / "frames"
    assert cli("run", clip, "--out", out, "--method", "trivial-gradient").code == 0
    (out / "depth_00001.png").unlink()
    done = cli("check", out)
    assert done.code == 3 and "holds 2 of the 3 frames that" in done.err, done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--columns", "left"], 2, "got --columns 'left'"),
        (["--columns", "2"], 2, "got --columns 2"),
        (["--out", "found.txt"], 2, "found.txt"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(cli, tmp_path, arguments, code, says):
    np.save(tmp_path / "d.npy", scene(2)[1])
    done = cli("check", tmp_path / "d.npy", *arguments)
    assert (done.code, says in done.err, done.err.count("\n")) == (code, True, 1), done.err
