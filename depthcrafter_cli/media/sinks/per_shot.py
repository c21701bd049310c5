"""A file, or a folder of files, for each shot of a film, in the place of one for the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from depthcrafter_cli.disk import make_folder
from depthcrafter_cli.media.files import output_errors
from depthcrafter_cli.media.sinks.base import DepthFrame, DisparitySink, ShotRange, SinkSettings
from depthcrafter_cli.media.sinks.registry import existing_files, shot_path, sink_for
from depthcrafter_cli.media.sound import Sound
from depthcrafter_cli.shots.timecode import later


class PerShotSink:
    """Writes each shot to a place of its own, as a sink would write a video that is that shot.

    Times begin at 0 in each. A shot gets its final name when it is complete, so an exception
    removes only the one under way.
    """

    def __init__(self, out: Path, settings: SinkSettings) -> None:
        self._out, self._settings = out, replace(settings, kept=())
        self._sink = sink_for(shot_path(out, 0), self._settings)
        self._is_open = False
        self.needs_rgb, self.any_size = self._sink.needs_rgb, self._sink.any_size

    def __enter__(self) -> "PerShotSink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_open:
            self._sink.__exit__(kind, error, trace)

    def holds(self, shot: ShotRange, numbers: Sequence[int]) -> bool:
        """Whether all files of a shot are there."""
        return len(existing_files(shot_path(self._out, shot.index))) in (1, len(numbers))

    def go_on(self, frames: int) -> None:
        """Go on after so many frames: each shot stands for itself."""

    def write(self, frame: DepthFrame) -> None:
        """Adds the next frame, to its shot. Raises OutputError."""
        assert frame.shot is not None
        if not self._is_open:
            self._sink = self._sink_for(frame.shot)
            folder = self._sink.folder_of(self._sink.path)
            with output_errors(folder):
                make_folder(folder)
            self._sink.__enter__()
            self._is_open = True
        self._sink.write(replace(frame, time=frame.time - frame.shot.time))

    def end_shot(self) -> None:
        """Completes the shot, and gives it its final name. Raises OutputError."""
        self._is_open = False
        self._sink.close()

    def _sink_for(self, shot: ShotRange) -> DisparitySink:
        settings = replace(
            self._settings,
            frame_count=shot.frames,
            value_range=shot.values,
            end=None if shot.end is None else shot.end - shot.time,
            shots=(),
            own_ranges=False,
            metadata=self._metadata(shot),
            sound=self._sound(shot),
            offset=Fraction(0),
            timecode=later(
                self._settings.timecode, shot.time * self._settings.rate, self._settings.rate
            ),
        )
        return sink_for(shot_path(self._out, shot.index), settings)

    def _sound(self, shot: ShotRange) -> Sound | None:
        """The film's sound from the shot on; beyond the pictures only after the last shot."""
        sound = self._settings.sound
        is_last = shot.start + shot.frames == self._settings.frame_count
        if sound is None:
            return None
        return replace(sound, start=sound.start + shot.time, whole=sound.whole and is_last)

    def _metadata(self, shot: ShotRange) -> Mapping[str, Any]:
        whole = {name: each for name, each in self._settings.metadata.items() if name != "shots"}
        told = shot.to_json()
        own = {name: told[name] for name in ("frames", "value_range")}  # in their places
        return {**whole, **own, "shot": shot.index, "shot_time": told["time"]}
