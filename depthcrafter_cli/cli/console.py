"""How a run looks: for people (rich), for programs (JSON lines), or not at all."""

import json as json_module
import shlex
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from depthcrafter_cli.cli.summary import facts_of, summary_of
from depthcrafter_cli.errors import INTERRUPTED_EXIT_CODE, DepthCrafterError
from depthcrafter_cli.progress import Observer, Progress, ignore
from depthcrafter_cli.workflows.interrupts import (
    KEPT,
    Interrupted,
    end_quietly,
    stopping_between_steps,
)

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.folder import RunFolder
    from depthcrafter_cli.workflows.plan import RunPlan
    from depthcrafter_cli.workflows.run import RunResult

STAGES = {
    "load": "load model",
    "condition": "read, encode",
    "denoise": "denoise",
    "decode": "decode",
    "normalize": "find range",
    "write": "write",
    "pause": "pause",
    "image_encoder": "image encoder",
    "vae": "autoencoder",
}

STOPPING = "stopping once the step under way is on the disk; interrupt again to stop at once"


class QuietConsole:
    """Says nothing but errors, and what an interrupt waits for.

    ``work`` is the folder of the run under way, from which it could go on if it failed; ``hint``
    says how else.
    """

    work: "RunFolder | None" = None
    hint: str = ""

    def planned(self, plan: "RunPlan") -> None:
        """What a run is about to do."""
        from depthcrafter_cli.workflows.folder import RunFolder

        self.work = RunFolder(plan.request.work_folder)

    @contextmanager
    def watching(self, kept: Collection[str] = KEPT) -> Iterator[Observer]:
        """The observer of work that is under way, which ends between two steps at Ctrl-C.

        Stages other than ``kept`` are not waited for.
        """
        with (
            self.drawing() as draw,
            stopping_between_steps(draw, self.stopping, kept=kept) as observer,
        ):
            yield observer

    @contextmanager
    def drawing(self) -> Iterator[Observer]:
        """What shows each event."""
        yield ignore

    def stopping(self) -> None:
        """A first signal came; may be called in another thread than the rest."""
        print(f"depthcrafter: {STOPPING}", file=sys.stderr, flush=True)

    def finished(self, result: "RunResult") -> None:
        """What a run that succeeded made."""

    def made(self, outputs: Sequence[Path]) -> None:
        """Where results are that took no inference."""

    def already_done(self, outputs: Sequence[Path]) -> None:
        """Nothing to do: the same run was finished before."""
        self.made(outputs)

    def advice(self) -> str:
        """How to go on with what was stopped, with a space before it; empty if there is no way."""
        if self.work is None or not self.work.progressed:
            return self.hint and f" {self.hint}"
        return f" Go on with: depthcrafter resume {shlex.quote(str(self.work.path))}"

    def warn(self, sentence: str) -> None:
        """Something the user should know that did not stop the run."""

    def failed(self, sentence: str, code: int) -> None:
        """Why the command ends with ``code``."""
        print(f"depthcrafter: {sentence}", file=sys.stderr)


class JsonConsole(QuietConsole):
    """One JSON object a line on standard output, each with an ``event``."""

    def planned(self, plan: "RunPlan") -> None:
        super().planned(plan)
        emit("plan", **facts_of(plan))

    @contextmanager
    def drawing(self) -> Iterator[Observer]:
        yield lambda event: emit("progress", **vars(event))

    def finished(self, result: "RunResult") -> None:
        emit(
            "done",
            outputs=[str(path) for path in result.outputs],
            frames=result.frames,
            seconds=round(result.seconds, 3),
            frames_per_second=round(result.frames_per_second, 3),
            value_range=[result.value_range.low, result.value_range.high],
            peak_memory_bytes=result.peak.bytes,
            peak_memory_kind=result.peak.kind,
            predicted_peak_bytes=result.predicted_peak,
            device=result.device,
        )

    def made(self, outputs: Sequence[Path]) -> None:
        emit("done", outputs=[str(path) for path in outputs])

    def stopping(self) -> None:
        emit("stopping", message=STOPPING)

    def warn(self, sentence: str) -> None:
        emit("warning", message=sentence)

    def failed(self, sentence: str, code: int) -> None:
        emit("error", message=sentence, exit_code=code)


class RichConsole(QuietConsole):
    """A short plan, one live bar per stage, and where the results are."""

    def planned(self, plan: "RunPlan") -> None:
        from rich.console import Console
        from rich.markup import escape

        super().planned(plan)
        screen = Console(stderr=True)
        for label, text in summary_of(plan):
            screen.print(f"[bold]{label:<7}[/] {escape(text)}", highlight=False, soft_wrap=True)

    @contextmanager
    def drawing(self) -> Iterator[Observer]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:<13}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        with Bars(*columns, console=Console(stderr=True)) as bars:
            tasks: dict[str, Any] = {}

            def observe(event: Progress) -> None:
                if event.stage not in tasks:
                    name = STAGES.get(event.stage, event.stage)
                    tasks[event.stage] = bars.add_task(name, unit=event.unit, detail="")
                # A container's frame count may be an estimate; a bar never passes its end.
                total = None if event.total is None else max(event.total, event.done)
                bars.update(
                    tasks[event.stage], completed=event.done, total=total, detail=event.detail
                )

            yield observe
            for task in bars.tasks:
                bars.update(task.id, total=task.completed)

    def warn(self, sentence: str) -> None:
        print(f"depthcrafter: warning: {sentence}", file=sys.stderr)

    def made(self, outputs: Sequence[Path]) -> None:
        for path in outputs:
            print(path)

    def already_done(self, outputs: Sequence[Path]) -> None:
        self.made(outputs)
        print("already finished, and nothing has changed since", file=sys.stderr)

    def finished(self, result: "RunResult") -> None:
        self.made(result.outputs)
        print(
            f"{result.frames} frames in {result.seconds:.1f} s "
            f"({result.frames_per_second:.2f} frames/s) on {result.device}, "
            f"peak {result.peak.kind} {result.peak.bytes / 1e9:.2f} GB "
            f"(predicted {result.predicted_peak / 1e9:.2f})",
            file=sys.stderr,
        )


@contextmanager
def reported(*, quiet: bool, json: bool, debug: bool) -> Iterator[QuietConsole]:
    """The console of a command; turns what goes wrong in it into a sentence and an exit code."""
    console = JsonConsole() if json else QuietConsole() if quiet else RichConsole()
    try:
        yield console
    except DepthCrafterError as error:
        _traceback_if(debug)
        console.failed(str(error) + console.advice(), error.exit_code)
        raise typer.Exit(error.exit_code) from None
    except Interrupted:
        end_quietly()
        _traceback_if(debug)
        advice = console.advice()
        kept = "what is finished is kept." if advice else "nothing was finished yet."
        console.failed(f"interrupted; {kept}{advice}", INTERRUPTED_EXIT_CODE)
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    except Exception as error:
        _traceback_if(debug)
        hint = "" if debug else "; run again with --debug to see where"
        console.failed(f"unexpected {type(error).__name__}: {error}{hint}.{console.advice()}", 1)
        raise typer.Exit(1) from None


def _traceback_if(debug: bool) -> None:
    if debug:
        traceback.print_exc()


def emit(event: str, **values: Any) -> None:
    """Print one event as a line of JSON."""
    # One call, so that a line of another thread cannot come between it and its end.
    # The process's own stream: libraries may be kept from it by a redirected sys.stdout.
    stream = sys.__stdout__ or sys.stdout
    stream.write(json_module.dumps({"event": event, **values}) + "\n")
    stream.flush()
