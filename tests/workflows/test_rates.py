"""The time that ``plan`` tells by runs before."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from depthcrafter_cli.disk import user_folder
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.methods.base import Machine
from depthcrafter_cli.workflows.rates import known_rate, note_rate

CLIP = Path(__file__).parents[1] / "data" / "parity" / "video" / "clip_a.mp4"  # 13 frames, 180x100
HERE = Machine("cpu", "float32", Budget(), "cpu")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return user_folder("data")


def test_a_run_tells_plan_how_long_others_take(cli, tiny_folder, tmp_path, home):
    options = [CLIP, "--weights", tiny_folder, "--device", "cpu", "--cuts", "none", "--steps"]

    def told(steps, *more):
        return json.loads(cli("plan", *options, steps, "--json", *more).out)["estimated_seconds"]

    assert told(1) is None
    assert "before a run of this model here" in cli("plan", *options, 1).out
    assert cli("run", *options, 1, "--max-res", 64, "--out", tmp_path / "d.npz").code == 0
    (entry,) = json.loads((home / "rates.json").read_text()).values()
    same = told(1, "--max-res", 64)["total"]
    assert same == pytest.approx(entry["seconds"], abs=0.05)
    # Scaled by operations: more steps and pixels take longer, as much as they compute more.
    longer = told(5000, "--max-res", 64)["total"]
    assert longer > 100 * same
    assert told(5000, "--max-res", 128)["total"] > longer
    assert "by a run here on 2" in cli("plan", *options, 1).out
    assert told(1, "--dtype", "bf16") is None
    options[2] = copytree(tiny_folder, tmp_path / "other")
    assert "before a run of this model here" in cli("plan", *options, 1).out


@pytest.mark.parametrize(
    ("before", "seconds", "kept"),
    [(300, 12, True), (300, 9, False), (5, 9, True), (9, 5, False), (9, 12, True), (None, 1, True)],
)
def test_the_last_run_counts_if_it_took_long(before, seconds, kept):
    if before is not None:
        note_rate("nano", HERE, 1e9 * before, before)
    note_rate("nano", HERE, 2e9 * seconds, seconds)
    assert known_rate("nano", HERE).operations == (2e9 if kept else 1e9)


def test_rates_are_those_of_a_model_a_device_a_precision_and_its_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    note_rate("nano", HERE, 1e9, 1.0)
    assert known_rate("nano", HERE)
    assert known_rate("depthcrafter", HERE) is None
    assert known_rate("nano", replace(HERE, dtype="bfloat16")) is None
    assert known_rate("nano", replace(HERE, name="mps")) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert known_rate("nano", HERE) is None


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"%s": 3}', '{"%s": {"operations": "x"}}'])
def test_what_is_damaged_tells_nothing_and_is_replaced(home, content):
    note_rate("nano", HERE, 1e9, 1.0)
    name = next(iter(json.loads((home / "rates.json").read_text())))
    (home / "rates.json").write_text(content.replace("%s", name))
    assert known_rate("nano", HERE) is None
    note_rate("nano", HERE, 3e9, 1.0)
    assert known_rate("nano", HERE).operations == 3e9


def test_few_are_kept_and_work_that_is_not_known_is_not_noted(home):
    note_rate("nano", HERE, 1e9, 1.0)
    others = {f"another {number}": {} for number in range(99)}
    (home / "rates.json").write_text(
        json.dumps(json.loads((home / "rates.json").read_text()) | others)
    )
    assert known_rate("nano", HERE)
    note_rate("newer", HERE, 1e9, 1.0)
    assert known_rate("newer", HERE) and known_rate("nano", HERE) is None
    note_rate("unknown", HERE, 0.0, 1.0)
    assert known_rate("unknown", HERE) is None


def test_a_home_that_cannot_be_written_stops_nothing(home, monkeypatch):
    home.parent.mkdir(parents=True)
    home.write_text("a file")
    note_rate("nano", HERE, 1e9, 1.0)
    assert known_rate("nano", HERE) is None

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", nowhere)
    note_rate("nano", HERE, 1e9, 1.0)
    assert known_rate("nano", HERE) is None
