"""Load a model folder in the Hugging Face layout. Safetensors only, so loading never runs code.

The networks are built without memory (on the meta device) and their tensors are read one by one,
straight into the type and place they will have; so peak memory is the model itself, never the model
plus a copy of its file. Once it is loaded no file is open or mapped: Windows does not let a
program replace one that is, and counts what is mapped as taken.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.adapters import Adapter, sampled
from depthcrafter_cli.models.components import Components
from depthcrafter_cli.models.cpu import keep_freed_memory
from depthcrafter_cli.models.host import HostMemory
from depthcrafter_cli.models.layout import (
    CONFIGS_EXPECTED,
    SCHEDULER_CONFIG,
    network_configs,
    read_json,
    reading_weights,
    require_complete,
    weight_files,
)
from depthcrafter_cli.models.published import Configs, Networks, empty_networks
from depthcrafter_cli.models.reordered.blocks import note_shares
from depthcrafter_cli.models.residency import host_like
from depthcrafter_cli.models.silent import mark_silent, silent_layers
from depthcrafter_cli.progress import Warn, ignore
from depthcrafter_cli.structured import content_errors
from depthcrafter_cli.types import MemoryPlan

# What our schedule is derived from; other values would need another schedule.
_SCHEDULE = {
    "prediction_type": "v_prediction",
    "use_karras_sigmas": True,
    "timestep_type": "continuous",
    "timestep_spacing": "leading",
    "sigma_min": 0.002,
    "sigma_max": 700.0,
}
_MAPPED_BYTES = 256 << 20
_FLOATING = ("F64", "F32", "F16", "BF16")

Config = dict[str, Any]


def load_components(
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    plan: MemoryPlan | None = None,
    adapter: Path | None = None,
    warn: Warn = ignore,
    build: Callable[[Configs], Networks] = empty_networks,
) -> Components:
    """Load the networks of ``folder`` (``unet/``, ``vae/``, ``image_encoder/``).

    Without a ``plan`` all of them are put on the device. What the folder ``adapter`` holds is added
    to the UNet's weights. ``warn`` is told of host memory that CUDA does not pin, and of an adapter
    that was trained on other weights. ``build`` makes the networks, on the meta device; those that
    it makes by default can infer and not be trained.

    Raises:
        WeightsError: files or tensors are missing, damaged, or of another architecture.
        MemoryLimitError: the host has no room for networks that are to wait there.
    """
    require_complete(folder, "expected unet, vae, image_encoder and scheduler: complete the folder")
    configs = network_configs(folder)
    _check_schedule(folder)
    _check_architecture(folder, configs)
    plan = plan or MemoryPlan.default(device.type)
    if device.type == "cpu":
        keep_freed_memory()
    host_memory = HostMemory(warn)
    upcast = torch.float32 if configs["vae"].get("force_upcast", True) else dtype

    def vae_dtype(name: str) -> torch.dtype:
        return upcast if name.startswith(("encoder.", "quant_conv.")) else dtype

    with _configs_used(folder):
        networks = build(configs)

    def places_for(tensors: Sequence[Tensor]) -> list[Tensor]:
        if plan.offloaded:
            return host_like(tensors, device, host_memory)
        # Not empty_like, for which PyTorch imports SymPy where a tensor has no memory.
        return [torch.empty(each.shape, dtype=each.dtype, device=device) for each in tensors]

    for name, network in networks._asdict().items():
        dtype_of = vae_dtype if name == "vae" else lambda _: dtype
        added = Adapter.read(adapter) if adapter is not None and name == "unet" else None
        _fill(network, folder, name, dtype_of, places_for, added, warn)
        mark_silent(network, silent_layers(folder, name, adapter))
        note_shares(network)
        if not plan.offloaded:
            network.to(device)  # the buffers that are in no file
    return Components(*networks, device, dtype, plan, host_memory)


@contextmanager
def _configs_used(folder: Path) -> Iterator[None]:
    """Whatever keeps networks from being built is the fault of their configs: a WeightsError."""
    with content_errors(folder, WeightsError, CONFIGS_EXPECTED):
        try:
            yield
        except Exception as error:  # of whatever kind the libraries' constructors choose
            raise ValueError(str(error)) from error


def _fill(
    network: nn.Module,
    folder: Path,
    name: str,
    dtype_of: Callable[[str], torch.dtype],
    places_for: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    adapter: Adapter | None,
    warn: Warn,
) -> None:
    """Give a network built on the meta device its tensors, and make it ready for inference.

    ``places_for`` makes places for tensors like those it is given.
    """
    samples: dict[str, bytes] = {}
    files = weight_files(folder, name)
    expected = {
        key: torch.empty(tensor.shape, dtype=dtype_of(key), device=tensor.device)
        for key, tensor in network.state_dict().items()
    }
    shapes = {key: tuple(tensor.shape) for key, tensor in expected.items()}
    with reading_weights(folder / name):
        _check_tensors(folder / name, files, shapes)
        if adapter is not None:
            adapter.require_fitting(shapes)
        tensors = dict(zip(expected, places_for([*expected.values()]), strict=True))
        for path in files:
            for key, tensor in _stream(path):
                if key in tensors:
                    _require_numbers(tensor, f"{key} of {path}")
                    if adapter is not None and key in adapter.pairs:
                        samples[key] = sampled(tensor)
                        tensor = adapter.merged(key, tensor)
                    tensors[key].copy_(tensor)
    if adapter is not None and (doubt := adapter.doubt(samples)):
        warn(doubt)
    network.load_state_dict(tensors, assign=True)
    network.eval().requires_grad_(False)


def _require_numbers(tensor: Tensor, what: str) -> None:
    """Raises WeightsError for values that are infinite or no numbers."""
    # Both extremes are NaN where one value is; they cost a sixth of the copy.
    if tensor.numel() and not all(extreme.isfinite() for extreme in tensor.aminmax()):
        raise WeightsError(
            f"got values that are no finite numbers in {what}, expected trained weights: pull or "
            "copy the model again, or train it again."
        )


def _stream(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file, in file order.

    Pages of a mapped file count as resident until it is unmapped, so the mapping is renewed now
    and then: what was copied from it leaves memory.
    """
    with safe_open(path, framework="pt") as file:
        names = list(file.offset_keys())
    while names:
        taken = 0
        with safe_open(path, framework="pt") as file:
            while names and taken < _MAPPED_BYTES:
                name = names.pop(0)
                tensor = file.get_tensor(name)
                taken += tensor.nbytes
                yield name, tensor
                del tensor


