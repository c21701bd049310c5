"""From a recipe's ``[sources]`` to clips."""

from __future__ import annotations

from depthcrafter_cli.training.config import SourceConfig
from depthcrafter_cli.training.data.generated import GeneratedClips
from depthcrafter_cli.training.data.samples import ClipSource


def open_source(config: SourceConfig) -> ClipSource:
    """The clips a recipe names."""
    return GeneratedClips(config)
