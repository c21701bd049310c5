"""``depthcrafter train`` from a recipe to a model that runs."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from training_steps import three_stages, trained_weights, write_clip

from depthcrafter_cli.disk import part_path
from depthcrafter_cli.errors import MemoryLimitError, UsageError
from depthcrafter_cli.media.files import claimed
from depthcrafter_cli.models.manifest import write_manifest
from depthcrafter_cli.models.registry import DEPTHCRAFTER
from depthcrafter_cli.models.weights import find_weights
from depthcrafter_cli.training.checkpoint import steps_done
from depthcrafter_cli.training.data.origin import require_origin
from depthcrafter_cli.training.data.rejects import Rejects
from depthcrafter_cli.training.data.sources import leaks, open_sources
from depthcrafter_cli.training.recipe import load_recipe
from depthcrafter_cli.training.sharding import sharding_obstacle
from depthcrafter_cli.workflows.train import memory_errors
from depthcrafter_cli.workflows.validation import validator

CLIP = Path(__file__).parents[1] / "data" / "parity" / "video" / "clip_a.mp4"  # 13 frames, 180x100

RECIPE = """
[settings]
max_res = 128

[sources.drawn]
kind = "generated"
clips = 3
sizes = [{ frames = 3, height = 64, width = 64 }]

[foundation]
source = "drawn"

[foundation.image_encoder]
hidden = 32
layers = 1
heads = 2
embedding = 32
frames = 2
optimisation = { steps = 2, learning_rate = 1e-3 }

[foundation.vae]
channels = [32, 32, 32, 32]
pictures = 1
frames = 2
optimisation = { steps = 2, learning_rate = 1e-3 }

[foundation.unet]
channels = [32, 64]
heads = [1, 2]

[objective]
levels = [700.0, 0.678, 0.002]
level_shares = [0.4, 0.5, 0.1]
rollout = 0.5

[validation]
source = "drawn"
every = 2
clips = 1
frames = 2
""" + "".join(
    f"""
