"""The loss's identities, and that a stopped run goes on as if it had never stopped."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from limits import file_size_limit
from processes import KILLED
from torch import nn

from depthcrafter_cli.disk import part_path
from depthcrafter_cli.errors import InputError, OutputError, UsageError
from depthcrafter_cli.progress import Interrupted, Progress, ignore
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.checkpoint import steps_done
from depthcrafter_cli.training.config import Optimisation, StageConfig
from depthcrafter_cli.training.ema import MovingAverage
from depthcrafter_cli.training.journal import Journal
from depthcrafter_cli.training.optimizers import (
    groups_of,
    optimizer_of,
    require_optimizers,
    state_bytes,
)
from depthcrafter_cli.training.recipe import load_recipe
from depthcrafter_cli.training.trainer import Session, new_state, train


def velocity_target(noisy, clean, sigma):
    """The v from which the clean estimate is ``clean``."""
    return (noisy / (sigma**2 + 1) - clean) * (sigma**2 + 1).sqrt() / sigma


@pytest.mark.parametrize("level", [700.0, 15.59, 0.678, 0.01])
def test_target_velocity_restores_the_clean_latents(level):
    torch.manual_seed(0)
    clean, sigma = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64), torch.tensor(level).double()
    noisy = clean + sigma * torch.randn_like(clean)
    velocity = velocity_target(noisy, clean, sigma)
    assert torch.allclose(loss.clean_estimate(noisy, velocity, sigma), clean, atol=1e-9)


def test_weighted_error_of_clean_latents_is_the_error_of_velocity():
    torch.manual_seed(0)
    shape = 2, 3, 4, 8, 8
    clean, guess, sigma = torch.randn(shape), torch.randn(shape), torch.tensor(0.678)
    noisy = clean + sigma * torch.randn_like(clean)
    plain = (guess - velocity_target(noisy, clean, sigma)).square().mean()
    everywhere = torch.ones(2, 3, 1, 8, 8)
    weighted = loss.score_matching_loss(noisy, guess, clean, sigma, everywhere)
    assert torch.allclose(weighted, plain, rtol=1e-4)


def test_masked_cells_do_not_count():
    torch.manual_seed(0)
    shape = 2, 3, 4, 8, 8
    clean, guess, sigma = torch.randn(shape), torch.randn(shape), torch.tensor(0.678)
    noisy = clean + sigma * torch.randn_like(clean)
    mask = torch.ones(2, 3, 1, 8, 8)
    mask[0, :, :, :4] = 0
    spoilt = clean.clone()
    spoilt[0, :, :, :4] += 100
    first = loss.score_matching_loss(noisy, guess, clean, sigma, mask)
    assert torch.equal(first, loss.score_matching_loss(noisy, guess, spoilt, sigma, mask))
    left = guess[0, :, :, 4:] - velocity_target(noisy, clean, sigma)[0, :, :, 4:]
    right = guess[1] - velocity_target(noisy, clean, sigma)[1]
    assert torch.allclose(first, (left.square().mean() + right.square().mean()) / 2, rtol=1e-4)


def test_network_input_has_unit_variance_at_every_level():
    torch.manual_seed(0)
    for level in (0.002, 0.678, 700.0):
        sigma = torch.tensor(level)
        noisy = torch.randn(100_000) + sigma * torch.randn(100_000)
        assert loss.scale_input(noisy, sigma).std().item() == pytest.approx(1.0, abs=0.02)


class Point(NamedTuple):
    """One step of the line."""

    step: int
    weight: float = 1.0
    frames: int = 1


class Line(nn.Module):
    """A stage that fits a straight line to random points."""

    name = "line"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    @property
    def network(self) -> nn.Module:
        return self

    def pieces(self, steps):
        return ([Point(step)] for step in steps)

    def loss(self, network, piece):
        rng = np.random.default_rng(piece.step)
        points = torch.from_numpy(rng.normal(size=(16, 3)).astype(np.float32))
        return (self.layer(points) - points.sum(1, keepdim=True)).square().mean()


class Wide(Line):
    """The same line through a layer wide enough to be a matrix to Muon."""

    stops_at = -1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 32), nn.Linear(32, 16), nn.Linear(16, 1))

    def loss(self, network, piece):
        if piece.step == self.stops_at:
            raise KeyboardInterrupt
        return super().loss(network, piece)


PLAN = Optimisation(steps=40, learning_rate=0.01, warmup=5, save_every=10)


def session(folder: Path) -> Session:
    return Session(Accelerator(cpu=True), folder, Journal(folder), 3, ignore)


def test_resumed_stage_equals_uninterrupted_stage_bit_for_bit(tmp_path):
    whole, stopped, resumed = Line(), Line(), Line()
    train(whole, PLAN, session(tmp_path / "whole"))

    class KilledError(Exception):
        pass

    def loss_until_killed(network, piece):
        if piece.step == 26:
            raise KilledError
        return Line.loss(stopped, network, piece)

    stopped.loss = loss_until_killed
    folder = tmp_path / "stopped"
    with pytest.raises(KilledError):
        train(stopped, PLAN, session(folder))
    train(resumed, PLAN, session(folder))
    assert torch.equal(whole.layer.weight, resumed.layer.weight)
    assert torch.equal(whole.layer.bias, resumed.layer.bias)
    steps = [entry["step"] for entry in Journal(folder).lines()]
    assert steps == [entry["step"] for entry in Journal(tmp_path / "whole").lines()] == [20, 40]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has it from 2.9 on")
def test_muon_balances_the_directions_of_matrices_and_leaves_the_rest_to_adamw():
    torch.manual_seed(0)
    wide, bias = nn.Parameter(torch.randn(64, 8, 3)), nn.Parameter(torch.randn(64))
    narrow, before = nn.Parameter(torch.randn(4, 24)), wide.detach().clone()
    twins = [nn.Parameter(p.detach().clone()) for p in (bias, narrow)]
    plan = Optimisation(steps=1, learning_rate=0.01, weight_decay=0.0, optimizer="muon")
    muon = optimizer_of(plan, [wide, bias, narrow])
    adamw = optimizer_of(replace(plan, optimizer="adamw"), twins)
    wide.grad = torch.randn(wide.shape) * torch.logspace(0, 1, 24).view(8, 3)
    for parameter, twin in zip((bias, narrow), twins, strict=True):
        parameter.grad = torch.randn(parameter.shape)
        twin.grad = parameter.grad.clone()
    muon.step()
    adamw.step()
    spread = [
        torch.linalg.cond(change.flatten(1)).item()
        for change in (wide.grad, wide.detach() - before)
    ]
    assert spread[0] > 10 and spread[1] < 2
    assert torch.equal(bias, twins[0]) and torch.equal(narrow, twins[1])


@pytest.mark.parametrize("name", ["adamw", "muon"][: 1 + hasattr(torch.optim, "Muon")])
def test_betas_of_a_stage_are_those_of_its_adamw(name):
    plan = Optimisation(steps=1, learning_rate=0.1, betas=[0.5, 0.7], optimizer=name)
    ours, other = (nn.Parameter(torch.ones(4)) for _ in range(2))
    adamw = torch.optim.AdamW([other], lr=0.1, weight_decay=0.01, betas=(0.5, 0.7))
    for optimizer, parameter in ((optimizer_of(plan, [ours]), ours), (adamw, other)):
        for gradient in (1.0, -3.0):
            parameter.grad = torch.full((4,), gradient)
            optimizer.step()
    assert torch.allclose(ours, other)


@pytest.mark.parametrize("change", [
    {}, {"optimizer_on": "host"},
    pytest.param({"optimizer": "muon"}, marks=pytest.mark.skipif(
        not hasattr(torch.optim, "Muon"), reason="PyTorch has it from 2.9 on")),
])  # fmt: skip
def test_parameters_with_a_share_of_the_rate_learn_as_with_that_rate(tmp_path, change):
    plan = replace(PLAN, learning_rate=0.001, weight_decay=0.0, clip_norm=1e9, **change)
    network = nn.ModuleDict({"slow": nn.Linear(32, 32), "fast": nn.Linear(32, 32)})
    twins = deepcopy(network)
    with pytest.raises(UsageError, match=r"'slo\.', expected a part"):
        groups_of(replace(plan, rates={"slo.": 0.25}), network)
    groups = groups_of(replace(plan, rates={"slow": 0.25, "slow.bias": 0.125}), network)
    ours = optimizer_of(plan, groups)
    assert sorted(group["share"] for group in groups) == [0.125, 0.25, 1.0]
    for group in ours.param_groups:
        group["lr"] = plan.learning_rate * group["share"]
    single = [
        optimizer_of(replace(plan, learning_rate=plan.learning_rate * share), [parameter])
        for share, parameter in zip(
            (0.25, 0.125, 1.0, 1.0), twins.parameters(), strict=True
        )
    ]  # fmt: skip
    for _ in range(2):
        for one, other in zip(network.parameters(), twins.parameters(), strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimizer in (ours, *single):
            optimizer.step()
    pairs = zip(network.parameters(), twins.parameters(), strict=True)
    assert all(torch.allclose(*pair, atol=1e-7) for pair in pairs)


def resumes_to_the_bit(plan, tmp_path, whole, stopped, resumed):
    train(whole, plan, session(tmp_path / "whole"))
    stopped.stops_at = 26
    with pytest.raises(KeyboardInterrupt):
        train(stopped, plan, session(tmp_path / "stopped"))
    train(resumed, plan, session(tmp_path / "stopped"))
    first, second = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has it from 2.9 on")
def test_resumed_stage_equals_uninterrupted_stage_with_muon(tmp_path):
    plan = replace(PLAN, optimizer="muon", learning_rate=0.001, rates={"bias": 0.5})
    resumes_to_the_bit(plan, tmp_path, Wide(), Wide(), Wide())


def test_adamw_on_the_host_trains_and_resumes_as_on_the_device(tmp_path):
    plan = replace(PLAN, learning_rate=0.001, optimizer_on="host", ema_on="host")
    hosted, usual = Wide(), Wide()
    resumes_to_the_bit(plan, tmp_path, hosted, Wide(), Wide())
    train(usual, replace(plan, optimizer_on="device"), session(tmp_path / "device"))
    pairs = zip(hosted.parameters(), usual.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_only_adamw_may_be_on_the_host(tmp_path):
    recipe = load_recipe(Path("examples/fine-tune.toml"))
    stage = replace(recipe.stages[0], optimizer_on="host")
    require_optimizers(replace(recipe, stages=[stage]))
    with pytest.raises(UsageError, match='optimizer_on = "host" with optimizer = "muon"'):
        require_optimizers(replace(recipe, stages=[replace(stage, optimizer="muon")]))


class Wider(Wide):
    """The same line through layers large enough for a state in 8 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 64), nn.Linear(64, 96), nn.Linear(96, 1))


