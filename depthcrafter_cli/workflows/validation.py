"""How good a model in training is: the real pipeline on held-out clips, in the exact protocol."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from depthcrafter_cli.models.components import Components
    from depthcrafter_cli.training.config import TrainingConfig


def validator(config: "TrainingConfig", networks: "Components") -> "Callable[[], dict[str, float]]":
    """A function that gives ``abs_rel``, ``delta1`` and ``temporal``, averaged over the clips.

    Clips of a single frame have no temporal score.
    """
    import numpy as np

    from depthcrafter_cli.evaluation.metrics import evaluate_clip
    from depthcrafter_cli.evaluation.temporal import temporal_score
    from depthcrafter_cli.pipeline.config import PipelineConfig
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline
    from depthcrafter_cli.training.data.sources import open_source

    plan = config.validation
    assert plan is not None
    source = open_source(config.sources[plan.source])
    defaults = PipelineConfig()
    settings = PipelineConfig(
        window=config.settings.get("window", defaults.window),
        overlap=config.settings.get("overlap", defaults.overlap),
        steps=config.settings.get("steps", defaults.steps),
    )

    def scores() -> dict[str, float]:
        rows: dict[str, list[float]] = {"abs_rel": [], "delta1": [], "temporal": []}
        pipeline = DepthCrafterPipeline(networks, settings)
        for index in range(min(plan.clips, len(source))):
            frames = min(plan.frames, source.shape(index)[0])
            clip = source.read(index, 0, frames)
            known = (clip.valid & (clip.disparity > 0)).numpy()
            depth = np.where(known, 1 / np.maximum(clip.disparity.numpy(), 1e-9), 0)
            prediction = np.concatenate(list(pipeline(clip.rgb.numpy())))
            metrics = evaluate_clip(prediction, depth, max_depth=plan.max_depth)
            rows["abs_rel"].append(metrics.abs_rel)
            rows["delta1"].append(metrics.delta1)
            if frames > 1:
                steadiness = temporal_score(prediction, depth, max_depth=plan.max_depth)
                rows["temporal"].append(steadiness)
        return {name: float(np.mean(values)) for name, values in rows.items() if values}

    return scores
