"""Pages on runs: what is in them, and, in a real browser, what they do."""

import base64
import hashlib
import importlib.util
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip, make_film
from PIL import Image, ImageChops

from depthcrafter_cli.types import Size

SIZE = Size(72, 128)


@pytest.fixture(scope="module")
def made(tmp_path_factory, request):
    """A run of 12 frames with two shots, by a method without weights, and its page."""
    from depthcrafter_cli import workflows
    from depthcrafter_cli.workflows.report import ReportRequest, report

    folder = tmp_path_factory.mktemp("page")
    video = make_film(folder / "film.mp4", 6, 6)
    outputs = (folder / "depth.mp4", folder / "depth.npz")
    workflows.run(workflows.RunRequest(video, outputs, method="trivial-gradient"))
    report(ReportRequest((folder / "depth.mp4",), folder / "page.html"))
    return folder


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found.group(1))


def picture_in(code: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB"))


def test_a_page_holds_each_frame_beside_its_depth(made):
    data = data_of((made / "page.html").read_text(encoding="utf-8"))
    assert (data["total"], data["shots"], data["hasVideo"]) == (12, [0, 6], True)
    assert [frame["index"] for frame in data["frames"]] == list(range(12))
    assert data["frames"][6]["time"] == pytest.approx(6 / 24, abs=1e-3)
    depth, picture = (picture_in(data["frames"][7][name]) for name in ("depth", "picture"))
    assert depth.shape == picture.shape == (SIZE.height, SIZE.width, 3)
    rows = depth[..., 0].mean(1)  # the method's depth is near at the bottom
    assert rows[-1] > 245 and rows[0] < 10 and np.all(np.diff(rows[::4]) > 0)
    assert picture[..., 1].mean() > 1.5 * picture[..., 0].mean()  # the second shot is green
    assert data["numbers"]["change"][0] is None and data["numbers"]["change"][6] is None
    assert data["numbers"]["change"][3] == 0


def test_a_page_loads_nothing_and_runs_nothing_but_its_own(made):
    page = (made / "page.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1)
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    for kind, tag in (("style", "style"), ("script", "script")):
        text = page.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|arxiv\.org|www\.apache\.org)", page)
    assert not re.search(r"\bon\w+=|style=\"|\beval\(|new Function", page.split('id="data"')[0])
    assert str(made) not in page  # a page is shown to others


def test_a_name_that_looks_like_markup_stays_a_name(cli, tmp_path):
    video = make_clip(tmp_path / "a <b>& 'c'.mp4", frames=3)
    asked = ("--method", "trivial-constant")
    assert (
        cli("run", video, "--out", tmp_path / "</script>.npz".replace("/", "_"), *asked).code == 0
    )
    done = cli("report", tmp_path / "<_script>.npz", "--out", tmp_path / "page.html")
    assert done.code == 0, done.err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>a &lt;b&gt;&amp; &#x27;c&#x27;.mp4</h1>" in page
    assert page.count("</script>") == 2


def test_a_long_run_is_in_its_page_in_part_and_the_page_is_as_large_as_asked(cli, tmp_path):
    rng = np.random.default_rng(0)
    rough = rng.uniform(0, 1, (90, 180, 320)).astype(np.float32)
    np.savez(tmp_path / "depth.npz", depth=rough)
    done = cli("report", tmp_path / "depth.npz", "--out", tmp_path / "page.html", "--max-mb", 0.5,
               "--page-frames", 30)  # fmt: skip
    assert done.code == 0, done.err
    page = (tmp_path / "page.html").read_bytes()
    assert len(page) < 500_000
    data = data_of(page.decode())
    assert len(data["frames"]) == 30 and data["frames"][-1]["index"] == 89
    assert len(data["numbers"]["low"]) == 90 and not data["hasVideo"]
    assert "30 of the 90 frames are in this page" in page.decode()


def test_values_that_are_not_finite_leave_the_page_whole(cli, tmp_path):
    depth = np.random.default_rng(0).uniform(0, 1, (3, 24, 32)).astype(np.float32)
    depth[1, :8] = np.nan
    depth[2, :8] = np.inf
    np.savez(tmp_path / "depth.npz", depth=depth, times=[0.0, 0.5, 0.25])
    done = cli("report", tmp_path / "depth.npz", "--out", tmp_path / "page.html")
    assert done.code == 0, done.err
    data = data_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert max(data["numbers"]["high"]) <= 1
    times = [frame["time"] for frame in data["frames"]]
    assert times == sorted(set(times))  # whatever the file said


def test_what_check_finds_stands_on_the_page(cli, tmp_path):
    rows = np.linspace(0, 1, 24, dtype=np.float32)[None, :, None] + np.linspace(0, 0.1, 32)
    depth = np.broadcast_to(rows, (20, 24, 32)).astype(np.float32)
    np.save(tmp_path / "depth.npy", depth)
    assert cli("report", tmp_path / "depth.npy", "--out", tmp_path / "clean.html").code == 0
    depth[12:] = 0.8 * depth[12:] + 0.2
    np.save(tmp_path / "depth.npy", depth)
    assert cli("report", tmp_path / "depth.npy", "--out", tmp_path / "jump.html").code == 0
    clean, jump = (
        (tmp_path / name).read_text(encoding="utf-8") for name in ("clean.html", "jump.html")
    )
    assert "Nothing was found that is wrong" in clean
    assert "<li>Depth jumps by " in jump and "at frame 12, where no window" in jump


def test_results_of_one_name_have_a_page_each(cli, tmp_path):
    for name, level in (("a", 0.2), ("b", 0.8)):
        (tmp_path / name).mkdir()
        rows = np.linspace(0, level, 24, dtype=np.float32)[None, :, None]
        np.savez(tmp_path / name / "depth.npz", depth=np.broadcast_to(rows, (2, 24, 32)))
    runs = [tmp_path / name / "depth.npz" for name in ("a", "b")]
    assert cli("report", *runs, "--out", tmp_path / "index.html").code == 0
    highs = [
        data_of(page.read_text(encoding="utf-8"))["numbers"]["high"][0]
        for page in sorted((tmp_path / "index_pages").iterdir())
    ]
    assert highs == [pytest.approx(0.2, rel=0.05), pytest.approx(0.8, rel=0.05)]


@pytest.mark.parametrize("change", [{"settings": 3}, {"model": None}, {"rate": "fast"}])
def test_a_damaged_record_is_one_sentence(cli, made, tmp_path, change):
    record = {**json.loads((made / "depth.mp4.json").read_text(encoding="utf-8")), **change}
    (tmp_path / "r.json").write_text(json.dumps(record))
    done = cli("report", tmp_path / "r.json", "--out", tmp_path / "page.html")
    assert (done.code, "r.json cannot be read" in done.err) == (3, True), done.err


def test_the_most_exact_output_is_read_and_colours_are_read_back(made, tmp_path):
    from depthcrafter_cli.workflows.results import find_result

    exact = find_result(made / "depth.mp4")
    assert exact.depth.path == made / "depth.npz" and exact.video == made / "film.mp4"
    for name in ("film.mp4", "depth.mp4", "depth.mp4.json"):
        shutil.copy(made / name, tmp_path / name)
    rough = find_result(tmp_path / "depth.mp4")
    assert rough.depth.path == tmp_path / "depth.mp4" and not rough.depth.is_raw
    assert rough.video == tmp_path / "film.mp4"
    pairs = zip(exact.depth.read(), rough.depth.read(), strict=True)
    assert max(np.abs(a - b).mean() for a, b in pairs) < 0.01


@pytest.mark.parametrize("outputs", [("d.mp4", "d.npz"), ("frames/depth_%05d.png", "more/d.npz")])
@pytest.mark.parametrize("from_windows", [False, True])
def test_results_are_found_where_they_were_moved(cli, tmp_path, outputs, from_windows):
    from depthcrafter_cli import workflows
    from depthcrafter_cli.workflows.results import find_result

    there, here = tmp_path / "there", tmp_path / "another" / "here"
    (there / "clips").mkdir(parents=True)
    video = make_film(there / "clips" / "film.mp4", 3, 3)
    made = tuple(there / "out" / name for name in outputs)
    request = workflows.RunRequest(video, made, method="trivial-gradient", create_folders=True)
    workflows.run(request)
    here.parent.mkdir()
    shutil.move(there, here)
    (record,) = (here / "out").glob("*.json")
    if from_windows:
        told = json.loads(record.read_text(encoding="utf-8"))
        asked = told["request"]
        asked["video"] = r"D:\there\clips\film.mp4"
        asked["outputs"] = ["D:\\there\\out\\" + name.replace("/", "\\") for name in outputs]
        record.write_text(json.dumps(told), encoding="utf-8")
    for path in (record, here / "out" / outputs[0]):
        found = find_result(path)
        assert found.record and found.depth.path == here / "out" / outputs[1]
        assert found.video == here / "clips" / "film.mp4"
    (here / "clips" / "film.mp4").unlink()
    done = cli("report", record, "--out", tmp_path / "page.html")
    assert done.code == 0 and "the page shows depth alone" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["{run}/depth.npz", "--out", "page.txt"],
            2,
            "got --out page.txt, expected a name in .html",
        ),
        (["{run}/none.npz", "--out", "page.html"], 3, "none.npz"),
        (["{run}/film.mp4.txt", "--out", "page.html"], 3, "film.mp4.txt"),
        (["{run}/film.mp4", "--out", "page.html"], 3, "a video in colours of which no record"),
        (["{run}/depth.npz", "--out", "page.html", "--page-frames", "0"], 2, "--page-frames 0"),
        (["{run}/depth.npz", "--out", "page.html", "--max-mb", "0"], 2, "--max-mb 0"),
        (["{run}/depth.npz", "--out", "{run}/page.html"], 6, "exists"),
    ],
)
def test_what_no_page_can_be_made_of_is_one_sentence(
    cli, made, tmp_path, monkeypatch, arguments, code, says
):
    monkeypatch.chdir(tmp_path)
    done = cli("report", *(word.format(run=made) for word in arguments))
    assert (done.code, says in done.err, done.err.count("\n")) == (code, True, 1), done.err
    assert not list(tmp_path.iterdir())


