"""Sound of a video, copied packet by packet beside its depth."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import av.error

from depthcrafter_cli.media.pyav_reader import VideoFile
from depthcrafter_cli.progress import Warn, ignore


@dataclass(frozen=True)
class Sound:
    """The sound of ``path`` from ``start``, seconds on the file's clock, which becomes time 0.

    ``whole`` says that it goes on to its own end; otherwise it ends with the depth. ``warn`` is
    told of sound that a container cannot hold, and of damage.
    """

    path: Path
    start: Fraction
    whole: bool = True
    warn: Warn = ignore

    def into(self, container: av.container.OutputContainer, out: Path) -> "SoundCopy":
        """Adds streams for all sound to the container of ``out``; they are fed by the copy."""
        return SoundCopy(self, container, out)


class SoundCopy:
    """Copies sound into a container, as far as the pictures have come."""

    def __init__(self, sound: Sound, container: av.container.OutputContainer, out: Path) -> None:
        self._sound, self._container = sound, container
        self._source = VideoFile(sound.path).open()
        # Matroska cannot place a block before time 0: all others would be moved.
        self._earliest = 0 if container.format.name == "matroska" else None
        self._streams: dict[int, av.audio.AudioStream] = {}
        for stream in self._source.streams.audio:
            if _holds(container.format.name, stream):
                made = container.add_stream_from_template(stream)
                if language := stream.metadata.get("language"):
                    made.metadata["language"] = language
                self._streams[stream.index] = made
            else:
                codec = _codec_of(stream) or "unknown"
                sound.warn(
                    f"{out} is without the sound of {sound.path} ({codec}), "
                    "which this kind of file cannot hold: try .mkv or .mov, or convert it."
                )
        self._packets = self._read()
        self._next = next(self._packets, None)

    def copy(self, until: Fraction | None) -> None:
        """Copy what begins before a time; None is the end of the sound."""
        while self._next is not None:
            begins, packet = self._next
            if until is not None and begins >= until:
                return
            self._container.mux([packet])
            self._next = next(self._packets, None)

    def end(self, time: Fraction) -> None:
        """Copy the rest of what shall be heard beside pictures that end at ``time``."""
        self.copy(None if self._sound.whole else time)
        self.close()

    def close(self) -> None:
        self._source.close()

    def _read(self) -> Iterator[tuple[Fraction, av.Packet]]:
        """The packets, on the clock of the depth, and when each begins."""
        chosen = [each for each in self._source.streams.audio if each.index in self._streams]
        if not chosen:
            return
        if self._sound.start > 1:
            with suppress(av.error.FFmpegError):  # then it is read from its beginning
                self._source.seek(int((self._sound.start - 1) * av.time_base))
        try:
            for packet in self._source.demux(chosen):
                unit = packet.time_base
                if packet.pts is None or not packet.size:
                    continue
                shift = round(self._sound.start / unit)
                begins, length = (packet.pts - shift) * unit, (packet.duration or 0) * unit
                is_priming = self._sound.start <= 0 and packet.pts < 0
                if begins + length <= 0 and not (is_priming and self._earliest is None):
                    continue
                if self._earliest is not None and begins < self._earliest:
                    continue
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = self._streams[packet.stream.index]
                yield begins, packet
        except av.error.FFmpegError as error:
            self._sound.warn(
                f"The sound of {self._sound.path} is damaged ({error.strerror}), and ends early."
            )


def has_sound(path: Path, container: str | None = None) -> bool:
    """Whether a video has sound, of a kind that a container takes as it is where one is named.

    Containers have FFmpeg's names. Raises InputError.
    """
    with VideoFile(path).open() as source:
        sounds = source.streams.audio
        return any(container is None or _holds(container, stream) for stream in sounds)


def _codec_of(stream: av.audio.AudioStream) -> str:
    """The name of a stream's codec; empty for one that FFmpeg does not know."""
    return stream.codec_context.name if stream.codec_context is not None else ""


def _holds(container: str, stream: av.audio.AudioStream) -> bool:
    """Whether a kind of container takes a stream as it is.

    Samples in MP4 are none of that: older players take them for others, and play noise.
    """
    codec = _codec_of(stream)
    if not codec or (container == "mp4" and codec.startswith("pcm_")):
        return False
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True
