"""All methods by name.

To add a model of single images that transformers or diffusers' Marigold serves, enter it in
``models.registry.IMAGE_MODELS``: it then is a method, is listed, pulled, planned, run and resumed.
To add another kind of method, write one module beside this and enter its methods here.
"""

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.methods.base import DepthMethod
from depthcrafter_cli.methods.depthcrafter import DepthCrafterMethod
from depthcrafter_cli.methods.marigold import MarigoldMethod
from depthcrafter_cli.methods.transformers_depth import TransformersMethod
from depthcrafter_cli.methods.trivial import TRIVIAL_METHODS
from depthcrafter_cli.models.layout import MARIGOLD_LAYOUT, TRANSFORMERS_LAYOUT
from depthcrafter_cli.models.registry import MODELS

DEPTHCRAFTER = DepthCrafterMethod.name
_OF_LAYOUT = {TRANSFORMERS_LAYOUT: TransformersMethod, MARIGOLD_LAYOUT: MarigoldMethod}


def methods() -> dict[str, DepthMethod]:
    """By name, in the order to list them in."""
    single = (
        _OF_LAYOUT[spec.layout](spec) for spec in MODELS.values() if spec.layout in _OF_LAYOUT
    )
    found: tuple[DepthMethod, ...] = (DepthCrafterMethod(), *single, *TRIVIAL_METHODS)
    return {method.name: method for method in found}


def method_named(name: str) -> DepthMethod:
    """The method of this name. Raises UsageError for any other."""
    known = methods()
    if name not in known:
        raise UsageError(f"got `method` {name}, expected one of {', '.join(known)}: choose one.")
    return known[name]
