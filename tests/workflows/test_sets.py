"""The five sets in their own layouts: known answers, broken copies, and the paper's table."""

import json
import os
import shutil
from functools import partial

import numpy as np
import pytest
import sets
from PIL import Image
from processes import KILLED, in_child, kill_this_process
from tiny_models import depth_anything, marigold

from depthcrafter_cli.datasets.registry import DATASETS
from depthcrafter_cli.models.registry import MODELS

FRAMES = 4


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """The sets by name."""
    made = {}
    for name, write in sets.SETS.items():
        made[name] = tmp_path_factory.mktemp(name)
        write(made[name], 2 if name == "nyuv2" else 3 * FRAMES if name == "scannet" else FRAMES)
    return made


def evaluated(cli, tmp_path, *arguments, out="scores.json"):
    done = cli("evaluate", *arguments, "--out", tmp_path / out)
    assert done.code == 0, done.err
    return json.loads((tmp_path / out).read_text())


def write_results(folder, name, root, say, **how):
    folder.mkdir()
    for clip in DATASETS[name].clips(root, **how):
        np.save(folder / f"{clip.name}.npy", say(clip.depth(clip.frames)).astype(np.float32))
    return folder


@pytest.mark.parametrize("name", sets.SETS)
def test_results_that_are_right_up_to_scale_and_shift_have_no_error(cli, tmp_path, roots, name):
    results = write_results(tmp_path / "own", name, roots[name], lambda depth: 0.4 / depth + 0.1)
    report = evaluated(cli, tmp_path, name, roots[name], "--predictions", results)
    mean = report["mean"]
    assert mean["abs_rel"] < 1e-5 and mean["delta1"] == 1
    assert mean["boundary_f1"] == pytest.approx(1)
    if name != "nyuv2":  # single frames
        assert mean["tgm"] < 1e-5 and mean["temporal"] < 1e-5
    by_frame = report["clips"][0]["consistency"]["by_frame"]
    assert len(by_frame) == report["clips"][0]["frames"] and max(by_frame) < 1e-5


def test_poses_of_scannet_tell_flicker_of_a_plane(cli, tmp_path):
    sets.scannet(tmp_path / "set", 9, sets.plane_at)
    told = ["scannet", tmp_path / "set", "--predictions", tmp_path / "own", "--align-by", "none",
            "--convention", "depth"]  # fmt: skip
    write_results(tmp_path / "own", "scannet", tmp_path / "set", lambda depth: depth)
    assert evaluated(cli, tmp_path, *told)["mean"]["tae"] == pytest.approx(0, abs=1e-3)
    shutil.rmtree(tmp_path / "own")
    flicker = 1 + 0.1 * (np.arange(3) % 2)[:, None, None]
    write_results(tmp_path / "own", "scannet", tmp_path / "set", lambda depth: depth * flicker)
    mean = evaluated(cli, tmp_path, *told, out="flicker.json")["mean"]
    assert mean["tae"] == pytest.approx(100 * np.mean([0.1 / 1.1, 0.1]), rel=0.01)
    lost = tmp_path / "set/scene0707_00/pose/3.txt"
    np.savetxt(lost, np.full((4, 4), -np.inf))
    assert (
        evaluated(cli, tmp_path, *told, out="lost.json")["clips"][0]["consistency"]["tae"] is None
    )


def test_published_tae_stands_beside_the_frames_that_it_is_of(cli, tmp_path):
    sets.scannet(tmp_path / "set", 15, sets.plane_at)
    clips = DATASETS["scannet-tae"].clips(tmp_path / "set")
    assert {clip.frames for clip in clips} == {5}
    assert clips[0].depth(1)[0, 0, 0] == pytest.approx(4 - 10 * sets.STEP)
    told = [tmp_path / "set", "--method", "trivial-constant", "--out"]
    done = cli("evaluate", "scannet-tae", *told, tmp_path / "tae.md")
    assert "| DepthCrafter * |  |  |  |  |  |  |  | 0.639 |" in (tmp_path / "tae.md").read_text()
    done = cli("evaluate", "scannet", *told, tmp_path / "scannet.json")
    assert "0.123" in done.out and "0.639" not in done.out


