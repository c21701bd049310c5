"""The loop every stage shares: gradients of a batch, step, average, save, report."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import copyfile
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from depthcrafter_cli.disk import remove
from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.media.files import output_errors
from depthcrafter_cli.models.device_memory import peak_memory
from depthcrafter_cli.progress import Interrupted, Observer, Progress
from depthcrafter_cli.training.checkpoint import Settings, TrainingState, settings_of, stage_of
from depthcrafter_cli.training.config import Optimisation, StageConfig
from depthcrafter_cli.training.data.rejects import Rejects
from depthcrafter_cli.training.ema import MovingAverage
from depthcrafter_cli.training.journal import Journal
from depthcrafter_cli.training.optimizers import groups_of, optimizer_of
from depthcrafter_cli.training.sharding import gather, in_full, release, shard

REPORT_EVERY = 20  # steps

Validate = Callable[[], dict[str, float]]
"""Scores of the network as it is."""


class Stage(Protocol):
    """What is trained, and on what: ``network`` holds all parameters, frozen ones included."""

    name: str

    @property
    def network(self) -> nn.Module:
        """The network that is trained, on its device."""
        ...

    def pieces(self, steps: range) -> Iterator[list[Any]]:
        """What this process computes in each of ``steps``.

        A piece has a ``weight`` in the batch's mean, all of which in all processes add up to 1,
        and counts its ``frames``.
        """
        ...

    def loss(self, network: nn.Module, piece: Any) -> Tensor:
        """The loss of a piece; ``network`` is the stage's, perhaps wrapped for many processes."""
        ...


def learning_rate(plan: Optimisation, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth, unless it stays."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    if plan.constant_rate:
        return plan.learning_rate
    done = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return plan.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(done, 1.0)))


def new_state(
    network: nn.Module, plan: Optimisation, seed: int, earlier: Sequence[Settings] = ()
) -> TrainingState:
    """Optimiser and average for a stage about to start, after ``earlier`` ones."""
    optimizer = optimizer_of(plan, groups_of(plan, network))
    place = torch.device("cpu") if plan.ema_on == "host" else None
    average = MovingAverage(network, plan.ema, place)
    return TrainingState(network, optimizer, average, settings_of(plan, seed, earlier))


def train_step(
    stage: Stage,
    network: nn.Module,
    state: TrainingState,
    plan: Optimisation,
    pieces: list[Any],
    accelerator: Accelerator,
) -> tuple[float, float]:
    """One optimiser step; returns the loss, and the norm of its gradients before it was clipped.

    Depends on nothing but its arguments.

    Raises:
        UsageError: the loss or a gradient is not a finite number; the weights are as they were.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(plan, state.step) * group.get("share", 1.0)
    state.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=accelerator.device)
    for number, piece in enumerate(pieces):
        # Processes exchange gradients once, with the last piece, and average what they exchange.
        last = number == len(pieces) - 1
        with nullcontext() if last else accelerator.no_sync(network):
            loss = stage.loss(network, piece) * piece.weight
            (loss * accelerator.num_processes).backward()
        total += loss.detach()
    batch_loss = float(accelerator.reduce(total, reduction="sum"))
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    norm = float(in_full(nn.utils.clip_grad_norm_(trained, plan.clip_norm)))
    if not (math.isfinite(batch_loss) and math.isfinite(norm)):
        raise UsageError(
            f"got a loss of {batch_loss} and gradients of norm {norm} in step {state.step + 1} of "
            f"stage {stage.name}, expected finite numbers: lower the learning rate or set "
            "precision to fp32; the checkpoint before is kept."
        )
    state.optimizer.step()
    state.step += 1
    state.average.update(state.step)
    return batch_loss, norm


@dataclass(frozen=True)
class Session:
    """What all stages of a run share: processes, work folder, log, seed, and who watches.

    With ``shares_model`` each process has a part of the network that is trained, else all of it.
    ``rejects`` are told which clips cannot be used, by default none may be so.
    ``validate``, if any, scores the network every ``validate_every`` steps. ``deadline`` is when to
    stop, by time.monotonic(). With ``export``, a checkpoint, nothing is trained: its stage has the
    weights that it holds.
    """

    accelerator: Accelerator
    folder: Path
    journal: Journal
    seed: int
    observer: Observer
    validate: Validate | None = None
    validate_every: int = 1
    deadline: float = math.inf
    export: Path | None = None
    shares_model: bool = False
    rejects: Rejects = field(default_factory=lambda: Rejects(0))

    def goes_on(self, event: Progress) -> bool:
        """Tell how far the work is; False in all processes where one is asked to stop."""
        stops = time.monotonic() > self.deadline
        try:
            self.observer(event)
        except Interrupted:
            stops = True
        if self.accelerator.num_processes > 1:
            asked = torch.tensor(float(stops), device=self.accelerator.device)
            stops = bool(self.accelerator.reduce(asked, reduction="sum"))
        return not stops

    def validated(self, validate: Validate, every: int) -> Session:
        """The same session, with scores every so many steps."""
        return replace(self, validate=validate, validate_every=every)

    def is_due(self, step: int, plan: Optimisation) -> bool:
        """Whether the network is to be scored after so many steps."""
        is_due = step % self.validate_every == 0 or step == plan.steps
        return self.validate is not None and is_due

    def lacks_scores(self, stage: str, step: int, plan: Optimisation) -> bool:
        """Whether those that are due are not in the log."""
        return self.is_due(step, plan) and not self.journal.has_scores(stage, step)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files."""
        return bool(self.accelerator.is_main_process)