def test_a_result_that_cannot_be_read_is_not_done(cli, made, tmp_path):
    (tmp_path / "cut.npz").write_bytes(b"PK")
    done = cli("report", made / "depth.npz", tmp_path / "cut.npz", "--out", tmp_path / "i.html")
    assert done.code == 0 and "cut.npz has no page" in done.err
    page = (tmp_path / "i.html").read_text(encoding="utf-8")
    assert "not read" in page and "cut.npz cannot be read" in page and str(tmp_path) not in page


def test_a_batch_has_an_index_of_pages(cli, tmp_path):
    shots = tmp_path / "shots"
    shots.mkdir()
    for name in ("b", "a"):
        make_clip(shots / f"{name}.mp4", frames=3)
    (shots / "broken.mp4").write_bytes(b"no video")
    asked = ("--method", "trivial-gradient", "--format", "npz")
    done = cli("batch", shots, "--out", tmp_path / "depth", *asked, "--report",
               tmp_path / "report.json")  # fmt: skip
    assert done.code == 7
    made = cli("report", tmp_path / "report.json", "--out", tmp_path / "index.html")
    assert made.code == 0, made.err
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    links = sorted(set(re.findall(r'<a href="([^"]+)">', page)))
    assert len(links) == 2 and all((tmp_path / link).is_file() for link in links)
    assert page.count('src="data:image/webp') == 2
    assert "failed" in page and "broken" in page
    assert str(tmp_path) not in page
    again = cli("report", tmp_path / "report.json", "--out", tmp_path / "index.html")
    assert again.code == 6 and "exists" in again.err


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (r"C:\My Films\sc 1\a b.mp4 holds 24000/1001", "a b.mp4 holds 24000/1001"),
        (r"D:\x\a.mp4 and \\nas\films\b.mp4 differ", "a.mp4 and b.mp4 differ"),
        ("got (/srv/films/a.mp4) and C:/x/b.mp4", "got (a.mp4) and b.mp4"),
    ],
)
def test_remarks_name_no_folders(cli, tmp_path, said, shown):
    row = {"name": "a", "status": "failed", "outputs": [], "frames": None, "seconds": None}
    (tmp_path / "r.json").write_text(json.dumps({"videos": [{**row, "error": said}]}))
    done = cli("report", tmp_path / "r.json", "--out", tmp_path / "i.html")
    assert done.code == 0 and f">{shown}<" in (tmp_path / "i.html").read_text(encoding="utf-8"), (
        done.err
    )


