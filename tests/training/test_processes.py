"""Two processes that share a run's work train what one process trains."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from training_steps import three_stages, trained_weights, write_clip


def losses(work):
    entries = [json.loads(line) for line in (work / "log.jsonl").open()]
    return {(entry["stage"], entry["step"]): entry["loss"] for entry in entries}


@pytest.mark.slow
def test_two_processes_follow_the_loss_curve_of_one(cli, tiny_folder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    for seed in range(3):
        write_clip(tmp_path / "clips" / f"{seed}", seed)
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", steps=3))

    def arguments(name):
        return ("train", recipe, "--out", tmp_path / name, "--work-dir", tmp_path / f"{name}-work",
                "--device", "cpu", "--quiet")  # fmt: skip

    done = cli(*arguments("one"))
    assert done.code == 0, done.err
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "depthcrafter_cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *map(str, arguments("two"))], env=environment, check=True)

    one, two = losses(tmp_path / "one-work"), losses(tmp_path / "two-work")
    assert one.keys() == two.keys() == {(stage, 3) for stage in "123"}
    for key, loss in one.items():
        assert two[key] == pytest.approx(loss, rel=1e-3), key
    alone, shared = trained_weights(tmp_path / "one"), trained_weights(tmp_path / "two")
    apart = sum(float((alone[name].double() - shared[name].double()).norm() ** 2) for name in alone)
    whole = sum(float(tensor.double().norm() ** 2) for tensor in alone.values())
    assert (apart / whole) ** 0.5 < 1e-3


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