def test_what_is_fitted_is_said_and_changes_the_scores(cli, tmp_path, roots):
    root = roots["bonn"]
    write_results(tmp_path / "own", "bonn", root, lambda depth: 1.2 * depth)
    told = ["bonn", root, "--predictions", tmp_path / "own", "--convention", "depth"]
    errors = {}
    for by in ("none", "scale", "scale-shift"):
        report = evaluated(cli, tmp_path, *told, "--align-by", by, out=f"{by}.json")
        assert report["protocol"]["align_by"] == by
        errors[by] = report["mean"]["abs_rel"]
    assert errors["none"] == pytest.approx(0.2, rel=1e-4)
    assert errors["scale"] < 1e-5 and errors["scale-shift"] < 1e-5
    (path,) = (tmp_path / "own").iterdir()
    wrong = np.load(path)
    wrong[:, :10] *= 2
    np.save(path, wrong)
    losses = {
        loss: evaluated(
            cli, tmp_path, *told, "--align-by", "scale", "--loss", loss, out=f"{loss}.json"
        )["mean"]["delta1"]
        for loss in ("squares", "absolute")
    }
    assert losses["absolute"] == pytest.approx(38 / 48, abs=0.01)
    assert losses["absolute"] > losses["squares"]


def test_longer_lists_take_all_frames_in_order(cli, tmp_path, roots):
    assert [clip.frames for clip in DATASETS["scannet"].clips(roots["scannet"])] == [FRAMES] * 2
    for name, frames in (("scannet", 3 * FRAMES), ("kitti", FRAMES), ("bonn", FRAMES + 30)):
        clips = DATASETS[name].clips(roots[name], long=True)
        assert {clip.frames for clip in clips} == {frames}
    raw = tmp_path / "raw"
    for scene in ("cafe_0001a", "bathroom_0001"):
        sets.nyuv2(raw / scene, 1)
        metres = sets.depth_at(0, (480, 640))
        sets.levels(raw / scene / "depth/00000.png", metres, 6000)
    write_results(tmp_path / "own", "nyuv2", raw, lambda depth: 1 / depth, long=True)
    report = evaluated(cli, tmp_path, "nyuv2", raw, "--predictions", tmp_path / "own", "--long")
    assert report["names"] == ["cafe_0001a"] and report["mean"]["abs_rel"] < 1e-5
    table = cli("evaluate", "nyuv2", raw, "--predictions", tmp_path / "own", "--long", "--out",
                tmp_path / "t.md")  # fmt: skip
    assert "Video Depth Anything L * " in table.out and "0.062" in table.out
    made = cli("report", tmp_path / "scores.json", "--out", tmp_path / "long.html")
    assert made.code == 0 and "warning" not in made.err, made.err
    assert "cafe_0001a and its true depth" in (tmp_path / "long.html").read_text()
    refused = cli("evaluate", "sintel", roots["sintel"], "--long", "--out", tmp_path / "s.json")
    assert refused.code == 2 and "got --long for a set of short clips" in refused.err


def test_flow_measures_what_changes_along_the_motion(cli, tmp_path, roots):
    pytest.importorskip("cv2")
    write_results(tmp_path / "own", "sintel", roots["sintel"], lambda depth: 1 / depth)
    told = ["sintel", roots["sintel"], "--predictions", tmp_path / "own", "--flow"]
    report = evaluated(cli, tmp_path, *told)
    assert 0 < report["mean"]["opw"] < 0.2


def test_error_against_length_is_drawn(cli, tmp_path, roots):
    told = ["bonn", roots["bonn"], "--method", "trivial-gradient", "--out", tmp_path / "e.png"]
    assert cli("evaluate", *told).code == 0
    drawn = np.asarray(Image.open(tmp_path / "e.png").convert("RGB"))
    assert np.ptp(drawn) > 200 and drawn.shape[1] == 980


def first(root, pattern):
    return sorted(root.glob(pattern))[0]


