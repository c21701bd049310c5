"""Finding model weights on this machine. Fetching them is ``download``'s part."""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.layout import PUBLISHED_CONFIGS, missing_files, require_complete
from depthcrafter_cli.models.manifest import file_hashes, read_manifest
from depthcrafter_cli.models.variants import (
    DEPTHCRAFTER,
    NANO,
    VARIANTS,
    ModelVariant,
    custom_variant,
)
from depthcrafter_cli.text import expanded

ROOT_VARIABLE = "DEPTHCRAFTER_WEIGHTS"
_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parent


@dataclass(frozen=True)
class WeightsFolder:
    """A complete model folder and the settings that suit it."""

    path: Path
    variant: ModelVariant

    def hashes(self) -> dict[str, str]:
        """SHA-256 by file name relative to the folder, for a run's record."""
        return file_hashes(self.path)


def pull_command(name: str) -> str:
    """The command that fetches a variant, as users type it."""
    return f"depthcrafter weights pull {name}"


def weights_roots() -> list[Path]:
    """The folders in which variants are looked for, in this order.

    ``$DEPTHCRAFTER_WEIGHTS``, the ``weights`` folder of a source checkout, the per-user data
    folder, and last what an installed wheel carries.
    """
    chosen = os.environ.get(ROOT_VARIABLE)
    roots = [expanded(chosen)] if chosen else []
    if _is_checkout():
        roots.append(_CHECKOUT / "weights")
    with suppress(RuntimeError):  # a user without a home, as in some containers
        roots.append(_user_root())
    return [*roots, _PACKAGE / "_weights"]


def pull_root() -> Path:
    """Where ``weights pull`` puts new models: the first root, as the wheel's own is last."""
    return weights_roots()[0]


def find_weights(name_or_dir: str | None = None) -> WeightsFolder:
    """The model to use: a registered name, a folder, or None for the best one present.

    A bare name of the registry always means that variant; a folder of the same name is
    reached as ``./name``. None means the published weights if they are complete, else nano.
    Raises WeightsError, naming the command that helps.
    """
    if name_or_dir is None:
        return _best_installed()
    if name_or_dir in VARIANTS:
        return _installed(VARIANTS[name_or_dir])
    return _open_folder(expanded(name_or_dir))


def find_configs(name_or_dir: str | None = None) -> WeightsFolder:
    """As :func:`find_weights`, but the published model's configs do where it is not pulled."""
    if name_or_dir == DEPTHCRAFTER.name and find_variant(DEPTHCRAFTER) is None:
        return WeightsFolder(PUBLISHED_CONFIGS, DEPTHCRAFTER)
    return find_weights(name_or_dir)


def known_variant(name: str) -> ModelVariant:
    """The registered variant of this name. Raises WeightsError for any other."""
    if name not in VARIANTS:
        raise WeightsError(
            f"got the model '{name}', expected one of {', '.join(VARIANTS)}: "
            "see `depthcrafter weights list`."
        )
    return VARIANTS[name]


def find_variant(variant: ModelVariant) -> WeightsFolder | None:
    """The first complete copy of a registered variant, None if there is none."""
    for folder in _places(variant):
        if not missing_files(folder):
            return WeightsFolder(folder, _settings_of(folder, variant))
    return None


def _best_installed() -> WeightsFolder:
    found = find_variant(DEPTHCRAFTER) or find_variant(NANO)
    if found is None:
        raise WeightsError(
            f"no model weights were found in {_listed(weights_roots())}; "
            f"get the published ones with: {pull_command(DEPTHCRAFTER.name)}"
        )
    return found


def _installed(variant: ModelVariant) -> WeightsFolder:
    found = find_variant(variant)
    if found is not None:
        return found
    if not variant.sources:
        raise WeightsError(
            f"the shipped model {variant.name} was not found in {_listed(weights_roots())}; "
            f"reinstall depthcrafter, or get the published weights with: "
            f"{pull_command(DEPTHCRAFTER.name)}"
        )
    for folder in _places(variant):
        if any(folder.glob("*/*")):  # more than what a killed pull leaves before its first byte
            require_complete(folder, f"finish the download with: {pull_command(variant.name)}")
    raise WeightsError(
        f"the {variant.name} weights are not on this machine (looked in "
        f"{_listed(weights_roots())}); get them with: {pull_command(variant.name)}"
    )


def _open_folder(folder: Path) -> WeightsFolder:
    if not folder.is_dir():
        raise WeightsError(
            f"'{folder}' is neither a model ({', '.join(VARIANTS)}) nor a folder; give a folder "
            f"in the Hugging Face layout, or get the published weights with: "
            f"{pull_command(DEPTHCRAFTER.name)}"
        )
    require_complete(
        folder,
        "expected the Hugging Face layout (unet, vae, image_encoder, scheduler); get the "
        f"published weights with: {pull_command(DEPTHCRAFTER.name)}",
    )
    manifest = read_manifest(folder)
    variant = custom_variant(folder.name, manifest.base if manifest else "")
    if manifest and not manifest.base:  # trained weights keep the licence of those they began as
        variant = VARIANTS.get(manifest.variant, variant)
    return WeightsFolder(folder, _settings_of(folder, variant))


def _settings_of(folder: Path, variant: ModelVariant) -> ModelVariant:
    manifest = read_manifest(folder)
    if manifest is None or not manifest.settings:
        return variant
    settings: dict[str, Any] = manifest.settings
    return replace(variant, **settings)


def _places(variant: ModelVariant) -> list[Path]:
    return [root / variant.name for root in weights_roots()]


def _listed(folders: list[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)


def _is_checkout() -> bool:
    return (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "weights").is_dir()


def _user_root() -> Path:
    """The per-user data folder by the platform's convention."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "depthcrafter" / "weights"
