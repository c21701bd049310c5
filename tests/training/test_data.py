"""Clips from disk: our own folder layout, those of the benchmarks, masks and what fills them."""

import os
import shutil
import sys
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_all_start_methods
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import make_clip
from PIL import Image
from training_steps import write_clip

from depthcrafter_cli.datasets.layouts import read_dpt
from depthcrafter_cli.errors import InputError, UsageError
from depthcrafter_cli.training.config import SourceConfig, StageConfig, TrainingConfig
from depthcrafter_cli.training.data import batches
from depthcrafter_cli.training.data.batches import Share, Steps, StreamedClips
from depthcrafter_cli.training.data.cache import CachedClips, fill_cache
from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.data.sources import notes, open_source
from depthcrafter_cli.training.data.targets import (
    far_weight,
    fill_invalid,
    latent_mask,
    target_disparity,
)


def opened(root, kind="folder", height=64, width=64):
    return open_source(SourceConfig(kind, path=str(root), height=height, width=width))


def test_folder_gives_its_pictures_and_disparity(tmp_path):
    disparity = write_clip(tmp_path / "a", seed=0)
    source = opened(tmp_path)
    assert len(source) == 1 and source.shape(0) == (3, 64, 64)
    clip = source.read(0, range(1, 3))
    assert torch.equal(clip.disparity, torch.from_numpy(disparity[1:]))
    assert bool(clip.valid.all())
    with Image.open(tmp_path / "a" / "rgb" / "1.png") as image:
        assert np.array_equal(clip.rgb[0].numpy(), np.asarray(image))


def test_folder_takes_video_png_disparity_and_masks(tmp_path):
    home = tmp_path / "a"
    for name in ("disparity", "valid"):
        (home / name).mkdir(parents=True)
    make_clip(home / "rgb.mp4", frames=3)
    levels = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 5
    known = np.zeros((64, 96), np.uint8)
    known[:, 40:] = 255
    for number in range(3):
        Image.fromarray(levels).save(home / "disparity" / f"{number:03}.png")
        Image.fromarray(known).save(home / "valid" / f"{number:03}.png")
    clip = opened(tmp_path, height=64, width=96).read(0, range(3))
    assert clip.rgb.shape == (3, 64, 96, 3)
    assert torch.equal(clip.valid[2], torch.from_numpy(known > 0))
    assert torch.equal(clip.disparity[1][clip.valid[1]], torch.from_numpy(
        levels.astype(np.float32))[clip.valid[1]])  # fmt: skip


def test_depth_becomes_disparity_with_unknown_and_sky(tmp_path):
    write_clip(tmp_path / "a", seed=0, frames=1, side=4)
    depth = np.array([[[2.0, np.inf], [0.0, 0.5]]], np.float32)
    np.savez(tmp_path / "a" / "disparity.npz", depth=depth)
    clip = opened(tmp_path, height=2, width=2).read(0, range(1))
    assert clip.disparity.flatten().tolist() == [0.5, 0.0, 0.0, 2.0]
    assert clip.valid.flatten().tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda home: (home / "disparity.npz").unlink(), "disparity"),
        (lambda home: (home / "rgb").rename(home / "pictures"), "rgb"),
        (lambda home: np.savez(home / "valid.npz", valid=np.ones((2, 64, 64), bool)), "2 valid"),
        (lambda home: np.savez(home / "disparity.npz", disparity=np.ones((64, 64))), "T, H, W"),
        (lambda home: (home / "disparity.npz").write_bytes(b"PK\3\4torn"), "no NPZ"),
        (lambda home: np.savez(home / "valid.npz", valid=np.ones((3, 64, 60), bool)), "64, 60"),
    ],
)
def test_incomplete_clip_is_refused_at_once(tmp_path, spoil, named):
    write_clip(tmp_path / "a", seed=0)
    spoil(tmp_path / "a")
    with pytest.raises(InputError, match=named):
        opened(tmp_path)


