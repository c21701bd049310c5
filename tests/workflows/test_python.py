"""Depth from Python: what may be handed over, what comes back, and the programs of the docs."""

import ast
import copy
import io
import pickle
import re
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import make_clip, picture
from PIL import Image
from processes import ENVIRONMENT

from depthcrafter_cli import Depth, DepthCrafterPipeline, infer
from depthcrafter_cli.errors import InputError, MemoryLimitError, UsageError, WeightsError
from depthcrafter_cli.types import Size

ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
SIZE = Size(50, 70)
PICTURES = np.stack([picture(index, SIZE) for index in range(5)])
TRIVIAL = "trivial-gradient"
SETTINGS = {"steps": 1, "window": 4, "overlap": 1, "decode_chunk": 3}


@pytest.fixture(scope="module")
def model(tiny_folder):
    with DepthCrafterPipeline.from_pretrained(tiny_folder, device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def expected(model):
    return model(PICTURES, **SETTINGS).disparity


FORMS = {
    "a list of arrays": list(PICTURES),
    "PIL images": [Image.fromarray(each) for each in PICTURES],
    "floats": (PICTURES / 255).astype(np.float32),
    "float16": (PICTURES / 255).astype(np.float16),
    "sixteen bits": PICTURES.astype(np.uint16) * 257,
    "channels first": PICTURES.transpose(0, 3, 1, 2),
    "a batch of one": PICTURES[None],
    "a tensor": torch.from_numpy(PICTURES).permute(0, 3, 1, 2),
    "a tensor in half precision": torch.from_numpy(PICTURES).half() / 255,
    "PIL images with a palette": [
        Image.fromarray(each).convert("P", palette=Image.Palette.ADAPTIVE) for each in PICTURES
    ],
    "PIL images of CMYK": [Image.fromarray(each).convert("CMYK") for each in PICTURES],
    "PIL images of gray with alpha": [Image.fromarray(each).convert("LA") for each in PICTURES],
    "alpha beside it": np.concatenate([PICTURES, PICTURES[..., :1]], axis=-1),
}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_may_come_in_many_forms(model, expected, form):
    depth = model(FORMS[form], **SETTINGS)
    assert depth.disparity.shape == (5, SIZE.height, SIZE.width)
    assert depth.disparity.dtype == np.float32
    assert np.allclose(depth.times, np.arange(5) / 24)
    limit = 0.02 if "half" in form or "float16" in form else 0
    assert np.abs(depth.disparity - expected).max() <= limit


def test_a_stream_gives_what_a_list_does_and_beyond_a_window_what_its_first_frames_do(model):
    """Its length is not known, so windows begin at fixed places and not evenly spread."""
    whole = SETTINGS | {"window": 5, "overlap": 2}
    made = model(iter(PICTURES), **whole).disparity
    assert np.array_equal(made, model(list(PICTURES), **whole).disparity)
    short = SETTINGS | {"window": 3, "overlap": 1, "decode_chunk": 1}
    made = model(iter(PICTURES), **short).disparity
    assert np.array_equal(made, model(list(PICTURES), **short).disparity)


def test_a_path_gives_what_run_writes(cli, tmp_path, tiny_folder):
    clip = make_clip(tmp_path / "clip.mp4", frames=9, size=Size(60, 90))
    options = ["--weights", tiny_folder, "--seed", 3, "--start", 0.1, "--quiet", "--device", "cpu"]
    done = cli("run", clip, "--out", tmp_path / "d.npz", *options)
    assert done.code == 0, done.err
    depth = infer(clip, weights=str(tiny_folder), device="cpu", seed=3, start=0.1)
    with np.load(tmp_path / "d.npz") as written:
        assert np.array_equal(depth.disparity, written["depth"])
        assert np.array_equal(depth.times, written["times"])


def test_windows_are_aligned_in_a_call_as_in_a_run_and_in_no_stream(cli, tmp_path, tiny_folder):
    clip, out = make_clip(tmp_path / "clip.mp4", frames=13, size=Size(64, 64)), tmp_path / "d.npz"
    options = ["--align", "windows", "--steps", 1, "--window", 6, "--overlap", 2, "--quiet"]
    assert cli("run", clip, "--out", out, "--weights", tiny_folder, *options).code == 0
    settings = {"steps": 1, "window": 6, "overlap": 2}
    with DepthCrafterPipeline.from_pretrained(tiny_folder, device="cpu") as model:
        steady, other = (model(clip, align=each, **settings) for each in ("windows", "off"))
        with pytest.raises(UsageError, match="got `align` windows for a stream, expected off"):
            model.stream(clip, align="windows", **settings)
    with np.load(out) as written:
        assert np.allclose(steady.disparity, written["depth"], atol=1e-6)
    assert not np.allclose(steady.disparity, other.disparity, atol=1e-4)


def test_damage_of_a_video_is_told(tmp_path, tiny_folder):
    clip = make_clip(tmp_path / "clip.mkv", frames=40, size=Size(64, 64))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    told = []
    depth = infer(clip, weights=str(tiny_folder), device="cpu", warn=told.append, **SETTINGS)
    assert 0 < len(depth.times) < 40
    assert any("clip.mkv" in sentence for sentence in told)


def test_frames_come_as_soon_as_they_are_final_and_steps_are_told(model, expected):
    told = []
    parts = list(model.stream(PICTURES, observer=told.append, **SETTINGS))
    assert [len(part.disparity) for part in parts] == [3, 2]
    assert np.array_equal(np.concatenate([part.disparity for part in parts]), expected)
    assert {event.stage for event in told} >= {"condition", "denoise", "decode"}
    assert max(event.total for event in told if event.stage == "denoise") == 2


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AROUND = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "double precision": lambda: default_dtype(torch.float64),
    "half precision": lambda: default_dtype(torch.bfloat16),
}


