"""What a command says as it goes on, and how it ends: each thing once, for every outlet."""

import sys
import time
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from depthcrafter_cli.cli import options as opt
from depthcrafter_cli.cli.outlets import (
    Draw,
    Errors,
    JsonLines,
    Level,
    LogFile,
    Outlet,
    Plain,
    Said,
    Update,
    in_words,
)
from depthcrafter_cli.cli.streams import Line, errors_alone, is_terminal
from depthcrafter_cli.cli.summary import details_of, summary_of, unread_options
from depthcrafter_cli.errors import (
    INTERRUPTED_EXIT_CODE,
    DepthCrafterError,
    unexpected,
    unreachable,
)
from depthcrafter_cli.progress import Interrupted, Meter, Observer
from depthcrafter_cli.shell import quoted
from depthcrafter_cli.text import counted
from depthcrafter_cli.workflows.interrupts import (
    KEPT,
    end_quietly,
    stopping_between_steps,
)

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.request import RunRequest
    from depthcrafter_cli.workflows.run_plan import RunPlan
    from depthcrafter_cli.workflows.runs import RunResult
    from depthcrafter_cli.workflows.state import RunState

STOPPING = "stopping once the step under way is on the disk; interrupt again to stop at once"


@dataclass(frozen=True)
class Reporting:
    """How a command tells what it does."""

    quiet: opt.Quiet = False
    json: opt.Json = False
    log: opt.Log = None
    debug: opt.Debug = False


class Console:
    """Says what a command does.

    ``work`` is the folder of the run under way, from which it could go on if it failed; ``hint``
    says how else. ``names`` are the options of the command by the fields that sentences name.
    """

    def __init__(self, outlets: Sequence[Outlet], names: Mapping[str, str]) -> None:
        self._outlets, self._names = outlets, names
        self._meter = Meter()
        self._started = time.monotonic()
        self.work: RunState | None = None
        self.hint = ""

    def say(
        self,
        event: str,
        values: Mapping[str, Any],
        *lines: Line,
        level: Level = "notice",
        paths: Sequence[object] = (),
    ) -> None:
        """Tell one thing: see :class:`Said`."""
        for outlet in self._outlets:
            outlet.say(Said(event, values, lines, level, paths))

    def keep_log_apart(self, paths: Iterable[Path]) -> None:
        """Raises UsageError if the log is one of the files that the command reads or writes."""
        for outlet in self._outlets:
            if isinstance(outlet, LogFile):
                outlet.keep_apart([*paths])

    @contextmanager
    def drawing(self, videos: int = 0) -> Iterator[Draw]:
        """Inside, work is under way; the function shows how far it is."""
        with ExitStack() as stack:
            draws = [stack.enter_context(outlet.drawing(videos)) for outlet in self._outlets]

            def draw(update: Update) -> None:
                for each in draws:
                    each(update)

            yield draw

    @contextmanager
    def observing(self) -> Iterator[Observer]:
        """The observer of work that is under way."""
        with self.drawing() as draw:
            yield lambda event: draw(Update(self._meter.read(event)))

    @contextmanager
    def watching(self, kept: Collection[str] = KEPT) -> Iterator[Observer]:
        """As :meth:`observing`, of work that ends between two steps at Ctrl-C.

        Stages other than ``kept`` are not waited for.
        """
        with (
            self.observing() as observer,
            stopping_between_steps(observer, self.stopping, kept=kept) as watched,
        ):
            yield watched

    def planned(self, plan: "RunPlan") -> None:
        """What a run is about to do."""
        from depthcrafter_cli.workflows.state import RunState

        self.work, self._meter = RunState(plan.request.work_folder), Meter(plan.stage_work())
        lines = (Line(text, f"{label:<8}") for label, text in summary_of(plan))
        self.say("plan", details_of(plan), *lines)
        self.warn_of_unread([plan.request])

    def stopping(self) -> None:
        """A first signal came; may be called in another thread than the rest."""
        line = Line(f"depthcrafter: {STOPPING}")
        self.say("stopping", {"message": STOPPING}, line, level="error")

    def finished(self, request: "RunRequest", result: "RunResult | None") -> None:
        """What a run that succeeded made; None where the same run was finished before."""
        if result is None:
            from depthcrafter_cli.workflows.record import made_before

            made = made_before(request)
            self.done(made, Line("already finished, and nothing has changed since"))
            return
        predicted = result.predicted_peak
        expected = "" if predicted is None else f" (predicted {predicted / 1e9:.2f})"
        took = in_words(result.seconds) if result.seconds >= 10 else f"{result.seconds:.1f} s"
        seams = []
        if result.seams is not None:
            before, after = result.seams
            seams = [Line(f"windows aligned: they differed by {before:.4f}, now by {after:.4f}")]
        self.done(
            result.outputs,
            Line(
                f"{counted(result.frames, 'frame')} in {took} "
                f"({result.frames_per_second:.2f} frames/s) on {result.device}, "
                f"peak {result.peak.kind} {result.peak.bytes / 1e9:.2f} GB{expected}"
            ),
            *seams,
            frames=result.frames,
            seconds=result.seconds,
            value_range=[result.value_range.low, result.value_range.high],
            peak_memory_bytes=result.peak.bytes,
            peak_memory_kind=result.peak.kind,
            predicted_peak_bytes=predicted,
            device=result.device,
            seam_residuals=result.seams,
        )

    def done(
        self,
        outputs: Sequence[Path],
        *lines: Line,
        frames: int | None = None,
        seconds: float | None = None,
        paths: Sequence[object] | None = None,
        **values: Any,
    ) -> None:
        """Where results are, and what they took; by default as long as the command did.

        ``paths`` are what people are told of, where that is not all outputs.
        """
        seconds = time.monotonic() - self._started if seconds is None else seconds
        rate = None if frames is None else round(frames / max(seconds, 1e-9), 3)
        took = {
            "outputs": [str(path) for path in outputs],
            "frames": frames,
            "seconds": round(seconds, 3),
            "frames_per_second": rate,
        }
        self.say("done", {**took, **values}, *lines, paths=outputs if paths is None else paths)

    def advice(self) -> str:
        """How to go on with what was stopped; empty if there is no way."""
        if self.work is None or not self.work.progressed:
            return self.hint
        return f"Go on with: depthcrafter resume {quoted(self.work.path)}"

    def warn(self, sentence: str) -> None:
        """Something the user should know that did not stop the run."""
        sentence = opt.as_typed(sentence, self._names)
        line = Line(f"depthcrafter: warning: {sentence}")
        self.say("warning", {"message": sentence}, line)

    def warn_of_unread(self, requests: "Sequence[RunRequest]") -> None:
        """Warn of options of how results look that change nothing in them. Raises UsageError."""
        for sentence in unread_options(requests):
            self.warn(sentence)

    def failed(self, sentence: str, code: int) -> None:
        """Why the command ends with ``code``, and how to go on."""
        sentence = opt.as_typed(sentence, self._names)
        advice = self.advice()
        values = {"message": f"{sentence} {advice}".rstrip(), "exit_code": code}
        line = Line(f"depthcrafter: {sentence}", command=advice)
        self.say("error", values, line, level="error")

    def trace(self, text: str) -> None:
        """Log where an error came from."""
        self.say("", {}, *map(Line, text.splitlines()), level="trace")