def test_clips_of_another_shape_are_cropped_and_not_squeezed(tmp_path):
    disparity = write_clip(tmp_path / "clips" / "a", seed=0, frames=1)
    wide = SourceConfig("folder", path=str(tmp_path / "clips"), height=32, width=64)
    left_out = {0.0: slice(0, 32), 0.5: slice(16, 48), 1.0: slice(32, 64)}
    source = open_source(wide)
    for place, rows in left_out.items():
        clip = source.read(0, range(1), place)
        assert np.array_equal(clip.disparity[0].numpy(), disparity[0, rows])
    drawn = StreamedClips(source)
    rngs = map(np.random.default_rng, range(4))
    assert len({float(drawn.read(0, 1, 1, rng).disparity.max()) for rng in rngs}) > 1
    squeezed = open_source(replace(wide, keep_aspect=False)).read(0, range(1))
    assert np.array_equal(squeezed.disparity[0, :, 0].numpy(), disparity[0, 1::2, 0])
    stage_ = stage(frames=[1, 4], sources={"mine": 1.0})
    recipe = TrainingConfig(sources={"mine": wide}, stages=[stage_], weights="nano")
    cropped, short = notes(recipe, {"mine": source})
    assert "50% of the first one is cropped" in cropped
    assert "asks for up to 4 frames" in short and "has 1" in short


def test_missing_pictures_are_noticed_when_read(tmp_path):
    write_clip(tmp_path / "a", seed=0)
    (tmp_path / "a" / "rgb" / "2.png").unlink()
    with pytest.raises(InputError, match="3 disparity maps"):
        opened(tmp_path).read(0, range(3))


def test_a_map_that_is_broken_off_is_named_when_read(tmp_path):
    home = tmp_path / "a"
    write_clip(home, seed=0)
    source = opened(tmp_path)
    whole = (home / "disparity.npz").read_bytes()
    middle = len(whole) // 2
    (home / "disparity.npz").write_bytes(whole[:middle] + b"rot" + whole[middle + 3 :])
    with pytest.raises(InputError, match=r"disparity\.npz"):
        source.read(0, range(3))
    (home / "disparity.npz").unlink()
    (home / "disparity").mkdir()
    for number in range(3):
        path = home / "disparity" / f"{number}.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 9999, (64, 64), np.uint16)).save(path)
    source = opened(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"2\.png"):
        source.read(0, range(3))


