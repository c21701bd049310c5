"""How good a method is on a set with true depth: estimate each clip, compare, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthcrafter_cli.errors import InputError, OutputError, UsageError
from depthcrafter_cli.evaluation.report import (
    FORMATS,
    ClipScore,
    EvaluationReport,
    read_report,
    report_text,
)
from depthcrafter_cli.media.files import claimed, require_folder, write_whole
from depthcrafter_cli.progress import Observer, Warn, ignore
from depthcrafter_cli.workflows.looking import EvaluationRequest

if TYPE_CHECKING:
    from depthcrafter_cli.datasets.recorded import RecordedClip
    from depthcrafter_cli.evaluation.alignment import AlignedClip
    from depthcrafter_cli.types import Disparity
    from depthcrafter_cli.workflows.model import LoadedModel

FIGURE = ".png"
Estimate = Callable[["RecordedClip", int], "Disparity"]
"""What a method says of the first frames of a clip, [T, h, w] of any size."""
ScoreClips = Callable[
    ["EvaluationRequest", Sequence["RecordedClip"], Observer, Warn], Iterable[ClipScore]
]
"""What estimates clips and gives their scores, in any order."""


def evaluate(
    request: EvaluationRequest,
    observer: Observer = ignore,
    warn: Warn = ignore,
    on_clip: Callable[[ClipScore], None] = ignore,
    *,
    elsewhere: ScoreClips | None = None,
) -> EvaluationReport:
    """Score a method, or a folder of its results, on a set, and write the report.

    A report in .json is written after each clip; the same evaluation goes on from it. ``on_clip``
    receives each clip's score. ``elsewhere`` has the clips scored in other processes, as
    :func:`~depthcrafter_cli.workflows.batches.clips.on_engine` does.

    Raises:
        UsageError: a set, method or option that there is not.
        InputError: clips or predictions are missing, or cannot be compared.
        OutputError: a file is in the way, or cannot be written.
        WeightsError, MemoryLimitError: as for a run.
    """
    outputs = _checked(request)
    clips = request.clips()
    found = _estimates(request, ignore)
    versions = {clip.name: found.version_of(clip) for clip in clips}
    report = EvaluationReport(
        dataset=request.dataset,
        root=str(request.root.resolve()),
        made=found.made,
        protocol=request.protocol,
        names=tuple(clip.name for clip in clips),
    )
    places = {name: at for at, name in enumerate(report.names)}
    with claimed(outputs):
        kept = next((path for path in outputs if path.suffix.lower() == ".json"), None)
        report = _begun(report, versions, outputs, kept, request.overwrite)
        done = {score.name for score in report.clips}
        lacking = [clip for clip in clips if clip.name not in done]
        for score in (elsewhere or score_here)(request, lacking, observer, warn):
            score = dataclasses.replace(score, version=versions[score.name])
            scores = sorted((*report.clips, score), key=lambda each: places[each.name])
            report = dataclasses.replace(report, clips=tuple(scores))
            if kept is not None:
                write_whole(kept, report_text(report, ".json").encode())
            on_clip(score)
        for path in outputs:
            write_whole(path, _content(report, path.suffix.lower()))
    return report


def score_here(
    request: EvaluationRequest,
    clips: Sequence[RecordedClip],
    observer: Observer = ignore,
    warn: Warn = ignore,
    model: LoadedModel | None = None,
) -> Iterator[ClipScore]:
    """Estimate clips in this process, with what ``model`` has loaded, and give their scores."""
    estimates = _estimates(request, warn, model)
    for clip in clips:
        frames = request.frames_of(clip)
        yield _score(clip, frames, estimates(clip, frames, observer), request, warn)


def _estimates(
    request: EvaluationRequest, warn: Warn, model: LoadedModel | None = None
) -> _Predictions | _Method:
    return _Predictions(request) if request.predictions else _Method(request, warn, model)


def _checked(request: EvaluationRequest) -> list[Path]:
    """The outputs. Raises UsageError for options out of range, OutputError for places to write."""
    from depthcrafter_cli.evaluation.flow import require_flow

    request.check()
    if request.flow:
        require_flow()
    outputs = [path.absolute() for path in request.outputs]
    for path in outputs:
        if path.suffix.lower() not in (*FORMATS, FIGURE):
            known = ", ".join((*FORMATS, FIGURE))
            raise UsageError(f"got `outputs` {path}, expected a name in {known}.")
        require_folder(path.parent, path, is_made=False)
    return outputs


def _content(report: EvaluationReport, suffix: str) -> bytes:
    """A report as the content of a file: a figure, or text."""
    if suffix != FIGURE:
        return report_text(report, suffix).encode()
    from depthcrafter_cli.reports.figures import error_against_length, name_of

    return error_against_length([(name_of(report), report)])


def _begun(
    report: EvaluationReport,
    versions: Mapping[str, str],
    outputs: list[Path],
    kept: Path | None,
    overwrite: bool,
) -> EvaluationReport:
    """The report as an earlier call left it, where that was of the same evaluation.

    Clips that are of other ``versions`` now are not done. Raises OutputError if files are there
    that are of none, or of another one.
    """
    taken = [path for path in outputs if path.exists()]
    if overwrite or not taken:
        return report
    before = None
    if kept in taken and kept is not None:
        try:
            before = read_report(kept)
        except InputError:
            before = None
    if before is None or (differs := report.differs(before)):
        other = f" and differs in {differs}" if before is not None else ""
        raise OutputError(
            f"{taken[0]} exists{other}, expected a free name or the report of this very "
            "evaluation: choose another, or pass `overwrite=True`."
        )
    current = [score for score in before.clips if score.version in ("", versions[score.name])]
    return dataclasses.replace(before, clips=tuple(current))


class _Method:
    """Estimates by a method that this program serves."""

    def __init__(
        self, request: EvaluationRequest, warn: Warn, model: LoadedModel | None = None
    ) -> None:
        from depthcrafter_cli.methods.base import MethodRequest, refuse
        from depthcrafter_cli.methods.registry import DEPTHCRAFTER as OF_NETWORKS
        from depthcrafter_cli.methods.registry import method_named
        from depthcrafter_cli.models.pretrained import Pretrained
        from depthcrafter_cli.models.registry import DEPTHCRAFTER
        from depthcrafter_cli.types import Size
        from depthcrafter_cli.workflows.infer import DepthCrafterPipeline

        method = method_named(request.method)
        found = method.find(request.weights)
        self._size, max_res = request.set.model_size, request.max_res
        if max_res is None and self._size is not None and found and found.spec == DEPTHCRAFTER:
            max_res = max(self._size.height, self._size.width)
        self._max_res, self._settings = max_res, dict(request.settings)
        if request.reference:
            if method.name != OF_NETWORKS:
                refuse(method.name, "reference")
            self._settings["noise"] = "reference"
        asked = MethodRequest(
            weights=request.weights, max_res=max_res, settings=self._settings, dtype=request.dtype
        )
        plan = method.plan(asked, self._size or Size(480, 640))
        self.made: dict[str, Any] = {
            "name": request.method if found is None else found.spec.name,
            "method": request.method,
            "settings": dict(plan.settings),
            "max_res": max_res,
            "sha256": {} if found is None else found.hashes(),
        }
        self._pipeline = DepthCrafterPipeline(
            Pretrained(request.weights), request.method, device=request.device,
            dtype=request.dtype, limits=(request.max_vram, request.max_ram), warn=warn,
            loaded=model,
        )  # fmt: skip

    def __call__(self, clip: RecordedClip, frames: int, observer: Observer) -> Disparity:
        size = self._size or clip.size
        pictures = clip.pictures_at(size, frames)
        depth = self._pipeline(
            pictures, max_res=self._max_res, size="model", observer=observer, **self._settings
        )
        disparity: Disparity = depth.disparity
        return disparity

    def version_of(self, clip: RecordedClip) -> str:
        """Another one once the clip is written again."""
        from depthcrafter_cli.datasets.recorded import digest_of

        return digest_of(clip.name, clip.files)


class _Predictions:
    """Estimates that lie in a folder, one file or folder for each clip."""

    def __init__(self, request: EvaluationRequest) -> None:
        assert request.predictions is not None
        self._root = request.predictions
        if not self._root.is_dir():
            raise InputError(
                f"got no folder {self._root}, expected one with a file or folder for each clip: "
                "check the path."
            )
        self._shifted = request.protocol.align_by == "scale-shift"
        self._per_metre = request.per_metre
        self.made: dict[str, Any] = {
            "name": self._root.resolve().name,
            "predictions": str(self._root.resolve()),
            "convention": request.convention,
            **({"per_metre": request.per_metre} if request.per_metre != 1 else {}),
        }

    def version_of(self, clip: RecordedClip) -> str:
        """Another one once the clip, or its result, is written again.

        Raises InputError where there is no result.
        """
        from depthcrafter_cli.datasets.predictions import files_of, prediction_of
        from depthcrafter_cli.datasets.recorded import digest_of

        return digest_of(clip.name, (*clip.files, *files_of(prediction_of(self._root, clip.name))))

    def __call__(self, clip: RecordedClip, frames: int, _observer: Observer) -> Disparity:
        import numpy as np

        from depthcrafter_cli.datasets.predictions import prediction_of, read_prediction
        from depthcrafter_cli.evaluation.alignment import FLOOR

        found = read_prediction(prediction_of(self._root, clip.name))
        if len(found) < frames:
            raise InputError(
                f"got {len(found)} predicted frames of the clip {clip.name}, expected {frames}: "
                "predict the rest, or pass a smaller `max_frames`."
            )
        found = found[:frames] if self._per_metre == 1 else found[:frames] / self._per_metre
        if self._shifted and (low := float(found.min())) < 0:
            found = found - np.float32(low - FLOOR)  # the protocol lets nothing below it through
        return found


def _score(
    clip: RecordedClip,
    frames: int,
    estimate: Disparity,
    request: EvaluationRequest,
    warn: Warn,
) -> ClipScore:
    """Compare an estimate [T, h, w] with the clip's truth. Raises InputError."""
    import numpy as np

    from depthcrafter_cli.evaluation.alignment import FLOOR, Alignment, align_clip
    from depthcrafter_cli.evaluation.consistency import consistency_of
    from depthcrafter_cli.evaluation.metrics import DepthMetrics, evaluate_clip, mean_metrics
    from depthcrafter_cli.evaluation.temporal import temporal_score
    from depthcrafter_cli.types import Size

    depth, protocol = clip.depth(frames), request.protocol
    if request.convention == "metric":
        _warn_of_unit(clip.name, estimate, depth, warn)
    elif request.predictions and float(estimate.max()) < _LEAST_TOLD * FLOOR:
        warn(
            f"The results of {clip.name} are below {_LEAST_TOLD * FLOOR:g}, and the protocol takes "
            f"what is below {FLOOR:g} for that, expected larger ones: multiply them by any number."
        )
    if not request.set.metric:  # the unit may be any: take the clip's median
        known = depth[depth > 0]
        unit = np.float32(np.median(known) if known.size else 1)
        depth = depth / unit
        if protocol.align_by == "none":
            estimate = estimate * unit if protocol.domain == "depth" else estimate / unit
    alignment = Alignment(protocol.align_by, protocol.loss)  # type: ignore[arg-type]
    how: dict[str, Any] = {
        "max_depth": protocol.max_depth, "domain": protocol.domain, "alignment": alignment,
    }  # fmt: skip

    def parts(whole: AlignedClip) -> Iterator[AlignedClip]:
        if not protocol.per_frame:
            yield whole
            return
        for index in range(frames):
            truth, part = depth[index], slice(index, index + 1)
            if ((truth > FLOOR) & (truth < protocol.max_depth)).any():
                yield align_clip(estimate[part], depth[part], **how)

    try:
        aligned = align_clip(estimate, depth, **how)
        mean = mean_metrics([evaluate_clip(part) for part in parts(aligned)])
        steady = temporal_score(aligned) if frames > 1 else None
        camera = None if clip.camera is None else clip.cropped_camera
        size = Size(*depth.shape[1:])
        pictures = iter(clip.pictures_at(size, frames)) if request.flow else None
        more = consistency_of(aligned, camera, pictures)
    except InputError as error:
        raise InputError(f"the clip {clip.name} cannot be scored: {error}") from error
    values = {item.name: getattr(mean, item.name) for item in dataclasses.fields(DepthMetrics)}
    return ClipScore(clip.name, frames, DepthMetrics(**values), steady, more)


def _warn_of_unit(name: str, estimate: Disparity, depth: Disparity, warn: Warn) -> None:
    """Tell of results that are so far from the truth that their unit must be another."""
    import numpy as np

    ours, true = (
        np.median(each[each > 0]) if (each > 0).any() else 1 for each in (estimate, depth)
    )
    ratio = float(ours / true)
    if not 1 / _MOST_APART < ratio < _MOST_APART:
        warn(
            f"The results of {name} are {ratio:.3g} times the truth, expected metres: pass "
            "`per_metre`, such as 1000 for millimetres."
        )


_MOST_APART = 30
_LEAST_TOLD = 10
