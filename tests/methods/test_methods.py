"""Other methods than DepthCrafter: real networks at tiny size, from the hub to the result."""

import json
import math
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from clips import make_clip, make_film, picture
from fake_hub import FakeHub, serve, use
from processes import ENVIRONMENT, stop_at
from safetensors import safe_open

from depthcrafter_cli.errors import UsageError, WeightsError
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.methods.base import Machine, MethodRequest, forget
from depthcrafter_cli.methods.registry import method_named, methods
from depthcrafter_cli.models.registry import IMAGE_MODELS, MODELS
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.types import Size

SMALL = Size(48, 64)
CPU = Machine("cpu", "float32", Budget())
MAKERS = {
    "depth-anything-v2-small": tiny_models.depth_anything,
    "dpt-large": tiny_models.dpt,
    "zoedepth": tiny_models.zoedepth,
    "depth-pro": tiny_models.depth_pro,
    "marigold": tiny_models.marigold,
}


@pytest.fixture(scope="session")
def repositories(tmp_path_factory) -> dict[str, Path]:
    """What the hub has of each model."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(scope="session")
def store(tmp_path_factory, repositories) -> Path:
    """A weights folder with all of them, as pulls leave it but for the manifests."""
    import shutil

    root = tmp_path_factory.mktemp("store")
    for name, repository in repositories.items():
        for file in MODELS[name].sources:
            (root / name / file.target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / file.path, root / name / file.target)
    return root


@pytest.fixture
def stored(store, root, monkeypatch) -> Path:
    """That folder as the only place of weights."""
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(store))
    return store


@pytest.fixture
def hub(repositories, root, monkeypatch) -> Iterator[FakeHub]:
    """The hub with all of them, at whatever revision is its newest."""
    files = {
        MODELS[name].sources[0].repo: {
            file.path: (repository / file.path).read_bytes() for file in MODELS[name].sources
        }
        for name, repository in repositories.items()
    }
    with serve(FakeHub(files, revisions={"main"})) as running:
        use(running, monkeypatch)
        yield running


def estimated(name: str, frames: np.ndarray, source: Size = SMALL, **asked) -> np.ndarray:
    """Disparity of frames [T, H, W, 3], which are resized to what the plan says."""
    from PIL import Image

    plan = method_named(name).plan(MethodRequest(**asked), source).on(CPU, len(frames))
    sides = plan.size.width, plan.size.height
    resized = [np.asarray(Image.fromarray(frame).resize(sides)) for frame in frames]
    stream = plan.load(None, ignore, ignore)(
        resized, total=len(frames), observer=ignore, resume_from=None, keep=forget
    )
    found = np.concatenate(list(stream))
    assert found.shape == (len(frames), plan.size.height, plan.size.width)
    assert found.dtype == np.float32
    return found


def frames_of(size: Size, count: int = 3) -> np.ndarray:
    return np.stack([picture(index, size) for index in range(count)])


def test_a_frame_is_what_the_library_makes_of_it(stored, repositories):
    """With the library's own processor, which leaves a picture of the right size as it is."""
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    size = Size(42, 56)
    repository = repositories["depth-anything-v2-small"]
    frame = frames_of(size)[:1]
    found = estimated("depth-anything-v2-small", frame, size)
    processor = AutoImageProcessor.from_pretrained(repository)
    inputs = processor(images=frame[0], return_tensors="pt")
    model = AutoModelForDepthEstimation.from_pretrained(repository).eval()
    with torch.inference_mode():
        expected = model(**inputs).predicted_depth
    assert inputs["pixel_values"].shape[2:] == expected.shape[1:] == found.shape[1:]
    assert np.abs(found - expected.numpy()).max() < 1e-5
    assert found.std() > 0


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (source, name)
        for source in (Size(48, 64), Size(1080, 1920), Size(576, 320))
        for name in ("depth-anything-v2-small", "dpt-large")
    ],
    ids=str,
)
def test_pictures_have_the_size_that_the_library_would_give_them(
    stored, repositories, source, name
):
    from transformers.models.dpt.modeling_dpt import DPTForDepthEstimation  # noqa: F401

    processor = _processor(repositories[name], "dpt")
    pixels = processor(images=frames_of(source, 1)[0], return_tensors="pt")["pixel_values"]
    plan = method_named(name).plan(MethodRequest(), source)
    assert (plan.size.height, plan.size.width) == tuple(pixels.shape[2:])


