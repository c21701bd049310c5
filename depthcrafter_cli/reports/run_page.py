"""The page of one run: look at its depth, frame by frame, over time and in space."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from depthcrafter_cli.evaluation.frames import FrameNumbers
from depthcrafter_cli.reports.page import escaped, image_of, page, table
from depthcrafter_cli.reports.pictures import EncodedPreview
from depthcrafter_cli.types import Size

_SCRIPTS = ("player.js", "profile.js", "charts.js", "space.js")
_MOST_POINTS = 1200  # of a chart


@dataclass(frozen=True)
class ScoreTable:
    """Titles, rows and a note of an evaluation's table of means."""

    title: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class RunView:
    """What the page of a run shows.

    ``indices`` and ``times``, in seconds, are those of ``previews`` among the ``total`` frames;
    ``numbers`` are of all frames, and of raw disparity unless ``unit`` says otherwise; ``findings``
    are sentences on what is wrong with them.
    ``settings`` are shown one by one, ``record`` as a whole. ``poster`` stands where no script
    runs.
    """

    title: str
    about: str
    program: str
    total: int
    size: Size
    duration: float
    preview_size: Size
    previews: Sequence[EncodedPreview]
    indices: Sequence[int]
    times: Sequence[float]
    numbers: Sequence[FrameNumbers]
    shots: Sequence[int]
    joins: Sequence[int]
    colours: npt.NDArray[np.uint8]
    poster: bytes
    findings: Sequence[str] = ()
    unit: str = "disparity"
    notes: Sequence[str] = ()
    settings: Sequence[tuple[str, str]] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    scores: Sequence[ScoreTable] = ()


def run_page(view: RunView) -> str:
    """Return the page, HTML in one file."""
    has_video = view.previews[0].picture is not None
    body = "\n".join(
        [
            _player(view, has_video), _profiles(has_video), _charts(view),
            _SHOTS if len(view.shots) > 1 else "", _SPACE,
            *map(_scores, view.scores), _settings(view),
        ]
    )  # fmt: skip
    shown = "All" if len(view.indices) == view.total else f"{len(view.indices)} of the"
    foot = (
        f"<p>{shown} {view.total} frames are in this page, re-encoded at {view.preview_size}; "
        "charts are of all frames.</p>"
    )
    foot += "".join(f"<p>{escaped(note)}</p>" for note in view.notes)
    data = _data(view, has_video)
    return page(view.title, view.about, body, _SCRIPTS, program=view.program, foot=foot, data=data)


