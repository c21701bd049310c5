"""``depthcrafter train`` from a recipe to a model that runs."""

from pathlib import Path

import numpy as np

CLIP = Path(__file__).parent / "data" / "parity" / "video" / "clip_a.mp4"  # 13 frames, 180x100

RECIPE = """
[settings]
max_res = 128

[data]
clips = 3

[image_encoder]
hidden = 32
layers = 1
heads = 2
embedding = 32

[vae]
channels = [32, 32, 32, 32]
pictures = 1

[unet]
channels = [32, 64]
heads = [1, 2]
levels = [700.0, 0.678, 0.002]
level_shares = [0.4, 0.5, 0.1]
clip_lengths = [1, 4]
length_shares = [0.5, 0.5]
""" + "".join(
    f"\n[{stage}.optimisation]\nsteps = 2\nlearning_rate = 1e-3\nframes = 2\n"
    for stage in ("image_encoder", "vae", "unet")
)


def test_a_recipe_becomes_a_model_that_verifies_and_runs(cli, tmp_path):
    recipe, model, depth = tmp_path / "small.toml", tmp_path / "model", tmp_path / "depth.npz"
    recipe.write_text(RECIPE)
    train = ("train", recipe, "--out", model, "--work-dir", tmp_path / "work", "--quiet")
    assert cli(*train).code == 0
    assert cli("weights", "verify", model).code == 0
    refused = cli(*train)
    assert refused.code == 6 and "free folder" in refused.err
    done = cli("run", CLIP, "--weights", model, "--out", depth, "--max-frames", "2", "--quiet")
    assert done.code == 0, done.err
    with np.load(depth) as arrays:
        assert arrays["depth"].shape == (2, 100, 180) and np.ptp(arrays["depth"]) > 0


def test_a_recipe_with_an_unknown_key_is_refused(cli, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.replace("pictures", "photographs"))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 2 and "photographs" in done.err
    assert list(tmp_path.iterdir()) == [recipe]
