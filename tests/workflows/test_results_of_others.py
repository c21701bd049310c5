"""Results of other methods as users have them: parts missing, other units, written again."""

import json
import os
from pipes import make_pipe

import numpy as np
import pytest
import sets
from PIL import Image

from depthcrafter_cli import disk
from depthcrafter_cli.datasets.registry import DATASETS

FRAMES = 4
CLIPS = ("alley_1", "temple_2")


@pytest.fixture(scope="module")
def sintel(tmp_path_factory):
    root = tmp_path_factory.mktemp("MPI-Sintel")
    sets.sintel(root, FRAMES)
    return root


@pytest.fixture
def results(sintel, tmp_path):
    """Disparity of each clip as NPY, right up to scale and shift."""
    (tmp_path / "results").mkdir()
    for clip in DATASETS["sintel"].clips(sintel):
        np.save(tmp_path / "results" / f"{clip.name}.npy", 0.4 / clip.depth(FRAMES) + 0.1)
    return tmp_path / "results"


@pytest.fixture
def metres(sintel):
    return {clip.name: clip.depth(FRAMES) for clip in DATASETS["sintel"].clips(sintel)}


def evaluated(cli, out, *arguments):
    done = cli("evaluate", "sintel", *arguments, "--out", out)
    assert done.code == 0, done.err
    return json.loads(out.read_text()), done


def refused(cli, tmp_path, *arguments):
    done = cli("evaluate", "sintel", *arguments, "--out", tmp_path / "refused.json")
    assert done.code and done.err.count("\n") == 1 and not (tmp_path / "refused.json").exists()
    return done.err


def test_millimetres_are_metres_times_a_thousand(cli, sintel, metres, tmp_path):
    for name, depth in metres.items():
        (tmp_path / "mm" / name).mkdir(parents=True)
        for index, each in enumerate(1.1 * depth):
            sets.levels(tmp_path / "mm" / name / f"{index:04}.png", each, 1000)
    told = [sintel, "--predictions", tmp_path / "mm", "--convention", "metric"]
    report, done = evaluated(cli, tmp_path / "mm.json", *told, "--per-metre", 1000)
    assert report["mean"]["abs_rel"] == pytest.approx(0.1, rel=1e-3) and "times" not in done.err
    assert report["protocol"]["align_by"] == "none" and report["made"]["per_metre"] == 1000
    wrong, done = evaluated(cli, tmp_path / "wrong.json", *told)
    assert wrong["mean"]["delta1"] == 0
    assert "The results of alley_1 are 1.1e+03 times the truth" in done.err
    assert "pass --per-metre" in done.err
    scaled, _ = evaluated(cli, tmp_path / "scaled.json", *told, "--align-by", "scale")
    assert scaled["mean"]["abs_rel"] < 1e-3


def test_metric_results_of_your_own_clips_are_compared_in_their_unit(cli, tmp_path):
    home = tmp_path / "clips" / "a"
    (home / "rgb").mkdir(parents=True)
    depth = np.linspace(2, 5, 48, dtype=np.float32)[None, :, None].repeat(64, 2)
    Image.new("RGB", (64, 48)).save(home / "rgb" / "0.png")
    np.savez(home / "disparity.npz", depth=depth)
    (tmp_path / "own").mkdir()
    np.save(tmp_path / "own" / "a.npy", 1.2 * depth)
    done = cli("evaluate", "folder", tmp_path / "clips", "--predictions", tmp_path / "own",
               "--convention", "metric", "--out", tmp_path / "s.json")  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["mean"]["abs_rel"] == pytest.approx(0.2, rel=1e-4)


def test_results_of_some_clips_are_scored_by_name(cli, sintel, results, tmp_path):
    (results / "temple_2.npy").unlink()
    told = [sintel, "--predictions", results]
    says = refused(cli, tmp_path, *told)
    assert "got 0 predictions of the clip temple_2" in says and "as --only" in says
    report, _ = evaluated(cli, tmp_path / "s.json", *told, "--only", "alley_1")
    assert report["names"] == ["alley_1"] and report["complete"]
    assert "got --only alley, expected names of alley_1, temple_2" in refused(
        cli, tmp_path, *told, "--only", "alley"
    )


