"""A video by standard input: kept among the state of its run, so that the run can go on."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.files import claimed, output_errors
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.workflows.places import check_places
from depthcrafter_cli.workflows.request import STANDARD_INPUT, RunRequest
from depthcrafter_cli.workflows.state import RunState

_COPIED_BYTES = 1 << 20  # at a time


@contextmanager
def kept_input(request: RunRequest) -> Iterator[RunRequest]:
    """Inside, a request for what comes by standard input is one for a file that holds it all.

    The file goes with the run's state: when the run is finished, or stops with nothing to go on
    from. A request for another video stays as it is.

    Raises:
        UsageError: nobody hands anything over, or the run is to go on, which it does by its state.
        InputError: nothing came.
        OutputError: what came cannot be kept, or the results cannot be where they are to.
    """
    if request.video != STANDARD_INPUT:
        yield request
        return
    state = RunState(request.work_folder)
    _require_new(request, state)
    made = replace(request, video=state.input_path)
    check_places(made)
    try:
        with claimed([state.path.resolve()]):
            state.discard()
            _copy(state)
        yield made
    except BaseException:
        if not state.in_use:
            state.discard()
        raise


def _require_new(request: RunRequest, state: RunState) -> None:
    if not request.outputs:
        raise UsageError(
            "got - for standard input without an output, expected one to keep it beside: save it "
            "in a file first."
        )
    if request.resume:
        raise UsageError(
            "got - for standard input with `resume=True`, expected a video that can be read again: "
            f"use `depthcrafter resume {quoted(state.path)}`, which holds what came before."
        )
    if sys.stdin.isatty():
        raise UsageError(
            "got - for standard input, which is the keyboard, expected a video from another "
            "program: write it before this command, with | between them."
        )


def _copy(state: RunState) -> None:
    state.make_folder()
    with output_errors(state.input_path), state.input_path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, _COPIED_BYTES)
        if not file.tell():
            raise InputError(
                "Nothing came by standard input, expected a video: check the program before the |."
            )
