"""Clips that cannot be used: left out, told of, counted, alike in all processes."""

import gc
from fractions import Fraction

import av
import av.filter
import numpy as np
import pytest
import torch
from PIL import Image
from training_steps import three_stages, trained_weights, write_clip

from depthcrafter_cli.datasets.clip import known_part
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.training.config import SourceConfig, StageConfig
from depthcrafter_cli.training.data.batches import Share, Steps, StreamedClips
from depthcrafter_cli.training.data.cache import CachedClips, fill_cache
from depthcrafter_cli.training.data.clips import ClipCache
from depthcrafter_cli.training.data.latents import Encoder
from depthcrafter_cli.training.data.rejects import Rejects
from depthcrafter_cli.training.data.sources import open_source


def rotten(home):
    """Found when its frames are read."""
    whole = (home / "disparity.npz").read_bytes()
    middle = len(whole) // 2
    (home / "disparity.npz").write_bytes(whole[:middle] + b"rot" + whole[middle + 3 :])


def unknown(home):
    np.savez(home / "disparity.npz", depth=np.zeros((3, 16, 16), np.float32))


def torn(home):
    (home / "disparity.npz").write_bytes(b"PK\3\4torn")


def too_short(home):
    np.savez(home / "disparity.npz", disparity=np.ones((2, 16, 16), np.float32))


def flat(home):
    np.savez(home / "disparity.npz", disparity=np.ones((3, 16), np.float32))


def blind(home):
    path = home / "rgb" / "1.png"
    path.write_bytes(path.read_bytes()[:60])


KINDS = [rotten, unknown, torn, too_short, flat, blind]


def ten_clips(root, spoil, side=16):
    for seed in range(10):
        write_clip(root / f"clip{seed}", seed, side=side)
    spoil(root / "clip3")
    return open_source(SourceConfig("folder", path=str(root), height=side, width=side))


def stage(**changes):
    settings = {"name": "1", "trains": "all", "sources": {"mine": 1.0}, "frames": [3, 3],
                "batch": 12, "steps": 1, "learning_rate": 1.0}  # fmt: skip
    return StageConfig(**(settings | changes))


@pytest.mark.parametrize("spoil", KINDS)
def test_one_bad_clip_among_ten_is_left_out_alike_everywhere(tmp_path, spoil):
    source, told = ten_clips(tmp_path, spoil), []
    rejects = Rejects(0.1, told.append)
    rejects.add_rejected("mine", source)
    readable = {"mine": StreamedClips(source)}
    steps = Steps(stage(), readable, 7, Share(), rejects)
    here = [piece for pieces in steps.over(range(3), 0) for piece in pieces]
    assert len(told) == 1 and "clip3" in told[0] and rejects.names == ["mine/clip3"]
    assert all(len(piece.clips) == 12 and piece.clips[0].valid.any() for piece in here)
    ahead = [piece for pieces in steps.over(range(1, 3), 2) for piece in pieces]
    shared = [Steps(stage(), readable, 7, Share(rank, 2), rejects)[1][0] for rank in (0, 1)]
    mixed = [clip for pair in zip(*(each.clips for each in shared), strict=True) for clip in pair]
    for one, two, three in zip(here[1].clips, ahead[0].clips, mixed, strict=True):
        assert torch.equal(one.rgb, two.rgb) and torch.equal(one.rgb, three.rgb)
    assert len(told) == 1
    with pytest.raises(InputError, match=r"1 clip of 10 .* share of 0 "):
        strict = Rejects(0)
        strict.add_rejected("mine", source)
        list(Steps(stage(), readable, 7, Share(), strict).over(range(3), 0))


@pytest.mark.parametrize("spoil", [rotten, unknown])
def test_one_bad_clip_among_ten_is_left_out_of_what_is_kept(tmp_path, spoil, tiny):
    source, told = ten_clips(tmp_path / "clips", spoil, side=64), []
    rejects = Rejects(0.1, told.append)
    encoder = Encoder(tiny.vae, tiny.image_encoder, torch.float32)
    for share in (slice(0, None, 2), slice(1, None, 2)):
        fill_cache(tmp_path / "mine", source, encoder, share=share, rejects=rejects)
    cached = CachedClips(tmp_path / "mine", source, encoder)
    assert len(cached.shapes()) == 9 and cached.name(3) == "clip4" and len(told) == 1
    kept = ClipCache(tmp_path / "kept", source, rejects=rejects, name="mine")
    assert kept.batch(np.random.default_rng(0), 30, 3)[0].shape[0] == 30 and len(told) == 1


