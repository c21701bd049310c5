"""Whether a run's results and its state can be where they are to be, and what they take there."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from depthcrafter_cli.disk import nearest_folder
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.sinks.registry import (
    check_outputs,
    existing_files,
    expected_bytes,
    keep_shots,
    waits,
)
from depthcrafter_cli.media.sinks.sound_only import CONTAINERS as SOUND_ALONE
from depthcrafter_cli.methods.base import MethodPlan
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.text import size_in_words
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.hand_off import beside, gives_sound
from depthcrafter_cli.workflows.record import written
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.state import RunState, SavedRun


def check_places(request: RunRequest, shots: int = 1) -> None:
    """Raises UsageError and OutputError for results, or state, that cannot be where they are to.

    ``shots`` is how many the video has, as far as that is known.
    """
    check_results(request, shots, overwrite=_replaceable(request), state=request.work_folder)


def check_results(
    request: RunRequest, shots: int, *, overwrite: bool, state: Path | None = None
) -> None:
    """As :func:`check_places`, of results that come of a run which is done, or of its ``state``."""
    record = request.record_path
    check_outputs(
        written(request, shots),
        video=request.video,
        beside={
            **dict.fromkeys(beside(request), f"what {request.consumer} reads"),
            **({record: "the record of the run"} if record else {}),
        },
        state=state,
        look=request.look,
        overwrite=overwrite,
        create_folders=request.create_folders,
    )


def check_sound(request: RunRequest) -> None:
    """Raises OutputError for a file of sound that would be empty, InputError for no video."""
    for out in request.outputs:
        if (container := SOUND_ALONE.get(out.suffix.lower())) and not gives_sound(
            request, container
        ):
            raise OutputError(
                f"{out} would be empty, for {request.video} has no sound that it can hold or is "
                "asked for without, expected some: leave it out, or convert the sound to AAC."
            )


def _replaceable(request: RunRequest) -> bool:
    """Whether the run may replace what has its outputs' names: all, or its own of before a stop.

    Raises OutputError where another run's state, or a file that is not the run's, would be lost.
    """
    state = RunState(request.work_folder)
    if not state.in_use:
        return request.overwrite
    if request.resume and state.delivering:
        outputs = written(request, 1 + len(state.saved().provenance.cuts))
        results = [file for out in outputs for file in existing_files(out)]
        record = request.record_path
        own = state.published(overwrite=request.overwrite)
        own.require_replaceable([*results, *([record] if record else [])])
        return True
    if not request.resume and not request.overwrite:
        raise OutputError(
            f"{state.path} holds a run that was not finished, or was kept, expected none: go on "
            "with it by `resume=True`, or start again with `overwrite=True`."
        )
    return request.overwrite


def require_same_outputs(request: RunRequest, saved: SavedRun, state: RunState) -> None:
    """Raises UsageError for other outputs than those that hold shots whose disparity is gone."""
    written = sum(shot.delivered is not None for shot in state.shots(read_only=True))
    keeps = request.keep_work and not saved.request.keep_work
    if not written or (request.same_result(saved.request.to_json()) and not keeps):
        return
    raise UsageError(
        f"{state.path} has written {written} shots to its outputs, and let their disparity go, "
        f"expected the same outputs and look, without `keep_work`: use `depthcrafter resume "
        f"{quoted(state.path)}`, or run it with `overwrite=True` to start again."
    )


def writes_early(request: RunRequest) -> bool:
    """Whether shots, if there are several, are written as they finish, and their disparity goes."""
    if request.keep_work or request.range_of == "film":
        return False
    return request.per_shot or keep_shots(request.outputs)


def disk_bytes(
    frames: int, held: int, outputs: Sequence[Path], method: MethodPlan, written: Size, look: Look
) -> list[int]:
    """About what so many frames take on a disk: the run's state, then each output.

    The state has the disparity of ``held`` frames at a time, and where these are not all, the
    pictures that videos wait for; the outputs have the size ``written``.
    """
    sizes = [expected_bytes(out, written, frames, look) for out in outputs]
    waiting = sum(size for out, size in zip(outputs, sizes, strict=True) if waits(out))
    return [method.state_bytes(held) + waiting * (held < frames), *sizes]


def check_disk(
    request: RunRequest, frames: int, held: int, method: MethodPlan, written: Size
) -> None:
    """Raises OutputError unless a run's state and its outputs fit on their disks."""
    outputs, needed = request.outputs, Counter[Path]()
    sizes = disk_bytes(frames, held, outputs, method, written, request.look)
    for path, count in zip((request.work_folder, *outputs), sizes, strict=True):
        needed[_disk(path)] += count
    for disk, count in needed.items():
        free = shutil.disk_usage(disk).free
        if free < count:
            raise OutputError(
                f"{disk} has {size_in_words(free)} free, expected {size_in_words(count)} for the "
                "raw disparity of the video and its outputs: free some space or write to another "
                "disk."
            )


def _disk(path: Path) -> Path:
    """A folder that stands for the disk ``path`` will be on; the same for all on one disk."""
    folder = nearest_folder(path.parent)
    if folder is None:
        raise OutputError(
            f"There is no disk or folder for {path}, expected it to exist: choose another place."
        )
    while folder.parent != folder and folder.parent.stat().st_dev == folder.stat().st_dev:
        folder = folder.parent
    return folder
