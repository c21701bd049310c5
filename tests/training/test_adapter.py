"""Adapters: trained beside frozen weights, and added to them when a model is loaded."""

import copy
import hashlib
import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_steps import CPU, stage_config, three_stages, train_once, write_clip

from depthcrafter_cli.errors import UsageError, WeightsError
from depthcrafter_cli.models.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from depthcrafter_cli.models.loading import load_components
from depthcrafter_cli.models.manifest import write_manifest
from depthcrafter_cli.models.weights import find_weights
from depthcrafter_cli.training.adapter import add_adapter, merged, save_adapter
from depthcrafter_cli.training.config import AdapterConfig
from depthcrafter_cli.training.networks import trainable_networks
from depthcrafter_cli.training.shortcuts import collapse_cross_attention

pytest.importorskip("peft", reason="the extra lora is not installed")

SMALL = AdapterConfig(rank=2, targets=["attn", "ff"])
RECIPE = '\n[adapter]\nrank = 2\ntargets = ["attn", "ff"]\n'


def inputs(unet):
    generator = torch.Generator().manual_seed(0)
    embedding = unet.config.cross_attention_dim
    return (
        torch.randn(1, 3, 8, 8, 8, generator=generator), torch.ones(1),
        torch.randn(3, 1, embedding, generator=generator), torch.ones(1, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapted(tiny_folder):
    """The tiny model with an adapter that adds something everywhere."""
    networks = load_components(
        tiny_folder, device=CPU, dtype=torch.float32, build=trainable_networks
    )
    add_adapter(networks.unet, SMALL, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in networks.unet.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05, generator=generator)
    return networks


@torch.no_grad()
def test_merged_and_unmerged_and_loaded_give_the_same(adapted, tiny_folder, tmp_path):
    plain = load_components(
        tiny_folder, device=CPU, dtype=torch.float32, build=trainable_networks
    ).unet
    save_adapter(tmp_path, adapted.unet, SMALL, 0.0)
    loaded = load_components(
        tiny_folder, device=CPU, dtype=torch.float32, adapter=tmp_path, build=trainable_networks
    ).unet
    # In float64, where the network's own rounding is not in the way.
    unet, shown = copy.deepcopy(adapted.unet).double(), [x.double() for x in inputs(plain)]
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    unmerged = unet(*shown)
    with merged(unet):
        of_merged = unet(*shown)
        weights = unet.state_dict()
        assert weights.keys() == plain.state_dict().keys()
        for name, tensor in loaded.state_dict().items():
            assert torch.allclose(tensor.double(), weights[name], rtol=0, atol=1e-6), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())
    for result, near in ((of_merged, 1e-12), (loaded.double()(*shown), 1e-6)):
        assert (result - unmerged).norm() < near * unmerged.norm()
    assert (plain.double()(*shown) - unmerged).norm() > 0.01 * unmerged.norm()


def test_peft_itself_reads_what_is_written(adapted, tiny_folder, tmp_path):
    from peft import PeftModel

    save_adapter(tmp_path, adapted.unet, SMALL, 0.0)
    plain = load_components(
        tiny_folder, device=CPU, dtype=torch.float32, build=trainable_networks
    ).unet
    theirs = PeftModel.from_pretrained(plain, tmp_path, subfolder="unet").merge_and_unload()
    with merged(adapted.unet), torch.no_grad():
        weights = adapted.unet.state_dict()
        for name, tensor in theirs.state_dict().items():
            assert torch.allclose(tensor, weights[name], atol=1e-6), name


@torch.no_grad()
def test_a_share_of_what_is_added_can_be_left_out(adapted, tiny_folder, tmp_path):
    weights = []
    for share in (0.0, 0.25, 1.0):
        save_adapter(tmp_path / str(share), adapted.unet, SMALL, share)
        unet = load_components(
            tiny_folder, device=CPU, dtype=torch.float32, adapter=tmp_path / str(share)
        ).unet
        weights.append(unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight)
    whole, most, none = weights
    assert torch.allclose(most, 0.75 * whole + 0.25 * none, atol=1e-6)
    assert not torch.allclose(whole, none, atol=1e-3)


def digest(tensor):
    return hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()


def test_a_step_changes_the_adapter_of_its_layers_and_nothing_else(tiny_folder, tmp_path):
    networks = load_components(
        tiny_folder, device=CPU, dtype=torch.float32, build=trainable_networks
    )
    collapse_cross_attention(networks.unet)
    add_adapter(networks.unet, SMALL, seed=1)
    before = {name: digest(tensor) for name, tensor in networks.unet.state_dict().items()}
    train_once(networks, stage_config("temporal"), tmp_path)
    after = networks.unet.state_dict()
    changed = {name for name, tensor in after.items() if digest(tensor) != before[name]}
    wanted = {name for name in after if ".lora_B" in name and "temporal_transformer" in name}
    assert wanted <= changed and all(".lora_" in name for name in changed)
    kept = torch.load(tmp_path / "temporal.ckpt", weights_only=True)["network"]
    assert kept and all(".lora_" in name for name in kept)


def test_an_adapter_of_another_model_is_refused_in_a_sentence(adapted, tiny_folder, tmp_path):
    save_adapter(tmp_path / "a", adapted.unet, SMALL, 0.0)
    with pytest.raises(WeightsError, match="expected the model it was trained on"):
        load_components(
            find_weights("nano").path, device=CPU, dtype=torch.float32, adapter=tmp_path / "a"
        )
    with pytest.raises(WeightsError, match=r"alone, expected a model before it"):
        find_weights(str(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "dora")
    config = json.loads((tmp_path / "a" / ADAPTER_CONFIG).read_text())
    (tmp_path / "dora" / ADAPTER_CONFIG).write_text(json.dumps(config | {"use_dora": True}))
    (tmp_path / "a" / ADAPTER_WEIGHTS).write_bytes(b"half")
    for name, reason in (("dora", "use_dora"), ("a", "cannot be read")):
        with pytest.raises(WeightsError, match=reason):
            load_components(tiny_folder, device=CPU, dtype=torch.float32, adapter=tmp_path / name)


def test_an_adapter_of_other_weights_of_the_same_shapes_is_told(adapted, tiny_folder, tmp_path):
    save_adapter(tmp_path / "a", adapted.unet, SMALL, 0.0)
    for name, change in (("wide", lambda x: x.float()), ("other", lambda x: 1.01 * x)):
        shutil.copytree(tiny_folder, tmp_path / name)
        path = tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors"
        changed = {key: change(tensor).clone() for key, tensor in load_file(path).items()}
        save_file(changed, path)  # Windows writes to no file that is mapped
    for folder, count in ((tiny_folder, 0), (tmp_path / "wide", 0), (tmp_path / "other", 1)):
        told = []
        load_components(
            folder, device=CPU, dtype=torch.float32, adapter=tmp_path / "a", warn=told.append
        )
        assert ["trained on other weights" in sentence for sentence in told] == [True] * count


@pytest.mark.slow
def test_plan_batch_and_evaluate_take_a_model_with_an_adapter(
    cli, adapted, tiny_folder, clip, tmp_path
):
    save_adapter(tmp_path / "a", adapted.unet, SMALL, 0.0)
    write_manifest(tmp_path / "a", "a", settings={"steps": 1, "window": 6, "overlap": 2})
    write_clip(tmp_path / "clips" / "one", 0)
    weights = "--weights", f"{tiny_folder}+{tmp_path / 'a'}"
    scores = tmp_path / "scores.json"
    batch = ("batch", clip, "--out", tmp_path / "depth", "--max-frames", 6)
    evaluate = ("evaluate", "folder", tmp_path / "clips", "--out", scores)
    for command in (("plan", clip), batch, evaluate):
        done = cli(*command, *weights)
        assert done.code == 0 and "other weights" not in done.err, done.err
    record = json.loads((tmp_path / "depth" / "clip.mp4.json").read_text())
    assert f"adapter/{ADAPTER_WEIGHTS}" in record["weights_sha256"]
    assert f"adapter/{ADAPTER_WEIGHTS}" in scores.read_text()


def test_targets_that_name_no_layer_are_refused(tiny_folder):
    unet = load_components(tiny_folder, device=CPU, dtype=torch.float32).unet
    with pytest.raises(UsageError, match="expected parts of names"):
        add_adapter(unet, AdapterConfig(targets=["attention7"]), 0)


@pytest.mark.slow
def test_a_recipe_becomes_an_adapter_that_runs_on_its_base(cli, tiny_folder, clip, tmp_path):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe, out = tmp_path / "recipe.toml", tmp_path / "own+style"
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 1) + RECIPE)
    base = {path: digest(torch.from_numpy(np.fromfile(path, np.uint8)))
            for path in tiny_folder.rglob("*.safetensors")}  # fmt: skip
    done = cli("train", recipe, "--out", out, "--work-dir", tmp_path / "work", "--device", "cpu")
    assert done.code == 0, done.err
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        ADAPTER_CONFIG, ADAPTER_WEIGHTS, "README.md", "depthcrafter.json"}  # fmt: skip
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "--weights MODEL+FOLDER" in card and "[adapter]" in card
    found = find_weights(f"{tiny_folder}+{out}")
    assert (found.path, found.adapter) == (tiny_folder, out)
    assert f"adapter/{ADAPTER_WEIGHTS}" in found.hashes()
    depths = []
    for name, weights in (("plain", tiny_folder), ("adapted", f"{tiny_folder}+{out}")):
        depth = tmp_path / f"{name}.npz"
        run = cli("run", clip, "--weights", weights, "--out", depth, "--max-frames", 2, "--steps",
                  1, "--quiet")  # fmt: skip
        assert run.code == 0, run.err
        depths.append(np.load(depth)["depth"])
    assert not np.array_equal(*depths)
    record = json.loads((tmp_path / "adapted.npz.json").read_text())
    assert f"adapter/{ADAPTER_WEIGHTS}" in record["weights_sha256"]
    assert base == {path: digest(torch.from_numpy(np.fromfile(path, np.uint8))) for path in base}
    other = cli("train", recipe, "--out", tmp_path / "x", "--work-dir", tmp_path / "work")
    assert other.code == 0
    recipe.write_text(recipe.read_text().replace("rank = 2", "rank = 3"))
    other = cli("train", recipe, "--out", tmp_path / "y", "--work-dir", tmp_path / "work")
    assert other.code == 2 and "other values of adapter" in other.err


