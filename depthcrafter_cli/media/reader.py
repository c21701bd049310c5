"""Videos in: what a path holds, and its frames at the size the model or the output needs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.hdr import DIFFUSE_WHITE
from depthcrafter_cli.media.image_sequence import ImageSequence, is_image_sequence
from depthcrafter_cli.media.images import may_hold_several
from depthcrafter_cli.media.pages import PagedImage, film_format
from depthcrafter_cli.media.pyav_reader import VideoFile
from depthcrafter_cli.media.scale import PictureScaler
from depthcrafter_cli.media.selection import ReadOptions, first_selected, select, selected_rate
from depthcrafter_cli.media.sound import Sound
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.shots.timecode import Timecode, frames_of, later
from depthcrafter_cli.types import Frame, Hdr, Size, VideoInfo

Source: TypeAlias = VideoFile | ImageSequence | PagedImage

_WHOLE = ReadOptions()


def probe(path: Path, options: ReadOptions = _WHOLE) -> VideoInfo:
    """What ``path`` holds: a video file, a folder of images, a ``%04d`` pattern or one image.

    Raises InputError if it is missing, empty, damaged from the start, or holds no video, or none
    whose colours can be told.
    """
    source = _source(path, options)
    info = _info(source, options)
    return source.measured(info) if isinstance(source, VideoFile) else info


def _info(source: Source, options: ReadOptions) -> VideoInfo:
    info = source.info()
    if info.hdr is not None and info.hdr.transfer == "dolby" and options.tonemap == "auto":
        raise InputError(
            f"{info.path} is Dolby Vision whose colours Dolby's metadata alone tell (profile 5), "
            "expected SDR, PQ or HLG: convert it with ffmpeg -i IN -vf libplacebo=colorspace=bt709:"
            'color_primaries=bt709:color_trc=bt709:format=yuv420p OUT, or pass `tonemap="none"` to '
            "read it as it is stored, in false colours."
        )
    return info


def settled(path: Path, options: ReadOptions, info: VideoInfo) -> ReadOptions:
    """The options with times in place of the numbers of frames and timecodes.

    Raises InputError for those that the video, which is as ``info`` says, does not have.
    """
    return options if options.is_settled else _settled(_source(path, options), options, info)


def _settled(source: Source, options: ReadOptions, info: VideoInfo) -> ReadOptions:
    if options.is_settled:
        return options
    if options.frames is not None:
        start, end = _times_of_frames(source, options, info)
        return replace(options, start=start, end=end, frames=None)
    begin, stop = (_time_of(source, each, info) for each in (options.start, options.end))
    return replace(options, start=begin, end=stop)


def _time_of(
    source: Source, moment: Fraction | Timecode | None, info: VideoInfo
) -> Fraction | None:
    """Seconds of a moment; those of a timecode are half a frame before its frame."""
    if not isinstance(moment, Timecode):
        return moment
    first = source.first_shown()[1] if isinstance(source, VideoFile) else ""
    if not first:
        raise InputError(
            f"{info.path} has no timecode, and got {moment}, expected seconds or numbers of "
            "frames: use `start` and `end` with seconds, or `frames`."
        )
    try:
        drop = ";" in first
        place, begin = (frames_of(each, info.rate, drop=drop) for each in (str(moment), first))
    except ValueError as error:
        raise InputError(
            f"{info.path} begins at the timecode {first}, and {error}, expected one of the same "
            "kind: correct it."
        ) from error
    if place < begin:
        raise InputError(
            f"{info.path} begins at the timecode {first}, and got {moment}, expected one from "
            "there on: correct it."
        )
    return _before(place - begin, info.rate)


def _times_of_frames(
    source: Source, options: ReadOptions, info: VideoInfo
) -> tuple[Fraction, Fraction | None]:
    """The times between which the frames of ``options`` are shown."""
    first, last = options.frame_range
    numbers = source.numbers() if isinstance(source, ImageSequence) else None
    if numbers is not None:
        wanted = {first, first if last is None else last}
        if missing := sorted(wanted - set(numbers)):
            raise InputError(
                f"{info.path} has the frames {numbers[0]} to {numbers[-1]}, and got {missing[0]}, "
                "expected some of them: correct `frames`."
            )
        first = numbers.index(first)
        last = None if last is None else numbers.index(last)
    if isinstance(source, ImageSequence):
        return _before(first, info.rate), None if last is None else _before(last + 1, info.rate)
    times = source.first_times((first if last is None else last + 1) + 1)
    if first >= len(times):
        raise InputError(
            f"{info.path} has {len(times)} frames, and got number {first}, expected one of 0 to "
            f"{len(times) - 1}: correct `frames`."
        )
    # Halfway between two: times that a container rounds are set right by what follows.
    between = [Fraction(0), *((one + other) / 2 for one, other in pairwise(times))]
    return between[first], between[last + 1] if last is not None and last + 1 < len(times) else None


def _before(index: int, rate: Fraction) -> Fraction:
    """Half a frame before a frame at a constant rate, whose time the container may have rounded."""
    return max(Fraction(0), (index - Fraction(1, 2)) / rate)


def read_frames(
    path: Path,
    size: Size,
    options: ReadOptions = _WHOLE,
    warn: Warn = ignore,
    first: int = 0,
) -> Iterator[Frame]:
    """The selected frames from the ``first`` on, at ``size``, streamed in one pass.

    A damaged file hands out what can be decoded and then says so through ``warn``, in one
    sentence: the frames that were read are worth finishing.

    Raises InputError as :func:`probe` does and where nothing is selected, UsageError for a rate
    above the video's; both before the first frame, except for an empty selection.
    """
    source, info, options = _opened(path, options)
    selected_rate(info, options)
    return _frames(source, info, size, options, warn, first)


def _opened(path: Path, options: ReadOptions) -> tuple[Source, VideoInfo, ReadOptions]:
    """What a path holds, and which part of it is asked for in seconds."""
    source = _source(path, options)
    info = _info(source, options)
    return source, info, _settled(source, options, info)


def _frames(
    source: Source, info: VideoInfo, size: Size, options: ReadOptions, warn: Warn, first: int
) -> Iterator[Frame]:
    def unknown(matrix: int) -> None:
        warn(
            f"{info.path} names colours that cannot be converted here (matrix {matrix} of ITU-T "
            "H.273), and is read as if it named none: convert it to BT.709 first."
        )

    scale = PictureScaler(size, options.matrix, _hdr_to_map(info, options, warn), unknown)
    pictures = source.pictures(options.seconds[0], warn)
    index = -1
    selected = select(pictures, options, 1 / info.rate)
    for index, (time, duration, picture) in enumerate(selected):
        if index >= first:
            yield Frame(index, time, duration, scale(picture))
    if index < 0:
        raise _nothing_selected(info, options)


def _hdr_to_map(info: VideoInfo, options: ReadOptions, warn: Warn) -> Hdr | None:
    """What is to become SDR, None for nothing; ``warn`` is told of a video that says it is HDR."""
    if options.tonemap in ("pq", "hlg"):
        return replace(info.hdr, transfer=options.tonemap) if info.hdr else Hdr(options.tonemap)
    if info.hdr is None:
        return None
    name = "Dolby Vision" if info.hdr.transfer == "dolby" else info.hdr.transfer.upper()
    said = f"{info.path} is HDR ({name}), and the model, which knows SDR only,"
    if options.tonemap == "none":
        warn(f"{said} sees it as it is stored, rather flat.")
        return None
    warn(
        f"{said} sees it as SDR, with white at {DIFFUSE_WHITE:g} nits; "
        '`tonemap="none"` leaves it as it is stored.'
    )
    return info.hdr


def count_frames(path: Path, options: ReadOptions = _WHOLE) -> int:
    """How many frames :func:`read_frames` hands out: exact, by decoding without scaling.

    Raises the same errors.
    """
    source, info, options = _opened(path, options)
    selected_rate(info, options)
    pictures = source.pictures(options.seconds[0], ignore)
    count = sum(1 for _ in select(pictures, options, 1 / info.rate))
    if not count:
        raise _nothing_selected(info, options)
    return count


def clock_of(path: Path, options: ReadOptions = _WHOLE) -> tuple[Fraction, int]:
    """The unit of a video's time stamps in seconds, and the first frame's: those it has itself.

    Images count frames from 0. Raises the errors of :func:`probe`.
    """
    source = _source(path, options)
    return source.clock() if isinstance(source, VideoFile) else (1 / options.sequence_rate, 0)


def _source(path: Path, options: ReadOptions) -> Source:
    try:
        if not is_image_sequence(path):
            return VideoFile(path, options.stream)
        folder = path if path.is_dir() else path.parent
        if folder.is_dir():
            next(folder.iterdir(), None)
    except PermissionError:
        raise InputError(
            f"{path} cannot be opened (permission denied), expected a readable file or folder: "
            "check its permissions."
        ) from None
    except OSError as error:  # a name that is too long, say
        raise InputError(
            f"{path} cannot be opened ({error.strerror or error}), expected a video file or a "
            "folder of images: check the path."
        ) from None
    film = film_format(path) if path.is_file() and may_hold_several(path) else None
    if film == "PNG":  # whose durations FFmpeg reads exactly
        return VideoFile(path, options.stream)
    if film is not None:
        return PagedImage(path, options.sequence_rate)
    return ImageSequence(path, options.sequence_rate, options.gaps, options.exposure)


@dataclass(frozen=True)
class Carried:
    """What a video has beside its pictures.

    ``timecode`` is that of the first frame read, and counts at the video's own ``rate``; ``offset``
    is how many seconds nothing is shown before it.
    """

    rate: Fraction
    sound: Sound | None = None
    timecode: str = ""
    offset: Fraction = Fraction(0)


def carried_by(path: Path, options: ReadOptions, warn: Warn = ignore) -> Carried:
    """The sound and timecode that belong to the frames :func:`read_frames` hands out.

    Nothing of images. Raises InputError as :func:`probe` does.
    """
    source, info, options = _opened(path, options)
    if not isinstance(source, VideoFile):
        return Carried(options.sequence_rate)
    zero, timecode = source.first_shown()
    pictures = source.pictures(options.seconds[0], ignore)
    time = first_selected(pictures, options, 1 / info.rate) or Fraction(0)
    whole = options.end is None and options.max_frames is None
    return Carried(
        info.rate,
        Sound(path, zero + time, whole, warn),
        later(timecode, time * info.rate, info.rate),
        Fraction(0) if time else source.begins_late_by(),
    )


def frame_numbers(path: Path, options: ReadOptions = _WHOLE) -> list[int] | None:
    """The numbers that the frames :func:`read_frames` hands out have in their images' names.

    None where they have none, as those of a video file. Raises InputError as :func:`probe` does.
    """
    numbers = [number for _time, number in _images_read(path, options)]
    known = [number for number in numbers if number is not None]
    return known if numbers and len(known) == len(numbers) else None


def image_times(path: Path, options: ReadOptions = _WHOLE) -> list[Fraction]:
    """When the images that :func:`read_frames` hands out are shown, in seconds, none being read.

    Empty for what is no sequence of images. Raises InputError as :func:`probe` does.
    """
    return [time for time, _number in _images_read(path, options)]


def _images_read(path: Path, options: ReadOptions) -> list[tuple[Fraction, int | None]]:
    """(time, number) of each image that is selected; empty for what is no sequence of images."""
    source = _source(path, options)
    if not isinstance(source, ImageSequence):
        return []
    shown = 1 / source.rate
    options = settled(path, options, source.info())
    images = ((index * shown, shown, number) for index, number in enumerate(source.numbers()))
    return [(time, number) for time, _shown, number in select(images, options, shown)]


def _nothing_selected(info: VideoInfo, options: ReadOptions) -> InputError:
    length = f" of its {float(info.frame_count / info.rate):.2f} s" if info.frame_count else ""
    return InputError(
        f"{info.path} has no frame at or after {float(options.seconds[0]):g} s{length}, expected "
        "at least one: correct `start` or `end`."
    )
