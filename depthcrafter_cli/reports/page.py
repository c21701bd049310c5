"""A page in one file: its styles and scripts inside, and a policy that forbids all others."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from depthcrafter_cli.text import printable

_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{program}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><div><h1>{heading}</h1><p class="soft">{about}</p></div>
<button id="theme" type="button" hidden aria-label="Light or dark">Dark</button></header>
<main>
{body}
</main>
<footer>{foot}<p>Made by {program}.
This page loads nothing from the network.</p></footer>
{data}<script>{script}</script>
</body>
</html>
"""


def page(
    title: str,
    about: str,
    body: str,
    scripts: Sequence[str],
    *,
    program: str,
    foot: str = "",
    data: dict[str, Any] | None = None,
) -> str:
    """Return a page with the assets ``scripts`` in their order, which may read ``data``.

    ``title``, ``about`` and ``program``, which made it, are text; ``body`` and ``foot`` are HTML.
    """
    style = _asset("style.css")
    script = "'use strict';\n" + "\n".join(map(_asset, ("theme.js", *scripts)))
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data: blob:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    island = ""
    if data is not None:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        island = f'<script type="application/json" id="data">{text}</script>\n'
    return _SHELL.format(
        policy=policy, program=escaped(program), title=escaped(title), style=style,
        heading=escaped(title), about=escaped(about), body=body, foot=foot, data=island,
        script=script,
    )  # fmt: skip


def escaped(text: str) -> str:
    """Return a text, such as a name, as HTML; what :func:`printable` writes out is seen so."""
    return escape(printable(text))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of texts; the first row is the user's own."""
    head = "".join(f'<th scope="col">{escaped(title)}</th>' for title in titles)
    lines = (
        f"<tr{'' if index else ' class=own'}>"
        + "".join(f"<td>{escaped(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def image_of(webp: bytes, says: str, kind: str = "") -> str:
    """An image inside a page."""
    code = base64.b64encode(webp).decode()
    style = f' class="{kind}"' if kind else ""
    return f'<img{style} alt="{escaped(says)}" src="data:image/webp;base64,{code}">'


def _asset(name: str) -> str:
    return (files("depthcrafter_cli.reports") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