@pytest.mark.slow
def test_an_adapter_goes_on_from_a_checkpoint_to_the_bit(cli, tiny_folder, tmp_path):
    write_clip(tmp_path / "clips" / "a", 0)
    recipe, adapters = tmp_path / "recipe.toml", []
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 2) + RECIPE)

    def train(name, *more):
        work = tmp_path / f"{name}-work"
        return cli("train", recipe, "--out", tmp_path / name, "--work-dir", work, "--device", "cpu",
                   *more)  # fmt: skip

    assert train("whole").code == 0
    for _ in range(3):  # a step each: the third is the first of stage 2
        assert train("half", "--time-limit", "0.001").code == 130
    assert train("half", "--resume").code == 0
    for name in ("whole", "half"):
        adapters.append(load_file(tmp_path / name / ADAPTER_WEIGHTS))
    assert all(torch.equal(tensor, adapters[1][name]) for name, tensor in adapters[0].items())


NANO = """
weights = "nano"
precision = "fp32"

[adapter]
rank = 8

[objective]
levels = [700.0]
level_shares = [1.0]
level_spread = 0.0

[sources.ten]
kind = "folder"
path = '{clips}/ten'
height = 64
width = 64

[sources.relatives]
kind = "folder"
path = '{clips}/relatives'
height = 64
width = 64

[validation]
source = "relatives"
every = 20
clips = 4

[[stages]]
name = "adapter"
trains = "all"
sources = {{ ten = 1 }}
frames = [2, 3]
batch = 4
steps = 60
warmup = 5
learning_rate = 2e-3
ema = 0.8
"""


