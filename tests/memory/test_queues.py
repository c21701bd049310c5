"""What is read ahead and waits to be written counts, where it is in the memory that is planned."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from clips import make_clip

from depthcrafter_cli.media.sinks.sequence import _BACKLOG
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows import queues
from depthcrafter_cli.workflows.queues import frames_ahead, queued_bytes

SMALL, LARGE = Size(64, 64), Size(128, 256)
PNG, NPZ, MP4 = Path("a_%05d.png"), Path("a.npz"), Path("a.mp4")


def bytes_of(source=SMALL, model=SMALL, written=SMALL, outputs=(NPZ,)):
    return queued_bytes(source, model, written, 8, 8, outputs)


def test_each_place_counts_by_its_own_size(monkeypatch):
    base, more = bytes_of(), 128 * 256 - 64 * 64
    read, inside, out = (
        (bytes_of(**{name: LARGE}) - base) / more for name in ("source", "model", "written")
    )
    assert bytes_of(LARGE, LARGE, LARGE) - base == pytest.approx((read + inside + out) * more)
    # Pictures that wait and that are encoded, their noise thrice, and two chunks of disparity.
    assert inside == 3 * 16 + 12 * 24 + 4 * 16
    monkeypatch.setattr(queues, "FRAMES_AHEAD", 2 * queues.FRAMES_AHEAD)
    assert (bytes_of(model=LARGE) - base) / more > inside


def test_frames_are_read_further_ahead_where_their_memory_is_not_the_models():
    published, film = Size(576, 1024), Size(4096, 8192)
    assert frames_ahead("cpu", published) == frames_ahead("mps", published) == 8
    assert frames_ahead("cuda:1", published) == 75
    assert frames_ahead("cuda:0", film) == 8


def test_outputs_hold_what_they_have_not_written():
    png, npz, mp4 = (bytes_of(outputs=[out]) for out in (PNG, NPZ, MP4))
    assert npz < mp4 < png
    assert (png - npz) / (64 * 64) > 2 * _BACKLOG
    assert bytes_of(outputs=[PNG, MP4]) == png + mp4 - npz
    assert bytes_of(outputs=[]) == mp4  # as `plan` has it


def test_what_is_queued_is_taken_from_the_budget():
    assert Budget(100, 7).beside(30) == Budget(70, 7, 30)
    assert Budget(20).beside(30).device == 0
    assert Budget().beside(30) == replace(Budget(), queued=30)


def test_plan_counts_them_on_a_cpu_alone(cli, tmp_path, tiny_folder):
    small, large = (
        make_clip(tmp_path / f"{size.width}.mp4", frames=3, size=size)
        for size in (SMALL, Size(512, 512))
    )

    def peak(video, *more):
        options = ["--weights", tiny_folder, "--max-res", 64, "--cuts", "none", "--json", *more]
        return json.loads(cli("plan", video, *options).out)["predicted_peak_bytes"]

    expected = queued_bytes(Size(512, 512), SMALL, Size(512, 512), 8, 8, [])
    expected -= queued_bytes(SMALL, SMALL, SMALL, 8, 8, [])
    assert peak(large, "--device", "cpu") - peak(small, "--device", "cpu") == expected
    assert peak(large, "--max-vram", 8) == peak(small, "--max-vram", 8)
