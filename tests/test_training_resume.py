"""A training run that is killed and goes on ends with the weights of one that never stopped."""

import os
import signal
import subprocess
import sys
import time

import torch
from training_steps import three_stages, trained_weights, write_clip


def test_a_run_killed_in_the_middle_of_a_stage_ends_bit_for_bit_the_same(
    cli, tiny_folder, tmp_path
):
    recipe = tmp_path / "recipe.toml"
    for seed in range(3):
        write_clip(tmp_path / "clips" / f"{seed}", seed)
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", steps=3))

    def arguments(name, *more):
        return ("train", recipe, "--out", tmp_path / name, "--work-dir", tmp_path / f"{name}-work",
                "--device", "cpu", "--quiet", *more)  # fmt: skip

    whole = cli(*arguments("whole"))
    assert whole.code == 0, whole.err

    command = [sys.executable, "-m", "depthcrafter_cli", *map(str, arguments("killed"))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    checkpoint = tmp_path / "killed-work" / "2.ckpt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = torch.load(checkpoint, weights_only=True)["step"]
    assert saved in (2, 3)
    assert not (tmp_path / "killed").exists()

    resumed = cli(*arguments("killed", "--resume"))
    assert resumed.code == 0, resumed.err
    first, second = trained_weights(tmp_path / "whole"), trained_weights(tmp_path / "killed")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for stage in "123":
        one, other = (
            torch.load(tmp_path / f"{name}-work" / f"{stage}.ckpt", weights_only=True)
            for name in ("whole", "killed")
        )
        assert one["step"] == other["step"] == 3
        for name, tensor in one["network"].items():
            assert torch.equal(tensor, other["network"][name]), name