@pytest.mark.slow
def test_ten_clips_adapt_nano_to_their_held_out_relatives(cli, tmp_path):
    for seed in range(14):
        write_clip(tmp_path / "clips" / ("ten" if seed < 10 else "relatives") / f"{seed}", seed)
    recipe, work = tmp_path / "recipe.toml", tmp_path / "work"
    recipe.write_text(NANO.format(clips=tmp_path / "clips"))
    done = cli("train", recipe, "--out", tmp_path / "own", "--work-dir", work, "--device", "cpu")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (work / "log.jsonl").open()]
    scores = [line["abs_rel"] for line in lines if "abs_rel" in line]
    print("AbsRel on held-out clips every 20 steps:", scores)
    assert scores[-1] < 0.9 * scores[0]
    assert (tmp_path / "own" / ADAPTER_WEIGHTS).stat().st_size < 4e6


def test_without_the_library_a_recipe_is_refused_and_an_adapter_runs(
    cli, adapted, tiny_folder, tmp_path, monkeypatch
):
    save_adapter(tmp_path / "a", adapted.unet, SMALL, 0.0)
    write_clip(tmp_path / "clips" / "a", 0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(three_stages(tiny_folder, tmp_path / "clips", 1) + RECIPE)
    own = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "peft" and own(name))
    done = cli("train", recipe, "--out", tmp_path / "model", "--work-dir", tmp_path / "work")
    assert done.code == 2 and 'pip install "depthcrafter[lora]"' in done.err
    assert not (tmp_path / "work").exists()
    assert load_components(tiny_folder, device=CPU, dtype=torch.float32, adapter=tmp_path / "a")