def test_a_result_that_is_written_again_is_scored_again_and_no_other(
    cli, sintel, results, tmp_path
):
    told = [sintel, "--predictions", results, "--json"]
    before, _ = evaluated(cli, tmp_path / "s.json", *told)
    path = results / "temple_2.npy"
    np.save(path, np.load(path)[:, ::-1])
    os.utime(path, ns=(1, 1))
    after, done = evaluated(cli, tmp_path / "s.json", *told)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["clip"] for event in events if event["event"] == "clip"] == ["temple_2"]
    one, other = after["clips"]
    assert one == before["clips"][0] and other["metrics"]["abs_rel"] > 0.01


@pytest.mark.parametrize("more", [[], ["--max-frames", 3]])
def test_a_frame_that_is_missing_shifts_no_other(cli, sintel, results, tmp_path, more):
    frames = np.load(results / "alley_1.npy")
    (results / "alley_1.npy").unlink()
    (results / "alley_1").mkdir()
    for index in (0, 2, 3):
        np.save(results / "alley_1" / f"frame_{index + 1:04}_pred.npy", frames[index])
    says = refused(cli, tmp_path, sintel, "--predictions", results, *more)
    assert "got no frame 2 in" in says and "expected all from 1 to 4" in says
    np.save(results / "alley_1" / "frame_0002_pred.npy", frames[1])
    (results / "alley_1" / "._frame_0001_pred.npy").write_bytes(b"macOS")
    report, _ = evaluated(cli, tmp_path / "s.json", sintel, "--predictions", results, *more)
    assert report["mean"]["abs_rel"] < 1e-5


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_what_is_no_file_is_told_and_not_waited_for(cli, sintel, results, tmp_path, what):
    path = results / "alley_1.npy"
    path.unlink()
    try:
        path.symlink_to("gone.npy") if what == "link" else make_pipe(path)
    except OSError:
        pytest.skip("this system makes none")
    assert "alley_1.npy" in refused(cli, tmp_path, sintel, "--predictions", results)
    path.unlink()
    np.save(path, np.zeros((FRAMES, 0, 8)))
    assert "of shape [4, 0, 8]" in refused(cli, tmp_path, sintel, "--predictions", results)


def test_frames_of_two_types_are_refused(cli, sintel, results, tmp_path):
    (results / "alley_1.npy").unlink()
    (results / "alley_1").mkdir()
    for index in range(FRAMES):
        kind = np.uint8 if index == 1 else np.uint16
        np.save(results / "alley_1" / f"{index}.npy", np.full((6, 8), 9, kind))
    assert "types ['uint16', 'uint8']" in refused(cli, tmp_path, sintel, "--predictions", results)


def test_disparity_that_the_protocol_would_flatten_is_told(cli, sintel, results, tmp_path):
    told = [sintel, "--predictions", results]
    assert "warning" not in evaluated(cli, tmp_path / "a.json", *told)[1].err
    for path in results.iterdir():
        np.save(path, np.load(path) * 1e-3)
    done = evaluated(cli, tmp_path / "b.json", *told)[1]
    assert "The results of alley_1 are below 0.01, and the protocol takes what is" in done.err


