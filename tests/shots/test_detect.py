"""Cuts found in small films whose cuts are known."""

import numpy as np
import pytest

from depthcrafter_cli.shots.detect import find_cuts, picture_size
from depthcrafter_cli.types import Size

HEIGHT, WIDTH = 36, 64


def soft_noise(rng, height, width):
    """Shapes of many sizes without hard edges, float [height, width, 3] around 0."""
    total = np.zeros((height, width, 3))
    for cell in (24, 12, 6):
        rough = rng.normal(size=(height // cell + 3, width // cell + 3, 3))
        large = np.kron(rough, np.ones((cell, cell, 1)))
        for axis in (0, 1):
            large = sum(np.roll(large, step, axis) for step in range(cell)) / cell
        total += large[cell : cell + height, cell : cell + width] * 9 * cell**0.5
    return total


def take(seed, frames, pixels_a_frame=0.7):
    """A shot float [T, H, W, 3] that moves sideways."""
    rng = np.random.default_rng(seed)
    wide = np.clip(soft_noise(rng, HEIGHT, 4 * WIDTH) + rng.uniform(70, 180, 3), 0, 255)
    shifts = (np.arange(frames) * pixels_a_frame).astype(int)
    return np.stack([np.roll(wide, -shift, 1)[:, :WIDTH] for shift in shifts])


def film(*parts):
    return np.clip(np.concatenate(parts), 0, 255).round().astype(np.uint8)


def dissolved(first, second, frames):
    """Two shots, the last frames of one mixed with the first of the other."""
    share = (np.arange(1, frames + 1) / (frames + 1))[:, None, None, None]
    mixed = first[-frames:] * (1 - share) + second[:frames] * share
    return film(first[:-frames], mixed, second[frames:])


def test_hard_cuts_are_found_to_the_frame():
    lengths = [30, 12, 12, 45, 3, 20]
    shots = [take(seed, length) for seed, length in enumerate(lengths)]
    assert find_cuts(film(*shots)) == list(np.cumsum(lengths)[:-1])


@pytest.mark.parametrize("speed", [0.0, 0.7, 4.0, 16.0])
def test_a_single_take_has_no_cut_however_fast_it_moves(speed):
    assert find_cuts(film(take(1, 60, speed))) == []


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_flash_is_no_cut(frames):
    shot = take(2, 40)
    shot[20 : 20 + frames] = np.clip(shot[20 : 20 + frames] * 0.3 + 200, 0, 255)
    assert find_cuts(film(shot)) == []


def test_strobe_light_is_no_cut():
    shot = take(3, 60)
    shot[10:50:4] = np.clip(shot[10:50:4] * 1.5 + 60, 0, 255)
    shot[11:50:4] = np.clip(shot[11:50:4] * 1.5 + 60, 0, 255)
    assert find_cuts(film(shot)) == []


def test_a_whip_pan_is_no_cut():
    rng = np.random.default_rng(4)
    wide = np.clip(soft_noise(rng, HEIGHT, 8 * WIDTH) + 120, 0, 255)
    speed = np.concatenate([np.full(15, 0.5), 14 * np.sin(np.linspace(0, np.pi, 10)), np.zeros(15)])
    at = np.cumsum(speed).astype(int)
    shot = np.stack([wide[:, x : x + WIDTH] for x in at])
    assert find_cuts(film(shot)) == []


@pytest.mark.parametrize("frames", [8, 14, 20])
def test_a_dissolve_belongs_to_the_shot_that_it_leads_to(frames):
    (cut,) = find_cuts(dissolved(take(5, 50, 0.1), take(6, 50, 0.1), frames))
    assert abs(cut - (50 - frames)) <= 2


@pytest.mark.parametrize("black", [0, 1, 10])
def test_after_a_fade_the_shot_begins_where_something_is_seen_again(black):
    first, second = take(7, 40), take(8, 40)
    level = np.linspace(1, 0, 8)[:, None, None, None]
    first[-8:] *= level
    second[:8] *= level[::-1]
    (cut,) = find_cuts(film(first, np.zeros((black, HEIGHT, WIDTH, 3)), second))
    assert 40 + black <= cut <= 42 + black


def test_letterbox_bars_and_dark_pictures_change_nothing():
    shots = [take(seed, 20) * 0.35 for seed in (9, 10, 11)]
    for shot in shots:
        shot[:, :5] = shot[:, -5:] = 0
    assert find_cuts(film(*shots)) == [20, 40]


def test_short_and_empty_films():
    assert find_cuts([]) == []
    assert find_cuts(film(take(12, 1))) == []
    assert find_cuts(film(take(12, 1), take(13, 1))) in ([], [1])


@pytest.mark.parametrize(
    ("video", "small"),
    [
        (Size(1080, 1920), Size(36, 64)),
        (Size(1920, 1080), Size(64, 36)),
        (Size(16, 4096), Size(4, 64)),
    ],
)
def test_pictures_are_compared_at_64_pixels(video, small):
    assert picture_size(video) == small
