"""Temporally consistent depth for any video, with the DepthCrafter model.

``infer`` turns a video or pictures into depth, ``DepthCrafterPipeline`` many of them, and
``workflows`` does what the commands do. Each name loads what it needs when it is first used, so
importing the package (and ``depthcrafter --help``) is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Depth", "DepthCrafterPipeline", "__version__", "infer"]

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.infer import Depth, DepthCrafterPipeline, infer


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.workflows.infer"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
