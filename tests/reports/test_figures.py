"""Figures of evaluations and runs: they are drawn of what is there, and say what is not."""

import json
import shutil

import numpy as np
import pytest
import sets
from clips import make_clip
from PIL import Image

from depthcrafter_cli import workflows
from depthcrafter_cli.workflows.evaluate import evaluate
from depthcrafter_cli.workflows.looking import EvaluationRequest


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two evaluations of clips, and two runs."""
    folder = tmp_path_factory.mktemp("figures")
    for name in ("bonn", "sintel"):
        sets.SETS[name](folder / name, 3)
        out = (folder / f"{name}.json",)
        evaluate(EvaluationRequest(name, folder / name, out, "trivial-gradient", max_frames=3))
    clip = make_clip(folder / "clip.mp4", frames=3)
    for name in ("a", "b"):
        out = (folder / f"{name}.npz",)
        workflows.run(workflows.RunRequest(clip, out, method="trivial-gradient"))
    return folder


def drawn(cli, files, *arguments):
    done = cli("figure", *arguments, "--out", files / "f.png", "--overwrite")
    assert done.code == 0, done.err
    return np.asarray(Image.open(files / "f.png").convert("RGB")).astype(int)


def bars_in(picture):
    """The lengths in pixels of the bars of a picture, from above."""
    rows = (np.ptp(picture, axis=-1) > 60).sum(1)
    starts = np.flatnonzero(np.diff(np.r_[0, rows > 20].astype(int)) == 1)
    return [int(rows[start + 2]) for start in starts]


def test_bars_are_as_long_as_what_they_stand_for(cli, files):
    records = [
        json.loads((files / f"{name}.npz.json").read_text(encoding="utf-8")) for name in ("a", "b")
    ]
    lengths = {}
    for times in (1, 4):
        record = {**records[1], "infer_seconds": times * records[0]["infer_seconds"]}
        (files / "b.npz.json").write_text(json.dumps(record))
        told = [files / "a.npz.json", files / "b.npz.json", "--kind", "costs"]
        picture = drawn(cli, files, *told)[:, :616]  # the panel of time
        first, other = bars_in(picture)
        lengths[times] = first / other
    assert lengths[1] == pytest.approx(1, abs=0.02) and lengths[4] == pytest.approx(0.25, abs=0.02)


def test_scores_and_errors_of_evaluations_are_drawn(cli, files):
    told = [files / "bonn.json", files / "sintel.json"]
    assert len(bars_in(drawn(cli, files, *told)[:, :616])) == 2
    picture = drawn(cli, files, *told, "--kind", "errors")
    assert (np.ptp(picture, axis=-1) > 60).sum() > 100  # two lines in colours


@pytest.mark.parametrize("kind", ["scores", "errors"])
@pytest.mark.parametrize("name", ["steps-{}.json", "steps-{}/bonn.json"])
def test_evaluations_of_one_name_are_told_apart_by_their_files(cli, files, kind, name):
    pictures = []
    for steps in (1, 5):
        other = files / name.format(steps)
        other.parent.mkdir(exist_ok=True)
        shutil.copy(files / "bonn.json", other)
        told = [files / "bonn.json", other, "--kind", kind]
        pictures.append(drawn(cli, files, *told))
    one, other = pictures
    assert one.shape != other.shape or not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["bonn.json", "--kind", "pie"], 2, "got --kind 'pie'"),
        (["bonn.json", "--out", "f.pdf"], 2, "f.pdf"),
        (["a.npz.json"], 3, "a.npz.json cannot be read"),
        (["bonn.json", "--kind", "costs"], 3, "it lacks 'infer_seconds'"),
        (["none.json"], 3, "none.json"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(cli, files, monkeypatch, arguments, code, says):
    monkeypatch.chdir(files)
    (files / "f.png").unlink(missing_ok=True)
    done = cli("figure", "--out", "f.png", *arguments)
    assert (done.code, says in done.err, done.err.count("\n")) == (code, True, 1), done.err
    assert not (files / "f.png").exists()


def test_an_evaluation_has_an_index_of_its_clips_and_stands_on_the_page_of_a_run(cli, files):
    made = cli("report", files / "bonn.json", files / "sintel.json", "--out", files / "index.html")
    assert made.code == 0 and "warning" not in made.err, made.err
    page = (files / "index.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/webp') == 1 + 2  # a picture of each clip
    assert "rgbd_bonn_crowd2" in page and "DepthCrafter *" in page and "0.071" in page
    assert cli("report", files / "a.npz", files / "bonn.json", "--out", files / "p.html").code == 0
    page = (files / "p.html").read_text(encoding="utf-8")
    assert "bonn: trivial-gradient, 1 of 1 clips" in page and 'id="stage"' in page
    (files / "bonn").rename(files / "gone")
    made = cli("report", files / "bonn.json", "--out", files / "without.html")
    assert made.code == 0 and "The index of bonn has no pictures" in made.err
    (files / "gone").rename(files / "bonn")