def test_bad_stacks_and_frames_of_which_nothing_is_known_are_left_out(tmp_path):
    for number in range(10):
        home = tmp_path / f"stack{number}"
        home.mkdir()
        np.save(home / "rgb.npy", np.full((2, 8, 8, 3), number, np.uint8))
        known = np.ones((2, 8, 8), np.float32)
        known[1] = -1 if number == 7 else 1
        np.save(home / "disparity.npy", known[:1] if number == 2 else known)
    source, told = open_source(SourceConfig("stacks", path=str(tmp_path))), []
    rejects = Rejects(0.1, told.append)
    rejects.add_rejected("mine", source)
    steps = Steps(
        stage(frames=[1, 1], batch=60), {"mine": StreamedClips(source)}, 7, Share(), rejects
    )
    seen = {int(clip.rgb[0, 0, 0, 0]) for pieces in steps.over(range(2), 0)
            for clip in pieces[0].clips}  # fmt: skip
    assert seen == {0, 1, 3, 4, 5, 6, 7, 8, 9} and len(told) == 2
    assert rejects.names == ["mine/stack2", "mine/stack7, frame 1"]


def test_bad_scenes_of_a_published_set_are_left_out(tmp_path):
    for number in range(10):
        for name, folder in (("images", f"{number}/images"), ("depths", f"{number}/depths")):
            (tmp_path / folder).mkdir(parents=True)
            array = np.full((16, 16, 3) if name == "images" else (16, 16), 90 + number, np.uint8)
            Image.fromarray(array.astype(np.uint8 if name == "images" else np.uint16)).save(
                tmp_path / folder / "0.png"
            )
    (tmp_path / "4" / "images" / "0.png").unlink()
    (tmp_path / "6" / "depths" / "0.png").write_bytes(b"torn")
    source = open_source(SourceConfig("dynamic-replica", path=str(tmp_path), height=16, width=16))
    assert [*source.rejected] == ["4"] and len(source) == 9
    with pytest.raises(InputError, match=r"depths[/\\]0\.png"):
        known_part(source, 5, range(1))


@pytest.mark.parametrize("latents", ["streamed", "cached"])
def test_a_run_with_a_bad_clip_says_so_and_ends_as_without_it(cli, tmp_path, tiny_folder, latents):
    ten_clips(tmp_path / "clips", rotten, side=64)
    recipe, out = tmp_path / "recipe.toml", tmp_path / "model"
    text = three_stages(tiny_folder, tmp_path / "clips", 1).split("[[stages]]")
    recipe.write_text("[[stages]]".join(text[:2]).replace("streamed", latents))
    done = cli("train", recipe, "--out", out, "--work-dir", tmp_path / "work", "--device", "cpu")
    assert done.code == 0, done.err
    lines = [line for line in done.err.splitlines() if "clip3" in line]
    if latents == "cached":  # where every clip is read
        assert len(lines) == 2 and "Left out in all" in lines[-1]
    assert trained_weights(out)


def test_a_worker_does_not_collect_what_has_threads_in_the_process_it_came_from(tmp_path):
    class Collecting(StreamedClips):
        def read(self, index, frames, stride, rng):
            gc.collect()
            return super().read(index, frames, stride, rng)

    readable = {"mine": Collecting(ten_clips(tmp_path, lambda home: None))}
    steps = Steps(stage(), readable, 7, Share(), Rejects(0.1))
    graph = av.filter.Graph()
    source = graph.add_buffer(width=64, height=64, format="yuv420p", time_base=Fraction(1, 24))
    graph.link_nodes(source, graph.add("scale", "32:32"), graph.add("buffersink")).configure()
    circle = [graph, source]
    circle.append(circle)
    del graph, source, circle
    assert len(list(steps.over(range(2), 1))) == 2
