"""Two processes that share a run's work train what one process trains."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed.fsdp as fsdp
from training_steps import three_stages, trained_weights, write_clip


@pytest.fixture(scope="module")
def recipe(tiny_folder, tmp_path_factory):
    """Three stages, scored, with all that depends on how a batch is shared out."""
    folder = tmp_path_factory.mktemp("processes")
    for seed in range(3):
        write_clip(folder / "clips" / f"{seed}", seed)
    scored = '[validation]\nsource = "mine"\nevery = 3\nclips = 2\nframes = 3\n'
    text = three_stages(tiny_folder, folder / "clips", steps=3)
    text = text.replace('name = "1"', 'name = "1"\nkeep = "best"')
    (folder / "recipe.toml").write_text(text + scored)
    return folder / "recipe.toml"


BY_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
BY_ACCELERATE = ("-m", "accelerate.commands.launch", "--use_fsdp", "--num_processes", "2",
                 "--mixed_precision", "no")  # fmt: skip


def begin(recipe, out, *options, launcher=BY_TORCHRUN):
    """Start training into ``out``, in two processes."""
    command = [sys.executable, *launcher, "-m", "depthcrafter_cli", "train", recipe, "--out", out,
               "--work-dir", f"{out}-work", "--device", "cpu", "--quiet", *options]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*map(str, command)], env=environment)


@pytest.fixture(scope="module")
def alone(recipe):
    """What one process makes of the recipe."""
    out = recipe.parent / "alone"
    assert begin(recipe, out, launcher=()).wait() == 0
    return out


def reports(out):
    entries = map(json.loads, Path(f"{out}-work", "log.jsonl").read_text().splitlines())
    return {(entry["stage"], entry["step"], name): entry[name]
            for entry in entries for name in ("loss", "abs_rel") if name in entry}  # fmt: skip


def require_same_reports(alone, shared, interrupted=()):
    """The same curves, but for rounding; the loss of a stage is a mean since its run began."""
    one, two = reports(alone), reports(shared)
    assert one.keys() == two.keys() >= {(stage, 3, "loss") for stage in "123"}
    for (stage, step, name), value in one.items():
        if name != "loss" or stage not in interrupted:
            assert two[stage, step, name] == pytest.approx(value, rel=1e-3), (stage, step, name)


def require_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    apart = sum(float((ours[name].double() - theirs[name].double()).norm() ** 2) for name in ours)
    whole = sum(float(tensor.double().norm() ** 2) for tensor in ours.values())
    assert (apart / whole) ** 0.5 < 1e-3


@pytest.mark.slow
def test_two_processes_follow_the_loss_curve_of_one(alone, recipe):
    shared = recipe.parent / "two"
    assert begin(recipe, shared).wait() == 0
    require_same_reports(alone, shared)
    require_same_weights(trained_weights(alone), trained_weights(shared))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(fsdp, "FSDPModule"), reason="this PyTorch has no FSDP2")
def test_two_processes_that_share_the_model_follow_the_loss_curve_of_one(alone, recipe):
    shared = recipe.parent / "sharded"
    killed = begin(recipe, shared, "--share-model")
    while not Path(f"{shared}-work", "2.ckpt").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    launcher = psutil.Process(killed.pid)
    for process in (launcher, *launcher.children(recursive=True)):
        process.kill()
    killed.wait()
    # A checkpoint is what one process would have written.
    one, two = (torch.load(f"{out}-work/1.ckpt", weights_only=True) for out in (alone, shared))
    assert one["recipe"] == two["recipe"]
    for kept in ("network", "average"):
        require_same_weights(one[kept], two[kept])
    assert begin(recipe, shared, "--resume", launcher=BY_ACCELERATE).wait() == 0
    require_same_reports(alone, shared, interrupted=("2",))
    require_same_weights(trained_weights(alone), trained_weights(shared))


@pytest.fixture
def streamed(tiny_folder, tmp_path):
    """The arguments of a long run whose clips are read ahead by ``workers`` processes."""
    for seed in range(3):
        write_clip(tmp_path / "clips" / f"{seed}", seed)

    def arguments(workers):
        recipe = tmp_path / f"{workers}.toml"
        text = three_stages(tiny_folder, tmp_path / "clips", steps=2000)
        recipe.write_text(f"workers = {workers}\n{text}")
        work = tmp_path / f"work-{workers}"
        return ("train", recipe, "--out", tmp_path / "model", "--work-dir", work,
                "--device", "cpu", "--quiet")  # fmt: skip

    return arguments


def test_a_clip_that_a_worker_cannot_read_is_said_in_one_sentence(cli, streamed, tmp_path):
    for home in (tmp_path / "clips").iterdir():
        (home / "rgb" / "1.png").write_bytes(b"no picture")
    here, ahead = cli(*streamed(0)), cli(*streamed(2))
    assert here.code == ahead.code == 3
    for said in (here.err, ahead.err):
        (line,) = said.splitlines()
        assert "1.png" in line and "Traceback" not in line


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_run_and_its_workers_is_said_in_one_sentence(streamed, tmp_path, number):
    command = [sys.executable, "-m", "depthcrafter_cli", *map(str, streamed(2))]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while not (tmp_path / "work-2" / "1.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal, or a cluster's scheduler, does
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    *before, last = said.splitlines()
    assert last == (
        "depthcrafter: interrupted; what is finished is kept. Go on with: the same command."
    )
    # Where a step was under way it is waited for, which is said.
    assert len(before) <= 1 and all("stopping once the step" in line for line in before)
