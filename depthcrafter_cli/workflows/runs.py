"""From a video to its depth files: infer into a spool, then deliver. Killed, it can go on."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depthcrafter_cli.disk import make_folder
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.files import claimed, output_errors, remove_locks
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.sinks.registry import (
    check_numbers,
    check_size,
    forget_kept,
    places_of,
)
from depthcrafter_cli.options import as_kind, replaced, require_functions
from depthcrafter_cli.progress import Observer, Warn, ignore
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.types import ValueRange
from depthcrafter_cli.workflows.compute import compute
from depthcrafter_cli.workflows.deliver import Delivery, deliver, seam_residuals
from depthcrafter_cli.workflows.hand_off import laid_out, write_beside
from depthcrafter_cli.workflows.memory import memory_errors
from depthcrafter_cli.workflows.model import LoadedModel
from depthcrafter_cli.workflows.places import check_results, check_sound, writes_early
from depthcrafter_cli.workflows.rates import note_rate
from depthcrafter_cli.workflows.record import (
    is_complete,
    write_record,
    written,
)
from depthcrafter_cli.workflows.request import FINISHED, RunRequest
from depthcrafter_cli.workflows.resources import PeakMemory, peak_memory
from depthcrafter_cli.workflows.run_plan import RunPlan, plan
from depthcrafter_cli.workflows.shot_state import ShotState
from depthcrafter_cli.workflows.standard_input import kept_input
from depthcrafter_cli.workflows.state import RunState

ComputeShots = Callable[[RunPlan, Sequence[ShotState], Observer, Warn, Callable[[int], None]], None]
"""Computes what is lacking of the shots of a run; raises what keeps it from that.

