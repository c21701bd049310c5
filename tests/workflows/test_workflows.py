"""What programs call, by which the commands do the same."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from clips import make_clip
from processes import ENVIRONMENT

from depthcrafter_cli import workflows
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.types import Size

SETTINGS = {"steps": 1, "window": 6, "overlap": 2, "decode_chunk": 3}


@pytest.fixture
def request_(clip, tiny_folder, tmp_path) -> workflows.RunRequest:
    """A run that is kept."""
    return workflows.RunRequest(
        clip, (tmp_path / "d.npz",), weights=str(tiny_folder), settings=SETTINGS, keep_work=True
    )


def test_a_run_is_planned_made_gone_on_with_and_finished_otherwise(
    cli, clip, request_, options, tmp_path
):
    plan = workflows.plan(request_)
    assert (plan.windows, plan.output_size) == (4, Size(64, 64))
    plans, stages = [], []
    result = workflows.run(plan, lambda event: stages.append(event.stage), planned=plans.append)
    assert result is not None and (result.frames, plans) == (16, [plan])
    assert {"load", "denoise", "decode", "write"} <= set(stages)
    assert workflows.run(replace(request_, resume=True)) is None
    work = tmp_path / "d.npz.work"
    assert workflows.resume(work) is None
    (tmp_path / "d.npz").unlink()
    stages.clear()
    again = workflows.resume(work, lambda event: stages.append(event.stage), overwrite=True)
    assert again is not None and set(stages) == {"write"}
    gray = tmp_path / "gray.mp4"
    look = {"colormap": "gray", "normalization": "percentile"}  # as texts, which mean what is typed
    assert workflows.finish(work, [gray], **look) == 16
    alone = tmp_path / "alone.mp4"
    asked = ["--colormap", "gray", "--normalize", "percentile"]
    assert cli("run", clip, "--out", alone, *options, *asked).code == 0
    assert gray.read_bytes() == alone.read_bytes()
    with pytest.raises(UsageError, match=r"differs in `seed` \(1 now, 42 before\)"):
        workflows.resume(work, settings={**SETTINGS, "seed": 1})
    with pytest.raises(UsageError, match="got `settings` for a run that is computed, expected"):
        workflows.finish(work, [tmp_path / "other.mp4"], settings={**SETTINGS, "seed": 1})


class Notes(workflows.BatchObserver):
    """What is heard of a batch."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def checked(self, clips):
        self.heard += [f"{clip.name} {clip.status}" for clip in clips]

    def settled(self, clip):
        self.heard.append(f"{clip.name} {clip.status}")


def test_a_batch_is_carried_out_and_reported(tiny_folder, tmp_path):
    shots = tmp_path / "shots"
    shots.mkdir()
    for name in ("a", "b"):
        make_clip(shots / f"{name}.mp4", frames=5, size=Size(64, 64))
    (shots / "c.mp4").write_bytes(b"no video")

    def ask(clip, outputs):
        weights = str(tiny_folder)
        return workflows.RunRequest(clip.path, outputs, weights=weights, settings=SETTINGS)

    (tmp_path / "out").mkdir()
    asked = workflows.BatchOptions(("npz",), workers=workflows.Workers("cpu", "local"))
    tasks = workflows.find_tasks([str(shots)], tmp_path / "out", ask, options=asked)
    notes = Notes()
    reports = workflows.batch(tasks, notes, options=asked)
    assert [(clip.name, clip.status) for clip in reports] == [
        ("a", "done"), ("b", "done"), ("c", "failed")
    ]  # fmt: skip
    assert notes.heard == ["a to do", "b to do", "c failed", "a done", "b done"]
    again = workflows.batch(tasks, options=replace(asked, resume=True))
    assert [clip.status for clip in again] == ["skipped", "skipped", "failed"]
    assert all(Path(path).is_file() for clip in reports[:2] for path in clip.outputs)
    with pytest.raises(UsageError, match="`retries`"):
        workflows.BatchOptions(retries=-1)


def test_to_import_them_is_to_import_nothing_heavy():
    code = (
        "import sys\nfrom depthcrafter_cli import workflows\nworkflows.RunRequest\n"
        "print(sorted({'torch', 'av', 'numpy.random'} & set(sys.modules)))\n"
        "assert set(workflows.__all__) <= set(dir(workflows))\n"
        "assert all(getattr(workflows, name) for name in workflows.__all__)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=ENVIRONMENT)  # fmt: skip
    assert done.stdout == "[]\nFalse\n", done