def test_a_large_set_is_scanned_once_and_what_changed_again(tmp_path, monkeypatch):
    """Seen by what is opened: nothing the second time, then the clip that was replaced."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    write_clip(tmp_path / "clips" / "000", 0, frames=2, side=4)
    for number in range(1, 100):
        shutil.copytree(tmp_path / "clips" / "000", tmp_path / "clips" / f"{number:03}")
    (tmp_path / "clips" / "005" / "disparity.npz").unlink()
    root = str(tmp_path / "clips")
    read = set()

    def note(event, arguments):
        if event == "open" and str(arguments[0]).startswith(root):
            read.add(Path(str(arguments[0])).relative_to(root).parts[0])

    sys.addaudithook(note)
    first = opened(root)
    assert len(read) == 99 and len(first) == 99 and [*first.rejected] == ["005"]
    read.clear()
    again = opened(root)
    assert not read and [*again.rejected] == ["005"] and again.shape(98) == (2, 64, 64)
    shutil.rmtree(tmp_path / "clips" / "042")
    write_clip(tmp_path / "clips" / "042", 1, frames=3, side=4)
    shutil.copytree(tmp_path / "clips" / "000", tmp_path / "clips" / "005", dirs_exist_ok=True)
    read.clear()
    changed = opened(root)
    assert read == {"005", "042"} and len(changed) == 100 and changed.shape(42)[0] == 3
    (index,) = (tmp_path / "cache").rglob("*.json")
    index.write_text("{")
    assert len(opened(root)) == 100

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", nowhere)
    assert len(opened(root)) == 100  # without an index


def test_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match="sintel"):
        opened(tmp_path, kind="films")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def gray(value, height=32, width=40):
    return np.full((height, width), value, np.uint16)


def picture(height=32, width=40):
    return np.full((height, width, 3), 90, np.uint8)


def test_sintel_layout(tmp_path):
    depth = np.arange(1, 1281, dtype="<f4").reshape(32, 40)
    for number in range(52):
        for render, shown in (("clean", picture()), ("final", picture() // 2)):
            save(tmp_path / "training" / render / "alley" / f"frame_{number:04}.png", shown)
        path = tmp_path / "training" / "depth" / "alley" / f"frame_{number:04}.dpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = np.array([202021.25], "<f4").tobytes() + np.array([40, 32], "<i4").tobytes()
        path.write_bytes(head + depth.tobytes())
    source = opened(tmp_path, "sintel", 32, 40)
    assert source.shape(0) == (50, 32, 40)
    clip = source.read(0, range(49, 50))
    assert bool((clip.rgb == 90).all())  # the clean pass, as the paper's script
    assert torch.allclose(clip.disparity[0], 1 / torch.from_numpy(depth.copy()))
    (tmp_path / "torn.dpt").write_bytes(head)
    with pytest.raises(InputError, match="Sintel"):
        read_dpt(tmp_path / "torn.dpt")


def test_scannet_layout_takes_every_third_frame_and_crops(tmp_path):
    for number in range(12):
        save(tmp_path / "scene0" / "color" / f"{number}.jpg", picture())
        depth = gray(1000 * (number + 1))
        depth[:8] = 9
        save(tmp_path / "scene0" / "depth" / f"{number}.png", depth)
    source = opened(tmp_path, "scannet", 16, 18)
    assert source.shape(0)[0] == 4
    clip = source.read(0, range(3, 4))  # the frame named 9, which 10 and 11 do not come before
    assert torch.allclose(clip.disparity, torch.tensor(1 / 10))
    save(tmp_path / "scene0" / "depth" / "mean.png", depth)
    with pytest.raises(InputError, match=r"mean\.png, expected numbers"):
        opened(tmp_path, "scannet", 16, 18)


def test_kitti_layout_leaves_out_what_the_laser_did_not_hit(tmp_path):
    drive = "2011_09_26_drive_0002_sync"
    depth = gray(0, 33, 41)
    depth[5, 6] = 512
    save(tmp_path / "val" / drive / "proj_depth" / "groundtruth" / "image_02" / "05.png", depth)
    save(tmp_path / "2011_09_26" / drive / "image_02" / "data" / "05.png", picture(33, 41))
    clip = opened(tmp_path, "kitti", 32, 40).read(0, range(1))
    assert clip.valid.sum() == 1
    assert clip.disparity[0, 5, 6].item() == 0.5
    (tmp_path / "2011_09_26" / drive / "image_02" / "data" / "05.png").unlink()
    with pytest.raises(InputError, match=r"got no file .*05\.png"):
        opened(tmp_path, "kitti", 32, 40)


def test_bonn_layout_starts_at_frame_30(tmp_path):
    for number in range(33):
        save(tmp_path / "balloon" / "rgb" / f"{number:02}.png", picture())
        save(tmp_path / "balloon" / "depth" / f"{number:02}.png", gray(500 * number))
    source = opened(tmp_path, "bonn", 32, 40)
    assert source.shape(0)[0] == 3
    assert torch.allclose(source.read(0, range(1)).disparity, torch.tensor(1 / 3.0))


def test_nyuv2_layout_crops_the_white_border(tmp_path):
    depth = gray(9000, 480, 640)
    depth[45:471, 41:601] = 2000
    save(tmp_path / "rgb" / "1.png", picture(480, 640))
    save(tmp_path / "depth" / "1.png", depth)
    clip = opened(tmp_path, "nyuv2", 64, 64).read(0, range(1))
    assert bool((clip.disparity == 0.5).all())


SKY = (0, 4)  # a pixel


def stored(kind, place, number):
    """Write a frame as a set stores it: depth 2 to the left, 5 to the right, one pixel of sky."""
    metres = np.where(np.arange(40) < 20, np.float32(2), np.float32(5)) + np.zeros((32, 1), "f4")
    if kind == "tartanair":
        metres[SKY] = np.inf
        save(place / "image_left" / f"{number:06}_left.png", picture())
        (place / "depth_left").mkdir(exist_ok=True)
        np.save(place / "depth_left" / f"{number:06}_left_depth.npy", metres)
    elif kind == "vkitti2":
        levels = (metres * 100).astype(np.uint16)
        levels[SKY] = 65535
        save(place / "rgb" / "Camera_0" / f"rgb_{number:05}.jpg", picture())
        save(place / "depth" / "Camera_0" / f"depth_{number:05}.png", levels)
    elif kind == "dynamic-replica":
        metres[SKY] = 0
        save(place / "images" / f"{place.name}-{number:04}.png", picture())
        bits = metres.astype(np.float16).view(np.uint16)
        save(place / "depths" / f"{place.name}_{number:04}.geometric.png", bits)
    else:
        levels = np.rint(metres * 65535 / 1000).astype(np.uint16)
        levels[SKY] = 65535
        save(place / "rgbs" / f"rgb_{number:05}.jpg", picture())
        save(place / "depths" / f"depth_{number:05}.png", levels)


@pytest.mark.parametrize(
    ("kind", "place", "sky_is_known"),
    [
        ("tartanair", "oldtown/Easy/P000", True),
        ("vkitti2", "Scene01/clone/frames", True),
        ("dynamic-replica", "3_obj_source_left", False),
        ("point-odyssey", "ani", False),
    ],
)
def test_sets_to_train_on_are_read_from_their_layouts(tmp_path, kind, place, sky_is_known):
    for number in range(3):
        stored(kind, tmp_path / place, number)
    source = opened(tmp_path, kind, 32, 40)
    assert [source.shape(index) for index in range(len(source))] == [(3, 32, 40)]
    clip = source.read(0, range(1, 3))
    assert bool((clip.rgb.float() - 90).abs().max() <= 1) and len(clip.disparity) == 2
    left, right = clip.disparity[:, 8, 5], clip.disparity[:, 8, 30]
    assert torch.allclose(left, torch.tensor(1 / 2), rtol=0.01)
    assert torch.allclose(right, torch.tensor(1 / 5), rtol=0.01)
    sky = (slice(None), *SKY)
    assert bool((clip.valid[sky] == sky_is_known).all()) and bool((clip.disparity[sky] == 0).all())
    with pytest.raises(InputError, match="expected the data set's own layout"):
        opened(tmp_path / place, kind, 32, 40)


def test_matrix_city_is_read_from_its_layout(tmp_path):
    OpenEXR = pytest.importorskip("OpenEXR")  # noqa: N806
    block = tmp_path / "small_city" / "aerial" / "train" / "block_1"
    depths = tmp_path / "small_city_depth" / "aerial" / "train" / "block_1_depth"
    depths.mkdir(parents=True)
    for number in range(3):
        save(block / f"{number:04}.png", picture() + np.uint8(number))
        stored = np.full((32, 40, 3), 5000, np.float16)
        stored[SKY] = 65504
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"RGB": stored}).write(str(depths / f"{number:04}.exr"))
    (depths / "0001.exr").unlink()  # pictures without depth are left out, and the rest stay paired
    source = opened(tmp_path, "matrix-city", 32, 40)
    assert len(source) == 1 and source.shape(0) == (2, 32, 40)
    clip = source.read(0, range(2))
    assert clip.rgb[:, 0, 0, 0].tolist() == [90, 92]
    assert torch.allclose(clip.disparity[clip.valid], torch.tensor(1 / 50))
    assert not clip.valid[0][SKY] and clip.valid.sum() == 2 * 32 * 40 - 2


@pytest.mark.parametrize("tabled", [False, True])
def test_hypersim_distances_become_depth_along_the_view(tmp_path, tabled):
    h5py = pytest.importorskip("h5py")
    images = tmp_path / "ai_001_002" / "images"
    half = np.tan(np.pi / 8 if tabled else np.pi / 6)
    columns, rows = ((np.arange(n) + 0.5 - n / 2) / (n / 2) for n in (40, 32))
    across = columns[None] * half, rows[:, None] * half * 32 / 40
    wall = np.where(np.arange(40) < 20, 2.0, 5.0)  # metres along the view
    distance = wall * np.sqrt(1 + across[0] ** 2 + across[1] ** 2)
    distance[SKY] = np.nan
    for number in (0, 7):
        save(images / "scene_cam_00_final_preview" / f"frame.{number:04}.tonemap.jpg", picture())
        path = images / "scene_cam_00_geometry_hdf5" / f"frame.{number:04}.depth_meters.hdf5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["dataset"] = distance.astype(np.float16)
    if tabled:
        matrix = np.diag([half, half * 32 / 40, -1]).flatten()
        names = [f"M_cam_from_uv_{row}{column}" for row in range(3) for column in range(3)]
        lines = [",".join(["scene_name", *names]), ",".join(["ai_001_002", *map(str, matrix)])]
        (tmp_path / "metadata_camera_parameters.csv").write_text("\n".join(lines))
    source = opened(tmp_path, "hypersim", 32, 40)
    assert [source.shape(index) for index in range(len(source))] == [(1, 32, 40)] * 2
    clip = source.read(1, range(1))
    expected = torch.from_numpy(1 / wall).float().expand(32, 40)
    known = torch.ones(32, 40, dtype=torch.bool)
    known[SKY] = False
    assert torch.equal(clip.valid[0], known)
    assert torch.allclose(clip.disparity[0][known], expected[known], rtol=2e-3)


def test_unknown_disparity_is_filled_from_around_and_left_out_of_the_latent_grid():
    disparity = torch.ones(2, 32, 32)
    disparity[:, :, 16:] = 3
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[:, 4:12, 20:28] = False
    valid[1] = False
    spoilt = torch.where(valid, disparity, 1e6)
    filled = fill_invalid(spoilt, valid)
    assert torch.equal(filled[0], disparity[0])
    assert filled[1].min() >= 1 and filled[1].max() <= 3
    target = target_disparity(spoilt, valid)
    assert target[0].unique().tolist() == [0.0, 1.0]
    mask = latent_mask(valid)
    assert mask.shape == (2, 1, 4, 4)
    assert mask[1].sum() == 0
    gone = (mask[0, 0] == 0).nonzero().tolist()
    assert gone == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_frames_without_known_disparity_do_not_end_a_run():
    unknown = torch.zeros(1, 16, 16, dtype=torch.bool)
    assert target_disparity(torch.full((1, 16, 16), 9.0), unknown).abs().max() == 0
    assert latent_mask(unknown).sum() == 0


def stage(**changes):
    settings = {"name": "1", "trains": "all", "sources": {"a": 1.0}, "frames": [1, 3],
                "batch": 5, "steps": 1, "learning_rate": 1.0}  # fmt: skip
    return StageConfig(**(settings | changes))


def test_what_is_far_weighs_more_and_the_sky_does_not():
    disparity = torch.tensor([2.0, 0.2, 0.0]).repeat_interleave(8).expand(1, 8, 24)
    target = (disparity - 0.2).clamp_min(0) / 1.8
    assert far_weight(disparity, target, far=0.05).flatten().tolist() == pytest.approx([1, 21, 1])


def test_any_number_of_processes_shares_the_same_samples(tmp_path):
    for seed in range(4):
        write_clip(tmp_path / f"{seed}", seed, side=16)
    clips = {"a": StreamedClips(opened(tmp_path, height=16, width=16))}
    for step in range(6):
        (whole,) = Steps(stage(), clips, 7, Share())[step]
        for processes in (2, 3, 8):
            shares = [Share(rank, processes) for rank in range(processes)]
            pieces = [p for share in shares for p in Steps(stage(), clips, 7, share)[step]]
            assert sum(piece.weight for piece in pieces) == pytest.approx(1)
            weighed = [(seed, clip) for piece in pieces if piece.weight
                       for seed, clip in zip(piece.seeds, piece.clips, strict=True)]  # fmt: skip
            weighed.sort(key=lambda pair: pair[0])
            assert [seed for seed, _ in weighed] == whole.seeds
            for (_, clip), expected in zip(weighed, whole.clips, strict=True):
                assert torch.equal(clip.rgb, expected.rgb)


def test_micro_batches_are_as_many_in_every_process(tmp_path):
    write_clip(tmp_path / "0", 0, side=16)
    clips = {"a": StreamedClips(opened(tmp_path, height=16, width=16))}
    config = stage(micro_batch=2)
    counts = [len(Steps(config, clips, 7, Share(rank, 2))[0]) for rank in (0, 1)]
    assert counts == [2, 2]


def test_clips_too_short_for_a_stage_are_left_out_of_it(tmp_path):
    for frames in (1, 2, 4):
        write_clip(tmp_path / str(frames), frames, frames=frames, side=16)
    clips = {"a": StreamedClips(opened(tmp_path, height=16, width=16))}
    steps = Steps(stage(frames=[3, 5]), clips, 7, Share())
    assert {len(clip.rgb) for step in range(6) for clip in steps[step][0].clips} == {3, 4}


@pytest.mark.parametrize("ways", [get_all_start_methods(), ["spawn"]], ids=["here", "no fork"])
def test_clips_read_ahead_are_the_same(tmp_path, monkeypatch, ways):
    monkeypatch.setattr(batches, "get_all_start_methods", lambda: ways)
    for seed in range(3):
        write_clip(tmp_path / f"{seed}", seed, side=16)
    steps = Steps(stage(), {"a": StreamedClips(opened(tmp_path, height=16, width=16))}, 7, Share())
    for (here,), (ahead,) in zip(
        steps.over(range(2, 5), 0), steps.over(range(2, 5), 2), strict=True
    ):
        assert here.seeds == ahead.seeds
        for one, other in zip(here.clips, ahead.clips, strict=True):
            assert torch.equal(one.rgb, other.rgb) and torch.equal(one.disparity, other.disparity)


def touch_later(path):
    """As if written again a second later, for a test may be quicker than a file's clock."""
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def test_kept_clips_follow_the_folder_they_were_made_of(tmp_path, tiny):
    clips = tmp_path / "clips"
    for seed, name in enumerate("bc"):
        write_clip(clips / name, seed)
    encoder = Encoder(tiny.vae, tiny.image_encoder, torch.float32)

    def cached(where):
        source = opened(clips)
        fill_cache(tmp_path / where / "latents", source, encoder)
        latents = CachedClips(tmp_path / where / "latents", source, encoder)
        whole = [latents.read(i, 3, 1, np.random.default_rng(0)) for i in range(len(source))]
        kept = ClipCache(tmp_path / where / "clips", source)
        return whole, kept.batch(np.random.default_rng(0), 8, 3)

    def same_as_made_anew(where):
        (ours, batch), (anew, other) = cached("kept"), cached(where)
        assert len(ours) == len(anew)
        for one, two in zip(ours, anew, strict=True):
            assert torch.equal(one.image, two.image) and torch.equal(one.disparity, two.disparity)
        assert all(torch.equal(one, two) for one, two in zip(batch, other, strict=True))

    cached("kept")
    before = sorted((tmp_path / "kept").rglob("*.npz"))
    same_as_made_anew("untouched")
    assert sorted((tmp_path / "kept").rglob("*.npz")) == before
    write_clip(clips / "a", 5)  # which comes before the others
    same_as_made_anew("added")
    shutil.rmtree(clips / "b")
    write_clip(clips / "b", 6)
    touch_later(clips / "b" / "disparity.npz")
    same_as_made_anew("replaced")
    assert len(list((tmp_path / "kept").rglob("*.npz"))) == 2 * 3


