"""A training run that is killed and goes on ends with the weights of one that never stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from training_steps import three_stages, trained_weights, write_clip

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.training.checkpoint import TrainingState
from depthcrafter_cli.training.data.kept import keep, kept
from depthcrafter_cli.training.ema import MovingAverage


@pytest.mark.slow
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


@pytest.fixture
def staged(cli, tiny_folder, tmp_path):
    """Train by the last stages of a recipe of two steps each, perhaps changed, in one folder."""
    for seed in range(2):
        write_clip(tmp_path / "clips" / f"{seed}", seed)
    whole = three_stages(tiny_folder, tmp_path / "clips", steps=2)
    head, *stages = whole.split("[[stages]]")

    def run(out, chosen, old="", new=""):
        text = "[[stages]]".join([head, *(stages[number - 1] for number in chosen)])
        assert old in text
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(text.replace(old, new, 1))
        return cli("train", recipe, "--out", tmp_path / out, "--work-dir", tmp_path / "work",
                   "--device", "cpu", "--quiet")  # fmt: skip

    return run


RATE = "learning_rate = 1e-3", "learning_rate = 3e-3"


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [(1, 2, 3), (3,), (2, 1, 3)])
def test_a_stage_is_not_taken_for_finished_after_other_ones_than_it_was_trained_after(
    staged, tmp_path, chosen
):
    assert staged("first", (1, 3)).code == 0
    before = sorted((tmp_path / "work").iterdir())
    refused = staged("second", chosen)
    assert refused.code == 2 and "earlier_stages" in refused.err, refused.err
    assert sorted((tmp_path / "work").iterdir()) == before


@pytest.mark.slow
def test_a_changed_stage_whose_checkpoint_was_deleted_asks_for_the_later_ones_and_is_redone(
    staged, tmp_path
):
    work = tmp_path / "work"
    assert staged("first", (1, 3)).code == 0
    (work / "1.ckpt").unlink()
    refused = staged("second", (1, 3), *RATE)
    assert refused.code == 2 and "3.ckpt" in refused.err and not (work / "1.ckpt").exists()
    (work / "3.ckpt").unlink()
    old = trained_weights(work / "after-1")
    os.utime(work / "after-1" / "depthcrafter.json", (4e9, 4e9))  # as by a clock set back since
    assert staged("second", (1, 3), *RATE).code == 0
    assert staged("third", (1, 3), *RATE).code == 0
    new = trained_weights(work / "after-1")
    assert any(not torch.equal(old[name], new[name]) for name in old)
    last = trained_weights(work / "after-3")
    assert all(torch.equal(last[n], w) for n, w in trained_weights(tmp_path / "third").items())
    # What the spatial stage does not train is what the changed first one made of it.
    assert any(torch.equal(new[name], last[name]) for name in new if "temporal" in name)
    shutil.rmtree(work)
    assert staged("anew", (1, 3), *RATE).code == 0
    assert all(torch.equal(last[n], w) for n, w in trained_weights(tmp_path / "anew").items())


@pytest.mark.slow
def test_checkpoints_of_a_first_stage_that_note_no_earlier_ones_go_on(staged, tmp_path):
    assert staged("first", (1,)).code == 0
    checkpoint = tmp_path / "work" / "1.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    del content["recipe"]["earlier_stages"]
    torch.save(content, checkpoint)
    assert staged("second", (1,)).code == 0


def test_no_bit_that_flipped_in_a_checkpoint_gets_into_the_weights(tmp_path):
    """PyTorch itself does not look at the checksums that it writes."""
    network = torch.nn.Linear(30, 20)
    optimizer = torch.optim.AdamW(network.parameters())
    state = TrainingState(network, optimizer, MovingAverage(network, 0.9), {})
    path = tmp_path / "1.ckpt"
    state.save(path)
    state.load(path)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 101):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            state.load(path)
        except UsageError as error:
            assert str(path) in str(error)
            refused += 1
        else:  # it was in a part that is not used, as a date
            after = network.state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before), at
    assert refused > 30


def test_no_bit_that_flipped_in_a_kept_clip_gets_into_the_training(tmp_path):
    path = tmp_path / "000000.npz"
    arrays = {"rgb": np.arange(3000, dtype=np.uint8), "disparity": np.linspace(0, 1, 500)}
    keep(path, **arrays)
    whole = path.read_bytes()
    refused = 0
    for at in [*range(0, 60), *range(60, len(whole), 41), *range(len(whole) - 160, len(whole))]:
        for bit in (0, 3):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            try:
                read = kept(path, *arrays)
            except UsageError as error:
                assert str(path) in str(error)
                refused += 1
            else:
                assert all(map(np.array_equal, read, arrays.values())), at
    assert refused > 200
