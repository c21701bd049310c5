"""Checkpoints that are either whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import replacing
from depthcrafter_cli.structured import archive_errors, content_errors
from depthcrafter_cli.training.config import Optimisation, StageConfig, TrainingConfig
from depthcrafter_cli.training.data.origin import is_same
from depthcrafter_cli.training.ema import MovingAverage
from depthcrafter_cli.training.sharding import is_sharded, joined, own, split

Settings = dict[str, Any]

_KEYS = {"network", "optimizer", "average", "recipe", "step"}
_EXPECTED = (
    "expected a checkpoint of this stage: delete it and all later stages' to train them anew"
)


# What a stage's weights do not follow from: how often, and in how many pieces.
_HOW = ("save_every", "keep_last", "micro_batch", "checkpointing", "ema_on", "optimizer_on")
# Nor do those of a stage that may go on: its length, and which of its weights become the model.
_ENDS = ("steps", "keep")


def settings_of(plan: Optimisation, seed: int, earlier: Sequence[Settings] = ()) -> Settings:
    """What a stage's weights follow from, next to the data and the start, as plain values."""
    return _without_how(asdict(plan)) | {"seed": seed, "earlier_stages": list(earlier)}


def _without_how(settings: Settings) -> Settings:
    return {name: value for name, value in settings.items() if name not in _HOW}


def stage_of(path: Path) -> str:
    """The name of the stage that a checkpoint is of. Raises UsageError."""
    name = _content(path, mmap=True)["recipe"].get("name")
    if not isinstance(name, str):
        raise UsageError(f"got the checkpoint {path}, {_EXPECTED}.")
    return name


def steps_done(path: Path) -> int:
    """How many steps of its stage a checkpoint holds. Raises UsageError."""
    return int(_content(path, mmap=True)["step"])


def earlier_stages(recipe: TrainingConfig, stage: StageConfig) -> list[Settings]:
    """What made the weights that a stage of a recipe starts from."""
    before = recipe.stages[: recipe.stages.index(stage)]
    return [_without_how(asdict(one)) | {"frozen": recipe.frozen} for one in before]


def require_same_stages(folder: Path, recipe: TrainingConfig) -> list[str]:
    """Compare all checkpoints in ``folder`` with a recipe, before any of its stages is trained.

    Returns a sentence for each stage that is to have another number of steps now.

    Raises:
        UsageError: one was made with other settings, after other stages, or has more steps.
    """
    told = []
    for stage in recipe.stages:
        path = folder / f"{stage.name}.ckpt"
        if path.exists():
            content = _content(path, mmap=True)
            wanted = settings_of(stage, recipe.seed, earlier_stages(recipe, stage))
            _require_none(_changed(content["recipe"], wanted), path)
            done, before = content["step"], content["recipe"]["steps"]
            if done > stage.steps:
                raise UsageError(
                    f"got steps = {stage.steps} in stage {stage.name!r}, which has done {done} by "
                    f"{path}, expected at least these: raise it, or export an earlier checkpoint."
                )
            if before != stage.steps:
                told.append(
                    f"stage {stage.name} has {stage.steps} steps now, {before} before: from step "
                    f"{done} on its rate is that of the new length."
                )
    return told


