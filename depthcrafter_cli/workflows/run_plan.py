"""What a run will do, settled and checked before a network is loaded or a frame is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.media.identity import changed, identity
from depthcrafter_cli.media.reader import count_frames, frame_numbers, probe, settled
from depthcrafter_cli.media.resize import reference_stride
from depthcrafter_cli.media.selection import ReadOptions, expected_frames, selected_rate
from depthcrafter_cli.media.sinks.registry import check_numbers, check_size
from depthcrafter_cli.memory.cards import Card, card_named
from depthcrafter_cli.memory.duration import Duration
from depthcrafter_cli.methods.base import Machine, MethodPlan, MethodRequest
from depthcrafter_cli.methods.registry import method_named
from depthcrafter_cli.options import as_kind, require_functions
from depthcrafter_cli.progress import Observer, StageWork, Warn, ignore
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.types import Size, VideoInfo
from depthcrafter_cli.workflows.film import check_cuts, film_of
from depthcrafter_cli.workflows.memory import machine_for
from depthcrafter_cli.workflows.places import (
    check_disk,
    check_places,
    check_sound,
    disk_bytes,
    require_same_outputs,
    writes_early,
)
from depthcrafter_cli.workflows.provenance import Provenance
from depthcrafter_cli.workflows.queues import queued_bytes
from depthcrafter_cli.workflows.rates import ByRate, known_rate
from depthcrafter_cli.workflows.request import FROM_SOURCE, NO_CUTS, RunRequest
from depthcrafter_cli.workflows.state import RunState, SavedRun
from depthcrafter_cli.workflows.video import Video

# For a pixel of an output, until it is measured: H.264 of 640x360 on one busy core.
_WRITE_SECONDS = 5e-8


@dataclass(frozen=True)
class RunPlan:
    """A request with every open question answered.

    ``provenance`` says what makes the disparity, ``resumed`` that a stopped run goes on.
    """

    request: RunRequest
    video: Video
    method: MethodPlan
    machine: Machine
    provenance: Provenance
    resumed: bool = False

    @property
    def windows(self) -> int | None:
        """Windows the video will be cut into; None without windows, or where its length is not
        known.
        """
        counts = [self.method.windows(frames) for frames in self.video.shots]
        return None if None in counts else sum(filter(None, counts))

    @property
    def output_size(self) -> Size:
        """The size of the results in pixels."""
        return self.video.output_size(self.request, self.method.size)

    @property
    def saved(self) -> SavedRun:
        """What its state is to say of the run."""
        video, memory = self.video, self.method.memory_plan
        counted = video.frames if video.counted else None, video.times
        return SavedRun(self.request, self.provenance, memory, video.reading.stride, *counted)

    def disk_bytes(self, frames: int, outputs: Sequence[Path]) -> list[int]:
        """About what so many frames take on a disk: the run's state, then each output."""
        held, look = self.video.held_by(self.request) or frames, self.request.look
        return disk_bytes(frames, held, outputs, self.method, self.output_size, look)

    @property
    def time(self) -> Duration | ByRate | None:
        """The run's time by a card's data sheet, or else by a run of the same model here.

        None where neither is known for this precision, or the video's length is not.
        """
        card, frames = self.machine.card, self.video.frames
        if frames is None:
            return None
        if card is not None and (told := self.method.time_on(card, frames)) is not None:
            return told
        rate = known_rate(self.model, self.machine)
        return None if rate is None else ByRate(self.operations / rate.operations, rate)

    @property
    def model(self) -> str:
        """What rates are kept of: the model's folder, or the name of one without weights here."""
        weights = self.method.weights
        return self.method.spec.name if weights is None else str(weights.path.resolve())

    @property
    def operations(self) -> float:
        """What the method's stages take of all frames; 0 where that is not known."""
        work = work_of(self.method, self.video.shots).values()
        return sum(each.total * each.operations for each in work)

    def stage_work(self) -> dict[str, StageWork]:
        """What each stage is expected to take; nothing where that, or the length, is not known."""
        frames = self.video.frames
        stages = work_of(self.method, self.video.shots)
        if not stages or frames is None:
            return {}
        written = self.output_size.height * self.output_size.width * len(self.request.outputs)
        return {**stages, "write": StageWork(frames, seconds=written * _WRITE_SECONDS)}


def work_of(method: MethodPlan, shots: Sequence[int | None]) -> dict[str, StageWork]:
    """What the method's stages are expected to take for shots of so many frames."""
    whole: dict[str, StageWork] = {}
    for frames in shots:
        for stage, work in ({} if frames is None else method.stage_work(frames)).items():
            before = whole[stage].total if stage in whole else 0
            whole[stage] = replace(work, total=before + work.total)
    return whole


