"""Memory that runs out, however it shows: a smaller plan, and exit 5 only if there is none."""

import errno
import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import make_clip

from depthcrafter_cli.errors import MemoryLimitError, OutputError, WeightsError
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import Budget
from depthcrafter_cli.memory.estimate import Workload, estimate
from depthcrafter_cli.memory.planner import Fallbacks, choose
from depthcrafter_cli.methods.base import forget
from depthcrafter_cli.methods.depthcrafter import DepthCrafterEstimator
from depthcrafter_cli.models import loading
from depthcrafter_cli.models.device_memory import out_of_memory
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.pipeline.pipeline import estimate_disparity
from depthcrafter_cli.progress import ignore
from depthcrafter_cli.types import MemoryPlan, Size
from depthcrafter_cli.workflows.batches.task import failure
from tests.memory.test_retries import PARTS, failing

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def windows(number: int, words: str) -> OSError:
    """As Windows raises it: elsewhere the number has no place in the error."""
    error = OSError(errno.EINVAL, words)
    error.winerror = number
    return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def unloadable() -> Exception:
    try:
        np.empty(1 << 60, np.uint8)
    except MemoryError as error:
        return error
    raise AssertionError("there is an exbibyte")


FOUND = RuntimeError("FIND was unable to find an engine to execute this computation")
DEVICE = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"),
    RuntimeError("HIP out of memory. Tried to allocate 1.00 GiB"),
    RuntimeError("HIP error: hipErrorOutOfMemory"),
    RuntimeError("XPU out of memory. Tried to allocate 1.00 GiB"),
    RuntimeError("Native API failed: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"),
    RuntimeError("level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("Invalid buffer size: 10.60 GiB"),
    RuntimeError("Failed to allocate private MTLBuffer for size 1073741824"),
    FOUND,
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    caused(RuntimeError("a layer failed"), FOUND),
]
HOST = [
    MemoryError(),
    unloadable(),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9437184 bytes."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("bad allocation"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    windows(1455, "The paging file is too small for this operation to complete"),
    windows(8, "Not enough memory resources are available to process this command"),
    windows(14, "Not enough storage is available to complete this operation"),
    OSError("The paging file is too small for this operation to complete. (os error 1455)"),
    RuntimeError("[WinError 1455] The paging file is too small for this operation to complete"),
    caused(WeightsError("got weights that cannot be read"), OSError(errno.ENOMEM, "no memory")),
    MemoryLimitError("got no 1.00 GB of host memory"),
]
OTHER = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("could not create a primitive descriptor for the convolution"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    OSError(errno.EIO, "Input/output error"),
    windows(5, "Access is denied"),
    OutputError("out of memory.mp4 cannot be written"),
    ValueError("got frames of another size"),
]


@pytest.mark.parametrize("error", DEVICE + HOST, ids=repr)
def test_a_lack_of_memory_is_known_in_every_form(error):
    assert not out_of_memory(error, CPU).on_host  # there is one memory
    assert out_of_memory(error, CUDA).on_host == (error in HOST)
    assert "\n" not in out_of_memory(error, CPU).words


@pytest.mark.parametrize("error", OTHER, ids=repr)
def test_other_errors_are_not_taken_for_a_lack_of_memory(error):
    assert out_of_memory(error, CPU) is out_of_memory(error, CUDA) is None


@pytest.mark.parametrize(("free", "short"), [(300 << 20, True), (3 << 30, False)])
def test_a_library_that_cannot_begin_lacks_memory_only_on_a_full_card(monkeypatch, free, short):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _index: (free, 8 << 30))
    error = RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED")
    assert (out_of_memory(error, CUDA) is not None) == short


@pytest.mark.parametrize("error", DEVICE + HOST[:-1], ids=repr)
def test_each_form_is_answered_by_a_smaller_plan_and_by_a_sentence_if_there_is_none(tiny, error):
    frames, config = np.zeros((1, 64, 64, 3), np.uint8), PipelineConfig(steps=1)
    smaller = MemoryPlan(1 << 18)
    plans = iter([smaller])
    smaller_ones = {"fallback": lambda *_: next(plans, None)}
    with failing(PARTS["decode"](tiny), 1, error):
        depth = np.concatenate([*estimate_disparity(tiny, config, frames, **smaller_ones)])
    assert np.isfinite(depth).all()
    assert next(plans, None) is None  # it was taken
    with failing(PARTS["condition"](tiny), 1, error), pytest.raises(MemoryLimitError) as refusal:
        list(estimate_disparity(tiny, config, frames, **smaller_ones))
    assert "close other programs" in str(refusal.value) and refusal.value.reason


def choice(folder, budget: Budget = Budget(), device: str = "cuda"):  # noqa: B008
    model = Architecture.of(**network_configs(folder))
    return choose(model, Workload(Size(64, 64), 4, 8, 4), budget, device, batch=8, overlap=1)


def test_where_the_host_is_short_less_of_it_is_used_and_never_a_plan_twice(tiny_folder):
    roomy = choice(tiny_folder)
    plan = MemoryPlan(1 << 18, 1, True, True, True, True, True)
    tried, hosts = {plan}, [estimate(roomy.model, roomy.workload, plan).host]
    while (plan := roomy.smaller(plan, "host", tried)) is not None:
        tried.add(plan)
        hosts.append(estimate(roomy.model, roomy.workload, plan).host)
    assert hosts == sorted(set(hosts), reverse=True) and hosts[-1] == 0
    everything = roomy.smaller(MemoryPlan(1 << 18, 1, True), "host")
    assert not everything.offloaded
    device = estimate(roomy.model, roomy.workload, everything).device
    tight = choice(tiny_folder, Budget(device - 1, None))
    assert all(
        estimate(tight.model, tight.workload, fitting).device < device
        for fitting in [tight.smaller(MemoryPlan(1 << 18, 1, True, True), "host")]
        if fitting
    )