@pytest.mark.parametrize(("frames", "stride"), [(4, 1), (2, 1), (1, 1), (2, 3)])
def test_truth_has_one_scale_over_what_is_shown_cached_as_streamed(tmp_path, tiny, frames, stride):
    """A part of a clip must not ask for the range of frames that are not shown."""
    for seed in range(3):
        disparity = write_clip(tmp_path / "clips" / f"{seed}", seed, frames=4)
        brighter = disparity * np.array([1, 3, 7, 20], np.float32)[:, None, None]
        np.savez(tmp_path / "clips" / f"{seed}" / "disparity.npz", disparity=brighter)
    source = opened(tmp_path / "clips")
    encoder = Encoder(tiny.vae, tiny.image_encoder, torch.float32)
    fill_cache(tmp_path / "mine", source, encoder)
    cached = CachedClips(tmp_path / "mine", source, encoder)
    for index in range(3):
        kept = cached.read(index, frames, stride, np.random.default_rng(1))
        start = int(np.random.default_rng(1).integers(4 - (frames - 1) * stride))
        shown = source.read(index, range(start, start + frames * stride, stride))
        mirrored = np.random.default_rng([index, 3]).random() < 0.5
        streamed = encoder.encode(shown.mirrored() if mirrored else shown, 0)
        for name in ("disparity", "mask", "inverse_depth"):
            ours, other = getattr(kept, name).float(), getattr(streamed, name)
            assert torch.allclose(ours, other, atol=2e-3, rtol=2e-3), name


