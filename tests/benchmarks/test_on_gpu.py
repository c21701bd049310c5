"""The steps for a GPU run on a CPU at a tiny size, stop at a failure, and go on where they did."""

import json
import sys

import on_gpu
import pytest


@pytest.mark.slow
def test_every_step_runs_dry_and_is_gone_on_with(tmp_path, monkeypatch, capsys):
    out = tmp_path / "on_gpu.json"
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--dry-run", "--out", str(out)])

    def fail(_bench):
        raise on_gpu.FiguresError("differs")

    with monkeypatch.context() as patch:
        patch.setitem(on_gpu.STEPS, "plans", fail)
        assert on_gpu.main() == 1 and "plans failed" in capsys.readouterr().err
    before = json.loads(out.read_text())
    assert list(before) == ["versions", "precisions"]
    assert on_gpu.main() == 0
    after = json.loads(out.read_text())
    assert list(after) == list(on_gpu.STEPS)
    assert {name: after[name] for name in before} == before
    assert "| plans |" in capsys.readouterr().out
