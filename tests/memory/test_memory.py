"""The planner: what it predicts, what it chooses, and that a run keeps its result."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from simulation import CONFIGS, Simulation

from depthcrafter_cli.errors import MemoryLimitError, UsageError
from depthcrafter_cli.media.resize import model_size
from depthcrafter_cli.media.spool import DisparitySpool, expected_spool_bytes
from depthcrafter_cli.memory.architecture import Architecture
from depthcrafter_cli.memory.budget import GIB, Budget, card_budget
from depthcrafter_cli.memory.cards import card_named
from depthcrafter_cli.memory.estimate import Workload, estimate
from depthcrafter_cli.memory.planner import choose, plans
from depthcrafter_cli.memory.speed import pass_seconds
from depthcrafter_cli.memory.work import forward
from depthcrafter_cli.methods.base import Machine
from depthcrafter_cli.methods.depthcrafter import DepthCrafterPlan
from depthcrafter_cli.models.layout import network_configs
from depthcrafter_cli.models.weights import find_weights
from depthcrafter_cli.options import options_of
from depthcrafter_cli.pipeline.config import PipelineConfig
from depthcrafter_cli.types import MemoryPlan, Size
from depthcrafter_cli.workflows.memory import budget, cap_device
from depthcrafter_cli.workflows.request import RunRequest
from depthcrafter_cli.workflows.resources import available_ram, free_device_memory, group_rooms

NANO = Path(__file__).parents[2] / "weights" / "nano"
CLIP = Path(__file__).parents[1] / "data" / "parity" / "video" / "clip_a.mp4"
FULL = Architecture.of(**network_configs(CONFIGS))
WORKLOAD = Workload(Size(576, 1024), 110, 8, 2)


def select(gigabytes: float, workload: Workload = WORKLOAD, host: int | None = None):
    budget = Budget(card_budget(gigabytes, "cuda"), host)
    return choose(FULL, workload, budget, "cuda", batch=8, overlap=25)


@pytest.mark.parametrize("folder", [CONFIGS, NANO], ids=["full size", "nano"])
def test_parameters_are_counted_exactly(folder):
    model = Architecture.of(**network_configs(folder))
    unet, vae, image_encoder = Simulation(folder).networks
    counted = [model.unet_parameters, model.image_encoder_parameters]
    counted += [model.encoder_parameters, model.decoder_parameters]
    for network, count in zip(
        (unet, image_encoder, vae.encoder, vae.decoder), counted, strict=True
    ):
        assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.fixture(scope="module")
def simulation():
    return Simulation(NANO)


@pytest.mark.parametrize(
    "plan",
    [
        MemoryPlan(1 << 20, 8),
        MemoryPlan(1 << 18, 4, offload_networks=True),
        MemoryPlan(1 << 19, 2, offload_networks=True, offload_skips=True, recompute_decode=True),
        MemoryPlan(1 << 19, 1, offload_blocks=True, encode_by_rows=True),
        MemoryPlan(1 << 20, 1, offload_blocks=True, offload_skips=True, recompute_decode=True),
    ],
    ids=str,
)
def test_predicted_peaks_are_those_of_the_real_code(simulation, plan):
    workload = Workload(Size(256, 320), 12, 8, 2)
    real = simulation.peaks(workload, plan, steps=2)
    predicted = estimate(simulation.architecture, workload, plan)
    for stage, peak in real.items():
        assert getattr(predicted, stage) == pytest.approx(peak, rel=0.1), stage


def test_a_full_window_fits_a_4_gb_card_and_a_6_gb_card_keeps_the_weights():
    small, middle, large = select(4), select(6), select(24)
    assert small.plan.offload_blocks and small.plan.offload_skips and small.peaks.device < 3.4e9
    assert not middle.plan.offload_blocks and middle.peaks.device < 6e9
    usual = MemoryPlan.default("cuda").chunk_values
    assert large.plan == MemoryPlan(4 * usual, encode_by_rows=True)
    assert {choice.workload.window for choice in (small, middle, large)} == {110}
    hd = select(8, replace(WORKLOAD, size=Size(1088, 1920)))
    assert hd.workload.window == 110 and hd.peaks.device < 8e9


def test_chunks_are_few_and_large_where_memory_allows_and_that_is_faster():
    usual = MemoryPlan.default("cuda").chunk_values
    small = replace(WORKLOAD, size=Size(192, 320), window=24)
    for name, workload in product(("H100", "RTX 4090", "RTX 3060"), (WORKLOAD, small)):
        card = card_named(name)
        budget = Budget(card_budget(card.gigabytes, "cuda"))
        given = {"batch": 8, "overlap": 8, "card": card}
        choice = choose(FULL, workload, budget, "cuda", **given)
        values = choice.plan.chunk_values
        assert usual <= values and choice.peaks.device <= budget.device
        # A card waits for no launch: without them a step takes as long.
        steps = [*forward(FULL.unet, workload.window, *workload.latent_size(FULL))]
        free = [step._replace(launches=0) for step in steps]
        waited, never = (pass_seconds(each, card, values, 2, fused=True) for each in (steps, free))
        assert waited <= 1.1 * never
    # Small cards keep their peaks.
    assert {select(gigabytes).plan.chunk_values for gigabytes in (4, 6, 8)} == {usual}
    tight = choose(FULL, WORKLOAD, Budget(8_500_000_000), "cuda", batch=8, overlap=25)
    assert tight.plan.chunk_values == usual


@pytest.mark.parametrize(
    ("name", "fused", "frames"),
    [
        ("H100", True, 16),
        ("A100 80GB", True, 16),
        ("RTX 3060", True, 16),
        ("RTX 4090", True, 8),
        ("RTX 4090", False, 4),
    ],
)
def test_chunks_are_those_that_the_full_model_of_time_finds_fastest(name, fused, frames):
    """See benchmarks/gpu_model.py, which takes minutes, and the table in docs/benchmarks.md."""
    card, workload = card_named(name), replace(WORKLOAD, fused=fused)
    budget = Budget(card_budget(card.gigabytes, "cuda"))
    choice = choose(FULL, workload, budget, "cuda", batch=8, overlap=25, card=card)
    assert 4 * choice.plan.chunk_values == frames * MemoryPlan.default("cuda").chunk_values


def test_the_reference_encodes_whole_pictures_where_memory_allows():
    def plan(gigabytes: float) -> MemoryPlan:
        budget = Budget(card_budget(gigabytes, "cuda"))
        return choose(FULL, WORKLOAD, budget, "cuda", batch=8, overlap=25, whole=True).plan

    assert not plan(24).encode_by_rows and plan(24).encode_batch == 8
    assert not plan(3).encode_by_rows and plan(3).encode_batch == 1


def test_more_memory_never_means_a_later_plan():
    order = list(plans("cuda", 8))
    usual, places = MemoryPlan.default("cuda").chunk_values, []
    for gigabytes in (3, 4, 5, 6, 8, 10, 12, 16, 24):
        plan = select(gigabytes).plan
        places.append(order.index(replace(plan, chunk_values=min(plan.chunk_values, usual))))
    assert places == sorted(places, reverse=True)


def test_a_window_is_shortened_only_where_no_exact_plan_fits_and_that_is_said():
    choice = select(8, replace(WORKLOAD, size=Size(1088, 1920)), host=13 * 10**9)
    assert 50 <= choice.workload.window < 110 and choice.shortened
    assert "instead of 110" in choice.concessions[-1]


def test_where_the_host_is_short_windows_are_what_the_card_alone_has_room_for():
    choice = select(8, host=3 * 10**9)
    assert 60 <= choice.workload.window < 110 and choice.shortened
    assert choice.peaks.host <= 3 * 10**9 and not choice.plan.offload_blocks
    with pytest.raises(MemoryLimitError) as refusal:
        select(4, host=3 * 10**9)
    alone, rest = str(refusal.value).split("pass `max_vram=")[1].split("`, or `max_vram=")
    assert select(float(alone), host=3 * 10**9)
    card, host = rest.split("` where")[0].split("` and `max_ram=")
    assert select(float(card), host=round(float(host) * 1e9))


@pytest.mark.parametrize("size", [Size(576, 1024), Size(1088, 1920)])
def test_an_advised_resolution_fits_however_the_sides_of_the_video_round(size):
    advised = 0
    for vram in (1.6, 2, 2.5, 3, 3.5, 4, 5):
        try:
            select(vram, replace(WORKLOAD, size=size))
        except MemoryLimitError as refusal:
            if "`max_res=" in str(refusal):
                side = int(str(refusal).split("`max_res=")[1].rstrip("`."))
                select(vram, replace(WORKLOAD, size=model_size(Size(1080, 1920), side)))
                advised += 1
    assert advised


def test_what_fits_nowhere_is_refused_with_what_would():
    with pytest.raises(MemoryLimitError, match=r"pass `max_vram=2\.\d`") as refusal:
        select(1)
    assert select(float(str(refusal.value).split("`max_vram=")[1].rstrip("`.")))
    with pytest.raises(MemoryLimitError, match=r"`max_res=\d+`"):
        select(4, replace(WORKLOAD, size=Size(1088, 1920)))
    with pytest.raises(MemoryLimitError, match="`max_ram="):
        select(4, host=10**9)


@pytest.mark.parametrize("stage", ["condition", "denoise", "decode"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_step_down_spares_the_stage_that_failed_until_there_is_none(device, stage):
    choice = choose(FULL, WORKLOAD, Budget(), device, batch=8, overlap=25)
    plan, peaks = choice.plan, [choice.peaks]
    while (plan := choice.smaller(plan, stage)) is not None:
        peaks.append(estimate(FULL, WORKLOAD, plan))
    assert len(peaks) > 2
    for before, after in pairwise(peaks):
        assert after.of(stage) < before.of(stage) and after.within(before)


def test_a_step_down_keeps_what_another_stage_is_fastest_with():
    choice = select(24)
    usual = replace(choice.plan, chunk_values=choice.plan.chunk_values // 4)
    assert choice.smaller(choice.plan, "denoise") == usual  # large chunks go first
    assert choice.smaller(usual, "condition") == replace(usual, encode_batch=4)
    assert choice.smaller(usual, "decode") == replace(usual, recompute_decode=True)
    fewer = replace(usual, chunk_values=usual.chunk_values // 2)
    assert choice.smaller(usual, "denoise") == fewer
    tight = replace(choice, budget=replace(choice.budget, host=0))
    assert tight.smaller(fewer, "denoise") == replace(fewer, chunk_values=usual.chunk_values // 4)
    assert tight.smaller(replace(fewer, chunk_values=1), "denoise") is None


@pytest.mark.slow
def test_a_capped_run_gives_the_depth_of_a_free_one(cli, tiny_folder, tmp_path):
    found = []
    for name, cap in (("free", "auto"), ("capped", "4"), ("tight", "0.54")):
        out = tmp_path / f"{name}.npz"
        options = ["--weights", tiny_folder, "--max-res", 128, "--steps", 2, "--max-vram", cap]
        done = cli("run", CLIP, "--out", out, *options, "--json")
        assert done.code == 0, done.err
        events = [json.loads(line) for line in done.out.splitlines()]
        with np.load(out, allow_pickle=False) as archive:
            plan = next(event for event in events if event["event"] == "plan")
            found.append((plan["memory"], archive["depth"]))
    (free, expected), (_, capped), (tight, least) = found
    assert free["concessions"] == [] and len(tight["concessions"]) > 1
    assert np.abs(capped - expected).max() <= 1e-4
    assert np.abs(least - expected).max() <= 1e-4


@pytest.mark.parametrize(("device", "index"), [("cuda", 1), ("cuda:0", 0)])
def test_a_cap_holds_the_card_that_a_run_is_on(monkeypatch, device, index):
    """By its number, which PyTorch insists on for limits."""
    card, held = SimpleNamespace(total_memory=16 * GIB), {}
    for name, answer in (
        ("torch.cuda._lazy_init", None),
        ("torch.cuda.memory._lazy_init", None),
        ("torch.cuda.is_available", True),
        ("torch.cuda.current_device", 1),
        ("torch.cuda.get_device_properties", card),
        ("torch.cuda.memory_reserved", 5),
    ):
        monkeypatch.setattr(name, lambda *_, answer=answer: answer)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda number: (1000 * number, 0))
    monkeypatch.setattr("depthcrafter_cli.workflows.memory.windows_driver", lambda: False)
    set_memory_fraction = lambda share, number: held.update({number: share})  # noqa: E731
    monkeypatch.setattr("torch._C._cuda_setMemoryFraction", set_memory_fraction, raising=False)
    cap_device(device, 8.0)
    assert list(held) == [index] and 0.4 < held[index] <= 0.5 * 1.06
    cap_device(device, None)
    assert held == {index: 1.0}
    assert free_device_memory(device) == 1000 * index + 5


def test_plan_needs_neither_weights_nor_a_gpu(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPTHCRAFTER_WEIGHTS", str(tmp_path))
    options = ["plan", CLIP, "--max-vram", "8", "--weights", "depthcrafter"]
    done = cli(*options, "--json")
    assert done.code == 0, done.err
    event = json.loads(done.out)
    assert event["device"] == "cuda" and event["dtype"] == "float16"
    assert max(event["predicted_bytes"].values()) == event["predicted_peak_bytes"]
    assert event["estimated_seconds"] is None
    table = cli(*options).out
    assert "denoiser" in table and "over the bus" in table and "time: not known" in table


def test_plan_says_whether_the_processor_multiplies_bfloat16(cli):
    known = getattr(pytest.importorskip("torch").cpu, "_is_avx512_bf16_supported", None)
    if known is None:
        pytest.skip("this PyTorch does not tell")
    assert ("--dtype bf16" in cli("plan", CLIP, "--device", "cpu").out) == known()
    assert "--dtype bf16" not in cli("plan", CLIP, "--device", "cpu", "--dtype", "bf16").out


@pytest.mark.skipif(available_ram() is None, reason="this system does not tell its memory")
def test_a_run_on_a_cpu_is_held_to_the_memory_that_is_available():
    nano, free = find_weights("nano"), available_ram()
    config = PipelineConfig(window=24, overlap=8)

    def chosen(size: Size):
        plan = DepthCrafterPlan(weights=nano, spec=nano.spec, size=size, multiple=64, config=config)
        machine = Machine("cpu", "float32", budget("cpu", (None, None)))
        return plan.on(machine, 24).memory

    usual = replace(MemoryPlan.default("cpu"), encode_by_rows=True)
    assert chosen(Size(192, 320)).plan == usual
    model, side = Architecture.of(**network_configs(NANO)), 64
    while estimate(model, Workload(Size(side, side), 24, 8, 4), usual).device < free:
        side += 64
    large = chosen(Size(side, side))
    assert large.measured_as < free and large.concessions
    with pytest.raises(MemoryLimitError, match=r"RAM for tensors.* close other programs"):
        chosen(Size(8 * side, 8 * side))


def test_the_memory_limits_of_containers_count(tmp_path):
    def group(place: Path, limit: str, used: int, cached: str):
        names = {"memory.max": limit, "memory.current": f"{used}", "memory.stat": cached}
        place.mkdir(parents=True, exist_ok=True)
        for name, text in names.items():
            (place / name).write_text(f"{text}\n")

    group(tmp_path / "workload" / "step", "max", 70, "inactive_file 10")
    group(tmp_path / "workload", "100", 90, "anon 60\ninactive_file 30")
    assert list(group_rooms("0::/workload/step\n", tmp_path)) == [40]
    group(tmp_path, "1000", 2000, "inactive_file 0")
    assert list(group_rooms("2:cpu,cpuacct:/\n0::/../elsewhere\n", tmp_path)) == [0]
    old = tmp_path / "memory"
    group(old, "", 0, "total_inactive_file 5")
    (old / "memory.limit_in_bytes").write_text("500")
    (old / "memory.usage_in_bytes").write_text("200")
    assert list(group_rooms("9:memory:/docker/4f\n", tmp_path)) == [305]


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [("lots", 2, "GB above 0"), ("-1", 2, "GB above 0"), ("0.1", 5, "--max-vram")],
)
def test_a_cap_that_cannot_be_is_a_sentence(cli, option, code, words):
    done = cli("plan", CLIP, "--max-vram", option, "--weights", "depthcrafter")
    assert done.code == code and words in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("8", 8), ("8.5", 8.5), (".5", 0.5), ("8GB", 8), ("8G", 8), ("8 gb", 8), ("8GiB", 8),
        ("8 Gi", 8), (" 8gib ", 8), ("8000MB", 8), ("8000m", 8), ("8192MiB", 8), ("8192 mib", 8),
        ("auto", None), ("Auto", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["max_vram", "max_ram"])
def test_memory_is_given_as_people_write_it(name, text, amount):
    assert options_of(RunRequest)[name].value_of(text) == amount


@pytest.mark.parametrize("text", ["", "0", "0GB", "-8GB", "8,5", "1e3", "nan", "8GBs", "MB"])
@pytest.mark.parametrize("name", ["max_vram", "max_ram"])
def test_an_amount_that_is_none_is_refused_with_one_that_would_do_here(name, text):
    limit = options_of(RunRequest)[name]
    with pytest.raises(UsageError, match="expected auto or GB above 0") as refusal:
        limit.value_of(text)
    proposed = str(refusal.value).split(f": write `{name}=")[1].split("`")[0]
    assert 0 < limit.value_of(proposed) * GIB <= available_ram()


def test_a_list_may_hold_units_too(cli, clip, options, tmp_path):
    clips = tmp_path / "clips.csv"
    clips.write_text(f"source,max_vram,max-ram\n{clip},8 GB,4000MB\n")
    batch = ["batch", clips, *options, "--out", tmp_path / "out", "--dry-run"]
    assert cli(*batch).code == 0
    clips.write_text(f"source,max_vram\n{clip},plenty\n")
    done = cli(*batch)
    assert done.code == 2 and "clips.csv, line 2" in done.err and "GB above 0" in done.err


def test_plan_tells_what_a_run_takes_of_a_disk(cli, clip, options):
    options = ["plan", clip, *options, "--json"]
    event = json.loads(cli(*options).out)
    disk, pixels = event["disk_bytes"], 16 * 64 * 64
    assert list(disk) == ["state", "mp4", "npz", "png"]
    assert 2.6 * pixels < disk["state"] < 4 * pixels == disk["npz"] and disk["mp4"] < disk["png"]
    words = cli(*options[:-1]).out
    assert "disk: at most about 0.2 MB until it is finished" in words and "npz 0.3 MB" in words


def test_noise_takes_no_more_of_a_spool_than_is_expected(tmp_path):
    noise = np.random.default_rng(0).random((8, 64, 96), dtype=np.float32)
    with DisparitySpool(tmp_path / "spool") as spool:
        spool.append(noise, [Fraction(at, 24) for at in range(8)])
    taken = (tmp_path / "spool").stat().st_size
    assert 0.9 < taken / expected_spool_bytes(Size(64, 96), 8) < 1.01


@pytest.mark.parametrize(("share", "code"), [(0.95, 0), (0.5, 6)])
def test_a_run_begins_where_what_is_really_written_fits(
    cli, clip, options, tmp_path, monkeypatch, share, code
):
    raw, out = 16 * 64 * 64 * 4, tmp_path / "a.mp4"
    usage = SimpleNamespace(free=int(share * raw), total=10**9, used=0)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    done = cli("run", clip, *options, "--out", out)
    assert done.code == code and out.exists() == (code == 0)
    assert code == 0 or "free some space" in done.err
