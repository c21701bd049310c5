"""Files the program reads back: whatever is wrong with one is one sentence that names it."""

import json
import shutil
from dataclasses import dataclass, field
from pipes import make_pipe

import pytest
from conftest import PARITY

from depthcrafter_cli.errors import UsageError, WeightsError
from depthcrafter_cli.models.manifest import read_manifest
from depthcrafter_cli.structured import content_errors, json_object, toml_table, typed
from depthcrafter_cli.training.journal import Journal
from depthcrafter_cli.training.recipe import load_recipe

DAMAGED = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "list": b"[]",
    "null": b"null",
    "text": b'"a"',
    "number": b"1",
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 30_000,
    "endless number": b'{"a": 1e999}',
    "no number": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "large whole number": b'{"a": 99999999999999999999}',
    "huge whole number": b'{"a": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NUL": b'{"a": "\0"}',
    "long text": b'"' + b"a" * 5000 + b'"',
}


@dataclass
class Part:
    """For :func:`typed`."""

    count: int
    names: list[str] = field(default_factory=list)


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_json_is_one_short_sentence(tmp_path, damage):
    path = tmp_path / "d.json"
    path.write_bytes(DAMAGED[damage])
    with (
        pytest.raises(WeightsError, match=r"d\.json cannot be read .*: pull it") as told,
        content_errors(path, WeightsError, "expected JSON: pull it again"),
    ):
        json_object(path)
    assert len(str(told.value)) < 400 + len(str(path)) and "\n" not in str(told.value)


def test_a_recipe_in_another_encoding_is_told_so(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("seed = 1", encoding="utf-16")  # as PowerShell writes what > sends to a file
    with pytest.raises(UsageError, match=r"r\.toml cannot be read \(it is no text in UTF-8\)"):
        load_recipe(recipe)


@pytest.mark.parametrize(
    "text",
    [b"a = ", b"a = inf", b"a = nan", b"a = 1e999", b"a = " + b"9" * 5000, b"a = " + b"[" * 100_000,
     b"a = '\xff'", b"a = 1\na = 2"],
)  # fmt: skip
def test_damaged_toml_is_one_short_sentence(tmp_path, text):
    path = tmp_path / "d.toml"
    path.write_bytes(text)
    with (
        pytest.raises(UsageError, match=r"d\.toml cannot be read"),
        content_errors(path, UsageError, "expected TOML: correct it"),
    ):
        toml_table(path)


@pytest.mark.parametrize("folder", [r"C:\Users\me\clips", r"D:\clips"])
def test_a_path_as_windows_writes_it_is_told_how_toml_does(tmp_path, folder):
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'weights = "{folder}"')
    with pytest.raises(
        UsageError, match=r"line 1, .*; a path with \\ is written in 'single quotes'"
    ):
        load_recipe(recipe)
    recipe.write_text(f"weights = '{folder}'")
    assert toml_table(recipe) == {"weights": folder}


@pytest.mark.parametrize("place", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_one_sentence_and_no_hang(tmp_path, place):
    path = tmp_path / "d.json"
    if place == "folder":
        path.mkdir()
    if place == "pipe":
        make_pipe(path)
    with (
        pytest.raises(UsageError, match=r"d\.json cannot be read"),
        content_errors(path, UsageError, "expected JSON: correct it"),
    ):
        json_object(path)


def test_a_byte_order_mark_as_editors_write_it_is_no_damage(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1")
    assert json_object(tmp_path / "a.json") == toml_table(tmp_path / "a.toml") == {"a": 1}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"count": "1"}, "count is a str, expected a int"),
        ({"count": True}, "count is a bool"),
        ({"count": 1 << 80}, "too large"),
        ({"count": 1, "names": [1]}, "names"),
        ({"count": 1, "more": 1}, "unknown keys"),
        ({}, "lacks the keys"),
        ([], "expected a table"),
        (None, "expected a table"),
    ],
)
def test_a_value_of_another_type_is_refused(value, says):
    with pytest.raises(ValueError, match=says):
        typed(Part, value, "d")