@pytest.mark.parametrize("mirror", [True, False])
def test_clips_are_mirrored_where_that_is_asked_for(tmp_path, tiny, mirror):
    for seed in range(4):
        write_clip(tmp_path / "clips" / f"{seed}", seed, frames=1)
    source = opened(tmp_path / "clips")
    clips = [source.read(index, range(1)) for index in range(4)]
    streamed = StreamedClips(source, mirror)
    read = [streamed.read(i, 1, 1, np.random.default_rng([i, k])) for i in range(4) for k in (0, 1)]
    whole = [any(torch.equal(clip.rgb, each.rgb) for clip in clips) for each in read]
    encoder = Encoder(tiny.vae, tiny.image_encoder, torch.float32)
    fill_cache(tmp_path / "mine", source, encoder, mirror=mirror)
    cached = CachedClips(tmp_path / "mine", source, encoder)
    for index, clip in enumerate(clips):
        kept = cached.read(index, 1, 1, np.random.default_rng(0)).disparity.float()
        whole.append(torch.allclose(kept, encoder.encode(clip, index).disparity, atol=2e-3))
    kept = ClipCache(tmp_path / "kept", source, mirror=mirror)
    shown, _ = kept.batch(np.random.default_rng(0), 8, 1)
    whole += [any(torch.equal(clip.rgb, each) for clip in clips) for each in shown]
    parts = whole[:8], whole[8:12], whole[12:]
    assert all(all(part) != mirror and any(part) for part in parts), parts