def train(
    stage: Stage, plan: Optimisation, session: Session, earlier: Sequence[Settings] = ()
) -> None:
    """Run a stage to its last step, from its checkpoint if there is one made after ``earlier``.

    The network ends up with the averaged weights, or the best of them where the plan says so.
    Killed at any moment, a run loses at most ``save_every`` steps; asked to stop, none.

    Raises:
        Interrupted: the session was asked to stop; the last step is saved.
    """
    accelerator = session.accelerator
    network = stage.network
    if session.shares_model:
        network = shard(network, accelerator.device, accelerator.num_processes)
    state = new_state(network, plan, session.seed, earlier)
    checkpoint = session.folder / f"{stage.name}.ckpt"
    keeps_best = isinstance(plan, StageConfig) and plan.keep == "best"
    best = checkpoint.with_suffix(".best.ckpt") if keeps_best else None
    if session.export is not None and stage_of(session.export) == stage.name:
        state.load_weights(session.export)
    else:
        if checkpoint.exists():
            state.load(checkpoint)
        session.journal.rewind(stage.name, state.step)
        if session.lacks_scores(stage.name, state.step, plan):
            # Before the first step, or where a run was killed between saving and scoring.
            _validate(stage, session, state, best)
        if state.step < plan.steps:
            _run(stage, plan, session, state, checkpoint, best)
            accelerator.free_memory()  # it would hold the wrapped network, and gradients
        state.average.copy_to_network()
        if best is not None:
            accelerator.wait_for_everyone()  # one of them writes it
            state.load_weights(best)
    if session.shares_model:
        gather(network, stage.network)
    stage.network.requires_grad_(False)


def _run(
    stage: Stage,
    plan: Optimisation,
    session: Session,
    state: TrainingState,
    checkpoint: Path,
    best: Path | None,
) -> None:
    accelerator = session.accelerator
    network = state.network
    if accelerator.num_processes > 1 and not session.shares_model:
        network = accelerator.prepare_model(network)
    pace = _Pace(accelerator.num_processes)
    for pieces in stage.pieces(range(state.step, plan.steps)):
        loss, norm = train_step(stage, network, state, plan, pieces, accelerator)
        pace.add(loss, norm, sum(piece.frames for piece in pieces))
        done = state.step == plan.steps
        rate = learning_rate(plan, state.step - 1)
        if state.step % REPORT_EVERY == 0 or done:
            entry = {"learning_rate": rate, **pace.take()}
            peak = peak_memory(accelerator.device)
            session.journal.write(stage.name, state.step, **entry, peak_memory_bytes=peak)
        detail = f"loss {loss:.4f}, lr {rate:.1e}"
        goes_on = session.goes_on(Progress(stage.name, state.step, plan.steps, "steps", detail))
        validates, is_due = session.is_due(state.step, plan), state.step % plan.save_every == 0
        # Saved first, so that a held-out clip that cannot be read costs no steps.
        saves = is_due or validates or done or not goes_on
        if saves:
            state.save(checkpoint, write=session.leads)
        if session.leads and is_due and plan.keep_last:
            _keep_last(checkpoint, state.step, plan.keep_last)
        if not goes_on:
            raise Interrupted
        if validates:
            _validate(stage, session, state, best)
        if saves:
            session.journal.draw()


def _validate(stage: Stage, session: Session, state: TrainingState, best: Path | None) -> None:
    """Score the averaged weights, and keep them if they are the best so far."""
    if not (session.validate and (session.leads or session.shares_model)):
        return
    scores: dict[str, float] = {}
    with state.average.in_network():
        if session.shares_model:
            gather(state.network, stage.network, keep=session.leads)
        if session.leads:
            session.observer(Progress("validate", 0, None, "clips"))
            scores = session.validate()
        if session.shares_model:
            release(stage.network)
        if best is not None:
            least = session.journal.least(stage.name, "abs_rel")
            is_best = session.leads and scores["abs_rel"] < least
            state.save_weights(best, write=is_best)
    if session.leads:
        session.journal.write(stage.name, state.step, **scores)


def _keep_last(checkpoint: Path, step: int, count: int) -> None:
    """Keep a checkpoint under the number of its step too, and the last so many of such."""
    numbered = checkpoint.with_suffix(f".{step:08}.ckpt")
    with output_errors(numbered):
        remove(numbered)
        try:
            os.link(checkpoint, numbered)  # the next one takes its name, and not its contents
        except OSError:  # a disk that knows no links
            copyfile(checkpoint, numbered)
        for old in sorted(checkpoint.parent.glob(f"{checkpoint.stem}.{'[0-9]' * 8}.ckpt"))[:-count]:
            remove(old)


class _Pace:
    """Mean loss, largest gradient and speed since they were last taken."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._reset()

    def _reset(self) -> None:
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._frames, self._since = 0, time.monotonic()

    def add(self, loss: float, norm: float, frames: int) -> None:
        self._losses.append(loss)
        self._norms.append(norm)
        self._frames += frames

    def take(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self._since, 1e-9)
        taken = {
            "loss": sum(self._losses) / len(self._losses),
            "gradient_norm": max(self._norms),
            "seconds_per_step": round(seconds / len(self._losses), 3),
            "frames_per_second": round(self._processes * self._frames / seconds, 2),
        }
        self._reset()
        return taken
