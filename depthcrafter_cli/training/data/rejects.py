"""Clips that cannot be used: told once each, and counted, up to a share of their source."""

from __future__ import annotations

import math

from depthcrafter_cli.datasets.clip import ClipSource, Sample, known_part
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.text import counted


class Rejects:
    """The clips of a run that were left out; ``share`` of a source's may be, or one.

    Where ``share`` is 0, none may.
    """

    def __init__(self, share: float, warn: Warn = ignore) -> None:
        self._share, self._warn = share, warn
        self._reasons: dict[str, dict[str, str]] = {}

    def add(self, source: str, clip: str, reason: str, clips: int) -> None:
        """Leave out a clip of a source of so many. Raises InputError where these are too many."""
        known = self._reasons.setdefault(source, {})
        if clip in known:
            return
        known[clip] = reason
        if len(known) > math.ceil(self._share * clips):
            raise InputError(
                f"{counted(len(known), 'clip')} of {clips} in the source {source!r} cannot be "
                f"used, expected at most a share of {self._share:g} (bad_clips): mend them, take "
                f"them out, or raise bad_clips in the recipe. The last of them: {reason}"
            )
        self._warn(f"The clip {clip} of the source {source} is left out: {reason}")

    def add_rejected(self, name: str, source: ClipSource) -> None:
        """Leave out what a source has found to be no clip. Raises InputError as :meth:`add`."""
        for clip, reason in source.rejected.items():
            self.add(name, clip, reason, len(source) + len(source.rejected))

    def read(self, name: str, source: ClipSource, index: int, frames: range) -> Sample | None:
        """Frames of a clip, None where it is left out. Raises InputError as :meth:`add`."""
        try:
            return known_part(source, index, frames)
        except InputError as error:
            self.add(name, source.name(index), str(error), len(source) + len(source.rejected))
            return None

    @property
    def names(self) -> list[str]:
        """``SOURCE/CLIP`` of each."""
        return sorted(f"{name}/{clip}" for name, known in self._reasons.items() for clip in known)