def _processor(repository: Path, kind: str):
    import importlib

    for module in (f"image_processing_pil_{kind}", f"image_processing_{kind}"):
        try:
            found = importlib.import_module(f"transformers.models.{kind}.{module}")
        except ImportError:
            continue
        names = {"dpt": "DPTImageProcessor", "zoedepth": "ZoeDepthImageProcessor"}
        for name in (f"{names[kind]}Pil", names[kind]):
            if hasattr(found, name):
                return getattr(found, name).from_pretrained(repository)
    raise AssertionError(kind)


def test_metres_become_their_reciprocal_and_the_mirrored_border_is_cut_off(stored, repositories):
    from transformers import ZoeDepthForDepthEstimation

    size = Size(240, 320)
    plan = method_named("zoedepth").plan(MethodRequest(), size)
    taken = _processor(repositories["zoedepth"], "zoedepth")(
        images=frames_of(size, 1)[0], return_tensors="pt"
    )["pixel_values"].shape[2:]
    assert (plan.taken.height, plan.taken.width) == tuple(taken)
    assert plan.size.height < plan.taken.height and plan.size.width < plan.taken.width
    assert "metres" in plan.disparity
    frames = frames_of(plan.size, 1)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (plan.processor.mean, plan.processor.std)
    )
    down, across = plan.taken.height - plan.size.height, plan.taken.width - plan.size.width
    border = (across // 2, across - across // 2, down // 2, down - down // 2)
    whole = torch.nn.functional.pad((pixels - mean) / std, border, mode="reflect")
    model = ZoeDepthForDepthEstimation.from_pretrained(repositories["zoedepth"]).eval()
    with torch.inference_mode():
        metres = model(whole).predicted_depth
    inner = metres[:, down // 2 :][:, : plan.size.height, across // 2 :][:, :, : plan.size.width]
    found = estimated("zoedepth", frames, size)
    assert np.allclose(found, 1 / inner.numpy().clip(0.01), rtol=1e-4)


def test_depth_pro_is_seen_by_the_field_of_view_it_finds(stored, repositories):
    from transformers import DepthProForDepthEstimation

    frames = frames_of(Size(64, 64), 1)
    found = estimated("depth-pro", frames, Size(64, 64))
    model = DepthProForDepthEstimation.from_pretrained(repositories["depth-pro"]).eval()
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (tiny_models.MEAN, tiny_models.STD))
    with torch.inference_mode():
        told = model((pixels - mean) / std)
    view = math.radians(float(told.field_of_view))
    inverse = torch.nn.functional.interpolate(
        told.predicted_depth[:, None], size=(64, 64), mode="bilinear"
    )[:, 0]
    expected = inverse.numpy() * 2 * math.tan(view / 2)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_marigold_is_the_librarys_pipeline_turned_over_and_its_noise_is_the_frames_own(
    stored, repositories
):
    from diffusers import AutoencoderKL, DDIMScheduler, MarigoldDepthPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    from depthcrafter_cli.pipeline.noise import FrameNoise

    frames = frames_of(SMALL, 3)
    found = estimated("marigold", frames)
    plan = method_named("marigold").plan(MethodRequest(), SMALL)
    assert plan.size == SMALL and plan.config.steps == 2 and "no disparity" in plan.disparity
    folder = repositories["marigold"]
    parts = {
        name: kind.from_pretrained(folder / name, variant="fp16").float()
        for name, kind in (
            ("unet", UNet2DConditionModel), ("vae", AutoencoderKL), ("text_encoder", CLIPTextModel)
        )
    }  # fmt: skip
    pipeline = MarigoldDepthPipeline(
        **parts, scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"), tokenizer=None
    )
    pipeline.empty_text_embedding = parts["text_encoder"](torch.tensor([[30, 31]]))[0]
    shape = (4, 6, 8)
    for number, frame in enumerate(frames):
        pixels = torch.from_numpy(frame[None]).permute(0, 3, 1, 2) / 255
        noise = FrameNoise(42, shape, shape).images(number, number + 1)
        depth = pipeline(
            pixels, num_inference_steps=2, processing_resolution=0, latents=noise
        ).prediction
        assert np.abs(found[number] - (1 - depth[0, :, :, 0])).max() < 1e-4
    assert not np.array_equal(found, estimated("marigold", frames, settings={"seed": 1}))


@pytest.mark.parametrize("name", MAKERS)
def test_batches_and_stops_change_nothing(stored, name):
    frames = frames_of(SMALL, 5)
    plan = method_named(name).plan(MethodRequest(settings={"encode_batch": 2}), SMALL).on(CPU, 5)
    from PIL import Image

    sides = plan.size.width, plan.size.height
    resized = [np.asarray(Image.fromarray(frame).resize(sides)) for frame in frames]
    estimator, kept = plan.load(None, ignore, ignore), []

    def run(frames, **where):
        return estimator(frames, total=5, observer=ignore, keep=kept.append, **where)

    whole = np.concatenate(list(run(resized, resume_from=None)))
    assert kept[-1].finished and kept[-1].decoded == 5 and not kept[-2].finished
    for decoded in range(6):  # frames of a batch that reached the spool before a kill
        point = replace(kept[0], decoded=decoded, waiting=0)
        first = estimator.first_read(point)
        assert first <= decoded and first % 2 == 0
        rest = list(run(resized[first:], resume_from=point))
        again = np.concatenate([whole[:decoded], *rest])
        assert np.array_equal(again, whole)


def test_batches_are_halved_where_memory_runs_out(stored):
    plan = method_named("dpt-large").plan(MethodRequest(), SMALL).on(CPU, 6)
    estimator, heard = plan.load(None, ignore, ignore), []
    expected = estimated("dpt-large", frames_of(SMALL, 6))

    def run_out(_module, args):
        if len(args[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    estimator._warn = heard.append
    hook = estimator.networks.register_forward_pre_hook(run_out)
    from PIL import Image

    sides = plan.size.width, plan.size.height
    frames = [np.asarray(Image.fromarray(f).resize(sides)) for f in frames_of(SMALL, 6)]
    stream = estimator(frames, total=6, observer=ignore, resume_from=None, keep=forget)
    found = np.concatenate(list(stream))
    hook.remove()
    assert np.allclose(found, expected, atol=1e-5)
    assert len(heard) == 2 and "went on with 1 frames" in estimator.fallbacks[-1]


@pytest.mark.parametrize("name", MAKERS)
def test_a_pulled_model_runs_and_its_record_says_what_it_is(cli, hub, tmp_path, name, root):
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    missing = cli("run", clip, "--out", tmp_path / "d.npz", "--method", name)
    assert missing.code == 4 and f"depthcrafter weights pull {name}" in missing.err
    pulled = cli("weights", "pull", name)
    assert pulled.code == 0, pulled.err
    assert MODELS[name].licences[0].title in pulled.err + pulled.out
    listed = json.loads(cli("weights", "list", "--json").out)
    assert {row["name"]: row["path"] for row in listed}[name] == str(root / name)
    done = cli("run", clip, "--out", tmp_path / "d.npz", "--method", name, "--device", "cpu")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "d.npz.json").read_text())
    assert (record["model"], record["frames"]) == (name, 5)
    assert record["disparity"] == method_named(name).plan(MethodRequest(), SMALL).disparity
    assert record["licences"] and record["weights_sha256"]
    with np.load(tmp_path / "d.npz") as saved:
        assert saved["depth"].shape == (5, 48, 64)
    again = cli("run", clip, "--out", tmp_path / "d.npz", "--method", name, "--resume")
    assert again.code == 0 and "already finished" in again.err


def test_what_the_first_pull_got_is_what_later_ones_must_get(cli, hub, root):
    name = "dpt-large"
    assert cli("weights", "pull", name).code == 0
    (root / name / "model" / "model.safetensors").unlink()
    tree = hub.files[MODELS[name].sources[0].repo]
    tree["model.safetensors"] = tree["model.safetensors"] + b"\0"  # a newer one
    refused = cli("weights", "pull", name)
    assert refused.code == 4 and "model.safetensors" in refused.err


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("dpt-large", ["--window", 6], "--window with --method dpt-large"),
        ("dpt-large", ["--max-res", 64], "--max-res with --method dpt-large"),
        ("dpt-large", ["--reference"], "--reference with --method dpt-large"),
        ("dpt-large", ["--weights", "nano"], "expected dpt-large or a folder"),
        ("depth-anything-v2-small", ["--seed", 1], "--seed with --method depth-anything"),
        ("marigold", ["--guidance", 2], "--guidance with --method marigold"),
        ("trivial-constant", ["--steps", 2], "--steps with --method trivial-constant"),
        ("trivial-constant", ["--weights", "nano"], "--weights with --method trivial-constant"),
        ("trivial-mean", [], "without --weights"),
        ("depthcrafter", ["--weights", "dpt-large"], "pass --method dpt-large"),
        ("unheard-of", [], "expected one of depthcrafter, depth-anything-v2-small"),
    ],
)
def test_options_that_a_method_does_not_read_are_refused(
    cli, stored, tmp_path, clip, method, given, said
):
    done = cli("run", clip, "--out", tmp_path / "d.npz", "--method", method, *given)
    assert (done.code, said in done.err) == (2, True), done.err
    assert len(done.err.splitlines()) == 1 and not (tmp_path / "d.npz.work").exists()