def plan(
    request: RunRequest,
    warn: Warn = ignore,
    observer: Observer = ignore,
    card: Card | str | None = None,
) -> RunPlan:
    """Settle and check a run; the cuts of a film are looked for, of which ``observer`` is told.

    Without outputs it is only a plan, which may be for a ``card`` that is not here.

    With ``resume``, a run that stopped or was kept goes on, with whatever look is asked for now.
    With ``overwrite`` too, one that cannot be gone on with is begun again, unless it lacks memory
    only for now. ``warn`` is told of a device or precision that does not suit.

    Raises:
        UsageError, InputError, WeightsError, MemoryLimitError, OutputError: whatever would stop
            the run later.
    """
    require_functions(warn=warn, observer=observer)
    video, method = _settle(as_kind(RunRequest, "request", request))
    on = machine_for(request, warn, card_named(card) if isinstance(card, str) else card)
    if _goes_on(request):
        try:
            saved = (state := RunState(request.work_folder)).saved()
            kept = request.keep_work or saved.request.keep_work
            made = _planned(replace(request, keep_work=kept), video, method, on, saved)
            require_same_outputs(request, saved, state)
            return made
        except (UsageError, InputError):
            if not request.overwrite or request.resume_only:
                raise
    video = _with_shots(request, video, method, observer)
    return _planned(request, video, method, on)


def check_run(request: RunRequest) -> Video:
    """Settle and check what does not depend on the machine that will compute; without PyTorch.

    Raises:
        UsageError, InputError, WeightsError, OutputError: as :func:`plan`.
    """
    return _settle(request)[0]


def _planned(
    request: RunRequest,
    video: Video,
    method: MethodPlan,
    on: Machine,
    saved: SavedRun | None = None,
) -> RunPlan:
    """What depends on the machine settled; ``saved`` is the run that is to go on.

    Raises:
        MemoryLimitError: nothing fits, or not with the settings that ``saved`` began with.
        UsageError, InputError: the disparity of ``saved`` is another.
    """
    if on.device == "cpu":
        on = replace(on, budget=on.budget.beside(_queued(request, video, method)))
    spec, weights = method.spec, method.weights
    if saved is not None and saved.frames is not None:
        cuts = saved.provenance.cuts
        video = replace(video, frames=saved.frames, counted=True, cuts=cuts, times=saved.times)
    provenance = Provenance(
        disparity=method.disparity,
        input=identity(request.video),
        cuts=video.cuts,
        cut_list=request.cut_list_identity(),
        rate=video.rate,
        source_size=video.info.size,
        model_size=method.size,
        model=spec.name,
        weights_sha256=weights.hashes() if weights is not None and request.outputs else {},
        licences=tuple(f"{licence.title}: {licence.url}" for licence in spec.licences),
        non_commercial=spec.non_commercial,
        settings=method.settings,
        memory={},
        reference=request.reference,
        device=on.device.split(":")[0],
        dtype=on.dtype,
        anamorphic=video.info.anamorphic,
    )
    if saved is not None:
        _require_same(request, provenance, saved, method)
    settings = None if saved is None else saved.provenance.settings
    longest = None if video.frames is None else max(filter(None, video.shots))
    method = method.on(on, longest, settings)
    if saved is None:
        provenance = replace(provenance, settings=method.settings, memory=method.memory_details)
    else:
        provenance = saved.provenance
        if request.limits == saved.request.limits and saved.memory_plan is not None:
            method = method.with_memory(saved.memory_plan)
    return RunPlan(
        request=request,
        video=video,
        method=method,
        machine=on,
        provenance=provenance,
        resumed=saved is not None,
    )


def _queued(request: RunRequest, video: Video, method: MethodPlan) -> int:
    """Bytes of what is on its way to a method and from it."""
    source, written = video.info.size, video.output_size(request, method.size)
    batch, chunk = (int(method.settings.get(name, 1)) for name in ("encode_batch", "decode_chunk"))
    return queued_bytes(source, method.size, written, batch, chunk, request.outputs)


def _settle(request: RunRequest) -> tuple[Video, MethodPlan]:
    """What is read, and what the method would do with it on any machine; checked."""
    info = probe(request.video, request.reading)
    if request.outputs:
        check_places(request)
        check_sound(request)
    method = _method(request, info.size)
    reading, rate = _frame_selection(request, info)
    count = count_frames(request.video, reading) if method.exact_length else None
    frames = expected_frames(info, reading) if count is None else count
    if request.reference and request.size not in ("source", "model"):
        raise UsageError(
            f"got `size` {request.size} with `reference`, which writes what the model gives, "
            "expected one of them: leave the other out."
        )
    video = Video(info, reading, rate, frames, counted=count is not None)
    written = video.output_size(request, method.size)
    check_size(request.outputs, written, request.look)
    by_source = info.of_images and request.start_number == FROM_SOURCE
    numbers = frame_numbers(request.video, reading) if by_source else None
    # How many frames a video has is known only about, if at all.
    last = max(numbers) if numbers else request.first_number + 2 * (frames or 0)
    check_numbers(request.outputs, last)
    if request.outputs and frames is not None and not _goes_on(request):
        held = 0 if request.cuts != NO_CUTS and writes_early(request) else frames
        check_disk(request, frames, held, method, written)
    check_cuts(request)
    return video, method


