"""The training recipe: one TOML file, one section per stage. Unknown keys are errors."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from depthcrafter_cli.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Optimisation:
    """``steps`` of AdamW; the rate warms up over ``warmup`` steps and falls to a tenth by cosine.

    ``frames`` is the number of frames a step sees, ``ema`` the decay of the averaged weights that
    are kept, ``clip_norm`` the largest gradient norm, ``save_every`` the checkpoint interval.
    """

    steps: int
    learning_rate: float
    frames: int
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.998
    clip_norm: float = 1.0
    save_every: int = 200


@dataclass(frozen=True)
class DataConfig:
    """Clips of seeds ``0 .. clips - 1``."""

    clips: int


@dataclass(frozen=True)
class VaeConfig:
    """Stage 0a: the autoencoder, on disparity, with an eye on pictures.

    Every step sees ``optimisation.frames`` squares of disparity, ``crop`` pixels wide, and
    ``pictures`` whole frames. The weights are those of the loss terms: disparity's gradients,
    disparity guessed from the pictures' latents, pictures restored from them, and the
    Kullback-Leibler term; disparity's own values weigh 1.
    """

    optimisation: Optimisation
    channels: list[int]
    crop: int = 64
    pictures: int = 6
    edge_weight: float = 0.5
    foresight_weight: float = 1.0
    picture_weight: float = 1.0
    kl_weight: float = 1e-3


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Stage 0b: the CLIP tower, on the coarse layout of disparity."""

    optimisation: Optimisation
    hidden: int
    layers: int
    heads: int
    embedding: int


@dataclass(frozen=True)
class UnetConfig:
    """Stage 1: the denoiser, on cached latents.

    ``clip_lengths`` in frames are drawn with ``length_shares``. ``levels`` are the noise levels
    trained around and ``level_shares`` how often each is drawn. With probability ``rollout`` a
    sample at the last but one level starts from the network's own estimate, as it does when
    sampling, instead of from the truth.
    """

    optimisation: Optimisation
    channels: list[int]
    heads: list[int]
    levels: list[float]
    level_shares: list[float]
    clip_lengths: list[int]
    length_shares: list[float]
    level_spread: float = 0.3
    rollout: float = 0.5


@dataclass(frozen=True)
class TrainingConfig:
    """All stages of a model trained from nothing; ``seed`` fixes every random choice.

    ``settings`` go into the model's manifest: the max_res, window and overlap that suit it.
    """

    data: DataConfig
    vae: VaeConfig
    image_encoder: ImageEncoderConfig
    unet: UnetConfig
    settings: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    mixed_precision: bool = field(default=True)


def load_config(path: Path) -> TrainingConfig:
    """Read a recipe.

    Raises:
        UsageError: the file is missing, no TOML, or has unknown, missing or ill-typed keys.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}): name a recipe file") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML ({error}): mend the file") from error
    return _build(TrainingConfig, table, path.name)


def _build(kind: type, table: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise UsageError(
            f"{where} has unknown keys {unknown}, expected only {sorted(hints)}: remove them"
        )
    values: dict[str, Any] = {}
    for item in fields(kind):
        if item.name not in table:
            continue
        value, expected = table[item.name], hints[item.name]
        if is_dataclass(expected) and isinstance(value, dict):
            value = _build(expected, value, f"{where}: {item.name}")  # type: ignore[arg-type]
        elif expected is float and isinstance(value, int):
            value = float(value)
        elif isinstance(expected, type) and type(value) is not expected:
            got = type(value).__name__
            raise UsageError(
                f"{where}: {item.name} is {got}, expected {expected.__name__}: mend it"
            )
        values[item.name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"{where} lacks keys ({error}): add them") from error