def test_weights_that_do_not_fit_the_card_are_kept_on_the_host(tiny_folder):
    roomy = choice(tiny_folder)
    offloaded = roomy.smaller(roomy.plan, "load")
    assert (
        offloaded.offloaded
        and roomy.smaller(offloaded, "load", {offloaded, roomy.plan}) is not None
    )
    alone = choice(tiny_folder, device="cpu")
    least = alone.smaller(alone.plan, "load")
    assert least.encode_batch == 1 and alone.smaller(least, "load", {alone.plan}) is None


@contextmanager
def filled(monkeypatch, errors: list[Exception]):
    """Let the loading of weights fail with each of these first."""
    fill = loading._fill

    def fail(*arguments):
        if errors:
            raise errors.pop()
        fill(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "_fill", fail)
        yield


def test_memory_that_runs_out_while_loading_is_met_by_a_smaller_plan(
    cli, clip, options, tmp_path, monkeypatch
):
    run = ["run", clip, *options, "--overwrite", "--out"]
    out = tmp_path / "a.npz"
    with filled(monkeypatch, [torch.OutOfMemoryError("CUDA out of memory.")]):
        done = cli(*run, out)
    assert done.code == 0 and "memory ran out while the model was loaded" in done.err
    record = json.loads((tmp_path / "a.npz.json").read_text())
    assert record["memory_fallbacks"] and record["kernels"] == "PyTorch"
    with filled(monkeypatch, [torch.OutOfMemoryError("CUDA out of memory.")] * 99):
        done = cli(*run, tmp_path / "b.npz")
    assert done.code == 5 and "CUDA out of memory" in done.err and "close other" in done.err
    assert not (tmp_path / "b.npz.work").exists()


def test_a_batch_goes_on_past_a_clip_that_memory_ran_out_for(
    cli, clip, options, tmp_path, monkeypatch
):
    make_clip(tmp_path / "second.mp4", frames=3, size=Size(64, 64))
    batch = ["batch", clip, tmp_path / "second.mp4", *options, "--out", tmp_path / "out"]
    ends = ["--format", "npz", "--retries", 0, "--report", tmp_path / "report.json"]
    with filled(monkeypatch, [MemoryError()] * 2):  # the smallest plan is the second
        done = cli(*batch, *ends)
    report = json.loads((tmp_path / "report.json").read_text())
    found = {entry["name"]: (entry["status"], entry["exit_code"]) for entry in report["videos"]}
    assert done.code == 7 and found == {"clip": ("failed", 5), "second": ("done", 0)}


def test_exit_5_says_what_would_fit_and_the_run_can_be_resumed(cli, clip, options, tmp_path):
    out, chunks = tmp_path / "d.npz", 0

    def full(module, _inputs):
        nonlocal chunks
        chunks += isinstance(module, torch.nn.Conv2d) and module.out_channels == 3
        if chunks > 3:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(full)
    try:
        stopped = cli("run", clip, *options, "--out", out)
    finally:
        hook.remove()
    assert stopped.code == 5, stopped.err
    assert "DefaultCPUAllocator" in stopped.err and "GB of RAM for 64x64 pixels" in stopped.err
    assert "close other programs" in stopped.err and "depthcrafter resume" in stopped.err
    assert cli("resume", f"{out}.work").code == 0
    assert len(np.load(out)["depth"]) == 16


@pytest.mark.parametrize("error", [MemoryError(), HOST[2], FOUND], ids=repr)
def test_memory_that_runs_out_where_no_plan_helps_ends_with_5_too(
    cli, clip, options, tmp_path, monkeypatch, error
):
    def fail(*_arguments, **_settings):
        raise error

    monkeypatch.setattr("shutil.disk_usage", fail)
    out = tmp_path / "d.npz"
    done = cli("run", clip, *options, "--out", out)
    assert done.code == 5 and "got no more memory" in done.err and "unexpected" not in done.err
    assert failure(error).exit_code == 5 and failure(error).passing
    assert failure(ValueError("no")).exit_code == 1
    assert failure(MemoryLimitError("a sentence")).error == "a sentence"


def test_the_shots_after_memory_ran_out_begin_with_the_plan_that_fitted(tiny, tiny_folder):
    """Without that each shot of a film would run out of memory once more."""
    fallback = Fallbacks(choice(tiny_folder, device="cpu"), ignore)
    config = PipelineConfig(steps=1, window=4, overlap=1)
    estimator = DepthCrafterEstimator(replace(tiny, plan=fallback.plan), config, fallback)

    def fail(_module, inputs):
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate too much")

    hook = tiny.vae.encoder.mid_block.resnets[0].conv2.register_forward_pre_hook(fail)
    shots = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3), dtype=np.uint8)
    told = []
    try:
        for shot in shots:
            call = {"total": 4, "observer": ignore, "resume_from": None, "keep": forget}
            assert len(np.concatenate(list(estimator(shot, **call)))) == 4
            told.append(len(estimator.fallbacks))
    finally:
        hook.remove()
    assert told[0] and told[1] == told[0]
