"""Finding model weights on this machine. Fetching them is ``download``'s part."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from depthcrafter_cli.disk import is_folder, user_folder
from depthcrafter_cli.errors import WeightsError
from depthcrafter_cli.models.adapters import is_adapter
from depthcrafter_cli.models.layout import (
    DEPTHCRAFTER_LAYOUT,
    Layout,
    missing_files,
    require_complete,
)
from depthcrafter_cli.models.manifest import file_hashes, read_manifest
from depthcrafter_cli.models.registry import (
    MODELS,
    ModelSettings,
    ModelSpec,
    base_of,
    unregistered,
)
from depthcrafter_cli.text import expanded

ROOT_VARIABLE = "DEPTHCRAFTER_WEIGHTS"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parent


@dataclass(frozen=True)
class InstalledModel:
    """A complete model folder, what is known of its model, and the settings that suit it.

    ``adapter`` is the folder of one that goes on top of its weights.
    """

    path: Path
    spec: ModelSpec
    settings: ModelSettings
    adapter: Path | None = None

    def hashes(self) -> dict[str, str]:
        """SHA-256 by file name relative to the folder, for a run's record."""
        hashes = file_hashes(self.path)
        if self.adapter is not None:
            hashes |= {f"adapter/{name}": sha for name, sha in file_hashes(self.adapter).items()}
        return hashes

    @property
    def folders(self) -> list[Path]:
        """Those that it is read from."""
        return [self.path, *([self.adapter] if self.adapter else [])]


def pull_command(name: str) -> str:
    """The command that fetches a model, as users type it."""
    return f"depthcrafter weights pull {name}"


def weights_roots() -> list[Path]:
    """The folders in which models are looked for, in this order.

    ``$DEPTHCRAFTER_WEIGHTS``, the ``weights`` folder of a source checkout, the per-user data
    folder, and last what an installed wheel carries.
    """
    chosen = os.environ.get(ROOT_VARIABLE)
    roots = [expanded(chosen)] if chosen else []
    if _is_checkout():
        roots.append(_CHECKOUT / "weights")
    with suppress(RuntimeError):  # a user without a home, as in some containers
        roots.append(user_folder("data") / "weights")
    return [*roots, _PACKAGE / "_weights"]


def pull_root() -> Path:
    """Where ``weights pull`` puts new models: the first root, as the wheel's own is last."""
    return weights_roots()[0]


def find_weights(
    name_or_dir: str | None = None, layout: Layout = DEPTHCRAFTER_LAYOUT
) -> InstalledModel:
    """The model to use: a registered name, a folder, or None for the best one present.

    A bare name of the registry always means that model; a folder of the same name is reached as
    ``./name``. None means the first of the registry that is complete here, and as a folder of one's
    own, the model must be of ``layout``. A repository of the hub, ``org/name``, means what was
    pulled of it. ``MODEL+FOLDER`` is a model with the adapter in a folder.
    Raises WeightsError, naming the command that helps.
    """
    name_or_dir, adapter = split_adapter(name_or_dir)
    if adapter is not None:
        return _with_adapter(find_weights(name_or_dir, layout), adapter)
    if name_or_dir is None:
        return _best_installed(layout)
    if name_or_dir in MODELS:
        return _installed(MODELS[name_or_dir])
    return _open_folder(_folder_of(name_or_dir), layout)


def find_configs(
    name_or_dir: str | None = None, layout: Layout = DEPTHCRAFTER_LAYOUT
) -> InstalledModel:
    """As :func:`find_weights`, but the configs of the registry do for a model that is not here."""
    name_or_dir, adapter = split_adapter(name_or_dir)
    if adapter is not None:
        return _with_adapter(find_configs(name_or_dir, layout), adapter)
    spec = MODELS.get(name_or_dir or "")
    if spec is not None and spec.configs is not None and find_installed(spec) is None:
        return opened(spec.configs, spec)
    return find_weights(name_or_dir, layout)


def split_adapter(name: str | None) -> tuple[str | None, Path | None]:
    """The model and the adapter's folder that ``MODEL+FOLDER`` means; either may have a + in it."""
    if name is not None and name not in MODELS and not is_folder(_folder_of(name)):
        parts = name.split("+")
        for count in range(1, len(parts)):
            folder = _folder_of("+".join(parts[count:]))
            if is_adapter(folder):
                return "+".join(parts[:count]), folder
    return name, None


def absolute_weights(weights: str | None) -> str | None:
    """What ``weights`` is in any folder; a registered name means that model, as it is found."""
    weights, adapter = split_adapter(weights)
    if weights is not None and weights not in MODELS and Path(weights).exists():
        weights = str(Path(weights).absolute())
    return weights if adapter is None else f"{weights}+{adapter.absolute()}"