def _check_tensors(home: Path, files: list[Path], expected: dict[str, tuple[int, ...]]) -> None:
    found: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for key in file.offset_keys():
                # Older transformers saved this index buffer, which no longer is a weight.
                if not key.endswith("position_ids"):
                    held = file.get_slice(key)
                    found[key], types[key] = tuple(held.get_shape()), held.get_dtype()
    faults = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of another shape": sorted(
            key for key in expected.keys() & found.keys() if expected[key] != found[key]
        ),
    }
    told = [
        f"{len(keys)} {fault} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for fault, keys in faults.items()
        if keys
    ]
    if told:
        raise WeightsError(
            f"got weights in {home} whose tensors do not fit their config.json, "
            f"{'; '.join(told)}, expected exactly {len(expected)}: use weights made for it."
        )
    foreign = {key: kind for key, kind in types.items() if kind not in _FLOATING}
    if foreign:
        key, kind = min(foreign.items())
        raise WeightsError(
            f"got {len(foreign)} tensors in {home} of other types than floating point, such as "
            f"{key} in {kind}, expected {', '.join(_FLOATING)}: use weights that are not quantised."
        )


def _check_schedule(folder: Path) -> None:
    config = read_json(folder / SCHEDULER_CONFIG)
    for key, expected in _SCHEDULE.items():
        if config.get(key) != expected:
            raise WeightsError(
                f"got {key} = {config.get(key)!r} in {folder / SCHEDULER_CONFIG}, expected "
                f"{expected!r}, the schedule of DepthCrafter: use that model's scheduler config."
            )


def _check_architecture(folder: Path, configs: dict[str, Config]) -> None:
    """The networks must fit each other and the algorithm, whatever their size."""
    unet, vae, image_encoder = configs["unet"], configs["vae"], configs["image_encoder"]
    latents = vae.get("latent_channels", 4)
    time_size = unet.get("addition_time_embed_dim", 256)
    facts = (
        ("unet", "in_channels", unet.get("in_channels", 8), 2 * latents),
        ("unet", "out_channels", unet.get("out_channels", 4), latents),
        (
            "unet",
            "cross_attention_dim",
            unet.get("cross_attention_dim", 1024),
            image_encoder.get("projection_dim", 512),
        ),
        (
            "unet",
            "projection_class_embeddings_input_dim",
            unet.get("projection_class_embeddings_input_dim", 768),
            3 * time_size,
        ),
    )
    for name, key, found, expected in facts:
        if found != expected:
            raise WeightsError(
                f"got {key} = {found} in {folder / name / 'config.json'}, expected {expected}: "
                "use a DepthCrafter model, whose networks fit each other."
            )