def _with_shots(request: RunRequest, video: Video, method: MethodPlan, observer: Observer) -> Video:
    """The video with its cuts and its length, where they are used. Raises as :func:`plan`."""
    counts = method.uses_length and not video.counted
    film = film_of(request, video.info, video.reading, counts, observer)
    if film is not None:
        cuts, frames = tuple(shot.start for shot in film.shots[1:]), len(film.timeline.times)
        times = film.times if cuts else None
        video = replace(video, frames=frames, counted=True, cuts=cuts, times=times)
    if not request.outputs:
        return video
    if request.per_shot:
        check_places(request, len(video.shots))
    if video.frames is not None:
        written = video.output_size(request, method.size)
        check_disk(request, video.frames, video.held_by(request), method, written)
    return video


def _method(request: RunRequest, source: Size) -> MethodPlan:
    """What the method makes of a request for a video with pictures of size ``source``."""
    asked = MethodRequest(
        weights=request.weights,
        max_res=request.max_res,
        reference=request.reference,
        settings=request.settings,
        dtype=request.dtype,
        limits=request.limits,
        planned_only=not request.outputs,
    )
    return method_named(request.method).plan(asked, source)


def _goes_on(request: RunRequest) -> bool:
    """Whether a run that stopped or was kept is to go on."""
    return bool(request.outputs and request.resume and RunState(request.work_folder).in_use)


def _require_same(
    request: RunRequest, now: Provenance, saved: SavedRun, method: MethodPlan
) -> None:
    """Raises InputError or UsageError unless ``saved`` makes the disparity that is asked for."""
    before = saved.provenance
    if now.input != before.input:
        raise changed(request.video, now.input, before.input)
    differing = [
        f"`{name}` ({_told(value)} now, {_told(earlier)} before)"
        for name, (value, earlier) in _other_options(request, now, saved, method).items()
    ]
    differing += [
        f"{name} ({value} now, {earlier} before)"
        for name in ("program", "model", "device", "dtype")
        if (value := getattr(now, name)) != (earlier := getattr(before, name))
    ]
    if now.weights_sha256 != before.weights_sha256:
        differing.append("the contents of the weights")
    if now.cut_list != before.cut_list and request.absolute().cuts == saved.request.cuts:
        differing.append("the list of cuts")
    if differing:
        resume = f"use `depthcrafter resume {quoted(request.work_folder)}`"
        remedy = "restore it" if request.resume_only else resume
        raise UsageError(
            f"{request.work_folder} is a run that differs in {', '.join(differing)}, expected the "
            f"same run to go on with: {remedy}, or run it with `overwrite=True` to start again."
        )


def _other_options(
    request: RunRequest, now: Provenance, saved: SavedRun, method: MethodPlan
) -> dict[str, tuple[Any, Any]]:
    """The options that make another disparity than that of ``saved``, with their value now, before.

    What would be made of gaps is none of them where the run before got on without any.
    """
    asked, before = (
        {
            "method": each.method,
            "reference": each.reference,
            "cuts": each.cuts,
            **vars(each.selection),
        }
        for each in (request.absolute(), saved.request)
    )
    # Otherwise weights or methods decide on the settings.
    if now.model == saved.provenance.model and asked["method"] == before["method"]:
        earlier = _method(replace(saved.request, weights=request.weights), now.source_size)
        asked |= {"max_res": request.max_res, **method.settings}
        before |= {"max_res": saved.request.max_res, **earlier.settings}
    implied = set()
    if before["gaps"] == "error":
        implied.add("gaps")
    if now.model_size == saved.provenance.model_size:
        implied.add("max_res")
    if asked["reference"] != before["reference"]:
        implied |= {"noise", "matrix", "tonemap", "cuts"}
    return {
        name: (value, before[name])
        for name, value in asked.items()
        if name not in implied and value != before[name]
    }


def _told(value: Any) -> str:
    """An option's value as people write it."""
    if value is None:
        return "the default"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _frame_selection(request: RunRequest, info: VideoInfo) -> tuple[ReadOptions, Fraction]:
    """Frames to read and the rate they are labelled with; both by timestamp unless reference."""
    reading = settled(request.video, request.selection, info)
    if request.reference and reading.fps is not None:
        stride = reference_stride(info.rate, reading.fps)
        return replace(reading, fps=None, stride=stride), reading.fps
    return reading, selected_rate(info, reading)