@pytest.mark.parametrize("around", AROUND)
def test_what_pytorch_is_set_to_around_a_call_changes_nothing(model, tiny_folder, around):
    settings = {**SETTINGS, "noise": "reference"}
    with AROUND[around](), DepthCrafterPipeline.from_pretrained(tiny_folder, device="cpu") as own:
        pair = [next(own.stream(PICTURES, **settings)).disparity, own(PICTURES, **settings)[0]]
        tensors, trivial = (
            own(PICTURES, output_type="pt", **settings),
            infer(PICTURES, method=TRIVIAL),
        )
        weights = own.unet.parameters()
    expected = model(PICTURES, **settings).disparity
    assert all(np.array_equal(each, expected[: len(each)]) for each in [*pair, tensors[0].numpy()])
    assert np.array_equal(trivial[0], infer(PICTURES, method=TRIVIAL)[0])
    next(weights).add_(0)  # they may be changed, outside of inference mode too


def test_depth_is_a_named_tuple_that_keeps_its_cuts(expected):
    depth = Depth(expected[::-1], np.arange(5.0), (2, 3))
    copies = depth.as_tensors().as_tensors(), pickle.loads(pickle.dumps(depth)), copy.copy(depth)
    for each in (*copies, depth._replace(times=np.arange(5.0))):
        assert each.cuts == (2, 3) and np.array_equal(each.disparity, depth.disparity)
    assert depth._replace(cuts=(1,)).cuts == (1,) and Depth._make(depth).cuts == ()


def test_settings_and_sizes_belong_to_the_call(model, expected):
    other = model(PICTURES, **{**SETTINGS, "seed": 7})
    assert not np.array_equal(other.disparity, expected)
    assert model(PICTURES, size="30x20", **SETTINGS).disparity.shape == (5, 20, 30)
    assert np.array_equal(model(PICTURES, **SETTINGS).disparity, expected)


def test_settings_may_have_the_names_of_diffusers(model, expected):
    theirs = {"num_inference_steps": 1, "window_size": 4, "overlap": 1, "decode_chunk_size": 3}
    assert np.array_equal(model(PICTURES, **theirs).disparity, expected)
    generator = torch.Generator().manual_seed(7)
    seeded = model(PICTURES, **theirs, generator=generator, guidance_scale=1.5)
    ours = model(PICTURES, **SETTINGS, seed=7, guidance=1.5)
    assert np.array_equal(seeded.disparity, ours.disparity)
    tensors = model(PICTURES, **SETTINGS, output_type="pt")
    assert torch.equal(tensors.disparity, torch.from_numpy(expected))
    assert tensors.times.dtype == torch.float64


