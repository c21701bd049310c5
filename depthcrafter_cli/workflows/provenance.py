"""What made a disparity: enough to repeat it, to cite it, and to tell whether a run may go on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import depthcrafter_cli
from depthcrafter_cli.structured import plain, typed
from depthcrafter_cli.types import Anamorphic, Size
from depthcrafter_cli.workflows.request import RunRequest


def program() -> str:
    """This program and its version, as records name them."""
    return f"depthcrafter {depthcrafter_cli.__version__}"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a disparity is computed from, and how.

    Attributes:
        program: the program and its version.
        disparity: what the numbers mean.
        input: the video, as :func:`~depthcrafter_cli.media.identity.identity` gives it.
        cuts: the frames before which it is cut into shots; left out of JSON where there are none.
        cut_list: the file that says so, as ``input``; empty, and left out, where none was given.
        rate: frames per second of the frames that are read.
        source_size: the size of the video's pictures, of square pixels.
        anamorphic: how they are stored, if by pixels of another shape.
        model_size: the size at which the disparity is computed.
        model: the name of the weights.
        weights_sha256: SHA-256 by file of the weights; empty where a run is only planned.
        licences: title and address of each licence of the weights.
        non_commercial: whether a licence allows no commercial use.
        settings: of the method, by name; only the method reads them.
        memory: how memory was used, as plain JSON values.
        reference: whether the reference program is reproduced.
        device: the kind of device, such as ``cuda``.
        dtype: the precision, such as ``float16``.
    """

    program: str = field(default_factory=program)
    disparity: str = "affine-invariant, larger is nearer"
    input: Mapping[str, Any]
    cuts: tuple[int, ...] = ()
    cut_list: Mapping[str, Any] = field(default_factory=dict)
    rate: Fraction
    source_size: Size
    model_size: Size
    model: str
    weights_sha256: Mapping[str, str]
    licences: tuple[str, ...]
    non_commercial: bool
    settings: Mapping[str, Any]
    memory: Mapping[str, Any]
    reference: bool
    device: str
    dtype: str
    anamorphic: Anamorphic | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the order of the fields; sizes are written ``WIDTHxHEIGHT``."""
        return {
            name: str(value) if isinstance(value, Size) else plain(value)
            for name, value in vars(self).items()
            if value is not None and (value or name not in ("cuts", "cut_list"))
        }

    def output_size(self, request: RunRequest) -> Size:
        """The size of the results that a request makes of the disparity."""
        return request.output_size(self.source_size, self.model_size, self.anamorphic)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Provenance":
        """The provenance that :meth:`to_json` was called on. Raises ValueError for another."""
        sizes = {name: _size(values[name]) for name in ("source_size", "model_size")}
        made: Provenance = typed(Provenance, {**values, **sizes}, "provenance")
        return made


def _size(text: str) -> Size:
    width, height = map(int, text.split("x"))
    return Size(height, width)
