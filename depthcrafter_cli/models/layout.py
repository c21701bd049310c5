"""The Hugging Face folder layout of a model: which files make it complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.structured import content_errors, json_object

# What the weight file of each network is called, before any ``.fp16`` and ``.safetensors``.
NETWORK_STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "image_encoder": "model",
    "text_encoder": "model",
    "model": "model",
}
SCHEDULER_CONFIG = "scheduler/scheduler_config.json"


@dataclass(frozen=True)
class Layout:
    """A folder that holds ``networks``, each with a config.json, and the files ``others``."""

    networks: tuple[str, ...]
    others: tuple[str, ...] = ()


DEPTHCRAFTER_LAYOUT = Layout(("unet", "vae", "image_encoder"), (SCHEDULER_CONFIG,))
# What transformers' AutoModelForDepthEstimation loads, with the processor's settings.
TRANSFORMERS_LAYOUT = Layout(("model",), ("model/preprocessor_config.json",))
# Diffusers' MarigoldDepthPipeline, but for the tokenizer: the one text it reads is empty.
MARIGOLD_LAYOUT = Layout(("unet", "vae", "text_encoder"), (SCHEDULER_CONFIG, "model_index.json"))
CONFIGS_EXPECTED = "expected configs of DepthCrafter's networks: pull or copy the model again"

# The published model's, with whose numbers those of others are compared.
PUBLISHED_CONFIGS = Path(__file__).parent / "configs"

# Numbers in configs that no part of a network hangs on, null in some.
_UNUSED = ("sample_size", "num_frames", "dropout", "initializer_factor", "initializer_range")

# Far above those of any model that is known, so that only nonsense is refused.
_MOST_LAYERS, _LARGEST_SIZE, _MOST_ENTRIES = 1_000, 100_000, 10_000


def network_configs(folder: Path) -> dict[str, dict[str, Any]]:
    """The config of each network. Raises WeightsError for one that describes no network."""
    return {name: _network_config(folder, name) for name in DEPTHCRAFTER_LAYOUT.networks}


def _network_config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name / "config.json"
    config = read_json(path)
    with content_errors(path, WeightsError, CONFIGS_EXPECTED):
        for key, published in read_json(PUBLISHED_CONFIGS / name / "config.json").items():
            if key in config and key not in _UNUSED:
                _require_number(key, config[key], published)
    return config


def _require_number(key: str, value: Any, published: Any) -> None:
    """Raises ValueError where the published config has numbers, and this is none or too small.

    One whole number may stand for a list, and the other way. Where 0 is published, it is allowed.
    """
    model = published[0] if isinstance(published, list) else published
    if type(model) not in (int, float):
        return
    whole = type(model) is int
    values = value if isinstance(value, list) and whole else [value]
    kinds = (int,) if whole else (int, float)
    right = all(type(item) in kinds and (item > 0 or item == model) for item in values)
    if not values or not right:
        raise ValueError(f"{key} is {value!r}, where a model has {published!r}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder. Raises WeightsError, also for sizes no network has."""
    with content_errors(path, WeightsError, "expected JSON: pull or copy the model again"):
        content = json_object(path)
        _check_sizes(content)
    return content


def _check_sizes(value: Any, key: str = "") -> None:
    """Raises ValueError for what would take hours or all memory to build, before that is tried."""
    limit = _MOST_LAYERS if "layers" in key else _LARGEST_SIZE
    if isinstance(value, int) and abs(value) > limit:
        raise ValueError(f"{key} is {value}, and no network has more than {limit}")
    if isinstance(value, list | dict) and len(value) > _MOST_ENTRIES:
        raise ValueError(f"{key} has {len(value)} entries, more than {_MOST_ENTRIES}")
    if isinstance(value, list):
        for item in value:
            _check_sizes(item, key)
    if isinstance(value, dict):
        for name, item in value.items():
            _check_sizes(item, name)


def weight_files(folder: Path, network: str) -> list[Path]:
    """The safetensors files of one network, full precision first choice; empty if there are none.

    Several files only where the network was saved in shards.
    """
    home, stem = folder / network, NETWORK_STEMS[network]
    for name in (f"{stem}.safetensors", f"{stem}.fp16.safetensors"):
        if (home / name).is_file():
            return [home / name]
    for pattern in (f"{stem}-*-of-*.safetensors", f"{stem}.fp16-*-of-*.safetensors"):
        if shards := sorted(home.glob(pattern)):
            return shards
    return []


@contextmanager
def reading_weights(home: Path) -> Iterator[None]:
    """Raises WeightsError for what cannot be read of the weights in ``home`` inside."""
    try:
        yield
    except WeightsError:
        raise
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"got weights in {home} that cannot be read ({error}), expected a complete "
            "safetensors file: pull or copy the model again."
        ) from error


def missing_files(folder: Path, layout: Layout = DEPTHCRAFTER_LAYOUT) -> list[str]:
    """The files, relative to ``folder``, that it lacks to be a model; empty if complete."""
    configs = (f"{network}/config.json" for network in layout.networks)
    missing = [name for name in (*layout.others, *configs) if not (folder / name).is_file()]
    missing += [
        f"{network}/{NETWORK_STEMS[network]}.safetensors"
        for network in layout.networks
        if not weight_files(folder, network)
    ]
    return sorted(missing)


def require_complete(folder: Path, remedy: str, layout: Layout = DEPTHCRAFTER_LAYOUT) -> None:
    """Raise a WeightsError that names the missing files and ends in ``remedy``."""
    missing = missing_files(folder, layout)
    if not missing:
        return
    lacking = [network for network in layout.networks if not weight_files(folder, network)]
    pickled = sorted(path.name for network in lacking for path in folder.glob(f"{network}/*.bin"))
    if pickled:
        raise WeightsError(
            f"the model folder {folder} holds pickled weights ({pickled[0]}), expected "
            f"safetensors, which cannot run code: save it again with safe_serialization=True."
        )
    raise WeightsError(
        f"the model folder {folder} is not complete: it lacks {', '.join(missing)}; {remedy}."
    )
