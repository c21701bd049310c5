"""The pipeline's promises beyond parity: streaming, chunk invariance, edge cases."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.decode import on_grid
from depthcrafter_cli.pipeline.noise import FrameNoise, ReferenceNoise
from depthcrafter_cli.pipeline.pipeline import estimate_disparity
from depthcrafter_cli.pipeline.resume_point import WindowPoint
from depthcrafter_cli.pipeline.stitch import stitch
from depthcrafter_cli.pipeline.windows import Window, count_windows
from depthcrafter_cli.types import MemoryPlan

FAST = PipelineConfig(steps=2, window=6, overlap=2)


def clip(frames: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def depth_of(tiny, frames, config: PipelineConfig, **call) -> np.ndarray:
    return np.concatenate([*estimate_disparity(tiny, config, frames, **call)])


def test_results_do_not_depend_on_the_encoder_batch_or_on_how_frames_arrive(tiny):
    frames = clip(6)
    # The published five steps: with one or two, rounding is amplified by the jump from sigma 700.
    config = replace(FAST, steps=5, window=4, overlap=1)
    whole = depth_of(tiny, frames, config)
    stream = (frame for frame in frames)
    singly = depth_of(tiny, stream, replace(config, encode_batch=1), total=len(frames))
    in_fives = depth_of(tiny, list(frames), replace(config, encode_batch=5))
    assert np.abs(whole - singly).max() <= 1e-5
    assert np.abs(whole - in_fives).max() <= 1e-5


def test_depth_is_final_and_handed_out_before_the_clip_ends(tiny):
    read = []
    config = replace(FAST, window=4, overlap=1, decode_chunk=3)
    frames = (read.append(i) or frame for i, frame in enumerate(clip(40)))
    stream = estimate_disparity(tiny, config, frames)
    first = next(stream)
    assert len(first) == 3
    assert len(read) <= 8  # one window, one encoder batch of read-ahead


def test_a_longer_clip_keeps_the_depth_of_windows_that_are_already_final(tiny):
    frames = clip(14)
    config = replace(FAST, steps=5, window=6, overlap=2, decode_chunk=4)
    short, long = depth_of(tiny, frames[:10], config), depth_of(tiny, frames, config)
    # Windows 0-5 and 4-9 are the same in both; frames 8 and 9 are blended again in the longer.
    # Batches of another size round differently.
    assert np.abs(short[:8] - long[:8]).max() <= 1e-5
    assert len(long) == 14


@pytest.mark.parametrize(
    ("frames", "window", "overlap"),
    [(1, 6, 2), (2, 6, 5), (6, 6, 2), (7, 6, 2), (9, 4, 0), (9, 4, 3), (9, 5, 1), (3, 1, 0)],
)
def test_every_frame_gets_finite_depth_whatever_the_windows(tiny, frames, window, overlap):
    config = replace(FAST, steps=1, window=window, overlap=overlap)
    depth = depth_of(tiny, clip(frames), config)
    assert depth.shape == (frames, 64, 64)
    assert depth.dtype == np.float32
    assert np.isfinite(depth).all()
    assert depth.min() >= 0 and depth.max() <= 1


def test_a_constant_clip_has_finite_depth(tiny):
    depth = depth_of(tiny, np.full((2, 64, 64, 3), 128, np.uint8), replace(FAST, steps=1))
    assert np.isfinite(depth).all()


def test_guidance_changes_the_result_and_below_one_is_off(tiny):
    frames = clip(2)
    plain = depth_of(tiny, frames, FAST)
    assert np.array_equal(plain, depth_of(tiny, frames, replace(FAST, guidance=0.5)))
    assert not np.allclose(plain, depth_of(tiny, frames, replace(FAST, guidance=1.5)), atol=1e-3)


def test_the_seed_matters_and_repeats(tiny):
    frames = clip(2)
    assert np.array_equal(depth_of(tiny, frames, FAST), depth_of(tiny, frames, FAST))
    assert not np.array_equal(
        depth_of(tiny, frames, FAST), depth_of(tiny, frames, replace(FAST, seed=1))
    )


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        (clip(1).astype(np.float32), "float32"),
        (clip(1, 60, 64), "64x60"),
        ([clip(1)[0], clip(1, 128, 64)[0]], "one size"),
    ],
)
def test_unusable_frames_are_refused_in_a_sentence(tiny, frames, message):
    with pytest.raises(InputError, match=message):
        depth_of(tiny, frames, replace(FAST, encode_batch=1))


@pytest.mark.parametrize(
    "setting",
    [
        {"steps": 0},
        {"window": 0},
        {"overlap": 110},
        {"overlap": -1},
        {"noise_aug": -0.1},
        {"guidance": float("nan")},
        {"seed": -1},
        {"decode_chunk": 0},
    ],
)
def test_settings_outside_their_range_are_refused(setting):
    with pytest.raises(UsageError, match="expected"):
        PipelineConfig(**setting)


def test_frames_may_be_pictures_of_another_library(tiny):
    frames = clip(3)
    pictures = [Image.fromarray(frame) for frame in frames]
    assert np.array_equal(depth_of(tiny, pictures, FAST), depth_of(tiny, frames, FAST))


def test_reference_noise_needs_the_length_of_the_clip(tiny):
    config = replace(FAST, noise="reference")
    with pytest.raises(UsageError, match="total"):
        depth_of(tiny, iter(clip(2)), config)
    with pytest.raises(UsageError, match="more than the 1 frames"):
        depth_of(tiny, iter(clip(2)), config, total=1)


def _shapes(height: int, width: int):
    return (3, height, width), (4, height // 8, width // 8)


def test_frame_noise_is_a_function_of_seed_and_frame_alone():
    noise = FrameNoise(3, *_shapes(64, 128))
    window = Window(1, 4, 10, 2)
    assert torch.equal(noise.latents(window)[2], noise.latents(Window(0, 6, 7, 0))[0])
    assert torch.equal(noise.images(2, 5)[1], FrameNoise(3, *_shapes(64, 128)).images(3, 4)[0])
    many = FrameNoise(3, *_shapes(256, 256)).images(0, 4)
    assert abs(many.mean()) < 0.01 and abs(many.std() - 1) < 0.01
    assert not torch.equal(noise.images(0, 1), FrameNoise(4, *_shapes(64, 128)).images(0, 1))


def test_reference_noise_equals_one_draw_for_the_whole_clip():
    config = PipelineConfig(window=4, overlap=1, seed=9)
    generator = torch.Generator().manual_seed(9)
    images = torch.randn((7, 3, 64, 64), generator=generator)
    latents = torch.randn((4, 4, 8, 8), generator=generator)
    noise = ReferenceNoise(config, *_shapes(64, 64), 7)
    assert torch.equal(torch.cat([noise.images(0, 2), noise.images(2, 7)]), images)
    assert torch.equal(noise.latents(Window(0, 0, 4, 0)), latents)
    assert torch.equal(noise.latents(Window(2, 6, 7, 1)), latents.roll(2, 0)[:1])


def test_the_blend_runs_from_all_old_to_all_new():
    old, new = torch.zeros(3, 1, 1, 1), torch.ones(5, 1, 1, 1)
    assert stitch(new, old).flatten().tolist() == [0, 0.5, 1, 1, 1]
    assert stitch(new, old[:1]).flatten().tolist() == [0, 1, 1, 1, 1]
    assert stitch(new, None) is new


def test_the_decode_grid_is_counted_from_frame_0_whatever_the_parts():
    parts = [torch.arange(n).view(-1, 1) for n in (5, 1, 9, 4)]
    assert [len(chunk) for chunk in on_grid(parts, 8)] == [8, 8, 3]
    assert torch.equal(torch.cat(list(on_grid(parts, 8))), torch.cat(parts))


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(MemoryPlan(3000, encode_batch=2, offload_networks=True), id="networks"),
        pytest.param(
            MemoryPlan(500, encode_batch=1, offload_blocks=True, offload_skips=True),
            id="blocks and skips",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_memory_plan_does_not_change_the_result(tiny, plan):
    config = replace(FAST, steps=5, window=6, overlap=2, guidance=1.2)
    plain = depth_of(tiny, clip(9), config)
    planned = depth_of(replace(tiny, plan=plan), clip(9), config)
    assert np.abs(plain - planned).max() <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "overlap"), [("frame", 0), ("reference", 2)])
def test_a_pass_goes_on_from_any_step_to_the_same_bits(tiny, noise, overlap):
    frames = clip(17)
    config = replace(
        FAST, steps=2, window=6, overlap=overlap, decode_chunk=4, encode_batch=5, noise=noise
    )
    kept: list[WindowPoint] = []
    whole = depth_of(tiny, frames, config, keep=kept.append)
    assert len(kept) == 2 * count_windows(17, 6, overlap) and kept[-1].last
    for start in kept:
        assert start.decoded % 4 == 0
        rest = iter(frames[start.first_read(5) :])
        resumed = depth_of(tiny, rest, config, start=start, total=17)
        assert np.array_equal(resumed, whole[start.decoded :])