def test_a_callback_is_called_after_each_step_and_may_end_the_call(model):
    called, settings = [], {**SETTINGS, "steps": 2}

    def note(pipeline, step, timestep, values):
        called.append((pipeline is model, step, round(timestep, 3), values))

    model(PICTURES, callback_on_step_end=note, **settings)
    assert called == [
        (True, step, timestep, {})
        for step, timestep in enumerate([1.638, -1.554, 1.638, -1.554])  # of two windows
    ]

    def stop(_pipeline, step, _timestep, _values):
        raise InterruptedError(step)

    with pytest.raises(InterruptedError):
        model(PICTURES, callback_on_step_end=stop, **settings)
    assert len(model(PICTURES, **SETTINGS).times) == 5
    with (
        DepthCrafterPipeline.from_pretrained(method="trivial-gradient") as other,
        pytest.raises(UsageError, match="`callback_on_step_end`"),
    ):
        other(PICTURES, callback_on_step_end=note)


def test_a_pipeline_goes_where_it_is_sent_and_loads_when_it_is_needed(tiny_folder):
    pipeline = DepthCrafterPipeline.from_pretrained(tiny_folder, torch_dtype=torch.float32)
    assert (pipeline.device, pipeline.dtype) == (torch.device("cpu"), torch.float32)
    unet = pipeline.unet
    assert next(unet.parameters()).dtype == torch.float32 and pipeline.to("cpu").unet is unet
    assert pipeline.to(torch.bfloat16) is pipeline and pipeline.dtype == torch.bfloat16
    assert {next(each.parameters()).dtype for each in (pipeline.unet, pipeline.image_encoder)} == {
        torch.bfloat16
    }
    assert pipeline.vae.config.latent_channels == 4
    with pytest.raises(UsageError, match="quantum"):
        pipeline.to(device="quantum")
    with pytest.raises(UsageError, match="float64"):
        pipeline.to("cpu", torch.float64)
    pipeline.to("cpu", torch.float32)
    depth = pipeline(PICTURES, **SETTINGS)
    assert np.array_equal(depth.disparity, infer(PICTURES, weights=tiny_folder, **SETTINGS)[0])


def test_what_diffusers_has_and_this_has_not_is_said_with_what_to_do_instead(model):
    for name, says in (
        ("enable_model_cpu_offload", "max_vram"),
        ("scheduler", "steps"),
        ("anything", "DepthCrafterPipeline has no anything"),
    ):
        with pytest.raises(AttributeError, match=says):
            getattr(model, name)
    other = DepthCrafterPipeline.from_pretrained(method="trivial-gradient")
    with pytest.raises(AttributeError, match="has no unet"):
        other.unet  # noqa: B018


@pytest.mark.parametrize(
    ("weights", "options", "error", "says"),
    [
        ("nowhere", {}, WeightsError, "nowhere"),
        ("depth-anything-v2-small", {}, WeightsError, "weights pull depth-anything-v2-small"),
        ("nano", {"method": "marigold"}, UsageError, "`method` marigold"),
        ("nano", {"method": "magic"}, UsageError, "magic"),
        ("nano", {"device": "quantum"}, UsageError, "quantum"),
        ("nano", {"dtype": "fp8"}, UsageError, "fp8"),
        ("nano", {"max_vram": -1}, UsageError, "`max_vram`"),
        ("nano", {"warn": None}, UsageError, "`warn` None, expected a function"),
        ("nano", {"max_vram": "much"}, UsageError, "`max_vram`"),
    ],
)
def test_what_is_wrong_with_a_model_is_told_at_once(root, weights, options, error, says):
    with pytest.raises(error, match=says) as caught:
        DepthCrafterPipeline.from_pretrained(weights, **options)
    assert "--" not in str(caught.value)


def test_the_work_is_planned_for_the_memory_that_is_given(tiny_folder, expected):
    tight = DepthCrafterPipeline.from_pretrained(tiny_folder, device="cpu", max_vram=0.56)
    assert np.abs(tight(PICTURES, **SETTINGS).disparity - expected).max() <= 1e-4
    hopeless = DepthCrafterPipeline.from_pretrained(tiny_folder, device="cpu", max_vram=0.01)
    with pytest.raises(MemoryLimitError, match="`max_vram="):
        hopeless(PICTURES, **SETTINGS)


def test_networks_stay_loaded_until_they_are_unloaded(model, expected):
    def loads():
        told = []
        result = model(PICTURES, observer=told.append, **SETTINGS)
        assert np.array_equal(result.disparity, expected)
        return any(event.stage == "load" for event in told)

    assert not loads()
    model.unload()
    assert loads() and not loads()


def test_other_methods_are_called_the_same_way():
    depth = infer(PICTURES, method="trivial-gradient")
    assert depth.disparity.shape == (5, SIZE.height, SIZE.width)
    assert (np.diff(depth.disparity[0, :, 0]) >= 0).all()


