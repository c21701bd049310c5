"""How good a model in training is: the real pipeline on held-out clips, in the exact protocol."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from depthcrafter_cli.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from depthcrafter_cli.datasets.clip import ClipSource, Sample, Shape
    from depthcrafter_cli.evaluation.alignment import AlignedClip
    from depthcrafter_cli.models.components import Components
    from depthcrafter_cli.pipeline.config import PipelineConfig
    from depthcrafter_cli.training.config import TrainingConfig
    from depthcrafter_cli.training.data.rejects import Rejects
    from depthcrafter_cli.types import RgbImage, Size


def held_out(
    config: "TrainingConfig", sources: "Mapping[str, ClipSource]"
) -> "list[tuple[str, int, Shape]]":
    """What validation shows: source, number and frames, height and width of each clip."""
    plan = config.validation
    if plan is None:
        return []
    chosen = [
        (name, index, sources[name].shape(index))
        for name in plan.sources
        for index in range(min(plan.clips, len(sources[name])))
    ]
    return [
        (name, index, (min(plan.frames, length), height, width))
        for name, index, (length, height, width) in chosen
    ]


def pipeline_settings(config: "TrainingConfig") -> "PipelineConfig":
    """How validation runs the pipeline."""
    from depthcrafter_cli.pipeline.config import PipelineConfig

    told, own = config.settings, PipelineConfig()
    return PipelineConfig(
        window=told.get("window", own.window),
        overlap=told.get("overlap", own.overlap),
        steps=told.get("steps", own.steps),
    )


def validator(
    config: "TrainingConfig",
    networks: "Components",
    sources: "Mapping[str, ClipSource]",
    rejects: "Rejects",
    show: "Callable[[str, RgbImage], None] | None" = None,
) -> "Callable[[], dict[str, float]]":
    """A function that gives ``abs_rel``, ``delta1`` and ``temporal``, averaged over the clips.

    Those of the sources in ``also`` are called ``NAME.abs_rel`` and so on. Clips of a single frame
    have no temporal score. ``show`` gets a picture of each source's first clip, by its name.

    Clips whose sides the networks do not take are shown at the nearest ones, as by a run.

    Raises:
        InputError: a clip is smaller than any that the networks take; later, more clips that
            cannot be used than ``rejects`` takes, or all of them.
    """
    import numpy as np

    from depthcrafter_cli.datasets.recorded import resized_picture
    from depthcrafter_cli.evaluation.alignment import align_clip
    from depthcrafter_cli.evaluation.metrics import evaluate_clip
    from depthcrafter_cli.evaluation.temporal import temporal_score
    from depthcrafter_cli.pipeline.pipeline import estimate_disparity
    from depthcrafter_cli.training.adapter import merged
    from depthcrafter_cli.types import Size

    plan = config.validation
    assert plan is not None
    clips, multiple = held_out(config, sources), networks.side_multiple
    sizes = [_shown(Size(*shape[1:]), multiple) for _, _, shape in clips]
    settings = pipeline_settings(config)

    def scores() -> dict[str, float]:
        rows: dict[str, list[float]] = defaultdict(list)
        for (name, index, (frames, _, _)), size in zip(clips, sizes, strict=True):
            kind = config.sources[name].kind
            clip = rejects.read(name, sources[name], index, range(frames))
            if clip is None:
                continue
            depth = _depth(clip, metric=kind not in ("folder", "stacks"))
            prefix = "" if name == plan.source else f"{name}."
            shown = [resized_picture(frame, size).numpy() for frame in clip.rgb.numpy()]
            prediction = np.concatenate([*estimate_disparity(networks, settings, shown)])
            try:
                aligned = align_clip(prediction, depth, max_depth=plan.max_depth)
                metrics = evaluate_clip(aligned)
                rows[prefix + "abs_rel"].append(metrics.abs_rel)
                rows[prefix + "delta1"].append(metrics.delta1)
                if frames > 1:
                    rows[prefix + "temporal"].append(temporal_score(aligned))
                if show is not None and index == 0:
                    show(name, _side_by_side(clip, aligned))
            except InputError as error:
                raise InputError(
                    f"clip {index} of the source {name!r} cannot be scored: {error}"
                ) from error
        if "abs_rel" not in rows:
            raise InputError(
                f"got no clip that can be read among the first {plan.clips} of the source "
                f"{plan.source!r} of [validation], expected one: replace them."
            )
        return {score: float(np.mean(values)) for score, values in rows.items()}

    def of_merged() -> dict[str, float]:
        with merged(networks.unet):
            return scores()

    return of_merged


def _shown(size: "Size", multiple: int) -> "Size":
    """The size at which networks that take multiples see a clip of this size."""
    from depthcrafter_cli.media.resize import model_size

    return model_size(size, max(size.height, size.width, multiple), multiple)


def _side_by_side(clip: "Sample", aligned: "AlignedClip") -> "RgbImage":
    """The middle frame, true disparity and the aligned estimate of it, uint8 [H, 3 W, 3]."""
    import numpy as np

    from depthcrafter_cli.depth.colorize import colorize

    middle = len(aligned.pred) // 2
    frame = next(islice(aligned, middle, None))
    truth = np.where(frame.valid, 1 / np.where(frame.valid, frame.truth, 1), 0)
    maps = np.stack([truth, 1 / frame.estimate]) / max(truth.max(), 1e-9)
    coloured = colorize(np.clip(maps, 0, 1).astype(np.float32), "inferno", dither=False)
    return np.concatenate([clip.rgb[middle].numpy(), *coloured], axis=1)


def _depth(clip: "Sample", metric: bool) -> "npt.NDArray[np.float32]":
    """Depth [T, H, W], 0 where it is unknown; in medians of the clip if its unit may be any."""
    known = clip.valid & (clip.disparity > 0)
    unit = clip.disparity[known].median() if known.any() and not metric else 1.0
    depth: npt.NDArray[np.float32] = (unit / clip.disparity).where(known, 0.0).numpy()
    return depth