def test_a_stage_with_strides_shows_frames_so_many_apart(tmp_path):
    write_clip(tmp_path / "a", seed=0, frames=8, side=8)
    path = tmp_path / "a" / "disparity.npz"
    np.savez(path, disparity=np.ones((8, 8, 8), np.float32) * np.arange(8)[:, None, None] + 1)
    readable = {"a": StreamedClips(opened(tmp_path, height=8, width=8))}
    apart: dict[int, set[int]] = {}
    for frames in (3, 4):
        steps = Steps(stage(frames=[frames, frames], strides=[1, 2, 3]), readable, 7, Share())
        shown = [clip.disparity[:, 0, 0] for step in range(12) for clip in steps[step][0].clips]
        apart[frames] = {int(gap) for clip in shown for gap in clip.diff()}
    assert apart == {3: {1, 2, 3}, 4: {1, 2}}


def test_maps_are_paired_with_pictures_in_the_order_of_their_numbers(tmp_path):
    disparity = write_clip(tmp_path / "clip", 0, frames=12)
    home = tmp_path / "clip"
    (home / "disparity.npz").unlink()
    (home / "disparity").mkdir()
    levels = (disparity / disparity.max() * 60_000).astype(np.uint16)
    for number, level in enumerate(levels):
        Image.fromarray(level).save(home / "disparity" / f"{number}.PNG", format="PNG")
    clip = opened(tmp_path).read(0, range(12))
    assert torch.equal(clip.disparity, torch.from_numpy(levels.astype(np.float32)))