BROKEN = {
    "sintel": [
        (lambda root: shutil.rmtree(root / "training/clean"), "training/clean"),
        (lambda root: shutil.rmtree(root / "training/depth/alley_1"), "alley_1"),
        (
            lambda root: first(root, "training/depth/*/*.dpt").write_bytes(b"PIEH"),
            "no Sintel depth",
        ),
        (
            lambda root: sets.write_dpt(
                root / "training/depth/alley_1/frame_0002.dpt", np.ones((4, 6), np.float32)
            ),
            "maps of depth of the sizes [(4, 6)",
        ),
        (
            lambda root: (root / "training/clean/alley_1/frame_0002.png").unlink(),
            "got the picture frame_0003.png beside the depth frame_0002.dpt in the clip alley_1",
        ),
    ],
    "scannet": [
        (lambda root: shutil.rmtree(root / "scene0707_00/depth"), "scene0707_00"),
        (
            lambda root: first(root, "*/color/*.jpg").rename(root / "scene0707_00/color/a.jpg"),
            "a.jpg, expected numbers",
        ),
        (lambda root: first(root, "*/pose/*.txt").write_text("lost"), "pose/0.txt"),
        (lambda root: first(root, "*/pose/*.txt").write_text("0 " * 16), "it has no inverse"),
        (
            lambda root: sets.levels(first(root, "*/depth/*.png"), np.ones((6, 8)), 1000),
            "of which nothing is left",
        ),
        (
            lambda root: (root / "scene0708_00/color/1.jpg").unlink(),
            "got the picture 4.jpg beside the depth 3.png in the clip scene0708_00",
        ),
    ],
    "kitti": [
        (lambda root: shutil.rmtree(root / "val"), "val"),
        (lambda root: first(root, "2011_09_26/*/image_02/data/*.png").unlink(), "got no file"),
    ],
    "bonn": [(lambda root: shutil.rmtree(root / "rgbd_bonn_crowd2/rgb"), "rgbd_bonn_crowd2")],
    "nyuv2": [(lambda root: first(root, "depth/*.png").unlink(), "2 pictures and 1 depth files")],
}


@pytest.mark.parametrize(
    ("name", "which"), [(name, at) for name, broken in BROKEN.items() for at in range(len(broken))]
)
def test_a_broken_copy_is_one_sentence(cli, tmp_path, roots, name, which):
    root = shutil.copytree(roots[name], tmp_path / name)
    damage, says = BROKEN[name][which]
    damage(root)
    done = cli("evaluate", name, root, "--method", "trivial-gradient", "--out", tmp_path / "s.json")
    told = done.err.replace(os.sep, "/")
    assert (done.code, says in told, "Traceback" in told) == (3, True, False), told


def killed_after_a_clip(root):
    """From here on this process, with models in ``root``, ends when a clip's scores are written."""
    from depthcrafter_cli.workflows import evaluate

    os.environ["DEPTHCRAFTER_WEIGHTS"] = str(root)  # children come from an older environment
    write = evaluate.write_whole

    def stopping(path, content):
        write(path, content)
        kill_this_process()

    evaluate.write_whole = stopping


@pytest.mark.slow
def test_the_papers_table_from_end_to_end(cli, tmp_path, root, roots, tiny_folder):
    for name, make in (("depth-anything-v2-small", depth_anything), ("marigold", marigold)):
        made = make(tmp_path / name)
        for file in MODELS[name].sources:
            (root / name / file.target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / file.path, root / name / file.target)
    methods = {
        "depthcrafter": ["--weights", tiny_folder, "--steps", 1],
        "depth-anything-v2-small": [],
        "marigold": [],
        "trivial-gradient": [],
    }
    rows = {}
    for name, place in roots.items():
        for method, settings in methods.items():
            told = [name, place, "--method", method, *settings, "--max-res", 192]
            whole, killed = f"{name}-{method}.json", f"{name}-{method}-killed.json"
            report = evaluated(cli, tmp_path, *told, out=whole)
            rows[name, method] = report["mean"]["abs_rel"]
            assert report["complete"] and 0 < rows[name, method] < 2
            command = ["evaluate", *told, "--out", tmp_path / killed]
            assert in_child(command, partial(killed_after_a_clip, root)) == KILLED
            assert len(json.loads((tmp_path / killed).read_text())["clips"]) == 1
            assert evaluated(cli, tmp_path, *told, out=killed)["complete"]
            assert (tmp_path / killed).read_bytes() == (tmp_path / whole).read_bytes()
    assert len(rows) == 20
