"""``doctor`` tells what is there and what is wrong, whatever is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
SUBJECTS = [
    "program", "python", "pytorch", "libraries", "driver", "gpu", "auto", "ram", "disk", "disk",
    "disk", "video", "outputs", "weights", "weights", "weights",
]  # fmt: skip


def examined(tmp_path: Path, *blocked: str, **variables: str) -> tuple[int, dict, str]:
    """Exit code, event and errors of a doctor in a process of its own, in an empty folder.

    Modules that are ``blocked`` fail when they are imported.
    """
    for name in blocked:
        package = tmp_path / "blocked" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise OSError('[WinError 126] no module c10.dll')\n")
    (tmp_path / "here").mkdir()
    path = os.pathsep.join(map(str, (tmp_path / "blocked", REPOSITORY)))
    done = subprocess.run(
        [sys.executable, "-m", "depthcrafter_cli", "doctor", "--json"],
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def by_subject(event: dict) -> dict[str, list[dict]]:
    rows: dict[str, list[dict]] = {}
    for row in event["rows"]:
        rows.setdefault(row["subject"], []).append(row)
    return rows


def test_a_sound_machine_is_told_to_people_and_to_programs(cli, monkeypatch):
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(REPOSITORY / "weights"))
    done = cli("doctor")
    assert done.code == 0 and "A run works here." in done.out and not done.err
    event = json.loads(cli("doctor", "--json").out)
    assert "mp4, mov, mkv, npz" in done.out and "exr" in done.out and "4444, ffv1" in done.out
    assert event["event"] == "doctor" and event["works"] is True
    rows = by_subject(event)
    if not torch.cuda.is_available():
        assert [row["subject"] for row in event["rows"]] == SUBJECTS
        chosen = {"device": "cpu", "dtype": "float32", "fused": False}
        assert rows["auto"][0]["details"] == chosen
    for row in event["rows"]:
        assert set(row) == {"subject", "found", "level", "remedy", "details"}
        assert row["level"] in ("ok", "warning")
        # What is free changes meanwhile.
        assert row["subject"] in ("ram", "disk", "gpu") or row["found"] in done.out
    assert rows["pytorch"][0]["details"]["version"] == torch.__version__
    assert isinstance(rows["ram"][0]["details"]["available_bytes"], int)
    assert rows["weights"][-1]["details"]["chosen"]


def test_a_pytorch_that_cannot_be_imported_hides_nothing_else(tmp_path):
    code, event, errors = examined(tmp_path, "torch")
    rows = by_subject(event)
    assert code == 1 and event["works"] is False and "Traceback" not in errors
    assert rows["pytorch"][0]["level"] == "fault" and "c10.dll" in rows["pytorch"][0]["found"]
    assert "Visual C++" in rows["pytorch"][0]["remedy"]
    # What needs it is left out, and the rest is there.
    assert not {"libraries", "gpu", "auto"} & set(rows)
    for subject in ("program", "driver", "ram", "disk", "video", "outputs", "weights"):
        assert rows[subject][0]["level"] != "fault", subject


def test_each_broken_part_is_told_with_its_remedy(tmp_path):
    """A home that is no folder, settings of matplotlib that are none, weights in a loop of links,
    libraries of video and of networks that are broken.
    """
    loop, home = tmp_path / "loop", tmp_path / "home"
    loop.symlink_to(loop)
    home.write_text("")
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe broken: [")
    code, event, errors = examined(
        tmp_path, "av", "diffusers", HOME=str(home),
        XDG_DATA_HOME=str(home / "data"), LOCALAPPDATA=str(home / "data"),
        MATPLOTLIBRC=str(tmp_path), MPLBACKEND="module://missing",
        DEPTHCRAFTER_WEIGHTS=str(loop), TMPDIR=str(home),
    )  # fmt: skip
    rows = by_subject(event)
    assert code == 1 and "Traceback" not in errors
    faults = {
        subject for subject, found in rows.items() for row in found if row["level"] == "fault"
    }
    assert {"video", "libraries"} <= faults
    assert rows["libraries"][0]["found"].startswith("diffusers: ")
    assert rows["auto"][0]["level"] == "ok"  # PyTorch itself is sound
    unusable = [row for row in rows["disk"] if not row["details"]["writable"]]
    assert {row["details"]["use"] for row in unusable} == {"weights", "temporary files"}
    for row in event["rows"]:
        assert row["remedy"] or row["level"] == "ok", row


def test_weights_that_lost_a_part_are_a_fault_that_names_it(cli, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(REPOSITORY / "weights" / "nano", tmp_path / "nano")
    (whole,) = (tmp_path / "nano" / "unet").glob("*.safetensors")
    os.truncate(whole, whole.stat().st_size - 1)
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(tmp_path))
    done = cli("doctor", "--json")
    (row,) = [row for row in json.loads(done.out)["rows"] if row["level"] == "fault"]
    assert done.code == 1 and row["details"]["damaged"] == [f"unet/{whole.name}"]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("CUDA error: no kernel image is available for execution on the device", "whl/cu126"),
        ("CUDA error: unspecified launch failure", "mend the driver"),
    ],
)
def test_a_card_that_does_not_compute_is_a_fault(monkeypatch, words, remedy):
    from depthcrafter_cli.workflows.doctor import _gpus

    properties = SimpleNamespace(
        name="NVIDIA GeForce RTX 5090", major=12, minor=0, total_memory=32 * 10**9
    )
    for name, answer in (
        ("is_available", True),
        ("device_count", 2),
        ("get_device_properties", properties),
        ("mem_get_info", (30 * 10**9, 32 * 10**9)),
        ("memory_reserved", 0),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)

    def fail(*_, **__):
        raise RuntimeError(f"{words}\nCUDA kernel errors might be reported later")

    monkeypatch.setattr(torch, "ones", fail)
    first, second = _gpus()
    assert (first.level, second.level) == ("fault", "warning")  # auto takes the first
    assert words in first.found and remedy in first.remedy
    assert first.details["free_bytes"] == 30 * 10**9 and first.details["capability"] == "12.0"
