"""A film's shots as people see them: a list that they can edit and a sheet of pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from depthcrafter_cli.disk import first_shared
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import claimed, require_new
from depthcrafter_cli.media.published import Published
from depthcrafter_cli.media.reader import probe, read_frames
from depthcrafter_cli.shots.cuts import shots_csv, shots_edl
from depthcrafter_cli.shots.detect import picture_size
from depthcrafter_cli.workflows.film import Film

_THUMBNAIL, _CAPTION, _GAP = 160, 16, 6  # pixels
_SHOTS_A_ROW = 3


def _csv(film: Film) -> bytes:
    return shots_csv(film.shots, film.timeline).encode()


def _edl(film: Film) -> bytes:
    return shots_edl(film.shots, film.timeline, film.video.stem).encode()


def _sheet(film: Film) -> bytes:
    """A PNG with the first, the middle and the last frame of each shot, its time and its length."""
    from PIL import Image, ImageDraw

    size = picture_size(probe(film.video, film.reading).size, _THUMBNAIL)
    width, height = 3 * size.width + _GAP, size.height + _CAPTION + _GAP
    columns, rows = min(len(film.shots), _SHOTS_A_ROW), -(-len(film.shots) // _SHOTS_A_ROW)
    sheet = Image.new("RGB", (columns * width - _GAP, rows * height), (24, 24, 24))
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
        if first_shared([[out], [video]]):
            raise UsageError(f"{out} is the input, expected another file: choose another name.")
        require_new(out, overwrite=overwrite, is_made=True)


def write_shots(film: Film, outputs: Sequence[Path], *, overwrite: bool) -> None:
    """Write a film's shots as each output's suffix says. Raises OutputError."""
    with claimed(outputs):
        for out in outputs:
            content = WRITERS[out.suffix.lower()](film)
            Published(overwrite=overwrite).write_whole(out, content)
