"""A page on many results: a table with thumbnails, sorted by a click on the head of a column."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from depthcrafter_cli.reports.page import escaped, image_of, page


@dataclass(frozen=True)
class Cell:
    """One cell: a text, with a link or a WebP picture; ``value`` sorts numbers.

    ``kind`` is ``name`` or ``long`` for words, ``good`` or ``bad`` for a status.
    """

    text: str = ""
    value: float | None = None
    link: str = ""
    picture: bytes = b""
    kind: str = ""


@dataclass(frozen=True)
class IndexTable:
    """A table of cells; titles that are empty head columns of pictures, which sort nothing."""

    title: str
    titles: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def index_page(title: str, about: str, tables: Sequence[IndexTable], *, program: str) -> str:
    """Return the page, HTML in one file."""
    return page(title, about, "\n".join(map(_section, tables)), ("index.js",), program=program)


def _section(table: IndexTable) -> str:
    first = table.rows[0] if table.rows else [Cell()] * len(table.titles)
    heads = "".join(
        f'<th scope="col"{_style(cell)}><button type="button">{escaped(title)}</button></th>'
        if title
        else '<th scope="col" aria-label="Picture"></th>'
        for title, cell in zip(table.titles, first, strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    note = f'<p class="soft">{escaped(table.note)}</p>' if table.note else ""
    return (
        f'<section aria-label="{escaped(table.title)}"><h2>{escaped(table.title)}</h2>'
        f'<div class="scroll" tabindex="0"><table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}</section>"
    )


def _cell(cell: Cell) -> str:
    value = "" if cell.value is None else f' data-value="{cell.value:.9g}"'
    inside = image_of(cell.picture, cell.text) if cell.picture else escaped(cell.text)
    if cell.link:
        inside = f'<a href="{escaped(quote(os.fsencode(cell.link)))}">{inside}</a>'
    return f"<td{_style(cell)}{value}>{inside}</td>"


def _style(cell: Cell) -> str:
    """Words stand left, numbers right."""
    return f' class="{cell.kind} text"' if cell.kind else ""
