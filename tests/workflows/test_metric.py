"""Known distances turn disparity into metres, for every format that holds them."""

import json
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from clips import picture
from colmap import colmap_model
from PIL import Image

from depthcrafter_cli.datasets.generated import HELD_OUT
from depthcrafter_cli.depth.metric import MetricFit, metres, read_fits
from depthcrafter_cli.depth.metric_fit import fit_metric
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.evaluation.alignment import fit_scale_shift
from depthcrafter_cli.synthetic import draw_clip
from depthcrafter_cli.types import Size

SIZE, FRAMES = Size(64, 96), 3
A, B = 0.5, 0.125  # of 1 / depth: 8 m where disparity is 0, 1.6 m where it is 1
TRUE = MetricFit(A, B)


def abs_rel(disparity, depth, fit):
    shown = metres(disparity.astype(np.float32), fit)
    return np.abs(np.clip(shown, 0.05, 200) / depth - 1).mean()


# Nearly all of the tenth is at one distance.
@pytest.mark.parametrize("seed", [0, 4, 10])
def test_twenty_points_of_which_four_are_wrong_give_metres(seed):
    clip, rng = draw_clip(HELD_OUT + seed, 2, 48, 64), np.random.default_rng(seed)
    depth = clip.depth.numpy().astype(np.float64)
    seen = np.isfinite(depth) & (depth < 80)
    inverse = np.where(seen, 1 / np.clip(depth, 0.05, None), 0)
    error = Image.fromarray(rng.normal(size=(6, 8)).astype(np.float32)).resize((64, 48))
    disparity = 0.8 * inverse / np.quantile(inverse, 0.99) + 0.1 + 0.02 * np.asarray(error)
    everywhere = MetricFit(*fit_scale_shift(disparity, inverse, seen))
    best = abs_rel(disparity[seen], depth[seen], everywhere)
    worse = []
    for _ in range(8):
        at = rng.choice(np.flatnonzero(seen), 20, replace=False)
        measured = depth.ravel()[at] * (1 + 0.03 * rng.normal(size=20))
        measured[:4] = rng.uniform(0.5, 30, 4)
        fit = fit_metric(disparity.ravel()[at], measured, (disparity.min(), disparity.max()))
        worse.append(abs_rel(disparity[seen], depth[seen], fit) - best)
    assert np.mean(worse) < 0.03 and max(worse) < 0.25


def test_points_that_tell_nothing_are_refused():
    with pytest.raises(InputError, match="at least two different ones"):
        fit_metric(np.full(5, 0.5), np.arange(1.0, 6), (0, 1))
    with pytest.raises(InputError, match="no larger disparity"):
        fit_metric(np.linspace(0, 1, 9), np.linspace(1, 9, 9), (0, 1))


@pytest.fixture
def kept(cli, tmp_path) -> Path:
    """A kept run on ``scene/images``, whose disparity grows from top to bottom."""
    images = tmp_path / "scene" / "images"
    images.mkdir(parents=True)
    for index in range(FRAMES):
        Image.fromarray(picture(index, SIZE)).save(images / f"i{index + 1:04d}.png")
    asked = ("--method", "trivial-gradient", "--keep-work")
    done = cli("run", images, "--out", tmp_path / "d.npz", *asked)
    assert done.code == 0, done.err
    return tmp_path


def true_depth(folder):
    return 1 / (A * np.load(folder / "d.npz")["depth"].astype(np.float64) + B)


def measured(folder, head="frame,x,y,depth\n", order=(0, 1, 2, 3)):
    rng, depth = np.random.default_rng(1), true_depth(folder)
    rows = []
    for wrong in range(20):
        frame, x, y = rng.integers((FRAMES, SIZE.width, SIZE.height))
        row = (frame, x, y, 50.0 if wrong < 4 else depth[frame, y, x])
        rows.append(",".join(str(row[at]) for at in order))
    (folder / "points.csv").write_text(head + "\n".join(rows) + "\n")
    return folder / "points.csv"