# In a browser.

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
CAN_DRIVE = importlib.util.find_spec("playwright") is not None
in_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine"),
    pytest.mark.skipif(not CAN_DRIVE, reason="playwright is not installed"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        yield chromium
        chromium.close()


class Opened:
    """A page in a browser without a network, and what it complained of."""

    def __init__(self, browser, path: Path, **how) -> None:
        self.context = browser.new_context(offline=True, reduced_motion="reduce", **how)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(path.as_uri())

    def ready(self) -> "Opened":
        self.page.wait_for_selector("html[data-ready=yes]", state="attached")
        self.settle()
        return self

    def settle(self) -> None:
        """Wait until what changed is drawn."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def picture(self, selector: str) -> Image.Image:
        self.settle()
        shot = self.page.locator(selector).screenshot()
        return Image.open(io.BytesIO(shot)).convert("RGB")

    def key(self, name: str) -> None:
        self.page.keyboard.press(name)
        self.settle()


def differ(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, 0 to 255."""
    return float(np.asarray(ImageChops.difference(one, other)).mean())


@pytest.fixture(scope="module", params=["desktop", "phone"])
def opened(request, browser, made):
    how = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
    if request.param == "phone":
        how = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True,
               "color_scheme": "dark"}  # fmt: skip
    page = Opened(browser, made / "page.html", **how).ready()
    yield page
    assert page.said == []
    page.context.close()