@pytest.mark.parametrize("kind", ["constant", "gradient", "mean"])
def test_trivial_methods_go_the_same_way(cli, tmp_path, clip, kind):
    mean = np.linspace(0.2, 0.8, 12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "mean.npy", mean)
    weights = ["--weights", tmp_path / "mean.npy"] if kind == "mean" else []
    command = ["run", clip, "--out", tmp_path / "d.npz", "--normalize", "none", "--method"]
    done = cli(*command, f"trivial-{kind}", *weights)
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "d.npz.json").read_text())
    assert record["model"] == f"trivial-{kind}" and record["weights_sha256"] == {}
    with np.load(tmp_path / "d.npz") as saved:
        depth = saved["depth"]
    assert depth.shape == (16, 64, 64) and np.array_equal(depth[0], depth[-1])
    rows = depth[0].mean(axis=1)
    assert (np.ptp(depth) < 1e-6) == (kind == "constant")
    assert kind == "constant" or rows[-1] > rows[0]


def test_a_plan_of_another_method_says_what_it_does(cli, stored, clip):
    done = cli("plan", clip, "--method", "depth-anything-v2-small", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    plan = json.loads(done.out.splitlines()[-1])
    assert (plan["method"], plan["model_size"], plan["windows"]) == (
        "depth-anything-v2-small", "42x42", None,
    )  # fmt: skip
    assert plan["predicted_peak_bytes"] is None
    told = cli("plan", clip, "--method", "depth-anything-v2-small", "--device", "cpu")
    assert told.code == 0 and "not predicted" in told.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda home: (home / "model.safetensors").write_bytes(b"not one"), "copy the model"),
        (lambda home: _config(home, model_type="unheard-of"), "library can load"),
        (lambda home: _config(home, use_timm_backbone=True), "from another place"),
        (lambda home: _config(home, hidden_size=32), "lack|state_dict"),  # by transformers 4.49
        (lambda home: _processor_config(home, size="large"), "preprocessor_config.json"),
    ],
    ids=["damaged", "unknown", "elsewhere", "another shape", "processor"],
)
def test_a_damaged_model_is_a_sentence(cli, stored, tmp_path, clip, change, said):
    import shutil

    folder = tmp_path / "mine"
    shutil.copytree(stored / "dpt-large", folder)
    command = ["run", clip, "--out", tmp_path / "d.npz", "--method", "dpt-large", "--device", "cpu"]
    assert cli(*command, "--weights", folder).code == 0
    change(folder / "model")
    done = cli(*command, "--weights", folder, "--overwrite")
    assert done.code == 4 and re.search(said, done.err), done.err
    assert "Traceback" not in done.err


