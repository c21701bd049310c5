"""From a recipe's ``[sources]`` to clips."""

from __future__ import annotations

from pathlib import Path

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.training.config import SourceConfig
from depthcrafter_cli.training.data.benchmarks import LAYOUTS
from depthcrafter_cli.training.data.folder import folder_clips
from depthcrafter_cli.training.data.generated import GeneratedClips
from depthcrafter_cli.training.data.recorded import RecordedClips
from depthcrafter_cli.training.data.samples import ClipSource
from depthcrafter_cli.types import Size


def open_source(config: SourceConfig) -> ClipSource:
    """The clips a recipe names.

    Raises:
        UsageError: the kind is unknown.
        InputError: there are no clips, or one of them is not complete.
    """
    if config.kind == "generated":
        return GeneratedClips(config)
    layouts = {"folder": folder_clips, **LAYOUTS}
    if config.kind not in layouts:
        raise UsageError(
            f"got a source of kind {config.kind!r}, expected one of "
            f"{['generated', *layouts]}: choose one."
        )
    root = Path(config.path).expanduser()
    return RecordedClips(layouts[config.kind](root), Size(config.height, config.width), root)