@pytest.mark.parametrize(
    ("head", "order"), [("", (0, 1, 2, 3)), ("Depth,frame,y,x\n", (3, 0, 2, 1))]
)
def test_a_fit_is_finished_into_metres_of_every_kind(cli, kept, head, order):
    done = cli("fit", kept / "d.npz", "--points", measured(kept, head, order))
    assert done.code == 0 and "1 / depth = 0.5 * disparity + 0.125" in done.err, done.err
    assert cli("fit", kept / "d.npz", "--points", kept / "points.csv").code == 6
    outs = ["m.npz", *(f"{kind}/m.%04d.{kind}" for kind in ("exr", "png", "tif", "ply"))]
    asked = [part for out in outs for part in ("--out", kept / out)]
    told = ("--metric", kept / "d.npz.fit.json", "--fov", "60", "--ply-frames", "2")
    done = cli("finish", kept / "d.npz.work", *asked, *told)
    assert done.code == 0, done.err
    truth = true_depth(kept)
    with np.load(kept / "m.npz") as made:
        assert np.abs(made["depth"] / truth - 1).max() < 1e-4
        assert json.loads(str(made["metadata_json"]))["disparity"] == "metres"
    with OpenEXR.File(str(kept / "exr" / "m.0001.exr")) as image:
        assert np.abs(image.channels()["Z"].pixels / truth[0] - 1).max() < 1e-4
    for suffix in ("png", "tif"):
        with Image.open(kept / suffix / f"m.0003.{suffix}") as image:
            assert np.abs(np.asarray(image) - 1000 * truth[2]).max() <= 1.5
    assert [file.name for file in sorted(kept.glob("ply/*"))] == ["m.0002.ply"]
    head, _, body = (kept / "ply" / "m.0002.ply").read_bytes().partition(b"end_header\n")
    kind = [*((axis, "<f4") for axis in "xyz"), *((name, "u1") for name in "rgb")]
    cloud = np.frombuffer(body, kind).reshape(SIZE.height, SIZE.width)
    assert f"element vertex {SIZE.height * SIZE.width}" in head.decode()
    assert np.abs(cloud["z"] / truth[1] - 1).max() < 1e-4
    edge = np.degrees(np.arctan(cloud["x"][:, -1] / cloud["z"][:, -1]))
    assert np.abs(edge - 30).max() < 0.5 and (cloud["y"][0] < 0).all()
    assert np.array_equal(np.stack([cloud[name] for name in "rgb"], -1), picture(1, SIZE))
    again = ["finish", kept / "d.npz.work", "--out", kept / "no" / "%04d.ply", *told]
    refused = cli(*again, "--ply-frames", f"2,{FRAMES + 1}")
    says = f"got --ply-frames {FRAMES + 1} of frames numbered 1 to {FRAMES}"
    assert refused.code == 2 and says in refused.err and not list(kept.glob("no/*")), refused.err
    refused = cli(*again, "--fov", "180")
    assert refused.code == 2 and "more than 0 and at most 179" in refused.err


def test_known_depths_that_tell_nothing_are_left_out_and_said(cli, kept):
    with measured(kept).open("a") as file:
        file.write("0,1,1,0\n0,1,2,nan\n0,2,1,-3\n")
    done = cli("fit", kept / "d.npz", "--points", kept / "points.csv")
    assert done.code == 0 and "from 20 points" in done.err, done.err
    assert "left out 3 of 23 known depths, which are not finite or not above 0 m" in done.err


def test_a_reference_with_true_depth_is_fitted_as_well(cli, kept):
    truth = {"depth": true_depth(kept)[:, ::2, ::2].astype(np.float32), "range": np.zeros(2)}
    np.savez(kept / "true.npz", metadata_json=np.array("{}"), **truth)
    done = cli("fit", kept / "d.npz", "--reference", kept / "true.npz")
    assert done.code == 0, done.err
    (found,) = json.loads((kept / "d.npz.fit.json").read_text())["shots"]
    assert (found["a"], found["b"]) == (pytest.approx(A, rel=0.05), pytest.approx(B, rel=0.05))