[[stages]]
name = "{name}"
trains = "{trains}"
sources = {{ drawn = 1 }}
frames = [{frames}]
batch = 2
steps = 2
learning_rate = 1e-3
"""
    for name, trains, frames in (
        ("1", "all", "1, 3"),
        ("2", "temporal", "1, 4"),
        ("3", "spatial", "3, 3"),
    )
)


def test_a_recipe_becomes_a_model_that_verifies_and_runs(cli, tmp_path):
    recipe, model, depth = tmp_path / "small.toml", tmp_path / "model", tmp_path / "depth.npz"
    recipe.write_text(RECIPE)
    left = part_path(tmp_path / "work" / "latents" / "loss.png")  # by a run that was killed
    left.parent.mkdir(parents=True)
    left.touch()
    train = ("train", recipe, "--out", model, "--work-dir", tmp_path / "work", "--quiet")
    done = cli(*train, "--json")
    assert done.code == 0 and not left.exists()
    last = json.loads(done.out.splitlines()[-1])
    assert (last["event"], last["outputs"]) == ("done", [str(model)])
    assert cli("weights", "verify", model).code == 0
    refused = cli(*train)
    assert refused.code == 6 and "free folder" in refused.err
    done = cli("run", CLIP, "--weights", model, "--out", depth, "--max-frames", "2", "--quiet")
    assert done.code == 0, done.err
    with np.load(depth) as arrays:
        assert arrays["depth"].shape == (2, 100, 180) and np.ptp(arrays["depth"]) > 0
    entries = [json.loads(line) for line in (tmp_path / "work" / "log.jsonl").open()]
    for stage in "123":
        logged = [entry for entry in entries if entry["stage"] == stage]
        told = {"loss", "learning_rate", "gradient_norm", "seconds_per_step", "abs_rel", "delta1"}
        assert told | {"temporal"} <= set().union(*logged)
        assert f"| {stage} | 0 | " in (model / "README.md").read_text()
        assert cli("weights", "verify", tmp_path / "work" / f"after-{stage}").code == 0
    assert Image.open(tmp_path / "work" / "loss.png").size[0] > 500


def test_an_output_that_is_not_free_is_refused_before_anything_is_made(cli, tiny_folder, tmp_path):
    model, work = tmp_path / "model", tmp_path / "work"
    shutil.copytree(tiny_folder, model)
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert before and not (model / "depthcrafter.json").exists()
    recipe, file = tmp_path / "recipe.toml", tmp_path / "file"
    write_clip(tmp_path / "clips" / "a", 0)
    recipe.write_text(three_stages(model, tmp_path / "clips", 1))
    file.touch()
    for out, folder in (
        (model, work),
        (file, work),
        (work, work),
        (tmp_path / "new", tmp_path / "new" / "work"),
    ):
        done = cli("train", recipe, "--out", out, "--work-dir", folder, "--device", "cpu")
        assert done.code == 6 and str(out) in done.err, done.err
        assert not work.exists() and not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before


def test_a_model_fine_tuned_from_non_commercial_weights_says_so(
    cli, tiny_folder, tmp_path, monkeypatch
):
    start, recipe, out = tmp_path / "start", tmp_path / "recipe.toml", tmp_path / "model"
    shutil.copytree(tiny_folder, start)
    write_manifest(start, "depthcrafter")
    write_clip(tmp_path / "clips" / "a", 0)
    recipe.write_text(three_stages(start, tmp_path / "clips", 1))
    read: list[str] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(f"{out}/"):
            read.append(str(arguments[0]))

    sys.addaudithook(note)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    done = cli("train", recipe, "--out", out, "--work-dir", tmp_path / "work", "--device", "cpu")
    assert done.code == 0, done.err
    assert not read  # once it is there nothing more can fail, and be told of a finished model
    card = (out / "README.md").read_text(encoding="utf-8")
    assert recipe.read_text().strip() in card and DEPTHCRAFTER.licences[0].url in card
    assert "non-commercial" in card
    spec = find_weights(str(out)).spec
    assert spec.name == "custom" and spec.licences == DEPTHCRAFTER.licences
    assert "non-commercial" in done.err and "runs in one process" in done.err


def test_a_fine_tuned_model_keeps_the_settings_that_suit_its_start(cli, tiny_folder, tmp_path):
    start, recipe, out = tmp_path / "start", tmp_path / "recipe.toml", tmp_path / "model"
    shutil.copytree(tiny_folder, start)
    write_manifest(start, "nano", settings={"window": 24, "overlap": 8, "steps": 1})
    write_clip(tmp_path / "clips" / "a", 0)
    head, stages = re.split(r"levels = (?s:.*?)\n\n", three_stages(start, tmp_path / "clips", 1))
    recipe.write_text(f"settings.overlap = 6\n{head}\n{stages}")
    done = cli("train", recipe, "--out", out, "--work-dir", tmp_path / "work", "--device", "cpu")
    assert done.code == 0 and "levels = [700.0]" in done.err, done.err
    suited = find_weights(str(out)).settings
    assert (suited.window, suited.overlap, suited.steps) == (24, 6, 1)
    assert suited.max_res == find_weights(str(start)).settings.max_res


def test_a_model_may_keep_a_share_of_the_weights_it_started_from(cli, tiny_folder, tmp_path):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe, unets = tmp_path / "recipe.toml", []
    for share in (0.0, 0.25):
        recipe.write_text(
            f"start_share = {share}\n" + three_stages(tiny_folder, tmp_path / "clips", 1)
        )
        out = tmp_path / f"model{share}"
        done = cli("train", recipe, "--out", out, "--work-dir", tmp_path / "work", "--device",
                   "cpu")  # fmt: skip
        assert done.code == 0, done.err
        unets.append(load_file(out / "unet" / "diffusion_pytorch_model.safetensors"))
    start = load_file(tiny_folder / "unet" / "diffusion_pytorch_model.safetensors")
    trained, kept = unets
    for name, tensor in kept.items():
        expected = 0.75 * trained[name].float() + 0.25 * start[name].float()
        assert torch.allclose(tensor.float(), expected, atol=2e-3)
    assert any(not torch.equal(kept[name], trained[name]) for name in kept)


def test_a_model_that_was_half_delivered_is_delivered_again(cli, tiny_folder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    write_clip(tmp_path / "clips" / "a", 0)
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 1))
    (tmp_path / "model").mkdir()
    left = shutil.copytree(tiny_folder, part_path(tmp_path / "model"))  # as a kill leaves it
    (left / "vae" / "stale.json").touch()
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work",
               "--device", "cpu", "--quiet")  # fmt: skip
    assert done.code == 0, done.err
    assert cli("weights", "verify", tmp_path / "model").code == 0
    assert not left.exists()
    assert not list((tmp_path / "model").rglob("stale.json"))


def test_settings_that_clash_with_those_of_the_start_are_refused(cli, tiny_folder, tmp_path):
    start, recipe = tmp_path / "start", tmp_path / "recipe.toml"
    shutil.copytree(tiny_folder, start)
    write_manifest(start, "nano", settings={"window": 24, "overlap": 8, "steps": 1})
    write_clip(tmp_path / "clips" / "a", 0)
    recipe.write_text("settings.overlap = 30\n" + three_stages(start, tmp_path / "clips", 1))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work",
               "--device", "cpu")  # fmt: skip
    assert done.code == 2 and "`overlap` 30 with `window` 24" in done.err
    assert not list(tmp_path.glob("work/*.ckpt"))


def test_the_work_folder_need_not_be_named(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("speed = 3")
    done = cli("train", recipe, "--out", tmp_path / "model")
    assert done.code == 2 and "speed" in done.err


def test_validation_on_no_clips_is_refused(cli, tmp_path):
    recipe = tmp_path / "small.toml"
    empty = "[sources.none]\nkind = 'generated'\nsizes = [{ frames = 2, height = 64, width = 64 }]"
    recipe.write_text(RECIPE.replace('[validation]\nsource = "drawn"', f"{empty}\n[validation]\n"
                                     'source = "none"'))  # fmt: skip
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 3 and "got no clip in the source 'none'" in done.err


def test_the_folder_one_is_in_cannot_become_the_model(cli, tmp_path, monkeypatch):
    recipe, model = tmp_path / "recipe.toml", tmp_path / "model"
    model.mkdir()
    recipe.write_text(RECIPE)
    monkeypatch.chdir(model)
    done = cli("train", recipe, "--out", ".", "--work-dir", tmp_path / "work")
    assert done.code == 6 and "the folder you are in" in done.err
    assert not (tmp_path / "work").exists()


def test_a_work_folder_that_cannot_be_made_is_refused_in_one_sentence(cli, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", recipe / "work")
    assert done.code == 6 and f"{recipe} is no folder" in done.err
    assert list(tmp_path.iterdir()) == [recipe]


def test_a_recipe_with_an_unknown_key_is_refused(cli, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.replace("pictures", "photographs"))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 2 and "photographs" in done.err
    assert list(tmp_path.iterdir()) == [recipe]


def test_a_recipe_whose_stage_names_an_unknown_source_is_refused(cli, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.replace("sources = { drawn = 1 }", "sources = { filmed = 1 }"))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 2 and "filmed" in done.err


@pytest.mark.parametrize("name", ["../../evil", "/abs", "a/b", "..", ".", "", "nul\\u0000"])
def test_a_recipe_names_no_folder_outside_its_own(cli, tmp_path, name):
    recipe = tmp_path / "small.toml"
    source = RECIPE.replace("sources.drawn", f'sources."{name}"').replace('"drawn"', f'"{name}"')
    stage = RECIPE.replace('name = "1"', f'name = "{name}"')
    for text in (source.replace("drawn = 1", f'"{name}" = 1'), stage):
        assert text != RECIPE
        recipe.write_text(text)
        done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
        assert done.code == 2 and "becomes" in done.err, done.err
        assert list(tmp_path.iterdir()) == [recipe]


def test_a_size_that_the_network_to_be_made_does_not_take_is_refused_at_once(cli, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("height = 64", "height = 72"))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 2 and "(72, 64)" in done.err and "multiples of 16" in done.err
    assert not (tmp_path / "work").exists()


def test_resume_without_a_checkpoint_is_refused(cli, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path, "--resume")
    assert done.code == 2 and "checkpoint" in done.err


def test_half_a_checkpoint_is_none_to_resume_from(cli, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    part_path(tmp_path / "1.ckpt").touch()
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path, "--resume")
    assert done.code == 2 and "checkpoint" in done.err


def test_two_runs_may_not_share_a_work_folder(cli, tmp_path):
    recipe, work = tmp_path / "small.toml", tmp_path / "work"
    recipe.write_text(RECIPE)
    with claimed([work]):
        done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", work)
    assert done.code == 6 and "another run" in done.err
    assert not list(work.glob("*.ckpt"))


def test_clips_and_latents_are_not_taken_for_those_of_another_recipe(tmp_path):
    def recipe(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return load_recipe(path)

    work = tmp_path / "work"
    require_origin(work, recipe(RECIPE), note=True)
    require_origin(work, recipe(RECIPE.replace("clips = 3", "clips = 5")), note=True)
    for change in (("width = 64", "width = 128"), ("hidden = 32", "hidden = 64")):
        with pytest.raises(UsageError, match=r"sources\.drawn|foundation"):
            require_origin(work, recipe(RECIPE.replace(*change)), note=True)
    with pytest.raises(UsageError, match=r"objective\.rollout"):
        require_origin(work, recipe(RECIPE.replace("rollout = 0.5", "rollout = 0.6")), note=True)
    require_origin(work, recipe(RECIPE), note=False)

    # What a version without the switch noted, which mirrored always.
    noted = json.loads((work / "origin.json").read_text())
    del noted["sources.drawn"]["mirror"]
    (work / "origin.json").write_text(json.dumps(noted))
    unmirrored = RECIPE.replace("clips = 3", "clips = 3\nmirror = false")
    with pytest.raises(UsageError, match=r"sources\.drawn"):
        require_origin(work, recipe(unmirrored), note=True)
    require_origin(work, recipe(RECIPE), note=True)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("height = 64, width = 64", "height = 192, width = 192", "32768 pixels"),
        ("pictures = 1", "pictures = 1\ncrop = 72", "the 72 of crop"),
        ("clips = 3", "clips = 0", "at most 0 frames"),
    ],
)
def test_clips_that_the_foundation_cannot_learn_from_are_refused_before_anything_is_made(
    cli, tmp_path, old, new, named
):
    recipe = tmp_path / "small.toml"
    assert old in RECIPE
    recipe.write_text(RECIPE.replace(old, new))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 3 and named in done.err
    assert list(tmp_path.iterdir()) == [recipe]


def test_a_stage_may_not_take_the_name_of_a_checkpoint_of_stage_0(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace('name = "2"', 'name = "vae"'))
    with pytest.raises(UsageError, match="different names"):
        load_recipe(recipe)


def test_fine_tuning_says_at_once_what_is_missing(cli, tmp_path, monkeypatch):
    recipe = Path("examples/fine-tune.toml").resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(tmp_path / "none"))
    train = ("train", recipe, "--out", "model", "--work-dir", "work", "--device", "cpu")
    write_clip(tmp_path / "clips" / "realistic" / "a", 0)
    write_clip(tmp_path / "clips" / "held-out" / "a", 1)
    done = cli(*train)
    assert done.code == 3 and str(Path("clips/precise")) in done.err, done.err
    write_clip(tmp_path / "clips" / "precise" / "a", 2)
    done = cli(*train)
    assert done.code == 3 and "45 for stage '3-spatial'" in done.err, done.err
    write_clip(tmp_path / "clips" / "precise" / "b", 3, frames=45)
    done = cli(*train)
    assert done.code == 4 and "depthcrafter weights pull" in done.err, done.err


def test_validation_does_not_depend_on_the_unit_of_a_folder(tiny, tiny_folder, tmp_path):
    recipe, found = tmp_path / "recipe.toml", []
    for unit in (1.0, 40_000.0):  # as 16-bit PNGs have it
        clips = tmp_path / f"{unit}"
        disparity = write_clip(clips / "a", 0)
        np.savez(clips / "a" / "disparity.npz", disparity=disparity * np.float32(unit))
        text = three_stages(tiny_folder, clips, 1) + "[validation]\nsource = 'mine'\nframes = 2\n"
        recipe.write_text(text)
        config = load_recipe(recipe)
        found.append(validator(config, tiny, open_sources(config, Rejects(0)), Rejects(0))())
    assert found[0]["abs_rel"] > 0
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_validation_shows_clips_of_any_size(tiny, tiny_folder, tmp_path):
    write_clip(tmp_path / "clips" / "a", 0)
    ramp, recipe, found = np.linspace(0, 1, 8, dtype=np.float32), tmp_path / "recipe.toml", []
    for enlarged in (8, 9):  # times 8: 64 is a multiple of what the network takes, 72 is none
        stack = tmp_path / str(enlarged) / "stack"
        stack.mkdir(parents=True)
        nearness = np.kron(ramp[:, None] + ramp, np.ones((enlarged, enlarged)))[None]
        np.save(stack / "rgb.npy", np.repeat((nearness * 127)[..., None], 3, 3).astype(np.uint8))
        np.save(stack / "disparity.npy", nearness + 0.2)
        recipe.write_text(
            three_stages(tiny_folder, tmp_path / "clips", 1) + "[validation]\nsource = 'stack'\n"
            f"[sources.stack]\nkind = 'stacks'\npath = '{stack.parent.as_posix()}'\n"
        )
        config, rejects = load_recipe(recipe), Rejects(0)
        found.append(validator(config, tiny, open_sources(config, rejects), rejects)())
    assert 72 % tiny.side_multiple
    assert found[1] == pytest.approx(found[0], abs=0.05)


def test_an_optimiser_that_this_pytorch_lacks_is_refused_before_anything_is_made(
    cli, tmp_path, monkeypatch
):
    monkeypatch.delattr("torch.optim.Muon", raising=False)
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.replace('trains = "all"', 'trains = "all"\noptimizer = "muon"'))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 2 and "2.9" in done.err
    assert list(tmp_path.iterdir()) == [recipe]


@pytest.mark.parametrize(
    ("package", "extra", "asks", "options"),
    [
        ("bitsandbytes", "8bit", '\noptimizer = "adamw8bit"', []),
        ("tensorboard", "tensorboard", "", ["--tensorboard"]),
    ],
)
def test_a_library_that_is_not_installed_is_missed_before_anything_is_made(
    cli, tmp_path, monkeypatch, package, extra, asks, options
):
    own = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != package and own(name))
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.replace('trains = "all"', f'trains = "all"{asks}'))
    work = tmp_path / "work"
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", work, *options)
    assert done.code == 2 and f'pip install "depthcrafter[{extra}]"' in done.err
    assert all(option in done.err for option in options) and list(tmp_path.iterdir()) == [recipe]


@pytest.mark.slow
def test_tensorboard_shows_what_the_log_tells_and_pictures(cli, tiny_folder, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_clip(tmp_path / "clips" / "a", 0)
    recipe, work = tmp_path / "recipe.toml", tmp_path / "work"
    stage = three_stages(tiny_folder, tmp_path / "clips", 2).partition('[[stages]]\nname = "2"')[0]
    recipe.write_text(stage + '[validation]\nsource = "mine"\nevery = 2\nframes = 3\n')
    for steps, out in ((2, "first"), (4, "second")):
        recipe.write_text(recipe.read_text().replace("steps = 2", f"steps = {steps}"))
        done = cli("train", recipe, "--out", tmp_path / out, "--work-dir", work, "--device", "cpu",
                   "--tensorboard")  # fmt: skip
        assert done.code == 0, done.err
    shown = EventAccumulator(str(work / "tensorboard" / "1"))
    shown.Reload()
    log = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "gradient_norm", "seconds_per_step", "abs_rel"):
        told = [(line["step"], line[name]) for line in log if name in line]
        events = [(event.step, event.value) for event in shown.Scalars(name)]
        assert events == [(step, pytest.approx(value)) for step, value in told]
    assert [event.step for event in shown.Images("mine")] == [0, 2, 4]
    picture = shown.Images("mine")[0]
    assert (picture.width, picture.height) == (3 * 64, 64)


def test_what_keeps_processes_from_sharing_a_model_is_told(cli, tiny_folder, tmp_path, monkeypatch):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 1))
    command = "train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work"
    refused = [cli(*command, "--share-model")]
    for name in ("ACCELERATE_USE_FSDP", "FSDP_OFFLOAD_PARAMS", "ACCELERATE_USE_DEEPSPEED"):
        monkeypatch.setenv(name, "true")
        refused.append(cli(*command))
        monkeypatch.delenv(name, raising=False)
    for told, reason in zip(
        refused, ("several: start", "several: start", "OFFLOAD", "DEEPSPEED"), strict=True
    ):
        assert told.code == 2 and reason in told.err, told.err
    assert not (tmp_path / "work").exists()


def test_recipes_whose_model_cannot_be_shared_say_why(tiny_folder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    text = three_stages(tiny_folder, tmp_path, 1)
    for stage, reason in (
        ("", ""),
        ('optimizer = "adamw8bit"\n', '"adamw8bit", expected "adamw"'),
        ("[adapter]\nrank = 2\n", "an adapter needs no sharing"),
    ):
        recipe.write_text(text + stage)
        told = sharding_obstacle(load_recipe(recipe))
        assert reason in told and bool(told) == bool(reason)


def test_a_recipe_that_trains_on_a_test_set_is_told(tiny_folder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    text = three_stages(tiny_folder, tmp_path, 1)
    recipe.write_text(text.replace('kind = "folder"', 'kind = "nyuv2"'))
    assert "The source mine is the test set nyuv2" in next(leaks(load_recipe(recipe)))
    recipe.write_text(text.replace('kind = "folder"', 'kind = "tartanair"'))
    assert not list(leaks(load_recipe(recipe)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_and_the_model_is_that_of_a_run_never_stopped(
    cli, tiny_folder, tmp_path, number
):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 6))

    def command(name):
        return ("train", recipe, "--out", tmp_path / name, "--work-dir", tmp_path / f"{name}-work",
                "--device", "cpu")  # fmt: skip

    assert cli(*command("whole")).code == 0
    said = tmp_path / "said"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "depthcrafter_cli", *map(str, command("stopped")), "--json"],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file,
        )  # fmt: skip
        while '"stage": "2"' not in said.read_text() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait() == 130
    saved = steps_done(tmp_path / "stopped-work" / "2.ckpt")
    assert 1 <= saved <= 6 and not (tmp_path / "stopped").exists()
    assert cli(*command("stopped"), "--resume").code == 0
    whole, stopped = trained_weights(tmp_path / "whole"), trained_weights(tmp_path / "stopped")
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in whole.items())


@pytest.mark.slow
def test_a_checkpoint_becomes_a_model_and_other_ways_to_compute_the_same_go_on(
    cli, tiny_folder, tmp_path
):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe, work = tmp_path / "recipe.toml", tmp_path / "work"
    text = three_stages(tiny_folder, tmp_path / "clips", 2)
    text = text.replace("save_every = 2", "save_every = 1\nkeep_last = 1")
    recipe.write_text(text)

    def train(name, *more):
        return cli("train", recipe, "--out", tmp_path / name, "--work-dir", work,
                   "--device", "cpu", *more)  # fmt: skip

    assert train("first").code == 0
    exported = train("exported", "--export", work / "2.00000002.ckpt")
    assert exported.code == 0, exported.err
    of_stage, model = trained_weights(work / "after-2"), trained_weights(tmp_path / "exported")
    assert all(torch.equal(tensor, model[name]) for name, tensor in of_stage.items())
    (tmp_path / "clips").rename(tmp_path / "elsewhere")
    text = text.replace(str(tmp_path / "clips"), str(tmp_path / "elsewhere"))
    text = text.replace("micro_batch = 2", "micro_batch = 1\ncheckpointing = true")
    recipe.write_text(text)
    assert train("moved").code == 0
    whole, moved = trained_weights(tmp_path / "first"), trained_weights(tmp_path / "moved")
    assert all(torch.equal(tensor, moved[name]) for name, tensor in whole.items())
    before, _, after = text.rpartition("steps = 2")
    recipe.write_text(f"{before}steps = 3{after}")
    longer = train("longer")
    assert longer.code == 0 and "stage 3 has 3 steps now, 2 before" in longer.err
    recipe.write_text(text)
    shorter = train("shorter")
    assert shorter.code == 2 and "has done 3" in shorter.err


@pytest.mark.slow
def test_a_start_that_failed_binds_nobody(cli, tiny_folder, tmp_path):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe = tmp_path / "recipe.toml"
    text = three_stages(tiny_folder, tmp_path / "clips", 1)
    command = ("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work",
               "--device", "cpu")  # fmt: skip
    recipe.write_text(text.replace(str(tiny_folder), str(tmp_path / "missing")))
    assert cli(*command).code == 4
    recipe.write_text(text)
    assert cli(*command).code == 0


def test_memory_that_runs_out_says_what_takes_less(cli, tiny_folder, tmp_path, monkeypatch):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 1))

    def full(*_arguments, **_more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", full)
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work",
               "--device", "cpu")  # fmt: skip
    assert done.code == 5 and "micro_batch = 1 or checkpointing = true" in done.err, done.err
    assert "ema_on" not in done.err  # of a CPU, the host's memory is the same
    stage = load_recipe(recipe).stages[0]
    with (
        pytest.raises(MemoryLimitError, match='ema_on = "host" or optimizer_on = "host"'),
        memory_errors(stage, torch.device("cuda")),
    ):
        full()


@pytest.mark.slow
def test_the_papers_stages_run_at_tiny_size(cli, tiny_folder, tmp_path):
    text = Path("examples/paper.toml").read_text(encoding="utf-8")
    text = text.replace('stable-video-diffusion-img2vid-xt"\n', f'{tiny_folder}"\n')
    text = text.replace('path = "clips', f'path = "{tmp_path.as_posix()}/clips')
    text = text.replace("height = 320", "height = 64").replace("width = 640", "width = 64")
    for old, new in (("[1, 25]", "[1, 3]"), ("[1, 110]", "[1, 4]"), ("[45, 45]", "[3, 3]"),
                     ("every = 2000", "every = 2"), ("workers = 4", "workers = 0"),
                     ("clips = 8", "clips = 1"), ("batch = 8", "batch = 2")):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"steps = \d+0000", "steps = 2", text)
    recipe, work = tmp_path / "paper.toml", tmp_path / "work"
    recipe.write_text(text)
    for name in ("realistic", "synthetic", "held-out"):
        write_clip(tmp_path / "clips" / name / "a", 0, frames=4)
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", work, "--device", "cpu")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (work / "log.jsonl").open()]
    rates = {line["learning_rate"] for line in lines if "learning_rate" in line}
    assert rates == {1e-5} and [*dict.fromkeys(line["stage"] for line in lines)] == [
        "1-all", "2-temporal", "3-spatial"]  # fmt: skip
    assert find_weights(str(tmp_path / "model")).settings.window == 110
