"""Scores of methods and of files on sets in their publishers' layouts, against known answers."""

import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import OpenEXR
import pytest
from PIL import Image
from processes import a_worker

from depthcrafter_cli.workflows.batches.clips import on_engine
from depthcrafter_cli.workflows.batches.engine import engine_for
from depthcrafter_cli.workflows.batches.options import Workers
from depthcrafter_cli.workflows.evaluate import evaluate
from depthcrafter_cli.workflows.looking import EvaluationRequest

SCENES, FRAMES, HEIGHT, WIDTH = ("alley", "cave", "market"), 3, 48, 64


def depth_of(scene: str) -> np.ndarray:
    """Metres [T, H, W]: a slanted plane that moves away, another one for each scene."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    plane = 2 + SCENES.index(scene) + rows / 20 + np.sin(columns / 9)
    return np.stack([plane * (1 + 0.1 * index) for index in range(FRAMES)]).astype(np.float32)


@pytest.fixture(scope="session")
def sintel(tmp_path_factory):
    """The set in its own layout: PNGs of the clean pass, and depth in Sintel's own files."""
    root = tmp_path_factory.mktemp("MPI-Sintel")
    rng = np.random.default_rng(0)
    for scene in SCENES:
        pictures, maps = (root / "training" / name / scene for name in ("clean", "depth"))
        pictures.mkdir(parents=True)
        maps.mkdir(parents=True)
        for index, depth in enumerate(depth_of(scene)):
            shown = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(shown).save(pictures / f"frame_{index:04}.png")
            head = np.array([202021.25], "<f4").tobytes()
            head += np.array([WIDTH, HEIGHT], "<i4").tobytes()
            (maps / f"frame_{index:04}.dpt").write_bytes(head + depth.astype("<f4").tobytes())
    return root


def disparity_of(scene: str) -> np.ndarray:
    """What a perfect method says: disparity up to a scale and a shift, at half the size."""
    return (0.7 / depth_of(scene) + 0.1)[:, ::2, ::2].astype(np.float32)


def whole(scene: str) -> np.ndarray:
    return (0.7 / depth_of(scene) + 0.1).astype(np.float32)


def as_npz(root, scene):
    np.savez(root / f"{scene}.npz", depth=whole(scene))


def as_video_depth_anything(root, scene):
    np.savez(root / f"{scene}_depths.npz", depths=whole(scene))


def as_npy(root, scene):
    np.save(root / f"{scene}.npy", whole(scene)[:, None])  # with a channel


def as_pictures(root, scene):
    (root / scene).mkdir()
    for index, each in enumerate(whole(scene)):
        name = root / scene / f"frame{index + 1}.png"
        Image.fromarray(np.rint(each * 65535).astype(np.uint16)).save(name)


def as_depthcrafters_program(root, scene):
    disparity = whole(scene)
    low, high = disparity.min(), disparity.max()
    np.savez_compressed(root / f"{scene}.npz", depth=(disparity - low) / (high - low))


def as_nvds(root, scene):
    (root / scene).mkdir()
    disparity = whole(scene)
    low, high = disparity.min(), disparity.max()
    for index, each in enumerate(disparity):
        levels = np.rint((each - low) / (high - low) * 65535).astype(np.uint16)
        Image.fromarray(levels).save(root / scene / f"frame_{index:06}.png")


def as_depth_anything(root, scene):
    """8 bits, gray in three channels, each picture from its own least to its own largest value."""
    (root / scene).mkdir()
    for index, each in enumerate(whole(scene)):
        levels = ((each - each.min()) / (each.max() - each.min()) * 255).astype(np.uint8)
        Image.fromarray(levels).convert("RGB").save(root / scene / f"frame_{index:04}.png")


def as_robust_cvd(root, scene):
    (root / scene).mkdir()
    for index, each in enumerate(whole(scene)):
        head = struct.pack("<iiiQ", *each.shape, 5, 4)
        (root / scene / f"frame_{index:06}.raw").write_bytes(head + each.tobytes())


def as_exr(root, scene):
    (root / scene).mkdir()
    for index, each in enumerate(whole(scene)):
        head = {"type": OpenEXR.scanlineimage}
        with OpenEXR.File(head, {"Y": np.ascontiguousarray(each)}) as image:
            image.write(str(root / scene / f"{index:04}.exr"))