def _data(view: RunView, has_video: bool) -> dict[str, Any]:
    step = -(-len(view.numbers) // _MOST_POINTS)
    chosen = list(view.numbers)[::step]
    span = _span(view.numbers)
    return {
        "width": view.preview_size.width, "height": view.preview_size.height,
        "fullWidth": view.size.width, "total": view.total, "duration": round(view.duration, 4),
        "hasVideo": has_video, "shots": list(view.shots), "joins": list(view.joins),
        "colours": _code(view.colours.tobytes()),
        "numbers": {
            "index": list(range(0, len(view.numbers), step)),
            "low": [_short(each.low) for each in chosen],
            "median": [_short(each.median) for each in chosen],
            "high": [_short(each.high) for each in chosen],
            "change": [
                None if each.change is None else _short(100 * each.change / span) for each in chosen
            ],
        },
        "frames": [
            {
                "index": index, "time": round(time, 4), "depth": _code(each.depth),
                "picture": None if each.picture is None else _code(each.picture),
            }
            for index, time, each in zip(view.indices, view.times, view.previews, strict=True)
        ],
    }  # fmt: skip


def _span(numbers: Sequence[FrameNumbers]) -> float:
    """From the lowest to the highest of nearly all values; 1 for constant depth."""
    return max(each.high for each in numbers) - min(each.low for each in numbers) or 1.0


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _code(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _player(view: RunView, has_video: bool) -> str:
    size = view.preview_size
    only = "" if has_video else " hidden"
    what = "Video on the left of the divider, its depth on the right" if has_video else "Depth"
    return f"""<section class="player" aria-label="Video and depth">
<noscript>{image_of(view.poster, "A frame of the video beside its depth", "static")}</noscript>
<div class="stage"><div class="frame" id="stage-frame">
<canvas id="stage" width="{size.width}" height="{size.height}" role="img" aria-label="{what}"></canvas>
<span class="tag left"{only}>Video</span><span class="tag right">Depth</span>
<div class="column" id="column"></div><div class="divider" id="divider"{only}></div></div></div>
<div class="controls">
<button id="play" type="button">Play</button>
<input id="frame" type="range" min="0" max="{len(view.indices) - 1}" value="0" aria-label="Frame">
<output id="frame-says" for="frame"></output>
<label{only}><span class="name">Wipe</span>
<input id="wipe" type="range" min="0" max="100" value="50" aria-label="Wipe between video and depth">
<output id="wipe-says" for="wipe"></output></label>
<label><span class="name">Column</span>
<input id="across" type="range" min="0" max="100" step="0.2" value="35" aria-label="Column of the profile">
<output id="across-says" for="across"></output></label>
</div></section>"""  # noqa: E501


def _profiles(has_video: bool) -> str:
    def figure(name: str, title: str) -> str:
        return (
            f'<figure><div class="plot"><canvas id="profile-{name}" role="img" '
            f'aria-label="One column of the {name} over time"></canvas><div class="now"></div>'
            f"</div><figcaption>{title}</figcaption></figure>"
        )

    both = figure("video", "Video") * has_video + figure("depth", "Depth")
    return (
        '<section aria-label="Temporal profile"><h2>Profile over time</h2><p class="soft">The '
        "dashed column of the picture, from the first frame on the left to the last on the right. "
        f'Flicker shows as stripes.</p><div class="profiles">{both}</div></section>'
    )


def _findings(view: RunView) -> str:
    if not view.findings:
        return '<p class="soft">Nothing was found that is wrong with depth by itself.</p>'
    lines = "".join(f"<li>{escaped(says)}</li>" for says in view.findings)
    return f'<ul class="findings">{lines}</ul>'


def _charts(view: RunView) -> str:
    def figure(name: str, says: str, caption: str) -> str:
        return (
            f'<figure class="chart" id="{name}" data-says="{says}"><div class="plot">'
            '<span class="edge top"></span><span class="edge bottom"></span>'
            f'<div class="now"></div></div><figcaption><span>{caption}</span><output></output>'
            "</figcaption></figure>"
        )

    joins = ' &nbsp; <span class="key dash"></span>windows join' * bool(view.joins)
    unit = escaped(view.unit)
    return (
        '<section aria-label="Numbers over time"><h2>Range and steadiness</h2>'
        + _findings(view)
        + figure(
            "range", f"Range of {unit} over time",
            f'<span class="key"></span>median of {unit} &nbsp; <span class="key wide"></span>2nd '
            "to 98th percentile",
        )
        + figure(
            "change", "Change from frame to frame",
            '<span class="key"></span>mean change from the frame before, % of the range' + joins,
        )
        + "</section>"
    )  # fmt: skip


_SHOTS = '<section aria-label="Shots"><h2>Shots</h2><div class="shots" id="shots"></div></section>'
_SPACE = """<section aria-label="In space"><h2>In space</h2>
<p class="soft">Depth has no known scale: distances are as if the farthest were a few times as far as the nearest.</p>
<div class="space"><canvas id="space" tabindex="0" role="img" aria-label="The frame as points in space; arrow keys turn it"></canvas>
<p id="space-missing" hidden>This browser has no WebGL, which this view needs.</p></div>
<div class="row"><button id="points" type="button" aria-pressed="true">Points</button>
<button id="parallax" type="button" aria-pressed="false">Parallax</button>
<button id="moving" type="button" aria-pressed="true">Turn by itself</button>
<label>Relief <input id="relief" type="range" min="1.2" max="10" step="0.1" value="4" aria-label="Relief"></label></div>
</section>"""  # noqa: E501


def _scores(scores: ScoreTable) -> str:
    note = f'<p class="soft">{escaped(scores.note)}</p>' if scores.note else ""
    return (
        f'<section aria-label="{escaped(scores.title)}"><h2>{escaped(scores.title)}</h2>'
        f"{table(scores.titles, scores.rows)}{note}</section>"
    )


def _settings(view: RunView) -> str:
    facts = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>"
        for name, value in view.settings
    )
    whole = ""
    if view.record:
        text = escape(json.dumps(dict(view.record), indent=2))  # which is ASCII
        whole = (
            "<details><summary>The whole record, without folders</summary>"
            f'<pre tabindex="0">{text}</pre></details>'
        )
    keys = (
        ("Space", "play"), ("← →", "frame by frame, with Shift ten"), ("Home End", "first, last"),
        ("[ ]", "wipe"), (", .", "column"),
    )  # fmt: skip
    told = " &nbsp; ".join(f"<kbd>{escaped(key)}</kbd> {what}" for key, what in keys)
    return (
        f'<section aria-label="How it was made"><h2>How it was made</h2><dl>{facts}</dl>{whole}'
        f'<details><summary>Keyboard</summary><p class="soft">{told}</p></details></section>'
    )
