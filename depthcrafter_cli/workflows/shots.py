"""Find a film's shots, and show them: a list that people can edit and a sheet of pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

from depthcrafter_cli.disk import identities
from depthcrafter_cli.errors import OutputError, UsageError
from depthcrafter_cli.media.files import claimed, require_folder
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.media.selection import ReadOptions, selected_rate
from depthcrafter_cli.progress import Observer, Progress, Warn, ignore
from depthcrafter_cli.shots.cuts import shots_csv, shots_edl
from depthcrafter_cli.shots.detect import find_cuts, picture_size
from depthcrafter_cli.shots.shot import Shot, Timeline, shots_between
from depthcrafter_cli.types import RgbImage

_THUMBNAIL, _CAPTION, _GAP = 160, 16, 6  # pixels
_SHOTS_A_ROW = 3


@dataclass(frozen=True)
class Film:
    """A video, when its frames are shown, and its shots."""

    video: Path
    reading: ReadOptions
    timeline: Timeline
    shots: Sequence[Shot]


def find_shots(
    video: Path, reading: ReadOptions, observer: Observer = ignore, warn: Warn = ignore
) -> Film:
    """Decode a video once at small size, and find where it is cut. Raises InputError."""
    info = probe(video, reading)
    times: list[Fraction] = []

    def pictures() -> Iterator[RgbImage]:
        for frame in read_frames(video, picture_size(info.size), reading, warn):
            times.append(frame.time)
            observer(Progress("read", len(times), info.frame_count))
            yield frame.rgb

    cuts = find_cuts(pictures())
    timeline = Timeline(times, selected_rate(info, reading))
    return Film(video, reading, timeline, shots_between(cuts, timeline))


def _csv(film: Film) -> bytes:
    return shots_csv(film.shots, film.timeline).encode()


def _edl(film: Film) -> bytes:
    return shots_edl(film.shots, film.timeline, film.video.stem).encode()


def _sheet(film: Film) -> bytes:
    """A PNG with the first, the middle and the last frame of each shot, its time and its length."""
    from PIL import Image, ImageDraw

    size = picture_size(probe(film.video, film.reading).size, _THUMBNAIL)
    width, height = 3 * size.width + _GAP, size.height + _CAPTION + _GAP
    rows = -(-len(film.shots) // _SHOTS_A_ROW)
    sheet = Image.new("RGB", (_SHOTS_A_ROW * width - _GAP, rows * height), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    frames = read_frames(film.video, size, film.reading)
    for shot in film.shots:
        row, column = divmod(shot.index, _SHOTS_A_ROW)
        wanted = (shot.start, (shot.start + shot.stop - 1) // 2, shot.stop - 1)
        for frame in islice(frames, len(shot)):
            for place, index in enumerate(wanted):
                if frame.index == index:
                    at = (column * width + place * size.width, row * height + _CAPTION)
                    sheet.paste(Image.fromarray(frame.rgb), at)
        text = f"{shot.index}   {float(shot.time):.2f} s   {len(shot)} frames from {shot.start}"
        draw.text((column * width + 2, row * height + 2), text, (230, 230, 230))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


WRITERS: dict[str, Callable[[Film], bytes]] = {".csv": _csv, ".edl": _edl, ".png": _sheet}
"""What a film's shots can be written as, by suffix."""


def check_shot_outputs(video: Path, outputs: Sequence[Path], *, overwrite: bool) -> None:
    """Raises UsageError or OutputError for what could not be written later."""
    for out in outputs:
        if out.suffix.lower() not in WRITERS:
            raise UsageError(
                f"got {out} with the suffix '{out.suffix}', expected one of {', '.join(WRITERS)}: "
                "choose another name."
            )
        if identities(out) & identities(video):
            raise UsageError(f"{out} is the input, expected another file: choose another name.")
        if out.exists() and not overwrite:
            raise OutputError(f"{out} exists, expected a free name: pass `overwrite=True`.")
        require_folder(out.parent, out, is_made=True)


def write_shots(film: Film, outputs: Sequence[Path], *, overwrite: bool) -> None:
    """Write a film's shots as each output's suffix says. Raises OutputError."""
    with claimed(out.parent.resolve() / out.name for out in outputs):
        for out in outputs:
            content = WRITERS[out.suffix.lower()](film)
            Published(overwrite=overwrite).write_whole(out, content)
