"""Depth as a Python caller gets it: arrays, and where the film that they are of is cut."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from depthcrafter_cli.depth.align import Overlap, align
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.inputs import VideoInput
from depthcrafter_cli.methods.base import MethodPlan
from depthcrafter_cli.progress import Observer
from depthcrafter_cli.workflows.film import check_cuts, film_of
from depthcrafter_cli.workflows.request import AUTO_CUTS, NO_CUTS, RunRequest


class _Arrays(NamedTuple):
    disparity: Any
    times: Any


class Depth(_Arrays):
    """The depth of a video, or of some frames of it: a tuple of ``disparity`` and ``times``.

    ``disparity`` is float32 [T, H, W], larger is nearer, known up to one scale and one shift for
    the whole video, of a film for each shot; ``times`` are seconds from its first frame, float64
    [T]. Both are arrays of NumPy, or tensors where these were asked for. ``cuts`` are those of the
    T frames before which the film is cut.
    """

    cuts: tuple[int, ...] = ()

    def __new__(cls, disparity: Any, times: Any, cuts: Sequence[int] = ()) -> "Depth":
        """Return the tuple, which has ``cuts`` beside its two parts."""
        depth = super().__new__(cls, disparity, times)
        depth.cuts = tuple(cuts)
        return depth

    def as_tensors(self) -> "Depth":
        """The same in tensors on the CPU."""
        import torch

        def tensor(part: Any) -> torch.Tensor:
            if isinstance(part, torch.Tensor):
                return part.cpu()
            return torch.from_numpy(np.require(part, requirements=("C", "W")))

        return Depth(tensor(self.disparity), tensor(self.times), self.cuts)

    def _replace(self, /, **parts: Any) -> "Depth":
        """Return the same with other parts, among them ``cuts``, as that of a named tuple."""
        return Depth(**{**self._asdict(), "cuts": self.cuts, **parts})

    __replace__ = _replace  # of copy.replace


def joined(parts: Iterable[Depth], shared: Mapping[int, Sequence[Overlap]]) -> Depth:
    """The depth of a whole video, by that of its parts in order.

    The windows of a shot are aligned by what they ``shared``, as far as the parts tell it.
    """
    made, cuts, frames = list[Depth](), list[int](), 0
    for part in parts:
        made.append(part)
        cuts += [frames + cut for cut in part.cuts]
        frames += len(part.times)
    disparity, times = map(np.concatenate, zip(*made, strict=True))
    for shot, (start, stop) in enumerate(pairwise((0, *cuts, frames))):
        if overlaps := shared.get(shot):
            steady = align(overlaps, stop - start)
            for at in range(start, stop):
                disparity[at] = steady(at - start, disparity[at])
    return Depth(disparity, times, cuts)


def shots_of(
    source: VideoInput, cuts: str, plan: MethodPlan, observer: Observer
) -> Sequence[int | None]:
    """The frames of each shot of what is read, None where that is not known, and not used.

    Raises InputError, and UsageError for cuts of pictures.
    """
    if source.path is None or source.info is None:
        if cuts not in (AUTO_CUTS, NO_CUTS):
            raise UsageError(
                f"got `cuts` {cuts} with pictures, which are one shot, expected them with a path: "
                "hand over each shot by itself."
            )
        return [source.length]
    request = RunRequest(source.path, (), cuts=cuts)
    check_cuts(request)
    counts = plan.exact_length or plan.uses_length
    film = film_of(request, source.info, source.reading, counts, observer)
    return [source.length] if film is None else [len(shot) for shot in film.shots]