def scores(cli, tmp_path, *arguments):
    out = tmp_path / "scores.json"
    done = cli("evaluate", *arguments, "--out", out)
    assert done.code == 0, done.err
    return json.loads(out.read_text())


@pytest.mark.parametrize(
    "write",
    [as_npz, as_video_depth_anything, as_npy, as_pictures, as_depthcrafters_program, as_nvds,
     as_robust_cvd, as_exr],
)  # fmt: skip
def test_results_of_any_method_are_scored_from_its_files(cli, sintel, tmp_path, write):
    (tmp_path / "results").mkdir()
    for scene in SCENES:
        write(tmp_path / "results", scene)
    report = scores(cli, tmp_path, "sintel", sintel, "--predictions", tmp_path / "results")
    assert [clip["name"] for clip in report["clips"]] == list(SCENES)
    assert report["mean"]["abs_rel"] < 1e-3 and report["mean"]["delta1"] == 1
    assert report["mean"]["temporal"] < 1e-3


def test_pictures_of_depth_anything_are_fitted_each_by_itself(cli, sintel, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    for scene in SCENES:
        as_depth_anything(results, scene)
    report = scores(cli, tmp_path, "sintel", sintel, "--predictions", results, "--fit", "frame")
    assert report["mean"]["abs_rel"] < 0.01 and report["mean"]["delta1"] == 1


def as_rolling_depth(root, scene):
    np.save(root / f"{scene}.npy", 0.3 * depth_of(scene) - 1)  # from -1 to 1, far is large


def as_chrono_depth(root, scene):
    np.save(root / f"{scene}.npy", 0.1 * depth_of(scene) - 0.05)


def as_marigold(root, scene):
    """Arrays for each frame, beside 16 bits of gray, and colours, of the same."""
    (root / scene).mkdir()
    for index, each in enumerate(0.1 * depth_of(scene)):
        np.save(root / scene / f"frame_{index}_pred.npy", each)
        Image.new("I;16", (64, 48)).save(root / scene / f"frame_{index}_pred.png")


@pytest.mark.parametrize("write", [as_rolling_depth, as_chrono_depth, as_marigold])
def test_depth_up_to_scale_and_shift_is_fitted_to_depth(cli, sintel, tmp_path, write):
    results = tmp_path / "results"
    results.mkdir()
    for scene in SCENES:
        write(results, scene)
    told = ["sintel", sintel, "--predictions", results, "--convention", "depth"]
    assert scores(cli, tmp_path, *told)["mean"]["abs_rel"] < 2e-4


def expected_abs_rel(prediction: np.ndarray, depth: np.ndarray) -> float:
    """The protocol in a few lines of its own: least squares to 1 / depth over the whole clip."""
    columns = np.stack([prediction.ravel(), np.ones(prediction.size)], 1).astype(np.float64)
    scale, shift = np.linalg.lstsq(columns, 1 / depth.ravel().astype(np.float64), rcond=None)[0]
    estimate = 1 / np.maximum(scale * prediction + shift, 1e-3)
    return float(np.mean([np.mean(abs(e - d) / d) for e, d in zip(estimate, depth, strict=True)]))


def test_a_method_without_weights_has_the_score_that_follows_from_its_definition(
    cli, sintel, tmp_path
):
    told = ["sintel", sintel, "--method", "trivial-gradient"]
    out = [tmp_path / f"scores.{kind}" for kind in ("csv", "md", "tex")]
    report = scores(cli, tmp_path, *told, *(word for path in out for word in ("--out", path)))
    from depthcrafter_cli.evaluation.alignment import resize_bilinear
    from depthcrafter_cli.methods.trivial import vertical_gradient
    from depthcrafter_cli.types import Size

    for clip in report["clips"]:
        rows = resize_bilinear(vertical_gradient((FRAMES, 448, 1024)), Size(HEIGHT, WIDTH))
        known = expected_abs_rel(rows, depth_of(clip["name"]))
        assert clip["metrics"]["abs_rel"] == pytest.approx(known, rel=0.02)
    rows = list(csv.DictReader(out[0].read_text().splitlines()))
    assert [row["clip"] for row in rows] == list(SCENES)
    table = out[1].read_text()
    assert "| trivial-gradient |" in table and "| DepthCrafter * | 0.270 | 0.697 |" in table
    assert out[2].read_text().count(r"\\") == 1 + 6
    alone = scores(cli, tmp_path, *told, "--fit", "frame", "--overwrite")
    assert alone["mean"]["abs_rel"] <= report["mean"]["abs_rel"]
    assert alone["protocol"]["per_frame"]


def test_an_evaluation_goes_on_from_its_report(cli, sintel, tmp_path):
    told = ["sintel", sintel, "--max-res", 128, "--method", "trivial-gradient"]
    report = scores(cli, tmp_path, *told)
    assert report["complete"] and report["made"]["max_res"] == 128
    path = tmp_path / "scores.json"
    whole = path.read_bytes()
    path.write_text(json.dumps({**report, "clips": report["clips"][:1], "complete": False}))
    again = cli("evaluate", *told, "--out", path, "--json")
    assert again.code == 0, again.err
    assert path.read_bytes() == whole
    events = [json.loads(line) for line in again.out.splitlines()]
    assert [event["clip"] for event in events if event["event"] == "clip"] == ["cave", "market"]
    other = cli("evaluate", *told[:-1], "trivial-constant", "--out", path)
    assert other.code == 6 and "differs in method, name, " in other.err
    assert "very evaluation" in other.err and path.read_bytes() == whole


@pytest.mark.slow
def test_a_killed_evaluation_ends_in_the_same_table(sintel, tiny_folder, tmp_path):
    def command(name: str) -> list[str]:
        told = ["sintel", sintel, "--weights", tiny_folder, "--max-res", 128, "--steps", 2]
        program = [sys.executable, "-m", "depthcrafter_cli", "evaluate", *told]
        return [*map(str, program), "--out", str(tmp_path / name), "--json"]

    subprocess.run(command("whole.json"), check=True, capture_output=True)
    with subprocess.Popen(command("killed.json"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "clip":
                os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(json.loads((tmp_path / "killed.json").read_text())["clips"]) <= 2
    subprocess.run(command("killed.json"), check=True, capture_output=True)
    one, other = (tmp_path / f"{name}.json" for name in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()


def test_a_clip_that_fails_costs_no_other_clip_on_workers(cli, sintel, tmp_path):
    results, path, whole = tmp_path / "results", tmp_path / "scores.json", tmp_path / "whole.json"
    results.mkdir()
    told = ["sintel", sintel, "--predictions", results]
    for scene in SCENES:
        as_npz(results, scene)
    np.savez(results / "alley.npz", depth=np.full((FRAMES, 6, 8), np.nan))
    lacking = cli("evaluate", *told, "--engine", "local", "--devices", "cpu", "--out", path)
    assert lacking.code == 3 and "the clip alley cannot be scored" in lacking.err
    assert [clip["name"] for clip in json.loads(path.read_text())["clips"]] == ["cave", "market"]
    as_npz(results, "alley")
    again = cli("evaluate", *told, "--engine", "local", "--json", "--out", path)
    events = [json.loads(line) for line in again.out.splitlines()]
    assert [event["clip"] for event in events if event["event"] == "clip"] == ["alley"]
    assert cli("evaluate", *told, "--out", whole).code == 0
    assert path.read_bytes() == whole.read_bytes()
    both = cli("evaluate", *told, "--devices", "cpu", "--device", "cpu", "--out", tmp_path / "a.md")
    assert both.code == 2 and "leave --device out" in both.err


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_an_evaluation_on_two_workers_one_of_which_dies_has_the_same_table(
    sintel, tiny_folder, tmp_path, engine
):
    request = EvaluationRequest(
        "sintel", sintel, (tmp_path / "one.json",), weights=str(tiny_folder), device="cpu",
        max_res=128, settings={"steps": 2},
    )  # fmt: skip
    evaluate(request)
    killed, warnings = [], []

    def kill_one(event):
        if not killed and (worker := a_worker()):
            worker.kill()
            killed.append(worker.pid)

    workers = engine_for(Workers("cpu,cpu", engine))
    there = replace(request, outputs=(tmp_path / "two.json",), device="auto")
    evaluate(there, kill_one, warnings.append, elsewhere=on_engine(workers))
    assert killed and any("the worker" in sentence for sentence in warnings)
    one, other = (tmp_path / f"{name}.json" for name in ("one", "two"))
    assert one.read_bytes() == other.read_bytes()


def test_the_reference_is_a_setting_of_the_networks(cli, sintel, tiny_folder, tmp_path):
    told = ["sintel", sintel, "--max-res", 128, "--only", "alley", "--window", 2, "--overlap", 1]
    networks = ["--weights", tiny_folder, "--steps", 1, "--noise-aug", 0.1]
    usual = scores(cli, tmp_path, *told, *networks)
    report = scores(cli, tmp_path, *told, *networks, "--reference", "--overwrite")
    kinds = [each["made"]["settings"]["noise"] for each in (usual, report)]
    assert kinds == ["frame", "reference"] and report["made"]["settings"]["noise_aug"] == 0.1
    assert report["mean"]["abs_rel"] != usual["mean"]["abs_rel"]
    refused = cli("evaluate", "sintel", sintel, "--method", "trivial-gradient", "--reference",
                  "--out", tmp_path / "r.json")  # fmt: skip
    assert refused.code == 2 and "got --reference with --method trivial-gradient" in refused.err


def test_clips_of_your_own_are_scored_in_their_medians(cli, tmp_path):
    home = tmp_path / "clips" / "a"
    (home / "rgb").mkdir(parents=True)
    for index in range(2):
        Image.new("RGB", (64, 48), (index, 90, 30)).save(home / "rgb" / f"{index}.png")
    rows = np.linspace(1, 2, 48, dtype=np.float32)[:, None].repeat(64, 1)
    np.savez(home / "disparity.npz", disparity=np.stack([rows, rows]) / 1000)
    report = scores(cli, tmp_path, "folder", tmp_path / "clips", "--method", "trivial-gradient")
    assert report["mean"]["abs_rel"] < 0.01


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["films", "{set}"], 2, "got SET films, expected one of sintel"),
        (["sintel", "{set}/none"], 3, "none"),
        (["sintel", "{set}", "--predictions", "{empty}"], 3, "got 0 predictions of the clip alley"),
        (["sintel", "{set}", "--predictions", "{set}/none"], 3, "no folder"),
        (
            ["sintel", "{set}", "--method", "trivial-gradient", "--convention", "metres"],
            2,
            "--convention",
        ),
        (
            ["sintel", "{set}", "--method", "trivial-gradient", "--max-frames", "0"],
            2,
            "--max-frames 0",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(cli, sintel, tmp_path, arguments, code, says):
    (tmp_path / "empty").mkdir()
    told = [word.format(set=sintel, empty=tmp_path / "empty") for word in arguments]
    done = cli("evaluate", *told, "--out", tmp_path / "scores.json")
    assert (done.code, says in done.err) == (code, True), done.err
    assert done.err.count("\n") == 1 and not (tmp_path / "scores.json").exists()
    other = cli(
        "evaluate", "sintel", sintel, "--method", "trivial-gradient", "--out", tmp_path / "a.txt"
    )
    assert other.code == 2 and ".json, .csv, .md, .tex" in other.err


def coloured() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), (255, 0, 60)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("alley.npz", b"PK no archive", "alley.npz cannot be read"),
        ("alley.npy", b"\x93NUMPY", "alley.npy cannot be read"),
        ("alley.npz", b"", "alley.npz cannot be read"),
        ("alley.npy", b"", "alley.npy cannot be read"),
        ("alley.npz", b"PK\x03\x04" + bytes(100), "alley.npz cannot be read"),
        ("alley/0.raw", struct.pack("<iiiQ", 48, 64, 5, 4) + bytes(100), "no matrix of OpenCV"),
        ("alley/0.raw", b"P6", "no matrix of OpenCV"),
        ("alley/0.png", b"GIF", "0.png"),
        ("alley/readme.txt", b"none", "got no frames in"),
        ("alley/0.png", coloured(), "0.png cannot be read"),
    ],
)
def test_results_that_cannot_be_read_are_one_sentence(cli, sintel, tmp_path, name, content, says):
    place = tmp_path / "results" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    done = cli("evaluate", "sintel", sintel, "--predictions", tmp_path / "results", "--only",
               "alley", "--out", tmp_path / "scores.json")  # fmt: skip
    assert (done.code, says in done.err, "Traceback" in done.err) == (3, True, False), done.err