It tells the number of each shot that is complete, in order.
"""


@dataclass(frozen=True)
class RunResult:
    """What a finished run made and what it took.

    ``seconds`` covers reading to the last written byte, without loading the model, since the run
    was started or resumed; ``predicted_peak`` is the planner's figure for ``peak``, in bytes,
    None where it has none. ``seams`` is by how much neighbouring windows disagreed, before and
    after they were aligned; None where they were not.
    """

    outputs: tuple[Path, ...]
    frames: int
    seconds: float
    value_range: ValueRange
    peak: PeakMemory
    predicted_peak: int | None
    device: str
    seams: tuple[float, float] | None = None

    @property
    def frames_per_second(self) -> float:
        """Frames of depth per second of work."""
        return self.frames / self.seconds


def run(
    asked: RunRequest | RunPlan,
    observer: Observer = ignore,
    warn: Warn = ignore,
    *,
    planned: Callable[[RunPlan], None] = ignore,
    model: LoadedModel | None = None,
    elsewhere: ComputeShots | None = None,
) -> RunResult | None:
    """Carry out a request, or a plan. Outputs appear under their names only when complete.

    Returns None for a request to ``resume`` what was finished before: see :func:`finished_before`.

    A run that stops for whatever reason leaves its state, from which it can be resumed; one that
    has nothing to go on from leaves nothing. ``warn`` gets a sentence for what did not stop it,
    such as a damaged end of the video. ``planned`` gets the plan before anything is computed.
    ``model`` keeps the networks for the next run. ``elsewhere`` computes what is lacking of shots
    in other processes, as :func:`~depthcrafter_cli.workflows.batches.shots.on_engine` does.

    Raises:
        UsageError, InputError, WeightsError, OutputError: as :func:`plan`, also for what shows only
            later.
        MemoryLimitError: no plan fits, or memory ran out under the smallest one.
    """
    require_functions(observer=observer, warn=warn, planned=planned)
    if isinstance(asked, RunPlan):
        planned(asked)
        return _carried_out(asked, observer, warn, model or LoadedModel(), elsewhere)
    with kept_input(laid_out(as_kind(RunRequest, "asked", asked))) as request:
        if request.resume and request.outputs and finished_before(request, warn):
            return None
        made = plan(request, warn, observer)
        planned(made)
        return _carried_out(made, observer, warn, model or LoadedModel(), elsewhere)


def resume(
    folder: Path,
    observer: Observer = ignore,
    warn: Warn = ignore,
    *,
    planned: Callable[[RunPlan], None] = ignore,
    model: LoadedModel | None = None,
    **changes: Any,
) -> RunResult | None:
    """Go on with the run whose state is in ``folder``, at its first unfinished step.

    ``changes`` are fields of its request, such as ``max_vram``, as values or as texts. Otherwise as
    :func:`run`, but that a run that cannot be gone on with is never begun again.

    Raises UsageError for a folder that holds no run, or another disparity than ``changes`` ask for.
    """
    own = {"resume": True, "resume_only": True}
    saved = RunState(as_kind(Path, "folder", folder)).saved()
    request = replaced(saved.request, {**changes, **own})
    return run(request, observer, warn, planned=planned, model=model)


def run_shard(
    request: RunRequest,
    shots_of: Callable[[RunPlan], Sequence[int]],
    observer: Observer = ignore,
    warn: Warn = ignore,
    *,
    planned: Callable[[RunPlan], None] = ignore,
) -> tuple[int, int]:
    """Compute some shots of a film in the folder of its run, in which others compute the rest.

    The first that comes begins the run, for which the others wait. ``shots_of`` the plan are those
    to compute. Outputs are for ``resume``, or ``finish``, when all shots are complete. Returns how
    many frames the shots have, and how many shots of the film are not complete yet.

    Raises as :func:`run`.
    """

    def waits(lock: Path) -> None:
        warn(
            f"another job of this film looks for its cuts; this one has waited for it since "
            f"{time.strftime('%H:%M:%S')}, by the lock of {lock}"
        )

    with kept_input(laid_out(replace(request, resume=True))) as request:
        with claimed([request.work_folder.resolve()], waits=waits):
            made = plan(request, warn, observer)
            state = _begun(made)
        planned(made)
        own = tuple(shots_of(made))
        part = replace(made, request=replace(made.request, only_shots=own))
        frames = compute_only(part, LoadedModel(), observer, warn) if own else 0
        return frames, sum(not shot.complete for shot in state.shots(read_only=True))


def compute_only(plan: RunPlan, model: LoadedModel, observer: Observer, warn: Warn) -> int:
    """Compute the shots that a request is for, without outputs; returns their frames.

    Raises as :func:`run`.
    """
    request, states = plan.request, RunState(plan.request.work_folder).shots()
    with memory_errors(plan.method, plan.machine.device, capped=request.max_vram is not None):
        estimator = model.estimator(plan.method, request.max_vram, observer, warn)
        compute(plan, estimator, states, observer, warn, only=request.only_shots)
    return sum(len(states[index].spool) for index in request.only_shots)


def _carried_out(
    plan: RunPlan,
    observer: Observer,
    warn: Warn,
    model: LoadedModel,
    elsewhere: ComputeShots | None,
) -> RunResult:
    """A plan's result, once its outputs are complete."""
    request, device = plan.request, plan.machine.device
    if not request.outputs:
        raise UsageError("got no `outputs`, expected at least one, such as depth.mp4: name it.")
    if request.create_folders:
        _create_folders(request)
    shortage = memory_errors(plan.method, device, capped=request.max_vram is not None)
    with claimed(_claims(request)), shortage, _state(plan) as state:
        published = state.published(overwrite=request.overwrite)
        shots, told = state.shots(), dict[str, Any]({"memory_fallbacks": []})
        reading, made, times = plan.video.reading, plan.provenance, plan.video.times
        outputs = observer, published, warn
        with ExitStack() as early:
            delivery: Delivery | None = None
            if times is not None and writes_early(request):
                delivery = Delivery(request, reading, made, times, *outputs, states=shots)
                early.enter_context(delivery)

            def completed(index: int) -> None:
                if elsewhere is not None:
                    shots[index] = shots[index].read_anew()  # as a worker left it
                    assert shots[index].complete
                if delivery is not None and index < len(shots) - 1:
                    delivery.write_beside(index, shots[index].disparity)

            started = time.perf_counter()
            lacking = not all(shot.complete for shot in shots)
            if lacking and elsewhere is None:
                estimator = model.estimator(plan.method, request.max_vram, observer, warn)
                started = time.perf_counter()
                compute(plan, estimator, shots, observer, warn, completed=completed)
                told = {"kernels": estimator.kernels, "memory_fallbacks": estimator.fallbacks}
            elif lacking and elsewhere is not None:
                elsewhere(plan, shots, observer, warn, completed)
            inferred = time.perf_counter()
            if delivery is not None:
                for index, shot in enumerate(shots):
                    delivery.write(index, shot.disparity)
        if delivery is None:
            metadata = deliver(request, reading, made, shots, *outputs)
        else:
            metadata = delivery.metadata
        write_beside(request, metadata, published, warn)
        finished = time.perf_counter()
        result = RunResult(
            outputs=written(request, len(shots)),
            frames=metadata["frames"],
            seconds=finished - started,
            value_range=ValueRange(*metadata["value_range"]),
            peak=peak_memory(device),
            predicted_peak=plan.method.peak_bytes,
            device=device,
            seams=seam_residuals(metadata),
        )
        timings = {"infer_seconds": inferred - started, "write_seconds": finished - inferred}
        told["peak_memory_bytes"] = result.peak.bytes
        write_record(request, {**metadata, **timings, **told}, published)
        _end(state, request.keep_work, warn)
    if lacking and elsewhere is None and not (plan.resumed or told["memory_fallbacks"]):
        note_rate(plan.model, plan.machine, plan.operations, inferred - started)
    return result


