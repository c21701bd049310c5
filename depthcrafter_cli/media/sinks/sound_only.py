"""The source's sound in a file of its own, for programs that take no video of depth."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import av
import av.error

from depthcrafter_cli.errors import OutputError
from depthcrafter_cli.media.look import Look
from depthcrafter_cli.media.sinks.base import DepthFrame, FileSink
from depthcrafter_cli.types import Size

CONTAINERS: Mapping[str, str] = {".m4a": "mp4"}


class SoundSink(FileSink):
    """``.m4a``: the sound as it is, from the first frame on that is read."""

    bytes_per_pixel = 0.0
    options = frozenset({"audio"})
    carries_more = True
    keeps_shots = True  # it is all in the source

    @classmethod
    def frame_bytes(cls, out: Path, size: Size, look: Look) -> float:
        return 20_000.0  # rather more than sound takes

    def _begin(self) -> None:
        if self.settings.sound is None:
            raise OutputError(f"{self.path} would be empty, expected sound: leave it out.")
        self._container = av.open(self._file, "w", format=CONTAINERS[self.path.suffix])
        self._sound = self.settings.sound.into(self._container, self.path)

    def _write(self, frame: DepthFrame) -> None:
        self._sound.copy(until=frame.time)
        self._ends = frame.time + 1 / self.settings.rate

    def _end(self) -> None:
        self._sound.end(self.settings.end or self._ends)
        self._container.close()

    def _release(self) -> None:
        if hasattr(self, "_sound"):
            self._sound.close()
        if hasattr(self, "_container"):
            with suppress(av.error.FFmpegError):
                self._container.close()
