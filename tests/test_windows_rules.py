"""The program keeps Windows' rules for files, which are simulated (see windows_rules/)."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from conftest import environment_of_windows_rules
from fake_hub import REVISION, FakeHub, serve
from processes import stop_at
from training_steps import three_stages, write_clip

from tests.training.test_decoder import SETTINGS, STAGE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the rules are simulated on Linux")

# Commands of one process after the other: what an earlier one left open or mapped counts too.
COMMANDS = """
import json, sys
from depthcrafter_cli.cli import main
from depthcrafter_cli.models.registry import NANO, MODELS, HubFile
from dataclasses import replace
commands, files, revision = json.loads(sys.argv[1])
sources = tuple(HubFile("lab/tiny", revision, name, name) for name in files)
MODELS["tiny"] = replace(NANO, name="tiny", sources=sources)
for command in commands:
    sys.argv = ["depthcrafter", *command]
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{command} ended with {end.code}")
"""


@pytest.fixture
def broken(tmp_path_factory, monkeypatch) -> Path:
    """Where the rules that processes started from now on break are written."""
    log = tmp_path_factory.mktemp("rules") / "broken"
    for name, value in environment_of_windows_rules(log).items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(processes.ENVIRONMENT, name, value)
    return log


@pytest.mark.slow
def test_whatever_the_program_does_with_files_may_be_done_on_windows(
    clip, options, tiny_folder, tmp_path, broken, monkeypatch
):
    recipe, listing = tmp_path / "recipe.toml", tmp_path / "in"
    write_clip(tmp_path / "clips" / "a", 0)
    stages = three_stages(tiny_folder, tmp_path / "clips", 1)
    recipe.write_text(stages.replace("[objective]", f"{SETTINGS}\n[objective]") + STAGE)
    listing.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (listing / name).write_bytes(clip.read_bytes())
    made, kept = tmp_path / "d.npz", tmp_path / "d.npz.work"
    run = ["run", clip, "--out", made, "--out", tmp_path / "d.mp4", "--out", tmp_path / "png"]
    batch = ["batch", listing, "--out", tmp_path / "out", "--report", tmp_path / "r.json"]
    train = ["train", recipe, "--device", "cpu", "--work-dir", tmp_path / "work"]
    commands = [
        [*run, *options, "--keep-work"],
        ["finish", kept, "--out", tmp_path / "f.mp4", "--out", tmp_path / "png" / "f_%d.png"],
        [*run, *options, "--overwrite"],
        [*run, *options, "--resume"],
        [*batch, *options],
        [*batch, *options, "--resume"],
        ["weights", "pull", "tiny"],
        ["weights", "pull", "tiny"],
        [*train, "--out", tmp_path / "model"],
        [*train, "--out", tmp_path / "again", "--resume"],
    ]
    files = {"unet/a.safetensors": bytes(5000), "unet/config.json": b"{}"}
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(tmp_path / "weights"))
    with serve(FakeHub({"lab/tiny": files})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        asked = json.dumps([commands, list(files), REVISION], default=str)
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, asked], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not broken.exists(), broken.read_text()


@pytest.mark.slow
def test_a_killed_run_goes_on_under_the_rules_of_windows(clip, options, tmp_path, broken):
    asked = [clip, "--out", tmp_path / "d.npz", *options]
    assert stop_at("decode", 3, asked, signal.SIGKILL)[0] == -signal.SIGKILL
    resume = [sys.executable, "-m", "depthcrafter_cli", "resume", tmp_path / "d.npz.work"]
    done = subprocess.run(resume, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not broken.exists(), broken.read_text()


@pytest.mark.parametrize(
    ("step", "broken_rule"),
    [
        ("file = path.open(); path.unlink()", "is open"),
        ("file = path.open(); os.replace(path, other)", "is open"),
        ("file = path.open(); os.replace(other, path)", "is open"),
        ("file = path.open(); path.parent.rename(other)", "is open"),
        ("file = path.open('rb'); m = mmap.mmap(file.fileno(), 1, prot=1); file.close(); "
         "path.write_text('b')", "is mapped"),
        ("os.open(path.parent, os.O_RDONLY)", "cannot be opened"),
        ("os.replace(other, path.parent)", "cannot be replaced"),
        ("file = path.open(); file.close(); path.unlink()", ""),
        ("shutil.rmtree(path.parent)", ""),
        ("tempfile.TemporaryFile(dir=path.parent).close()", ""),
    ],
)  # fmt: skip
def test_the_rules_are_those_of_windows(tmp_path, broken, step, broken_rule):
    # A folder of the program's name: steps of other programs are refused, but not noted.
    script = tmp_path / "depthcrafter_cli" / "script.py"
    path, other = tmp_path / "folder" / "file", tmp_path / "other"
    for file in (script, path, other):
        file.parent.mkdir(exist_ok=True)
        file.write_text("a")
    script.write_text(
        "import mmap, os, shutil, tempfile\nfrom pathlib import Path\n"
        f"path, other = Path({str(path)!r}), Path({str(other)!r})\n{step}\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.returncode == 0) == (not broken_rule), done.stderr
    assert broken_rule in done.stderr
    assert not broken_rule or broken_rule in broken.read_text()
