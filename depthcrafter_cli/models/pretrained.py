"""Models as diffusers names them: a folder, a repository of the hub, or one for the UNet alone.

Files of the hub come through huggingface_hub and stay in its cache, where other programs find them
and have left theirs. ``weights pull`` has a way of its own, which checks every byte.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from depthcrafter_cli.disk import make_folder, new_part, publish, remove
from depthcrafter_cli.errors import OutputError, UsageError, WeightsError, first_line
from depthcrafter_cli.models.layout import NETWORK_STEMS, Layout, missing_files, weight_files
from depthcrafter_cli.models.manifest import MANIFEST_NAME, read_manifest, write_manifest
from depthcrafter_cli.models.registry import MODELS, ModelSpec
from depthcrafter_cli.models.weights import (
    InstalledModel,
    find_installed,
    find_weights,
    is_repository,
)
from depthcrafter_cli.text import expanded

Files = dict[str, Path]
"""Files by their place in a model folder."""


@dataclass(frozen=True)
class Pretrained:
    """A model that was found.

    ``weights`` is a registered name or a folder, None for the best one present; ``spec`` the
    registered model that was meant, None for another. ``links`` is a folder that was made for it,
    and that goes with this object.
    """

    weights: str | None
    spec: ModelSpec | None = None
    links: Path | None = None

    def __post_init__(self) -> None:
        if self.links is not None:
            weakref.finalize(self, shutil.rmtree, self.links, ignore_errors=True)


class HubCache(NamedTuple):
    """How files of the hub are chosen: of a ``variant`` first, such as ``fp16``; online or not."""

    variant: str | None = None
    local_files_only: bool = False

    def file(self, repo: str, *paths: str, revision: str | None = None) -> Path:
        """The first of ``paths`` that a repository has, in huggingface_hub's cache.

        Raises WeightsError where there is none, or it cannot be fetched.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import EntryNotFoundError

        reason = ""
        for path in paths:
            try:
                return Path(
                    hf_hub_download(
                        repo, path, revision=revision, local_files_only=self.local_files_only
                    )
                )
            except EntryNotFoundError as error:  # also where it is not cached, without a network
                reason = reason or first_line(error)
            except (OSError, ValueError) as error:
                reason = first_line(error)
                break
        raise WeightsError(
            f"got the model {repo}, which is no folder here, and the hub's {paths[0]} of it cannot "
            f"be had ({reason.rstrip('.')}), expected a model folder or a repository that can be "
            "reached: check the name and the connection."
        )

    def model(self, repo: str, networks: Sequence[str], others: Sequence[str]) -> Files:
        """The files of some networks of a repository; that of a single one may be its root."""
        found = {name: self.file(repo, name) for name in others}
        for network in networks:
            root = ("config.json",) if len(networks) == 1 else ()
            config = self.file(repo, f"{network}/config.json", *root)
            home = f"{network}/" if config.parent.name == network else ""
            stem = NETWORK_STEMS[network]
            chosen = f"{stem}.{self.variant}" if self.variant else stem
            names = dict.fromkeys((chosen, stem, f"{stem}.fp16"))
            weights = self.file(repo, *(f"{home}{name}.safetensors" for name in names))
            found |= {f"{network}/{path.name}": path for path in (config, weights)}
        with suppress(WeightsError):  # of this program's own models
            found[MANIFEST_NAME] = self.file(repo, MANIFEST_NAME)
        return found


def find_pretrained(
    weights: str | None, unet: str | None, layout: Layout, hub: HubCache
) -> Pretrained:
    """The model that ``weights`` means, with the UNet of ``unet`` where that is given.

    Each is a folder, a repository or a registered name; ``weights`` alone may be None.

    Raises:
        UsageError: a UNet without the other networks, or networks without theirs.
        WeightsError: files are missing or cannot be had.
    """
    if unet is None and (weights is None or not is_repository(weights)):
        return Pretrained(weights, MODELS.get(weights or ""))
    if weights is None or "unet" not in layout.networks:
        raise UsageError(
            f"got `unet` {unet} without the model that it belongs to, expected the other networks "
            "too: pass their folder or repository first."
        )
    given = [weights] if unet is None else [weights, unet]
    if spec := _registered({*given}):
        if find_installed(spec) is not None:
            return Pretrained(spec.name, spec)
        files = {
            file.target: hub.file(file.repo, file.path, revision=file.revision)
            for file in spec.sources
        }
        links = _linked(files, spec.layout, given)
        write_manifest(links, spec.name, files={})
        return Pretrained(str(links), spec, links)
    if unet is None:
        files = hub.model(weights, layout.networks, layout.others)
    else:
        networks = [name for name in layout.networks if name != "unet"]
        files = _files(weights, networks, layout.others, hub)
        files.pop(MANIFEST_NAME, None)  # settings are those that suit the UNet
        files |= _files(unet, ["unet"], (), hub)
    manifest = read_manifest(files.pop(MANIFEST_NAME).parent) if MANIFEST_NAME in files else None
    links = _linked(files, layout, given)
    if manifest is not None:
        base = manifest.base or manifest.model
        write_manifest(links, "custom", files={}, settings=manifest.settings, base=base)
    return Pretrained(str(links), None, links)


