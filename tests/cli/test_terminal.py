"""What people see: whole words, nothing of a name that could steer a terminal, one way to a log."""

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from clips import make_clip
from rich.cells import cell_len

from depthcrafter_cli import disk
from depthcrafter_cli.cli import outlets
from depthcrafter_cli.cli.outlets import Plain, Update, in_words, progress_line
from depthcrafter_cli.cli.streams import Line
from depthcrafter_cli.errors import unexpected
from depthcrafter_cli.progress import Progress, Reading
from depthcrafter_cli.text import printable
from depthcrafter_cli.types import Size

COMMAND = [sys.executable, "-m", "depthcrafter_cli"]
EVIL = "a\x1b]0;owned\x07\n\x9b31m\u202egnp.mp4"


def on_terminal(arguments: list[object], columns: int, **environment: str) -> tuple[int, bytes]:
    """Run on a terminal of so many columns; exit code, and all that it was sent."""
    pty = pytest.importorskip("pty", reason="Windows has consoles of another kind")
    host, terminal = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", **environment}
    variables.pop("COLUMNS", None)
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=terminal, stdout=terminal, stderr=terminal, env=variables, close_fds=True,
    )  # fmt: skip
    os.close(terminal)
    sent = b""
    while select.select([host], [], [], 300)[0]:
        try:
            piece = os.read(host, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        sent += piece
    os.close(host)
    return process.wait(timeout=60), sent


def seen(sent: bytes) -> list[str]:
    """The lines of a terminal, without colours and what moves the cursor."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sent.decode("utf-8", "replace"))
    return [line.rstrip() for line in re.split(r"[\r\n]+", text)]


@pytest.fixture
def small(tiny_folder) -> list[object]:
    """Options for a run of a second: the tiny model, one step, 64 pixels."""
    return ["--weights", tiny_folder, "--steps", "1", "--max-res", "64"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ö 漢 👩\u200d🚀", "plain ö 漢 👩\u200d🚀"),
        ("a\nb\tc\x1b[2J", r"a\nb\tc\x1b[2J"),
        ("\x9b\x7f\xad", r"\x9b\x7f\xad"),
        ("\u202eexe\u2066\u200f", r"\u202eexe\u2066\u200f"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ufeff\u2028\U000e0041", r"\ufeff\u2028\U000e0041"),
    ],
)
def test_what_could_steer_a_terminal_is_written_out(raw, shown):
    assert printable(raw) == shown


def test_a_line_is_broken_between_words_and_a_path_never():
    path = "/a/very/long/" + "path-" * 20
    shown = Line(f"there is no {path} here, expected one", "depthcrafter: ").shown(60)
    assert path in shown
    assert all(len(line) <= 60 or path in line for line in shown.splitlines())
    told = Line("depthcrafter: interrupted; what is finished is kept.", command="Go on with: x")
    assert told.shown(60).splitlines()[1] == "Go on with: x" and "\n" not in told.shown()
    assert Line("x " * 200).shown() == ("x " * 200).rstrip()


@pytest.mark.parametrize("name", ["夏の海辺の深度.mkv", "ガラス.mp4", "plain.mp4"])
def test_a_line_is_as_many_cells_wide_as_the_terminal_has(name):
    text = f"{name} has one range and {name} has another, expected the same of {name}: mend it."
    lines = Line(text, "深度: ").shown(40).splitlines()
    assert len(lines) > 2 and max(map(cell_len, lines)) <= 40
    assert all(line.startswith(" " * 6) for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == f"深度: {text}"
    assert Line(text, "深度: ").shown(cell_len(f"深度: {text}")) == f"深度: {text}"


@pytest.mark.parametrize(
    "columns",
    [80, pytest.param(120, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow)],
)
def test_on_a_terminal_no_word_is_broken_and_the_whole_run_has_a_bar(
    clip, small, tmp_path, columns
):
    code, sent = on_terminal(["run", clip, "--out", tmp_path / "d.npz", *small], columns)
    lines = seen(sent)
    assert code == 0, lines
    assert all(len(line) <= columns or "/" in line for line in lines), lines
    assert {"input", "plan", "output"} <= {word for line in lines for word in line.split()}
    whole = next(index for index, line in enumerate(lines) if line.startswith("whole run"))
    stages = [index for index, line in enumerate(lines) if line.startswith("denoise")]
    assert whole < stages[0]
    assert any("100%" in line for line in lines if line.startswith("whole run"))


@pytest.mark.slow
def test_no_color_and_dumb_terminals_are_respected(clip, small, tmp_path):
    command = ["run", clip, "--out", tmp_path / "d.npz", *small, "--overwrite"]
    code, plain = on_terminal(command, 80, NO_COLOR="1")
    assert code == 0 and not re.search(rb"\x1b\[[0-9;]*3[0-7]m", plain)
    code, dumb = on_terminal(command, 80, TERM="dumb")
    assert code == 0 and b"\x1b" not in dumb and "━" not in dumb.decode()


@pytest.mark.slow
def test_names_reach_a_terminal_a_log_and_a_table_written_out(clip, small, tmp_path):
    video, log = tmp_path / EVIL, tmp_path / "night.log"
    clip.rename(video)
    told = [
        on_terminal(["run", video, "--out", tmp_path / "d.npz", *small, "--log", log], 80)[1],
        on_terminal(["batch", tmp_path, "--out", tmp_path / "out", *small, "--dry-run"], 80)[1],
        log.read_bytes(),
    ]
    for text in told:
        assert b"\x1b]" not in text and b"\x07" not in text and "\u202e".encode() not in text
        assert b"\\x1b]0;owned\\x07" in text.replace(b"\r\n", b"")


@pytest.mark.skipif(disk.WINDOWS, reason="such names are not legal on Windows")
def test_a_report_in_csv_holds_names_written_out_and_json_holds_them_as_json(cli, tmp_path):
    listing = tmp_path / "list.csv"
    listing.write_text(f'source,name\n{tmp_path}/none.mp4,"bad\x1b[2Jname"\n')
    for report in (tmp_path / "r.csv", tmp_path / "r.json"):
        cli("batch", listing, "--out", tmp_path / "out", "--report", report, "--quiet")
    assert b"\x1b" not in (tmp_path / "r.csv").read_bytes()
    (row,) = json.loads((tmp_path / "r.json").read_text())["videos"]
    assert row["name"] == "bad\x1b[2Jname"


def test_a_file_gets_lines_of_progress_and_no_bars(cli, clip, small, tmp_path, monkeypatch):
    done = cli("run", clip, "--out", tmp_path / "d.npz", *small)
    assert done.code == 0 and done.out == f"{tmp_path / 'd.npz'}\n"
    assert "━" not in done.err and "\x1b" not in done.err
    progress = [line for line in done.err.splitlines() if " left" in line]
    before, begun = progress
    assert "find cuts 1/16 frames" in before
    assert "0% of the run, time left not known yet" in begun
    monkeypatch.setattr(outlets, "_LINE_SECONDS", 0.0)
    every = cli("run", clip, "--out", tmp_path / "e.npz", *small).err.splitlines()
    shape = r"(decode|denoise) \d+/\d+ (frames|steps), .*/s, \d+% of the run, about \d+ s left"
    assert any(re.search(shape, line) for line in every), every


def test_lines_of_progress_are_a_minute_apart(monkeypatch, capfd):
    now = [0.0]
    monkeypatch.setattr(outlets.time, "monotonic", lambda: now[0])
    with Plain(debug=False).drawing() as draw:
        for second in range(200):
            now[0] = float(second)
            draw(Update(Reading(Progress("denoise", second, 200, "steps"), 1.0, 200.0 - second)))
    lines = capfd.readouterr().err.splitlines()
    assert [line.split()[2] for line in lines] == ["0/200", "60/200", "120/200", "180/200"]


def test_a_line_of_progress_says_what_is_known():
    reading = Reading(Progress("download", 5 * 10**8, 4 * 10**9, "bytes", "unet"), 2e7, 175.0)
    assert progress_line(Update(reading)) == (
        "download 0.50/4.00 GB, 20 MB/s, unet, about 2 min 55 s left"
    )
    slow = Reading(Progress("denoise", 1, 9, "frames"), 5.234e-5, None)
    assert "0.0000523 frames/s" in progress_line(Update(slow))
    assert [in_words(seconds) for seconds in (0.4, 59.6, 3600)] == ["0 s", "1 min 0 s", "1 h 0 min"]


def test_help_fits_eighty_columns():
    for command in ("run", "batch", "finish"):
        done = subprocess.run(
            [*COMMAND, command, "--help"], capture_output=True, text=True, check=True,
            env={**os.environ, "COLUMNS": "80"},
        )  # fmt: skip
        assert max(len(line) for line in done.stdout.splitlines()) <= 80, command


def test_a_log_tells_what_the_screen_does_not(cli, clip, small, tmp_path):
    log = tmp_path / "logs" / "night.log"
    done = cli("run", clip, "--out", tmp_path / "d.npz", *small, "--quiet", "--log", log)
    assert (done.code, done.out, done.err) == (0, "", "")
    first = log.read_text()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in first.splitlines())
    assert "depthcrafter 0.1.0: run " in first and "torch " in first and "result: " in first
    assert "load model 0/1" in first and "16 frames in" in first
    failed = cli("run", tmp_path / "none.mp4", "--out", tmp_path / "e.npz", "--json", "--log", log)
    assert failed.code == 3
    second = log.read_text()
    assert second.startswith(first) and "Traceback" in second and "none.mp4" in second[len(first) :]
    assert "Traceback" not in failed.err + failed.out


@pytest.mark.parametrize("what", ["input", "output", "record", "state", "link", "binary", "text",
                                  "folder"])  # fmt: skip
def test_a_log_is_a_file_of_its_own(cli, clip, small, tmp_path, what):
    out = tmp_path / "d.npz"
    make_clip(tmp_path / "other.mp4", frames=1, size=Size(64, 64)).rename(tmp_path / "binary")
    (tmp_path / "text").write_text('{"a": 1}\n')
    (tmp_path / "link").symlink_to(out)
    names = {"input": clip, "output": out, "record": "d.npz.json", "state": "d.npz.work",
             "folder": "."}  # fmt: skip
    before = files_in(tmp_path)
    command = ["run", clip, "--out", out, *small, "--overwrite"]
    done = cli(*command, "--log", tmp_path / names.get(what, what))
    assert done.code == 2 and "--log" in done.err, done.err
    assert files_in(tmp_path) == before


def files_in(folder: Path) -> dict[str, bytes]:
    """Names and contents."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_a_log_goes_on_in_one_of_before_or_an_empty_file(cli, clip, tmp_path):
    log = tmp_path / "night.log"
    log.touch()
    for count in (1, 2):
        missing = cli("run", tmp_path / "none.mp4", "--out", tmp_path / "d.npz", "--log", log)
        assert missing.code == 3, missing.err
        assert log.read_text().count(" depthcrafter 0") == count


def test_a_log_that_cannot_be_written_is_said_before_the_start(cli, clip, small, tmp_path):
    (tmp_path / "file").touch()
    log = tmp_path / "file" / "night.log"
    done = cli("run", clip, "--out", tmp_path / "d.npz", *small, "--log", log)
    assert done.code == 6 and "night.log" in done.err
    assert not (tmp_path / "d.npz").exists()


def test_events_of_all_commands_carry_the_same(cli, clip, tiny_folder, tmp_path):
    small = ["--weights", tiny_folder, "--steps", 1, "--max-res", 64, "--json"]
    log, out = tmp_path / "night.log", tmp_path / "d.npz"
    commands = (
        ("run", clip, "--out", out, *small, "--keep-work"),
        ("finish", tmp_path / "d.npz.work", "--out", tmp_path / "e.mp4", "--json",
         "--normalize", "percentile"),
        ("batch", clip, "--out", tmp_path / "out", *small, "--log", log),
    )  # fmt: skip
    for command in commands:
        done = cli(*command)
        assert done.code == 0, done
        events = [json.loads(line) for line in done.out.splitlines()]
        assert all(event["time"].endswith("Z") for event in events)
        spent = [event["elapsed"] for event in events]
        assert spent == sorted(spent)
        last = events[-1]
        assert last["event"] == "done" and last["frames"] == 16 and last["seconds"] > 0
        assert last["frames_per_second"] > 0 and all(map(os.path.exists, last["outputs"]))
        progress = [event for event in events if event["event"] == "progress"]
        assert all({"rate", "eta", "done", "total"} <= event.keys() for event in progress)
        written = [event for event in progress if event["stage"] == "write"]
        assert (written[0]["done"], written[-1]["done"], written[-1]["eta"]) == (0, 16, 0)
        assert all(event["total"] for event in progress)  # none of a stage without an end
    assert "1 done" in log.read_text() and "result" not in log.read_text()


def test_an_error_of_a_library_is_one_sentence_without_its_advice():
    told = unexpected(RuntimeError("CUDA error: launch failure\nCompile with TORCH_USE_CUDA_DSA"))
    assert told == "unexpected RuntimeError: CUDA error: launch failure"
    assert unexpected(KeyError()) == "unexpected KeyError"