def test_frames_may_be_named_by_every_third_number_or_by_times(cli, sintel, results, tmp_path):
    for clip, names in (
        ("alley_1", ["0", "3", "6", "9"]),
        ("temple_2", [f"1548266469.{part}" for part in ("75931", "79314", "82633", "86024")]),
    ):
        (results / clip).mkdir()
        for name, frame in zip(names, np.load(results / f"{clip}.npy"), strict=True):
            np.save(results / clip / f"{name}.npy", frame)
        (results / f"{clip}.npy").unlink()
    report, _ = evaluated(cli, tmp_path / "s.json", sintel, "--predictions", results)
    assert report["mean"]["abs_rel"] < 1e-5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--predictions", "{results}", "--method", "marigold"], "got --method with --predictions"),
        (["--predictions", "{results}", "--steps", 3], "got --steps with --predictions"),
        (["--predictions", "{results}", "--device", "cpu"], "got --device with --predictions"),
        (["--convention", "depth"], "got --convention depth without --predictions"),
        (["--predictions", "{results}", "--per-metre", 1000], "pass --convention metric"),
        (["--predictions", "{results}", "--per-metre", 0], "--per-metre"),
    ],
)
def test_options_that_would_do_nothing_are_refused(cli, sintel, results, tmp_path, arguments, says):
    told = [str(word).format(results=results) for word in arguments]
    assert says in refused(cli, tmp_path, sintel, *told)


def test_tables_hold_results_of_any_name(cli, sintel, results, tmp_path):
    bar = "_" if disk.WINDOWS else "|"  # of no name there
    name = f"[v2] a_b {bar} 50% & more {{x}}"
    results.rename(tmp_path / name)
    out = [tmp_path / f"my [scores] 1.{kind}" for kind in ("md", "tex", "csv", "png")]
    told = [word for path in out for word in ("--out", path)]
    done = cli("evaluate", "sintel", sintel, "--predictions", tmp_path / name, *told)
    assert done.code == 0, done.err
    table = out[0].read_text(encoding="utf-8").splitlines()
    widths = {line.replace(r"\|", "").count("|") for line in table if line.startswith("| ")}
    assert len(widths) == 1 and f"| {name.replace('|', chr(92) + '|')} | 0.000 |" in table[4]
    latex = out[1].read_text(encoding="utf-8")
    shown = bar.replace("_", r"\_")
    assert rf"{{[}}v2] a\_b {shown} 50\% \& more \{{x\}} & 0.000 & 1.000" in latex
    assert latex.startswith("% method & AbsRel & δ1 &")


def test_names_of_no_encoding_and_of_two_lines_stand_in_every_table(cli, tmp_path):
    try:
        name, clip = os.fsdecode(b"$r\xe9s\n\xf0\x9f\xa6\x8a$"), os.fsdecode(b"cl\xefp")
        (tmp_path / name).mkdir()
        (tmp_path / "clips" / clip / "rgb").mkdir(parents=True)
    except (OSError, UnicodeDecodeError):
        pytest.skip("this file system has no such names")
    depth = np.linspace(2, 5, 48, dtype=np.float32)[None, :, None].repeat(64, 2)
    Image.new("RGB", (64, 48)).save(tmp_path / "clips" / clip / "rgb" / "0.png")
    np.savez(tmp_path / "clips" / clip / "disparity.npz", depth=depth)
    np.save(tmp_path / name / f"{clip}.npy", 1 / depth)
    out = [tmp_path / f"s.{kind}" for kind in ("json", "csv", "md", "tex", "png")]
    told = [word for path in out for word in ("--out", path)]
    done = cli("evaluate", "folder", tmp_path / "clips", "--predictions", tmp_path / name, *told)
    assert (done.code, "Glyph" in done.err) == (0, False), done.err
    table = out[2].read_text(encoding="utf-8")
    assert r"| $r\xe9s\n🦊$ | 0.000 |" in table and "published" not in table
    assert out[1].read_text(encoding="utf-8").splitlines()[1].startswith(r"cl\xefp,1,")


def test_only_what_is_kept_is_gone_on_with(cli, sintel, results, tmp_path):
    np.save(results / "temple_2.npy", np.full((FRAMES, 6, 8), np.nan))
    for kind, hints in (("md", False), ("json", True)):
        done = cli("evaluate", "sintel", sintel, "--predictions", results, "--out",
                   tmp_path / f"s.{kind}")  # fmt: skip
        assert done.code == 3 and ("the same command" in done.err) == hints