def _end(state: RunState, keep: bool, warn: Warn) -> None:
    """Keep or remove the state of a finished run; what a stop leaves here, the next run removes."""
    try:
        state.keep() if keep else state.discard()
    except OutputError as error:  # the results are whole all the same
        warn(f"The run is finished, but its state could not be removed: {error}")


def finished_before(request: RunRequest, warn: Warn = ignore) -> bool:
    """Whether this very request was carried out before, and its outputs are as they were.

    Of a run that was killed before it had removed its locks and its state, what is left is removed
    now, the state unless it is to be kept. ``warn`` is told of state that cannot be removed, of
    other weights and of another version of the program.

    Raises WeightsError if there are no weights to compare with.
    """
    if not is_complete(request, warn):
        return False
    remove_locks(_claims(request))
    state = RunState(request.work_folder)
    ended = not state.in_use or state.delivering  # otherwise it was kept
    if ended and state.path.exists():
        # Unless another run begins there at this moment.
        with suppress(OutputError), claimed([state.path.resolve()]):
            _end(state, request.keep_work and state.in_use, warn)
    if request.keep_work and not state.in_use:
        warn(
            f"{state.path} is gone, as the run was finished without `keep_work=True`: "
            "`overwrite=True` makes it again."
        )
    return True


def finish(
    folder: Path,
    outputs: Sequence[Path],
    observer: Observer = ignore,
    warn: Warn = ignore,
    **look: Any,
) -> int:
    """Make other outputs of a run that was kept in ``folder``; returns their frame count.

    No model is needed. ``look`` are fields of the run's request that say how the outputs look, such
    as ``colormap`` or ``normalization``, as values or as texts, and whether files are replaced
    (``overwrite``). ``warn`` is told of sound that is left out.

    Raises:
        UsageError: the folder is no run's, or its disparity is not complete.
        InputError: the input, to be shown beside its depth, is no longer what it was.
        OutputError: an output cannot be written.
    """
    require_functions(observer=observer, warn=warn)
    state = RunState(as_kind(Path, "folder", folder))
    saved = state.saved()
    made, reading = saved.provenance, saved.reading
    if unread := sorted(look.keys() - FINISHED.keys()):
        raise UsageError(
            f"got `{unread[0]}` for a run that is computed, expected one of "
            f"{', '.join(FINISHED)}: leave it out, or make another run."
        )
    own = {"outputs": outputs, "create_folders": True, "overwrite": False}
    own |= {"consumer": None, "preview": False}  # which files there are
    request = laid_out(replaced(saved.request, {**own, **look}))
    if not request.outputs:
        raise UsageError("got no `outputs`, expected what is to be made: name one.")
    check_results(request, 1 + len(made.cuts), overwrite=request.overwrite)
    check_size(request.outputs, made.output_size(request), request.look)
    check_sound(request)
    published = Published(overwrite=request.overwrite)
    if request.create_folders:
        _create_folders(request)
    with claimed(places_of(request.outputs)):
        shots = state.shots(read_only=True)
        complete = all(shot.complete and shot.delivered is None for shot in shots)
        frames = sum(len(shot.spool) for shot in shots)
        check_numbers(request.outputs, request.first_number + frames)
        if not complete:
            raise UsageError(
                f"{state.path} holds {frames} frames of a run that is not complete, expected "
                f"all: go on with `depthcrafter resume {quoted(state.path)} --keep-work` first."
            )
        metadata = deliver(request, reading, made, shots, observer, published, warn)
        write_beside(request, metadata, published, warn)
        write_record(request, metadata, published)
        return frames


def _claims(request: RunRequest) -> list[Path]:
    """What no other run may write while one carries out ``request``."""
    return [*places_of(request.outputs), request.work_folder.resolve()]


def _create_folders(request: RunRequest) -> None:
    for out in request.outputs:
        with output_errors(out):
            make_folder(out.parent)


def _forget_kept(state: RunState) -> None:
    """Remove what the run that is here, if there is one, kept beside its outputs."""
    with suppress(UsageError):
        if state.in_use:
            with output_errors(state.path):
                forget_kept(state.saved().request.outputs)


def _begun(plan: RunPlan) -> RunState:
    """The run's folder, in which it can be computed."""
    state = RunState(plan.request.work_folder)
    if not plan.resumed:
        _forget_kept(state)
    state.update(plan.saved) if plan.resumed else state.begin(plan.saved)
    return state


@contextmanager
def _state(plan: RunPlan) -> Iterator[RunState]:
    """The run's folder, which goes if the run stops before there is anything to go on from."""
    state = _begun(plan)
    try:
        yield state
    except BaseException:
        if not state.progressed:
            state.discard()
        raise