def browser_test(test):
    for mark in in_browser:
        test = mark(test)
    return test


@browser_test
def test_scrubbing_shows_other_frames_and_tells_which(opened):
    page = opened.page
    opened.key("Home")
    first = opened.picture("#stage")
    assert page.locator("#frame-says").inner_text() == "Frame 0 of 0 to 11, 0.00 s"
    page.locator("#frame").fill("8")
    opened.settle()
    assert page.locator("#frame-says").inner_text().startswith("Frame 8 of 0 to 11,")
    assert differ(first, opened.picture("#stage")) > 5
    page.locator("h1").click()
    opened.key("ArrowLeft")
    assert page.locator("#frame").get_attribute("aria-valuetext").startswith("Frame 7 of 0 to 11,")
    page.get_by_role("button", name="Shot 1: 6 frames").click()
    opened.settle()
    assert page.locator("#frame-says").inner_text().startswith("Frame 6 of 0 to 11,")
    current = page.locator(".shots button[aria-current=true]")
    assert current.inner_text().strip() == "Shot 1: 6 frames"
    page.locator("h1").click()
    opened.key("Home")


@browser_test
def test_the_wipe_divides_video_and_depth(opened):
    page = opened.page
    sides = {}
    for share in ("0", "100"):
        page.locator("#wipe").fill(share)
        sides[share] = opened.picture("#stage")
    assert differ(sides["0"], sides["100"]) > 20
    page.locator("#wipe").fill("50")
    half = opened.picture("#stage")
    width, height = half.size
    right = (width * 3 // 4, height // 4, width * 7 // 8, height * 3 // 4)
    left = (width // 16, height // 4, width // 5, height * 3 // 4)
    assert differ(half.crop(right), sides["0"].crop(right)) < 1
    assert differ(half.crop(left), sides["100"].crop(left)) < 1
    box = page.locator("#stage-frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    opened.settle()
    assert page.locator("#wipe").input_value() == "25"


@browser_test
def test_the_profile_is_the_column_over_time(opened):
    page = opened.page
    shown = page.evaluate(
        """() => {
          const canvas = document.getElementById('profile-depth');
          const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return [canvas.width, canvas.height, [...pixels.data.slice(0, 3)],
                  [...pixels.data.slice(-4, -1)]];
        }"""
    )
    assert shown[:2] == [12, 72]
    assert sum(shown[2]) < 40 and sum(shown[3]) > 450  # far above, near below
    page.locator("#across").fill("10")
    before = opened.picture("#profile-video")
    page.locator("#across").fill("90")
    assert differ(before, opened.picture("#profile-video")) > 2


@browser_test
def test_points_in_space_turn_and_the_parallax_view_is_another(opened):
    page = opened.page
    page.locator("#space").scroll_into_view_if_needed()
    opened.settle()
    first = opened.picture("#space")
    colours = np.asarray(first.resize((32, 18))).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 20  # it shows the frame
    page.locator("#space").focus()
    for _ in range(4):
        opened.key("ArrowRight")
    turned = opened.picture("#space")
    assert differ(first, turned) > 5
    page.locator("#relief").fill("8")
    assert differ(turned, opened.picture("#space")) > 1
    page.get_by_role("button", name="Parallax").click()
    parallax = opened.picture("#space")
    assert differ(turned, parallax) > 5
    assert page.get_by_role("button", name="Parallax").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Turn by itself").click()
    opened.settle()
    page.wait_for_timeout(300)
    assert differ(parallax, opened.picture("#space")) > 0.5
    page.get_by_role("button", name="Turn by itself").click()


@browser_test
def test_playing_goes_on_by_itself(opened):
    page = opened.page
    page.locator("#frame").fill("0")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.getElementById('frame').value > 2")
    page.get_by_role("button", name="Pause").click()


@browser_test
def test_all_that_can_be_used_or_seen_has_a_name(opened):
    nameless = opened.page.evaluate(
        """() => [...document.querySelectorAll('input, button, canvas, svg, img, section')]
          .filter(each => !each.hidden && each.getAttribute('aria-hidden') !== 'true')
          .filter(each => !(each.getAttribute('aria-label') || each.alt || each.textContent.trim()))
          .map(each => each.outerHTML)"""
    )
    assert nameless == []
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert opened.page.evaluate(wide) == 0  # nothing is cut off beside the screen


@browser_test
def test_light_and_dark_follow_the_system_until_the_button_is_pressed(opened):
    page = opened.page
    ground = "getComputedStyle(document.body).backgroundColor"
    before, button = page.evaluate(ground), page.get_by_role("button", name="Light or dark")
    button.click()
    other = page.evaluate(ground)
    assert before != other
    button.click()
    assert page.evaluate(ground) == before
    themes = [page.evaluate(f"matchMedia('(prefers-color-scheme: {each})').matches"
                            ) for each in ("light", "dark")]  # fmt: skip
    assert page.evaluate("document.documentElement.dataset.theme") == ("light", "dark")[themes[1]]


@browser_test
def test_an_index_is_sorted_by_its_heads_and_leads_to_pages(browser, cli, tmp_path):
    for name, frames in (("short", 2), ("long", 9), ("middle", 5)):
        rows = np.linspace(0, 1, 48, dtype=np.float32)[None, :, None]
        np.savez(tmp_path / f"{name}.npz", depth=np.broadcast_to(rows, (frames, 48, 64)))
    runs = [tmp_path / f"{name}.npz" for name in ("short", "long", "middle")]
    done = cli("report", *runs, "--out", tmp_path / "index.html")
    assert done.code == 0, done.err
    opened = Opened(browser, tmp_path / "index.html")
    column = opened.page.locator("tbody td:nth-child(2)")
    assert column.all_inner_texts() == ["short.npz", "long.npz", "middle.npz"]
    opened.page.get_by_role("button", name="Frames").click()
    assert column.all_inner_texts() == ["short.npz", "middle.npz", "long.npz"]
    opened.page.get_by_role("button", name="Frames").click()
    assert column.all_inner_texts() == ["long.npz", "middle.npz", "short.npz"]
    opened.page.get_by_role("link", name="long.npz", exact=True).click()
    opened.ready()
    assert opened.page.locator("h1").inner_text() == "long.npz" and opened.said == []
    opened.context.close()
