"""Two processes that share a run's work train what one process trains."""

import json
import os
import subprocess
import sys

import pytest
from training_steps import three_stages, trained_weights, write_clip


def losses(work):
    entries = [json.loads(line) for line in (work / "log.jsonl").open()]
    return {(entry["stage"], entry["step"]): entry["loss"] for entry in entries}


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