def test_a_state_in_8_bits_resumes_to_the_bit_and_takes_what_is_counted(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra 8bit is not installed")
    plan = replace(PLAN, optimizer="adamw8bit", learning_rate=0.001, ema_on="host")
    whole = Wider()
    before = [p.detach().clone() for p in whole.parameters()]
    resumes_to_the_bit(plan, tmp_path, whole, Wider(), Wider())
    assert all(not torch.equal(*pair) for pair in zip(before, whole.parameters(), strict=True))
    optimizer = optimizer_of(plan, [*whole.parameters()])
    for parameter in whole.parameters():
        parameter.requires_grad_().grad = torch.ones_like(parameter)
    optimizer.step()
    for parameter in whole.parameters():
        state = optimizer.state[parameter]
        kept = [state[name] for name in ("state1", "state2", "absmax1", "absmax2") if name in state]
        assert sum(tensor.nbytes for tensor in kept) == state_bytes(plan, parameter)
        assert (kept[0].dtype == torch.uint8) == (parameter.numel() >= 4096)


def test_log_survives_a_kill_while_writing_and_forgets_what_is_done_again(tmp_path):
    journal = Journal(tmp_path)
    for step in (20, 40, 60):
        journal.write("1", step, loss=1.0)
    journal.write("2", 20, loss=1.0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "2", "st')
    journal.rewind("1", 40)
    assert [(entry["stage"], entry["step"]) for entry in journal.lines()] == [
        ("1", 20), ("1", 40), ("2", 20)
    ]  # fmt: skip


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_and_nothing_else(tmp_path):
    train(Line(), PLAN, session(tmp_path))
    before, kept = (tmp_path / "line.ckpt").read_bytes(), sorted(tmp_path.iterdir())
    with file_size_limit(len(before) // 2), pytest.raises(OutputError, match="disk is full"):
        new_state(Line().network, PLAN, 3).save(tmp_path / "line.ckpt")
    assert (tmp_path / "line.ckpt").read_bytes() == before
    assert sorted(tmp_path.iterdir()) == kept


@pytest.mark.slow
def test_a_run_that_was_killed_while_saving_leaves_nothing_behind_when_it_is_done(tmp_path):
    folder = tmp_path / "work"
    command = [sys.executable, "-c", f"""
import sys, torch
sys.path[:0] = {[str(place) for place in Path(__file__).parents[:2]]!r}
from processes import kill_this_process
from test_loop import PLAN, Line, Path, session, train
save = torch.save
def killed(content, path):
    save(content, path)
    kill_this_process()
torch.save = killed
train(Line(), PLAN, session(Path({str(folder)!r})))
"""]  # fmt: skip
    for _ in range(2):
        assert subprocess.run(command).returncode == KILLED
    left = part_path(folder / "line.ckpt")
    assert left.exists()
    train(Line(), PLAN, session(folder))
    assert not left.exists()


def test_checkpoint_of_another_recipe_is_refused(tmp_path):
    train(Line(), PLAN, session(tmp_path))
    with pytest.raises(UsageError, match="learning_rate"):
        train(Line(), replace(PLAN, learning_rate=0.02), session(tmp_path))
    fewer = Line()
    fewer.layer.bias.requires_grad_(False)
    with pytest.raises(UsageError, match="frozen"):
        train(fewer, PLAN, session(tmp_path))


def test_a_checkpoint_from_before_a_switch_goes_on_with_its_default_alone(tmp_path):
    stage = StageConfig(name="line", trains="all", sources={}, frames=[1, 1], **vars(PLAN))
    train(Line(), stage, session(tmp_path))
    content = torch.load(tmp_path / "line.ckpt", weights_only=True)
    for key in ("betas", "condition_dropout", "sampled_truth"):
        del content["recipe"][key]
    torch.save(content, tmp_path / "line.ckpt")
    train(Line(), stage, session(tmp_path))
    for change in ({"betas": [0.9, 0.999]}, {"condition_dropout": 0.1}, {"sampled_truth": True}):
        with pytest.raises(UsageError, match=next(iter(change))):
            train(Line(), replace(stage, **change), session(tmp_path))


def test_a_loss_that_is_no_number_ends_the_stage_before_it_spoils_the_weights(tmp_path):
    stage = Line()

    def loss_that_explodes(network, piece):
        return Line.loss(stage, network, piece) * (float("nan") if piece.step == 12 else 1.0)

    stage.loss = loss_that_explodes
    with pytest.raises(UsageError, match="step 13"):
        train(stage, PLAN, session(tmp_path))
    assert bool(torch.isfinite(stage.layer.weight).all())


def test_a_gradient_that_is_no_number_ends_the_stage_before_it_spoils_the_weights(tmp_path):
    stage = Line()

    def loss_with_a_cliff(network, piece):
        loss = Line.loss(stage, network, piece)
        # The square root of 0 is 0, and its slope infinite.
        return loss + (stage.layer.weight.sum() * 0).sqrt() if piece.step == 12 else loss

    stage.loss = loss_with_a_cliff
    with pytest.raises(UsageError, match="step 13"):
        train(stage, PLAN, session(tmp_path))
    assert bool(torch.isfinite(stage.layer.weight).all())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has it from 2.9 on")
@pytest.mark.parametrize("shape", [(32, 32), (32,)])
def test_muon_does_with_matrices_alone_and_without_any(shape):
    parameter = nn.Parameter(torch.ones(shape))
    optimizer = optimizer_of(
        Optimisation(steps=1, learning_rate=0.1, optimizer="muon"), [parameter]
    )
    parameter.grad = torch.randn(shape)
    optimizer.step()
    assert bool((parameter != 1).any())


def test_a_validation_that_fails_costs_no_step(tmp_path):
    scored = []

    def fail() -> dict[str, float]:
        scored.append(1)
        if len(scored) > 1:
            raise InputError("no depth is known")
        return {"abs_rel": 1.0}

    taken, stage = [], Line()

    def noted(network, piece):
        taken.append(piece.step)
        return Line.loss(stage, network, piece)

    stage.loss = noted
    for _ in range(2):
        with pytest.raises(InputError):
            train(stage, PLAN, session(tmp_path).validated(fail, 13))
    assert taken == list(range(13))  # saved, and scored first by the second run


SCORED = StageConfig(
    name="line", trains="all", sources={}, frames=[1, 1], steps=40, learning_rate=0.01, warmup=5,
    save_every=10, keep_last=2, keep="best",
)  # fmt: skip


def interrupted_at(step: int, folder: Path) -> Session:
    def observe(event: Progress) -> None:
        if event.done == step:
            raise Interrupted

    return replace(session(folder), observer=observe)


@pytest.mark.parametrize("step", [10, 17])
def test_a_run_that_is_asked_to_stop_saves_the_step_it_is_at(tmp_path, step):
    whole, resumed = Line(), Line()
    train(whole, PLAN, session(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(Line(), PLAN, interrupted_at(step, tmp_path / "stopped"))
    assert steps_done(tmp_path / "stopped" / "line.ckpt") == step
    train(resumed, PLAN, session(tmp_path / "stopped"))
    assert torch.equal(whole.layer.weight, resumed.layer.weight)


def test_a_run_stops_when_its_time_is_up(tmp_path):
    with pytest.raises(Interrupted):
        train(Line(), PLAN, replace(session(tmp_path), deadline=0.0))
    assert steps_done(tmp_path / "line.ckpt") == 1


def test_the_best_weights_are_kept_whatever_comes_after_and_whenever_it_stops(tmp_path):
    scores = {0: 0.5, 10: 0.2, 20: 0.1, 30: 0.3, 40: 0.4}

    def trained(folder, stops=()):
        checkpoint = folder / "line.ckpt"

        def score() -> dict[str, float]:
            return {"abs_rel": scores[steps_done(checkpoint) if checkpoint.exists() else 0]}

        for step in stops:
            shared = replace(interrupted_at(step, folder), validate=score, validate_every=10)
            with pytest.raises(Interrupted):
                train(Line(), SCORED, shared)
        stage = Line()
        train(stage, SCORED, replace(session(folder), validate=score, validate_every=10))
        return stage

    def at(step):
        stage, folder = Line(), tmp_path / f"until{step}"
        with pytest.raises(Interrupted):
            train(stage, SCORED, interrupted_at(step, folder))
        new_state(stage.network, SCORED, 3).load_weights(folder / "line.ckpt")
        return stage.layer.weight

    best = trained(tmp_path / "whole").layer.weight
    assert torch.equal(best, at(20))
    assert torch.equal(best, trained(tmp_path / "stopped", stops=(5, 20, 33)).layer.weight)
    kept = sorted(path.name for path in (tmp_path / "whole").glob("*.ckpt"))
    assert kept == ["line.00000030.ckpt", "line.00000040.ckpt", "line.best.ckpt", "line.ckpt"]
    exported = Line()
    numbered = tmp_path / "whole" / "line.00000030.ckpt"
    train(exported, SCORED, replace(session(tmp_path / "whole"), export=numbered))
    assert torch.equal(exported.layer.weight, at(30)) and not torch.equal(
        best, exported.layer.weight
    )


def test_average_lends_its_weights_to_the_network_and_takes_them_back():
    line = nn.Linear(3, 1)
    average = MovingAverage(line, 0.9)
    before = line.weight.detach().clone()
    with torch.no_grad():
        line.weight += 1.0
    average.update(1)
    mean, live = average.state_dict()["weight"].clone(), line.weight.detach().clone()
    assert not torch.equal(mean, live) and not torch.equal(mean, before)
    with average.in_network():
        assert torch.equal(line.weight, mean)
    assert torch.equal(line.weight, live)
    assert torch.equal(average.state_dict()["weight"], mean)


def test_unknown_key_is_an_error(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[objective]\nrollout = 3\nrolling = 4\n")
    with pytest.raises(UsageError, match="rolling"):
        load_recipe(recipe)


@pytest.mark.parametrize(
    ("example", "old", "new", "named"),
    [
        ("fine-tune", "every = 500", "every = 0", "every"),
        ("fine-tune", "micro_batch = 1", "micro_batch = -1", "micro_batch"),
        ("fine-tune", "height = 320", "height = 300", "multiples of 8"),
        ("fine-tune", "workers = 4", "workers = -1", "workers"),
        ("nano", "heads = [1, 2, 2, 2]", "heads = [1, 2]", "one of each a level"),
        ("nano", "attention = [false, false, true, true]", "attention = [true]", "one of each"),
        ("nano", "max_res = 256", "max_size = 256", "max_size"),
        ("nano", "max_res = 256", "max_res = 0", "max_res = 0"),
        ("nano", "steps = 1\n", "steps = 0\n", "steps = 0"),
        ("nano", "overlap = 8", "overlap = 24", "overlap = 24"),
        ("nano", "overlap = 8", "overlap = -1", "overlap = -1"),
        ("nano", "overlap = 8", "", "overlap = 25 and window = 24"),
        ("nano", "save_every = 100", "save_every = 0", "save_every"),
        ("nano", "steps = 1600", "steps = 0", r"foundation\.image_encoder"),
        ("nano", "ema = 0.995", "ema = 1.0", "ema"),
        ("nano", "pictures = 4", "pictures = 0", "pictures"),
        ("nano", "crop = 64", "crop = 60", "crop = 60"),
        ("nano", "heads = 4", "heads = 3", "multiple of the heads"),
        ("nano", "embedding = 128", "embedding = 0", "embedding"),
        ("nano", "channels = [64, 64, 128, 128]", "channels = [64, 128]", "expected 4"),
        ("nano", "channels = [32, 96, 128, 96]", "channels = [32, 96, 128, 80]", "multiples of 32"),
        ("nano", "heads = [1, 2, 2, 2]", "heads = [1, 2, 0, 2]", "at least 1"),
        ("nano", "seed = 0", "seed = -1", "seed = -1"),
        ("nano", "seed = 0", "seed = 0\nstart_share = 0.5", "start_share = 0.5"),
        ("nano-game", "start_share = 0.5", "start_share = 1.0", "start_share = 1.0"),
        ("nano", "levels = [700.0]", "levels = [0.0]", "levels above 0"),
        ("nano", "level_shares = [1.0]", "level_shares = [0.0]", "shares of which"),
        ("nano", "every = 2500", "every = 2500\nmax_depth = 0.0", "max_depth = 0.0"),
        ("nano", "batch_frames = 96", "batch_frames = 96\nclip_norm = 0.0", "clip_norm = 0.0"),
        ("nano", "learning_rate = 2e-3", "learning_rate = -2e-3", "learning_rate = -0.002"),
        ("nano", "batch_frames = 96", "betas = [0.9, 1.0]", "betas"),
        ("nano", "batch_frames = 96", "condition_dropout = 1.0", "dropout = 1.0"),
        ("nano", "batch_frames = 96", "sampled_truth = true", "sampled_truth"),
        ("nano", "batch_frames = 96", "skip_dropout = [1.0]", "skip_dropout"),
        ("nano", "batch_frames = 96", "rates = { conv_in = 0.0 }", "rates"),
        ("nano-game", "clips = 45_000", "clips = -1", "clips = -1"),
        ("nano-game", "clips = 45_000", "clips = 45_000_000", "0 to 1000000"),
        ("nano-game", "first_seed = 5_000_000", "first_seed = -5", "first_seed = -5"),
    ],
)
def test_values_that_cannot_work_are_refused(tmp_path, example, old, new, named):
    recipe, text = tmp_path / "recipe.toml", Path(f"examples/{example}.toml").read_text()
    assert old in text
    recipe.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=named):
        load_recipe(recipe)


@pytest.mark.parametrize(
    "name", ["nano", "nano-stages", "nano-game", "fine-tune", "adapter", "paper"]
)
def test_recipes_that_ship_can_be_read(name):
    assert load_recipe(Path("examples") / f"{name}.toml").stages