def _config(home: Path, **changes) -> None:
    path = home / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _processor_config(home: Path, **changes) -> None:
    path = home / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_killed_run_goes_on_from_its_spool(cli, stored, tmp_path, monkeypatch):
    """After SIGKILL in the midst, to the same bytes, and with another look."""
    name = "depth-anything-v2-small"
    clip = make_clip(tmp_path / "clip.mp4", frames=60)
    given = [clip, "--method", name, "--device", "cpu", "--encode-batch", 2, "--no-record"]
    assert cli("run", *given, "--out", tmp_path / "whole.npz").code == 0
    out = tmp_path / "d.npz"
    monkeypatch.setitem(ENVIRONMENT, "DEPTHCRAFTER_WEIGHTS", str(stored))
    code, _events = stop_at("estimate", 20, [*given, "--out", out], signal.SIGKILL)
    assert code == -signal.SIGKILL and not out.exists()
    with safe_open(tmp_path / "d.npz.work" / "window.safetensors", "numpy") as window:
        assert 18 <= json.loads(window.metadata()["state"])["decoded"] < 60 and not window.keys()
    del window  # or the file stays mapped
    other = cli("run", *given, "--out", out, "--resume", "--encode-batch", 3)
    assert other.code == 2 and "--encode-batch (3 now, 2 before)" in other.err
    other = cli("run", clip, "--out", out, "--resume", "--method", "dpt-large", "--no-record")
    assert other.code == 2 and "--method (dpt-large now, " in other.err
    done = cli("run", *given, "--out", out, "--resume", "--quiet")
    assert done.code == 0, done.err
    with np.load(tmp_path / "whole.npz") as whole, np.load(out) as resumed:
        assert np.array_equal(whole["depth"], resumed["depth"])
        assert np.array_equal(whole["times"], resumed["times"])