def is_repository(name: str) -> bool:
    """Whether a name is that of a repository of the hub, and of no file or folder."""
    return bool(_REPOSITORY.fullmatch(name)) and not expanded(name).exists()


def _folder_of(name: str) -> Path:
    """The folder of a name, or of the repository of the hub that was pulled."""
    places = [root / name for root in weights_roots()] if is_repository(name) else []
    return next((place for place in places if place.is_dir()), expanded(name))


def _with_adapter(found: InstalledModel, folder: Path) -> InstalledModel:
    if found.spec.layout != DEPTHCRAFTER_LAYOUT or found.adapter is not None:
        raise WeightsError(
            f"got the adapter {folder} with {found.spec.title}, expected a model of DepthCrafter "
            "networks and one adapter: leave it out."
        )
    manifest = read_manifest(folder)
    title = f"{found.spec.title} with {folder.name}"
    spec = unregistered(title, DEPTHCRAFTER_LAYOUT, base_of(found.spec))
    settings = replace(found.settings, **manifest.settings if manifest else {})
    return InstalledModel(found.path, spec, settings, folder)


def opened(folder: Path, spec: ModelSpec) -> InstalledModel:
    """A model's folder with the settings of its manifest. Raises WeightsError for a damaged one."""
    manifest = read_manifest(folder)
    return InstalledModel(folder, spec, ModelSettings(**manifest.settings if manifest else {}))


def registered(name: str) -> ModelSpec:
    """The registered model of this name. Raises WeightsError for any other."""
    if name not in MODELS:
        raise WeightsError(
            f"got the model '{name}', expected one of {', '.join(MODELS)}, or a repository of the "
            "hub, org/name: see `depthcrafter weights list`."
        )
    return MODELS[name]


def find_installed(spec: ModelSpec) -> InstalledModel | None:
    """The first complete copy of a registered model, None if there is none."""
    for folder in _places(spec):
        if not missing_files(folder, spec.layout):
            return opened(folder, spec)
    return None


def _best_installed(layout: Layout) -> InstalledModel:
    for spec in MODELS.values():
        if spec.layout == layout and (found := find_installed(spec)) is not None:
            return found
    raise WeightsError(
        f"no model weights were found in {_listed(weights_roots())}; {_advice(layout)}"
    )


def _advice(layout: Layout) -> str:
    """How to get the model of a layout that can be had and is best."""
    best = next(spec for spec in MODELS.values() if spec.layout == layout and spec.sources)
    return f"get {best.title}'s weights with: {pull_command(best.name)}"


def _installed(spec: ModelSpec) -> InstalledModel:
    found = find_installed(spec)
    if found is not None:
        return found
    if not spec.sources:
        raise WeightsError(
            f"the shipped model {spec.name} was not found in {_listed(weights_roots())}; "
            f"reinstall depthcrafter, or {_advice(spec.layout)}"
        )
    for folder in _places(spec):
        if any(folder.glob("*/*")):  # more than what a killed pull leaves before its first byte
            remedy = f"finish the download with: {pull_command(spec.name)}"
            require_complete(folder, remedy, spec.layout)
    raise WeightsError(
        f"the {spec.name} weights are not on this machine (looked in "
        f"{_listed(weights_roots())}); get them with: {pull_command(spec.name)}"
    )


def _open_folder(folder: Path, layout: Layout) -> InstalledModel:
    if is_adapter(folder):
        raise WeightsError(
            f"got the adapter {folder} alone, expected a model before it: write it as "
            f"MODEL+{folder}, MODEL being the one that it was trained on."
        )
    if not is_folder(folder):
        named = (spec.name for spec in MODELS.values() if spec.layout == layout)
        name = folder.as_posix()
        pulled = f"; of the hub: {pull_command(name)}" if _REPOSITORY.fullmatch(name) else ""
        raise WeightsError(
            f"'{folder}' is neither a model ({', '.join(named)}) nor a folder; give a folder "
            f"in the Hugging Face layout, or {_advice(layout)}{pulled}"
        )
    parts = (*layout.networks, *(name.split("/")[0] for name in layout.others))
    held = ", ".join(dict.fromkeys(parts))
    remedy = f"expected the Hugging Face layout ({held}); {_advice(layout)}"
    require_complete(folder, remedy, layout)
    manifest = read_manifest(folder)
    spec = unregistered(folder.name, layout, manifest.base if manifest else "")
    if manifest and not manifest.base:  # trained weights keep the licence of those they began as
        spec = MODELS.get(manifest.model, spec)
    return opened(folder, spec)


def _places(spec: ModelSpec) -> list[Path]:
    return [root / spec.name for root in weights_roots()]


def _listed(folders: list[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)


def _is_checkout() -> bool:
    return (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "weights").is_dir()