@pytest.mark.parametrize(
    ("video", "options", "error", "says"),
    [
        ([], {}, InputError, "got no pictures"),
        (PICTURES[0], {}, InputError, r"shape \[50, 70, 3\]"),
        (PICTURES.astype(np.float32), {}, InputError, "expected 0 to 1"),
        (np.full((2, 64, 64, 3), np.nan, np.float32), {}, InputError, "no numbers .NaN"),
        (PICTURES.astype(np.int64), {}, InputError, "int64"),
        (None, {}, InputError, "of type NoneType"),
        (Image.fromarray(PICTURES[0]), {}, InputError, "of type Image"),
        ({}, {}, InputError, "of type dict"),
        (io.BytesIO(b"GIF89a"), {}, InputError, "a video of type BytesIO"),
        (["clip.mp4"], {}, InputError, "a picture of type str"),
        (torch.rand(2, 64, 64, 3).to_sparse(), {}, InputError, "Sparse"),
        (torch.empty(2, 64, 64, 3, device="meta"), {}, InputError, "no numbers to read"),
        ("", {}, UsageError, "empty path"),
        ("a\0b", {}, UsageError, "without the byte 0"),
        ("x" * 300, {}, InputError, "cannot be opened|There is no x"),
        ([PICTURES[0], PICTURES[1][:40]], {}, InputError, "one size"),
        (PICTURES, {"stepps": 1}, UsageError, "stepps"),
        (PICTURES, {"steps": 0}, UsageError, "`steps`|steps"),
        (PICTURES, {"start": 1}, UsageError, "`start`"),
        (PICTURES, {"size": "big"}, UsageError, "big"),
        (PICTURES, {"size": (64, 48)}, UsageError, "64,48, expected source, model or WIDTHx"),
        (PICTURES, {"size": "99999x99999"}, UsageError, "`size` 99999x99999, expected at most 160"),
        (PICTURES, {"size": None}, UsageError, "None"),
        (PICTURES, {"max_res": "big"}, UsageError, "`max_res`"),
        (PICTURES, {"max_res": 16}, UsageError, "`max_res`"),
        (PICTURES, {"num_inference_steps": 0}, UsageError, "`num_inference_steps`"),
        (PICTURES, {"window_size": 2, "overlap": 2}, UsageError, "`window_size`"),
        (PICTURES, {"steps": 1, "num_inference_steps": 1}, UsageError, "mean the same"),
        (PICTURES, {"generator": 3}, UsageError, "`generator`"),
        (PICTURES, {"observer": None}, UsageError, "`observer` None, expected a function"),
        (PICTURES, {"callback_on_step_end": 5}, UsageError, "`callback_on_step_end` 5, expected"),
        (PICTURES, {"output_type": "pil"}, UsageError, "`output_type`"),
        (PICTURES, {"callback_on_step_end": print, "method": 1}, UsageError, "`method`"),
        ("nowhere.mp4", {}, InputError, "nowhere.mp4"),
    ],
)
def test_what_is_wrong_is_an_error_of_the_call(model, video, options, error, says):
    with pytest.raises(error, match=says) as caught:
        model(video, **options)
    assert isinstance(caught.value, ValueError)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    "program", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, len(PROGRAMS)))]
)
def test_the_programs_of_the_docs_run(tmp_path, program):
    make_clip(tmp_path / "clip.mp4", frames=10, size=Size(64, 96))
    (tmp_path / "program.py").write_text(PROGRAMS[program])
    assert said_by("program.py", tmp_path)


def test_type_checkers_read_the_types_of_the_package():
    assert (files("depthcrafter_cli") / "py.typed").is_file()  # PEP 561: or all of it is Any


SCRIPTS = sorted(path for name in ("examples", "benchmarks") for path in (ROOT / name).glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_what_a_script_imports_of_the_package_is_there(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("depthcrafter_cli"):
            module = import_module(node.module)
            for name in (each.name for each in node.names):
                assert hasattr(module, name) or import_module(f"{node.module}.{name}")


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=10, size=Size(64, 96))
    program = ROOT / "examples" / "python_api.py"
    assert "10 frames" in said_by(program, tmp_path, clip, "depth.npy")
    assert np.load(tmp_path / "depth.npy").shape == (10, 64, 96)


def said_by(program, folder, *arguments):
    """What a program prints that runs in a folder, and says nothing else."""
    done = subprocess.run(
        [sys.executable, program, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
