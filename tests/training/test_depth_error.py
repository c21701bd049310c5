"""The error of estimates as depth, and the reading of disparity off latents."""

import pytest
import torch

from depthcrafter_cli.evaluation.alignment import align_clip
from depthcrafter_cli.evaluation.metrics import evaluate_clip
from depthcrafter_cli.training.data.targets import FARTHEST, depth_cells
from depthcrafter_cli.training.depth_error import DepthReading, depth_error


@pytest.fixture
def scene():
    """Inverse depth [1, T, 1, h, w] around 1, and a guess of it under another scale and shift."""
    generator = torch.Generator().manual_seed(0)
    true = 0.5 + torch.rand((1, 3, 1, 6, 8), generator=generator)
    guess = true + 0.1 * torch.randn(true.shape, generator=generator)
    return 3 * guess + 2, true


def test_error_is_abs_rel_of_the_evaluation(scene):
    guess, true = scene
    metrics = evaluate_clip(
        align_clip(guess[0, :, 0].numpy(), 1 / true[0, :, 0].numpy(), max_depth=FARTHEST)
    )
    assert depth_error(guess, true).item() == pytest.approx(metrics.abs_rel, rel=1e-3)


def test_error_knows_neither_scale_nor_shift_and_skips_what_does_not_count(scene):
    guess, true = scene
    assert depth_error(true * 5 - 1, true).item() == pytest.approx(0, abs=1e-2)
    spoilt, known = guess.clone(), true.clone()
    spoilt[..., 0], known[..., 0] = 1e3, 0
    kept = depth_error(guess[..., 1:], true[..., 1:])
    assert torch.allclose(depth_error(spoilt, known), kept, atol=1e-6)
    assert depth_error(guess, torch.zeros_like(true)).item() == 0


def test_descending_the_error_mends_a_map_that_has_near_and_far_wrong():
    true = torch.tensor([0.06, 0.2, 1.0, 2.0]).repeat(4).view(1, 1, 1, 4, 4)
    guess = torch.tensor([0.5, 0.2, 1.0, 0.8]).repeat(4).view(1, 1, 1, 4, 4).requires_grad_()
    before = depth_error(guess, true).item()
    optimizer = torch.optim.Adam([guess], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        error = depth_error(guess, true).sum()
        error.backward()
        assert guess.grad.isfinite().all()
        optimizer.step()
    assert error.item() < 0.1 * before


def test_reading_finds_the_convolution_that_made_the_disparity():
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn((6, 4, 9, 7), generator=generator)
    latents[:, 3] = 0  # a channel that is not used
    made = DepthReading(torch.randn((1, 4, 3, 3), generator=generator), torch.tensor([0.3]))
    disparity = made(latents)
    fitted = DepthReading.fit([(latents[:2], disparity[:2]), (latents[2:], disparity[2:])])
    assert torch.allclose(fitted(latents), disparity, atol=1e-4)
    assert torch.equal(fitted(latents[None])[0], fitted(latents))


def test_placeholders_for_unknown_depth_do_not_count():
    disparity = torch.ones(1, 16, 16)
    disparity[0, :8, :8] = 1 / 1e-6  # unknown depth, written as almost none
    cells = depth_cells(disparity, torch.ones(1, 16, 16, dtype=torch.bool))
    assert cells.flatten().tolist() == [0, 1, 1, 1] and cells.half().isfinite().all()


def test_cells_of_depth_count_where_all_their_pixels_do():
    disparity = torch.full((1, 8, 32), 2.0)
    disparity[:, :, 8] = 2.0 / (2 * FARTHEST)  # too far
    disparity[:, :, 16:24] = 4.0
    valid = torch.ones_like(disparity, dtype=torch.bool)
    valid[:, 3, 24] = False
    assert depth_cells(disparity, valid).flatten().tolist() == [1.0, 0.0, 2.0, 0.0]
    assert not depth_cells(disparity * 0, valid).any()