@pytest.mark.parametrize("extra", [False, True])
def test_a_clip_with_more_or_fewer_pictures_than_maps_is_refused_at_once(tmp_path, extra):
    write_clip(tmp_path / "clip", 0, frames=3)
    pictures = tmp_path / "clip" / "rgb"
    if extra:
        (pictures / "3.png").write_bytes((pictures / "2.png").read_bytes())
    else:
        (pictures / "1.png").unlink()
    with pytest.raises(InputError, match="3 disparity maps"):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])  # mkv does not say how many frames it has
@pytest.mark.parametrize("frames", [2, 4])
def test_a_video_with_more_or_fewer_frames_than_maps_is_refused_at_once(tmp_path, suffix, frames):
    write_clip(tmp_path / "clip", 0, frames=3)
    shutil.rmtree(tmp_path / "clip" / "rgb")
    make_clip(tmp_path / "clip" / f"rgb{suffix}", frames=frames)
    with pytest.raises(InputError, match=f"{frames} pictures and 3 disparity maps"):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_with_uneven_times_is_counted_right(tmp_path, suffix):
    write_clip(tmp_path / "clip", 0, frames=4)
    shutil.rmtree(tmp_path / "clip" / "rgb")
    times = [Fraction(n, 12) for n in (0, 1, 2, 9)]
    make_clip(tmp_path / "clip" / f"rgb{suffix}", times=times)
    assert opened(tmp_path).read(0, range(4)).rgb.shape == (4, 64, 64, 3)