def _registered(given: set[str]) -> ModelSpec | None:
    """The registered model of these repositories, None if there is none.

    Raises UsageError if they lack the one that makes it this model.
    """
    for spec in MODELS.values():
        repos = [file.repo for file in spec.sources]
        if given <= {*repos}:
            if repos[0] in given:
                return spec
            raise UsageError(
                f"got {min(given)}, which lacks the UNet of {spec.title}, expected both: pass "
                f'`unet="{repos[0]}"` as well, or "{repos[0]}" alone.'
            )
    return None


def _files(name: str, networks: Sequence[str], others: Sequence[str], hub: HubCache) -> Files:
    """The files that are there of some networks; those of a single one may lie at the root."""
    if is_repository(name):
        return hub.model(name, networks, others)
    folder = find_weights(name).path if name in MODELS else expanded(name)
    if not folder.is_dir():
        raise WeightsError(
            f"got '{name}', which is neither a folder nor a repository of the hub nor a registered "
            "model, expected one of these: check the name."
        )
    found = {path: folder / path for path in (*others, MANIFEST_NAME)}
    for network in networks:
        home = folder / network
        if len(networks) == 1 and not home.is_dir():
            home = folder
        weights = home.glob(f"{NETWORK_STEMS[network]}*.safetensors")
        found |= {f"{network}/{path.name}": path for path in (home / "config.json", *weights)}
    return {path: place for path, place in found.items() if place.is_file()}


def _linked(files: Files, layout: Layout, given: Sequence[str]) -> Path:
    """A new folder with links to the files. Raises WeightsError if they are no whole model."""
    folder = Path(tempfile.mkdtemp(prefix="depthcrafter-"))
    try:
        for name, place in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            _link(place.resolve(), folder / name)
        if missing := missing_files(folder, layout):
            raise WeightsError(
                f"got {' and '.join(given)}, which lack {', '.join(missing)}, expected a whole "
                "model in safetensors: check both."
            )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"cannot bring {' and '.join(given)} together in {folder} ({error.strerror}), expected "
            "room there: free some, or put all networks into one folder."
        ) from error
    return folder


def _link(place: Path, link: Path) -> None:
    """Windows lets few users make symbolic links, follows none to some disks, and others only
    within one disk.
    """
    with suppress(OSError):
        link.symlink_to(place)
        if link.exists():
            return
        link.unlink()
    with suppress(OSError):
        return os.link(place, link)
    shutil.copyfile(place, link)


def save_pretrained(found: InstalledModel, folder: Path) -> None:
    """Copy a model's files into a folder of its own, with a manifest.

    Raises UsageError for a model with an adapter, and OutputError for a folder that holds anything
    or that cannot be written.
    """
    if found.adapter is not None:
        raise UsageError(
            f"got a model with the adapter {found.adapter}, expected one without: load the model "
            "alone and save that, and copy the adapter's folder."
        )
    layout, manifest = found.spec.layout, read_manifest(found.path)
    weights = [path for name in layout.networks for path in weight_files(found.path, name)]
    configs = [found.path / name / "config.json" for name in layout.networks]
    others = [found.path / name for name in layout.others]
    part = None
    try:
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise OutputError(
                f"got the folder {folder}, which holds something, expected a new or empty one: "
                "choose another."
            )
        make_folder(folder.parent)
        part = new_part(folder)
        for path in (*configs, *weights, *others):
            target = part / path.relative_to(found.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        write_manifest(
            part,
            manifest.model if manifest else found.spec.name,
            settings=manifest.settings if manifest else {},
            base=found.spec.base,
        )
        with suppress(FileNotFoundError):
            folder.rmdir()  # Windows replaces no folder, not even an empty one
        publish(part, folder)
    except OSError as error:
        if part is not None:
            remove(part)
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write the model to {folder} ({error.strerror or error}), expected room and "
            "permission there: choose another folder."
        ) from error