@dataclass
class TrainingState:
    """Everything a stage needs to go on as if never stopped.

    Random numbers need no state: every step draws from a stream seeded by its own number. Nor do
    weights that the stage does not train: they are those of the stage before.
    Where processes share the network, a checkpoint is what one process would have written. All of
    them call each method, and those that do not ``write`` only give their parts.
    """

    network: nn.Module
    optimizer: Optimizer
    average: MovingAverage
    recipe: Settings
    step: int = 0

    def save(self, path: Path, *, write: bool = True) -> None:
        """Replace ``path``, which is never half a checkpoint.

        Raises:
            OutputError: it cannot be written.
        """
        content = {
            "network": self._joined(self._trained(), write),
            "optimizer": self._of_optimizer(
                self.optimizer.state_dict(), partial(joined, keep=write)
            ),
            "average": self._joined(self.average.state_dict(), write),
        }
        if write:
            self._write(path, content)

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            try:
                torch.save({**content, "recipe": self.recipe, "step": self.step}, file)
            except RuntimeError as error:  # torch's own, about the half that is there
                raise error.__context__ or error from None

    def save_weights(self, path: Path, *, write: bool = True) -> None:
        """Write the network as it is, as a checkpoint that nothing can go on from."""
        content = {"network": self._joined(self._trained(), write), "optimizer": {}, "average": {}}
        if write:
            self._write(path, content)

    def load_weights(self, path: Path) -> None:
        """Take the averaged weights of a checkpoint into the network. Raises UsageError."""
        content = _content(path)
        weights = {**content["network"], **content["average"]}
        trained = self._trained()
        _require_none({"frozen"} if weights.keys() != trained.keys() else set(), path)
        with content_errors(path, UsageError, _EXPECTED), torch.no_grad():
            for name, tensor in trained.items():
                tensor.copy_(split(weights[name], tensor))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            UsageError: it was made by another recipe.
        """
        content = _content(path)
        trained = self._trained()
        changed = _changed(content["recipe"], self.recipe)
        if content["network"].keys() != trained.keys():
            changed.add("frozen")
        _require_none(changed, path)
        with content_errors(path, UsageError, _EXPECTED), torch.no_grad():
            for name, tensor in trained.items():
                tensor.copy_(split(content["network"][name], tensor))
            self.optimizer.load_state_dict(self._of_optimizer(content["optimizer"], split))
            average = content["average"]
            self.average.load_state_dict(
                {name: own(split(mean, trained[name])) for name, mean in average.items()}
            )
            self.step = content["step"]

    def _trained(self) -> dict[str, Tensor]:
        return {
            name: parameter.detach()
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        }

    def _joined(self, parts: dict[str, Tensor], keep: bool) -> dict[str, Tensor]:
        trained = self._trained()
        return {name: joined(part, trained[name], keep=keep) for name, part in parts.items()}

    def _of_optimizer(
        self, state: dict[str, Any], change: Callable[[Tensor, Tensor], Tensor]
    ) -> dict[str, Any]:
        """The state of an optimiser, with what it keeps of weights in parts changed."""
        if not is_sharded(self.network):
            return state
        trained = [*self._trained().values()]
        changed = {
            number: {
                name: change(value, trained[number])
                if value.shape == trained[number].shape else value
                for name, value in kept.items()
            }
            for number, kept in state["state"].items()
        }  # fmt: skip
        return {**state, "state": changed}


def _content(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """What :meth:`TrainingState.save` wrote. Raises UsageError for a file that is damaged.

    With ``mmap`` only what is used is read, and tensors are not checked.
    """
    with content_errors(path, UsageError, _EXPECTED):
        with archive_errors():
            if not mmap:
                _require_whole(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if not isinstance(content, dict) or content.keys() != _KEYS:
            raise ValueError("it is a checkpoint of something else")
        return content


def _require_whole(path: Path) -> None:
    # PyTorch writes checksums, but does not look at them.
    with ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} in it does not match its checksum")


def _changed(noted: Settings, wanted: Settings) -> set[str]:
    # Where no earlier stages are noted there were none, or that is not known.
    before: Settings = {"earlier_stages": []} | noted
    return {
        key
        for key, value in wanted.items()
        if key not in _ENDS and not is_same(before, {key: value})
    }


def _require_none(changed: set[str], path: Path) -> None:
    if changed:
        raise UsageError(
            f"got the checkpoint {path} of a recipe with other {sorted(changed)}, expected the "
            "recipe it was begun with: restore it, choose another `work_dir`, or delete this and "
            "all later stages' checkpoints to train them anew."
        )
