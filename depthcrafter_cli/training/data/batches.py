"""What every step is shown: a pure function of seed, step and sample number.

So a run may be stopped and resumed, read ahead, or spread over any number of processes, and still
sees the same clips with the same noise in every step.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods
from typing import Protocol

import numpy as np
from torch.utils.data import DataLoader, Dataset

from depthcrafter_cli.datasets.clip import ClipSource, Sample, Shape, drawn_frames, known_part
from depthcrafter_cli.errors import DepthCrafterError, InputError
from depthcrafter_cli.threads import ahead
from depthcrafter_cli.training.config import StageConfig, ViewSize
from depthcrafter_cli.training.data.latents import Latents
from depthcrafter_cli.training.data.rejects import Rejects
from depthcrafter_cli.training.data.views import drawn_size, view

BatchVideo = Latents | Sample
_TRIES = 100  # to draw a clip that can be read; where so many fail in a row, few can be


@dataclass(frozen=True)
class Share:
    """Which samples of a step this process takes: every ``of``-th from ``rank`` on."""

    rank: int = 0
    of: int = 1


@dataclass(frozen=True)
class Piece:
    """Clips that go through the network together, and their ``weight`` in the step's mean.

    ``seeds`` fix all that is random about each of the ``clips``, of ``frames`` frames in all.
    ``rejected`` were to be shown and could not be: source, clip and why.
    """

    clips: list[BatchVideo]
    seeds: list[list[int]]
    weight: float
    frames: int
    rejected: list[tuple[str, str, str]] = field(default_factory=list)


class Readable(Protocol):
    """What batches need of a source of clips."""

    def shapes(self) -> list[Shape]:
        """Frames, height and width of every clip."""
        ...

    def name(self, index: int) -> str:
        """What messages call a clip."""
        ...

    def read(self, index: int, frames: int, stride: int, rng: np.random.Generator) -> BatchVideo:
        """``frames`` frames of a clip, so many apart, from a random start.

        Raises InputError where they cannot be read, or nothing is known of them.
        """
        ...


class StreamedClips:
    """Clips read anew each time, with ``mirror`` half of them mirrored; who trains encodes them."""

    def __init__(self, source: ClipSource, mirror: bool = True) -> None:
        self._source, self._mirror = source, mirror

    def shapes(self) -> list[Shape]:
        return [self._source.shape(index) for index in range(len(self._source))]

    def name(self, index: int) -> str:
        return self._source.name(index)

    def read(self, index: int, frames: int, stride: int, rng: np.random.Generator) -> Sample:
        wanted = drawn_frames(self._source.shape(index)[0], frames, stride, rng)
        place = float(rng.spawn(1)[0].random())
        clip = known_part(self._source, index, wanted, place)
        # Drawn in any case, for what is drawn next must not depend on it.
        return clip.mirrored() if rng.random() < 0.5 and self._mirror else clip


class Steps(Dataset[list[Piece]]):
    """The pieces of every step of a stage, by step number."""

    def __init__(
        self,
        config: StageConfig,
        sources: Mapping[str, Readable],
        seed: int,
        share: Share,
        rejects: Rejects | None = None,
    ) -> None:
        self._config, self._seed, self._share = config, seed, share
        self._rejects = rejects or Rejects(0)
        self._names = [*config.sources]
        self._sources = [sources[name] for name in self._names]
        self._weights = _unit(list(config.sources.values()))
        shapes = [source.shapes() for source in self._sources]
        self._counts = dict(zip(self._names, map(len, shapes), strict=True))
        self._buckets = [_buckets(each, config.frames[0]) for each in shapes]

    def __getitem__(self, step: int) -> list[Piece]:
        rng = np.random.default_rng([self._seed, step])
        chosen = int(rng.choice(len(self._sources), p=self._weights))
        least, most = self._config.frames
        buckets = self._buckets[chosen]
        # Every frame of a source is shown equally often.
        shown = [len(held) * min(shape[0], most) for shape, held in buckets]
        shape, held = buckets[int(rng.choice(len(buckets), p=_unit(shown)))]
        longest = min(most, shape[0])
        frames = int(rng.integers(least, longest + 1))
        total = self._config.batch
        if self._config.batch_frames:
            total = max(1, self._config.batch_frames // frames)
        views = self._config.views
        size = drawn_size(views, rng) if views else None
        strides = [each for each in self._config.strides if (frames - 1) * each < shape[0]]
        stride = int(rng.choice(strides)) if strides else 1
        return self._pieces(chosen, held, step, total, range(0, frames * stride, stride), size)

    def _pieces(
        self,
        source: int,
        held: list[int],
        step: int,
        total: int,
        frames: range,
        view_size: ViewSize | None,
    ) -> list[Piece]:
        mine = list(range(self._share.rank, total, self._share.of))
        # Every process must take part in every step, if only with a sample that weighs nothing.
        worth = 1 / total if mine else 0.0
        mine = mine or [0]
        # As many pieces in every process: each has a turn in the exchange of gradients.
        most = -(-total // self._share.of)
        size = self._config.micro_batch or most
        pieces = []
        for first in range(0, most, size):
            samples = mine[first : first + size]
            weight = worth * len(samples)
            shown = samples or mine[:1]
            pieces.append(self._piece(source, held, step, shown, frames, weight, view_size))
        return pieces

    def _piece(
        self,
        source: int,
        held: list[int],
        step: int,
        samples: Sequence[int],
        frames: range,
        weight: float,
        view_size: ViewSize | None,
    ) -> Piece:
        seeds = [[self._seed, step, 1 + sample] for sample in samples]
        clips = []
        rejected: list[tuple[str, str, str]] = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            clip = self._read(source, held, frames, rng, rejected)
            if view_size and self._config.views and isinstance(clip, Sample):
                clip = view(clip, view_size, self._config.views, rng)
            clips.append(clip)
        return Piece(clips, seeds, weight, len(frames) * len(clips), rejected)

    def _read(
        self,
        source: int,
        held: list[int],
        frames: range,
        rng: np.random.Generator,
        rejected: list[tuple[str, str, str]],
    ) -> BatchVideo:
        """A part of one of the clips ``held``; in place of one that cannot be shown, of another.

        What is drawn follows from the files alone, so all processes leave out the same.
        """
        readable = self._sources[source]
        for left in reversed(range(_TRIES)):
            index = held[int(rng.integers(len(held)))]
            try:
                return readable.read(index, len(frames), frames.step, rng)
            except InputError as error:
                rejected.append((self._names[source], readable.name(index), str(error)))
                if not left:
                    raise
        raise AssertionError

    def unshared(self) -> Steps:
        """The same steps, as a process that is alone would take them."""
        alone = copy(self)
        alone._share = Share()
        return alone

    def over(self, steps: range, workers: int) -> Iterator[list[Piece]]:
        """The pieces of ``steps`` in order, read ahead by ``workers`` processes.

        On a system that cannot fork, as Windows, one thread reads ahead.

        Raises InputError where too many clips cannot be read, also in a worker.
        """
        order: list[int] = list(steps)
        if not workers:
            return map(self._told, DataLoader(self, batch_size=None, sampler=order))
        if "fork" not in get_all_start_methods():
            return map(self._told, ahead((self[step] for step in steps), 1))
        # Sources hold open-ended things that cannot be sent to a new process. A step of long clips
        # is a gigabyte and more, so no worker gets further ahead than one.
        loader = DataLoader(
            _Answers(self), batch_size=None, sampler=order, num_workers=workers,
            multiprocessing_context="fork", prefetch_factor=1, worker_init_fn=_end_quietly,
        )  # fmt: skip
        # What PyAV made here has threads, for which a fork that collected it would wait for ever.
        gc.collect()
        gc.freeze()
        answers = iter(loader)  # forks
        gc.unfreeze()
        return (self._told(answer.taken()) for answer in answers)

    def _told(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces of a step, whose rejected clips are told of. Raises InputError."""
        for name, clip, reason in (each for piece in pieces for each in piece.rejected):
            self._rejects.add(name, clip, reason, self._counts[name])
        return pieces


@dataclass(frozen=True)
class _Answer:
    """The pieces of a step, or why there are none, as a worker hands them over."""

    pieces: list[Piece]
    error: DepthCrafterError | None = None

    def taken(self) -> list[Piece]:
        if self.error:
            raise self.error
        return self.pieces


class _Answers(Dataset[_Answer]):
    """Steps whose errors are values: raised in a worker, they would come with its traceback."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getitem__(self, step: int) -> _Answer:
        try:
            return _Answer(self._steps[step])
        except DepthCrafterError as error:
            return _Answer([], error)


def _end_quietly(_worker: int) -> None:
    """Leave it to the main process, which gets the same signals, to end the work between two steps.

    Until then it waits for what a worker reads; without it, a worker ends by itself.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _buckets(shapes: list[Shape], least: int) -> list[tuple[Shape, list[int]]]:
    """Clips by size, those too short left out."""
    buckets: dict[Shape, list[int]] = {}
    for index, shape in enumerate(shapes):
        if shape[0] >= least:
            buckets.setdefault(shape, []).append(index)
    return sorted(buckets.items())


def _unit(shares: Sequence[float]) -> np.ndarray:
    return np.array(shares, float) / sum(shares)