def test_each_shot_has_a_fit_of_its_own(cli, tmp_path):
    rng = np.random.default_rng(0)
    disparity = rng.random((4, 8, 10)).astype(np.float32)
    np.savez(tmp_path / "d.npz", depth=disparity, metadata_json=np.array("{}"),
             range=[0.0, 1.0], shots=[0, 3], ranges=np.zeros((2, 2)))  # fmt: skip
    rows = [f"{frame},{x},4,{1 / ((1 + frame // 3) * disparity[frame, 4, x] + 0.5)}"
            for frame in range(4) for x in range(10)]  # fmt: skip
    (tmp_path / "p.csv").write_text("\n".join(rows))
    done = cli("fit", tmp_path / "d.npz", "--points", tmp_path / "p.csv")
    assert done.code == 0 and "from frame 3 on: 1 / depth = 2 *" in done.err, done.err
    fits = read_fits(tmp_path / "d.npz.fit.json")
    assert [(round(fit.a, 4), round(fit.b, 4), fit.first_frame) for fit in fits] == [
        (1, 0.5, 0), (2, 0.5, 3)
    ]  # fmt: skip
    (tmp_path / "p.csv").write_text("\n".join(rows[:30]))
    lacking = cli("fit", tmp_path / "d.npz", "--points", tmp_path / "p.csv", "--overwrite")
    assert lacking.code == 3 and "of the shot 1 from frame 3 on: got 0 known" in lacking.err


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_splatting_reads_depth_that_was_fitted_to_colmap(cli, kept, binary):
    scene = kept / "scene"
    done = cli("finish", kept / "d.npz.work", "--out", scene, "--for", "3dgs")
    assert done.code == 0, done.err
    truth = true_depth(kept)
    colmap_model(scene, truth, [f"i{k + 1:04d}.png" for k in range(FRAMES)], binary)
    params = scene / "sparse" / "0" / "depth_params.json"
    done = cli("fit", scene / "depth.npz", "--colmap", scene, "--out", params)
    assert done.code == 0, done.err
    read = json.loads(params.read_text())  # as Inria's dataset_readers.py and cameras.py do
    for index in range(FRAMES):
        name = f"i{index + 1:04d}"
        levels = np.asarray(Image.open(scene / "depths" / f"{name}.png"), dtype=np.float32)
        inverse = levels / 2**16 * read[name]["scale"] + read[name]["offset"]
        assert np.abs(inverse * truth[index] - 1).max() < 0.01


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ([], 2, "got 0 of `points`"),
        (["--points", "p.csv", "--reference", "d.npz"], 2, "got 2 of"),
        (["--points", "missing.csv"], 3, "missing.csv"),
        (["--points", "p.csv"], 3, "line 1 is at frame 9"),
        (["--points", "empty.csv"], 3, "it is empty"),
        (["--points", "short.csv"], 3, "line 2 is '0,1,2'"),
        (["--points", "signs.csv"], 3, "line 2 is '0,1,2,-2', and 2 of 3 depths are not above 0"),
        (["--points", "commas.csv"], 3, "line 1 is '0;1;1;2,5'"),
        (["--reference", "p.csv"], 3, "expected an NPZ"),
        (["--colmap", "."], 3, "expected a sparse model of COLMAP"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(cli, kept, monkeypatch, options, code, says):
    monkeypatch.chdir(kept)
    for name, rows in (
        ("p", "9,0,0,1\n"), ("empty", "\n"), ("short", "0,1,1,2\n0,1,2\n"),
        ("commas", "0;1;1;2,5\n"), ("signs", "0,1,1,2\n0,1,2,-2\n0,1,3,inf\n"),
    ):  # fmt: skip
        Path(f"{name}.csv").write_text(rows)
    refused = cli("fit", "d.npz", *options)
    assert refused.code == code and says.replace("`points`", "--points") in refused.err, refused.err
    cloud = cli("finish", "d.npz.work", "--out", "c.%04d.ply")
    assert cloud.code == 2 and "without --metric" in cloud.err