def test_a_kept_run_is_finished_otherwise(cli, stored, tmp_path, clip):
    out, work = tmp_path / "d.npz", tmp_path / "d.npz.work"
    done = cli("run", clip, "--out", out, "--method", "trivial-gradient", "--keep-work")
    assert done.code == 0, done.err
    assert cli("finish", work, "--out", tmp_path / "e.mp4").code == 0
    assert cli("resume", work).code == 0


@pytest.mark.parametrize(
    "name", ["marigold", pytest.param("depth-anything-v2-small", marks=pytest.mark.slow)]
)
def test_a_shot_of_a_film_is_what_it_is_alone(cli, stored, tmp_path, name):
    lengths, rate = (4, 3), 24
    film = make_film(tmp_path / "film.mp4", *lengths)
    (tmp_path / "cuts.txt").write_text(f"{lengths[0]}\n")
    command = ["run", film, "--method", name, "--size", "model", "--device", "cpu", "--quiet"]
    whole, alone = tmp_path / "whole.npz", tmp_path / "alone.npz"
    assert cli(*command, "--cuts", tmp_path / "cuts.txt", "--out", whole).code == 0
    second = ["--start", lengths[0] / rate, "--cuts", "none"]
    assert cli(*command, *second, "--out", alone).code == 0
    with np.load(whole) as of_film, np.load(alone) as of_shot:
        assert list(of_film["shots"]) == [0, lengths[0]]
        assert np.array_equal(of_film["depth"][lengths[0] :], of_shot["depth"])


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_batch_of_another_method(cli, stored, tmp_path, engine):
    name, clips = "depth-anything-v2-small", tmp_path / "clips"
    clips.mkdir()
    for clip in "ab":
        make_clip(clips / f"{clip}.mp4", frames=6)
    whole = ["--method", name, "--device", "cpu", "--out", tmp_path / "a.npz"]
    assert cli("run", clips / "a.mp4", *whole).code == 0
    command = ["batch", clips, "--out", tmp_path / "out", "--format", "npz", "--method", name]
    done = cli(*command, "--engine", engine, "--devices", "cpu")
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "out").glob("*.npz")} == {"a.npz", "b.npz"}
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "out" / "a.npz") as other:
        assert np.array_equal(one["depth"], other["depth"])
    again = cli(*command, "--engine", engine, "--devices", "cpu", "--resume")
    assert again.code == 0, again.err
    (tmp_path / "list.csv").write_text("source,method\nclips/b.mp4,trivial-constant\n")
    listed = cli("batch", tmp_path / "list.csv", "--out", tmp_path / "more", "--format", "npz",
                 "--engine", "local", "--devices", "cpu")  # fmt: skip
    assert listed.code == 0, listed.err
    (record,) = (tmp_path / "more").rglob("b.npz.json")
    assert json.loads(record.read_text())["model"] == "trivial-constant"


def test_pickled_weights_are_refused(stored, tmp_path):
    import shutil

    folder = tmp_path / "mine"
    shutil.copytree(stored / "dpt-large", folder)
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="pickled weights"):
        method_named("dpt-large").plan(MethodRequest(weights=str(folder)), SMALL)


def test_each_registered_model_of_single_images_is_a_method():
    assert {spec.name for spec in IMAGE_MODELS} < set(methods())
    with pytest.raises(UsageError, match="choose one"):
        method_named("depth")