@contextmanager
def reported(
    *,
    quiet: bool = False,
    json: bool = False,
    debug: bool = False,
    log: Path | None = None,
    names: Mapping[str, str] = opt.NAMES,
) -> Iterator[Console]:
    """The console of a command; turns what goes wrong in it into a sentence and an exit code.

    ``names`` are the command's options by the fields that sentences name; those of ``run`` serve
    most commands.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(errors_alone()) if quiet else None
        outlets: list[Outlet] = []
        if json:
            outlets.append(JsonLines(debug=debug))
        elif quiet:
            outlets.append(Errors(debug=debug, stream=stream))
        elif is_terminal(sys.stderr):
            from depthcrafter_cli.cli.terminal import Terminal

            outlets.append(Terminal(debug=debug))
        else:
            outlets.append(Plain(debug=debug))
        console = Console(outlets, names)
        code = 0
        try:
            if log is not None:
                outlets.append(LogFile(log))
            yield console
        except DepthCrafterError as error:
            console.trace(traceback.format_exc())
            code = error.exit_code
            console.failed(str(error), code)
        except Interrupted:
            end_quietly()
            console.trace(traceback.format_exc())
            code = INTERRUPTED_EXIT_CODE
            kept = "what is finished is kept." if console.advice() else "nothing was finished yet."
            console.failed(f"interrupted; {kept}", code)
        except Exception as error:
            from depthcrafter_cli.workflows.resources import lack_of_memory

            console.trace(traceback.format_exc())
            hint = "" if debug else "; run again with --debug to see where"
            told = f"{unexpected(error)}{hint}."
            known = lack_of_memory(error) or unreachable(error)
            code, told = (1, told) if known is None else (known.exit_code, str(known))
            console.failed(told, code)
    if code:
        raise typer.Exit(code)
