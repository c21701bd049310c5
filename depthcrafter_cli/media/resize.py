"""Picture sizes: pure arithmetic, no pictures."""

import re
from fractions import Fraction
from pathlib import Path

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.types import Size

MOST_PIXELS = 160_000_000  # of one picture: twice 12K film


def model_size(source: Size, max_res: int, multiple: int = 64) -> Size:
    """The size at which the model sees a video, by the reference's rule.

    Each side is rounded to a ``multiple`` (ties to even); if the longer one then exceeds
    ``max_res``, both are recomputed from the source scaled to ``max_res``. The aspect ratio
    is not kept exactly, and a ``max_res`` that is no multiple may be exceeded.

    Raises UsageError for a ``max_res`` below one multiple and InputError for a video with a
    side that rounds to 0.
    """
    if max_res < multiple:
        raise UsageError(f"got `max_res` {max_res}, expected at least {multiple}: raise it.")
    size = _rounded(source, Fraction(1), multiple)
    if max(size.height, size.width) > max_res:
        scale = Fraction(max_res, max(source.height, source.width))
        size = _rounded(source, scale, multiple)
    if min(size.height, size.width) == 0:
        raise InputError(_too_small(source, max_res, multiple))
    return size


def within(max_res: int, multiple: int = 64) -> int:
    """The longest side up to ``max_res`` that a model can see, so that no rounding exceeds it."""
    return max_res if max_res < multiple else max_res - max_res % multiple


def _rounded(source: Size, scale: Fraction, multiple: int) -> Size:
    height, width = (
        round(Fraction(side) * scale / multiple) * multiple
        for side in (source.height, source.width)
    )
    return Size(height, width)


def _too_small(source: Size, max_res: int, multiple: int) -> str:
    shortest = multiple // 2 + 1
    if min(source.height, source.width) >= shortest:
        return (
            f"The video is {source}, and scaled down to {max_res} pixels its short side rounds "
            f"to 0, expected at least {shortest} pixels there: raise `max_res`."
        )
    return (
        f"The video is {source}, expected at least {shortest} pixels a side: "
        "enlarge it before the run."
    )


def as_shown(stored: Size, pixel_aspect: Fraction) -> Size:
    """The size, of square pixels, at which a picture of other pixels is shown."""
    return Size(stored.height, max(round(stored.width * pixel_aspect), 1))


def require_sane(path: Path, size: Size) -> None:
    """Raises InputError for a picture so large that decoding it would exhaust the machine."""
    if size.height * size.width > MOST_PIXELS:
        raise InputError(
            f"{path} is {size}, expected at most {MOST_PIXELS / 1e6:.0f} million pixels: check "
            "that the file is what you think, or scale it down first."
        )


def output_size(choice: str, source: Size, model: Size) -> Size:
    """The size of the written depth: ``source``, ``model`` or ``WIDTHxHEIGHT``.

    Raises UsageError for any other text, and for a size that no picture may have.
    """
    named = {"source": source, "model": model}
    if choice in named:
        return named[choice]
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", choice.lower())
    if match is None:
        raise UsageError(
            f"The output size is {choice!r}, expected 'source', 'model' or WIDTHxHEIGHT "
            "such as 1280x720: correct `size`."
        )
    width, height = (int(side) for side in match.groups())
    if width * height > MOST_PIXELS:
        raise UsageError(
            f"got `size` {choice}, expected at most {MOST_PIXELS / 1e6:.0f} million pixels: choose "
            "a smaller one."
        )
    return Size(height, width)


def reference_stride(rate: Fraction, fps: Fraction) -> int:
    """How many source frames the reference steps for a target rate (ties to even)."""
    return max(round(rate / fps), 1)
