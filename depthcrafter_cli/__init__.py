"""Temporally consistent depth for any video, with the DepthCrafter model.

``from depthcrafter_cli import DepthCrafterPipeline`` loads torch only when the
name is first used, so importing the package (and ``depthcrafter --help``) is instant.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["DepthCrafterPipeline", "PipelineConfig", "__version__"]

if TYPE_CHECKING:
    from depthcrafter_cli.pipeline.config import PipelineConfig
    from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline


def __getattr__(name: str) -> Any:
    if name == "DepthCrafterPipeline":
        from depthcrafter_cli.pipeline.pipeline import DepthCrafterPipeline

        return DepthCrafterPipeline
    if name == "PipelineConfig":
        from depthcrafter_cli.pipeline.config import PipelineConfig

        return PipelineConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
