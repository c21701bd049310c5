"""Make the pictures of these pages anew: of the example video, with the nano of this clone.

    python docs/pictures.py      # needs the extra test, and Chromium on the path

The run is kept in the folder ``pictures`` of the current one, and used again where it is there.
"""

import shutil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page, sync_playwright

from depthcrafter_cli import workflows
from depthcrafter_cli.media.reader import read_frames
from depthcrafter_cli.options import read_values
from depthcrafter_cli.types import Size
from depthcrafter_cli.workflows.looking import ReportRequest
from depthcrafter_cli.workflows.report import report

DOCS, KEPT = Path(__file__).parent, Path("pictures")
VIDEO = DOCS.parent / "examples" / "bunny.mp4"
TILE = Size(180, 320)
PAIR = Size(180, 640)
SHOWN = (0, 30, 50, 75)  # frames of example.png
LOOKED_AT = 50
PAGE = {"width": 860, "height": 920}
LOOKS = {
    "--side-by-side": {"side_by_side": True},
    "--overlay --colormap turbo": {"overlay": True, "colormap": "turbo"},
    "--colormap viridis": {"colormap": "viridis"},
    "--colormap gray": {"colormap": "gray"},
    "--colormap gray --invert": {"colormap": "gray", "invert": True},
    "--normalize percentile": {"normalization": "percentile"},
    "--upsample edges": {"upsample": "edges"},
}
"""How one frame is shown, as it is typed and as fields of a request."""


def main() -> None:
    """Make all of them."""
    result = KEPT / "depth.npz"
    request = workflows.RunRequest(
        VIDEO, (result,), weights="nano", keep_work=True, resume=True, create_folders=True
    )
    workflows.run(request)
    example = shown("example", PAIR, side_by_side=True)
    tiled([example[frame] for frame in SHOWN], 4).save(DOCS / "example.png", optimize=True)
    looks = []
    for words, look in LOOKS.items():
        size = PAIR if look.get("side_by_side") else TILE
        looks.append(labelled(shown(words.strip("-"), size, **look)[LOOKED_AT], words))
    tiled(looks, 4).save(DOCS / "looks.jpg", quality=88)
    page = KEPT / "page.html"
    report(ReportRequest((result,), page, overwrite=True))
    photographed(page).save(DOCS / "report.jpg", quality=88)


def shown(name: str, size: Size, **look: object) -> list[Image.Image]:
    """The run's frames as a video of this look shows them, at ``size``."""
    out = KEPT / f"{name}.mp4"
    look = read_values(workflows.RunRequest, look)
    workflows.finish(KEPT / "depth.npz.work", [out], overwrite=True, **look)
    return [Image.fromarray(frame.rgb) for frame in read_frames(out, size)]


def labelled(picture: Image.Image, words: str) -> Image.Image:
    """The picture with words in its corner."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    box = draw.textbbox((6, 4), words, font)
    draw.rectangle((0, 0, box[2] + 6, box[3] + 5), fill="black")
    draw.text((6, 4), words, "white", font)
    return picture


def tiled(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Pictures of one height in rows that are ``columns`` tiles wide, in their order."""
    rows: list[list[Image.Image]] = [[]]
    for picture in pictures:
        if sum(each.width for each in rows[-1]) >= columns * TILE.width:
            rows.append([])
        rows[-1].append(picture)
    sheet = Image.new("RGB", (sum(each.width for each in rows[0]), TILE.height * len(rows)))
    for row, members in enumerate(rows):
        left = 0
        for picture in members:
            sheet.paste(picture, (left, row * TILE.height))
            left += picture.width
    return sheet


def photographed(page: Path) -> Image.Image:
    """The top of a page of a run, light, beside what stands below, dark."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        opened = browser.new_page(viewport=PAGE, color_scheme="light", reduced_motion="reduce")
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("html[data-ready=yes]", state="attached")
        for _ in range(LOOKED_AT):
            opened.keyboard.press("ArrowRight")
        light = photo(opened, KEPT / "light.png")
        opened.click("#theme")
        below = "document.querySelector('[aria-label=\"Numbers over time\"]').scrollIntoView()"
        opened.evaluate(below)
        dark = photo(opened, KEPT / "dark.png")
        browser.close()
    both = Image.new("RGB", (2 * light.width, light.height))
    both.paste(light, (0, 0))
    both.paste(dark, (light.width, 0))
    return both.resize((1290, 690), Image.Resampling.LANCZOS)


def photo(page: Page, file: Path) -> Image.Image:
    """What a page shows once what has changed is drawn."""
    page.wait_for_timeout(2000)
    page.screenshot(path=file)
    return Image.open(file).convert("RGB")


if __name__ == "__main__":
    main()