MANIFEST = json.loads((PARITY.parents[2] / "weights" / "nano" / "depthcrafter.json").read_text())


@pytest.mark.parametrize(
    "change",
    [
        {"files": None},
        {"files": {"unet/config.json": {"size": "x", "sha256": "0"}}},
        {"files": {"unet/config.json": None}},
        {"settings": {"window": 1.5}},
        {"settings": []},
        {"variant": 3},
        {"created": None},
    ],
)
def test_a_manifest_of_another_shape_is_one_sentence(tmp_path, change):
    (tmp_path / "depthcrafter.json").write_text(json.dumps({**MANIFEST, **change}))
    with pytest.raises(WeightsError, match=r"depthcrafter\.json cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("network", "change", "says"),
    [
        ("unet", {"layers_per_block": 1_000_000}, "layers_per_block is 1000000"),
        ("vae", {"layers_per_block": [1_000_000]}, "layers_per_block is 1000000"),
        ("unet", {"block_out_channels": [32, 10**9]}, "block_out_channels is 1000000000"),
        ("unet", {"block_out_channels": [32] * 20_000}, "20000 entries"),
        ("image_encoder", {"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ("image_encoder", {"patch_size": 0}, "patch_size is 0"),
        ("image_encoder", {"hidden_act": 3}, "cannot be read"),
        ("unet", {"addition_time_embed_dim": "x"}, "addition_time_embed_dim is 'x'"),
        ("unet", {"addition_time_embed_dim": 64}, "projection_class_embeddings_input_dim = 96"),
        ("unet", {"num_attention_heads": True}, "num_attention_heads is True"),
        ("vae", {"scaling_factor": [1.0]}, "scaling_factor is [1.0]"),
        ("vae", {"scaling_factor": 0}, "scaling_factor is 0"),
        ("image_encoder", {"hidden_size": "x"}, "cannot be read"),
        ("unet", {"block_out_channels": []}, "cannot be read"),
        ("unet", {"block_out_channels": None}, "cannot be read"),
        ("unet", {"layers_per_block": -1}, "layers_per_block is -1"),
        ("unet", {"down_block_types": ["Other", "Other"]}, "cannot be read"),
        ("vae", {"down_block_types": ["Other"] * 2}, "cannot be read"),
    ],
)
def test_a_config_of_no_network_is_one_sentence_at_once(cli, clip, tmp_path, tiny_folder, network,
                                                        change, says):  # fmt: skip
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    path = model / network / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    done = cli("run", clip, "--out", tmp_path / "d.npz", "--weights", model, "--steps", 1)
    assert (done.code, says in done.err) == (4, True), done
    assert not (tmp_path / "d.npz.work").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("batch_frames = 96", "batch_frames = 96\nbatch = 1000000000"),
        ("height = 128", "height = 6400000000"),
        ("steps = 1600", "steps = 100000000000"),
        ("channels = [32, 96, 128, 96]", "channels = [32, 96, 128, 3200000000]"),
    ],
)
def test_a_recipe_of_absurd_sizes_is_refused_before_it_is_tried(tmp_path, old, new):
    text = (PARITY.parents[2] / "examples" / "nano.toml").read_text()
    assert old in text
    (tmp_path / "r.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match="expected"):
        load_recipe(tmp_path / "r.toml")


def test_a_log_keeps_its_whole_lines_whatever_stands_between(tmp_path):
    lines = [b'{"stage": "a", "step": 1, "loss": 2.0}', b'{"stage": "a", "st', b"[]", b"null",
             b"[" * 100_000, b'{"step": 1}', b"\xff", b'{"stage": "a", "step": 2}']  # fmt: skip
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    assert [entry["step"] for entry in Journal(tmp_path).lines()] == [1, 2]
