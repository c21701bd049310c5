"""The loss's identities, and that a stopped run goes on as if it had never stopped."""

import numpy as np
import pytest
import torch
from torch import nn

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.training import loss
from depthcrafter_cli.training.config import Optimisation, load_config
from depthcrafter_cli.training.trainer import train


@pytest.mark.parametrize("level", [700.0, 15.59, 0.678, 0.01])
def test_target_velocity_restores_the_clean_latents(level):
    torch.manual_seed(0)
    clean, sigma = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64), torch.tensor(level).double()
    noisy = clean + sigma * torch.randn_like(clean)
    velocity = loss.velocity_target(noisy, clean, sigma)
    assert torch.allclose(loss.clean_estimate(noisy, velocity, sigma), clean, atol=1e-9)


def test_weighted_error_of_clean_latents_is_the_error_of_velocity():
    torch.manual_seed(0)
    clean, guess, sigma = torch.randn(2, 4, 8), torch.randn(2, 4, 8), torch.tensor(0.678)
    noisy = clean + sigma * torch.randn_like(clean)
    plain = (guess - loss.velocity_target(noisy, clean, sigma)).square().mean()
    assert torch.allclose(loss.score_matching_loss(noisy, guess, clean, sigma), plain, rtol=1e-4)


def test_network_input_has_unit_variance_at_every_level():
    torch.manual_seed(0)
    for level in (0.002, 0.678, 700.0):
        sigma = torch.tensor(level)
        noisy = torch.randn(100_000) + sigma * torch.randn(100_000)
        assert loss.scale_input(noisy, sigma).std().item() == pytest.approx(1.0, abs=0.02)


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

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        points = torch.from_numpy(rng.normal(size=(16, 3)).astype(np.float32))
        return (self.layer(points) - points.sum(1, keepdim=True)).square().mean()


def test_resumed_run_equals_uninterrupted_run_bit_for_bit(tmp_path):
    whole, stopped, resumed = Line(), Line(), Line()
    plan = Optimisation(steps=40, learning_rate=0.01, frames=1, warmup=5, save_every=10)
    train(whole, plan, 3, tmp_path / "whole.pt", ignore)

    class KilledError(Exception):
        pass

    taken = stopped.loss
    calls = iter(range(26))

    def loss_until_killed(rng):
        if next(calls, None) is None:
            raise KilledError
        return taken(rng)

    stopped.loss = loss_until_killed
    with pytest.raises(KilledError):
        train(stopped, plan, 3, tmp_path / "resumed.pt", ignore)
    train(resumed, plan, 3, tmp_path / "resumed.pt", ignore)
    assert torch.equal(whole.layer.weight, resumed.layer.weight)
    assert torch.equal(whole.layer.bias, resumed.layer.bias)


def test_unknown_key_is_an_error(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[data]\nclips = 3\nclops = 4\n")
    with pytest.raises(UsageError, match="clops"):
        load_config(recipe)
