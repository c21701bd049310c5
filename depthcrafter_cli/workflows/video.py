"""What a run reads: a video, the frames of it that are asked for, and its shots."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from depthcrafter_cli.media.selection import ReadOptions
from depthcrafter_cli.shots.shot import FilmTimes
from depthcrafter_cli.types import Size, VideoInfo
from depthcrafter_cli.workflows.places import writes_early
from depthcrafter_cli.workflows.request import RunRequest


@dataclass(frozen=True)
class Video:
    """What a run reads: ``info`` is of the whole video, ``reading`` selects its frames.

    ``rate`` labels them. ``frames`` is how many they are: an estimate from the container, None
    where it says nothing, exact where they were ``counted``. ``cuts`` are the frames before which
    a film is cut, which only one that is counted has, ``times`` what outputs must know of its shots
    before they are computed, None where that is not known, or it has one.
    """

    info: VideoInfo
    reading: ReadOptions
    rate: Fraction
    frames: int | None
    counted: bool = False
    cuts: tuple[int, ...] = ()
    times: FilmTimes | None = None

    def held_by(self, request: RunRequest) -> int:
        """How many frames' disparity a run holds at a time: of two shots, where they go early.

        One is written while the next is computed.
        """
        shots = [0 if frames is None else frames for frames in self.shots]
        if self.times is None or not writes_early(request):
            return sum(shots)
        return max(map(sum, pairwise([0, *shots])))

    def output_size(self, request: RunRequest, model: Size) -> Size:
        """The size of the results of a model that sees pictures of size ``model``."""
        return request.output_size(self.info.size, model, self.info.anamorphic)

    @property
    def shots(self) -> list[int | None]:
        """The frames of each shot, as far as ``frames`` tells."""
        if self.frames is None:
            return [None]
        return [stop - start for start, stop in pairwise((0, *self.cuts, self.frames))]
