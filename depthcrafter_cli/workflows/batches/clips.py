"""One evaluation on many workers: its clips, each a task of an engine."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from depthcrafter_cli.datasets.recorded import RecordedClip
from depthcrafter_cli.evaluation.report import ClipScore
from depthcrafter_cli.progress import Observer, Warn
from depthcrafter_cli.workflows.batches.engine import Engine
from depthcrafter_cli.workflows.batches.parts import carried_out, raise_error
from depthcrafter_cli.workflows.batches.task import Outcome, Task
from depthcrafter_cli.workflows.evaluate import ScoreClips, score_here
from depthcrafter_cli.workflows.looking import EvaluationRequest
from depthcrafter_cli.workflows.model import LoadedModel


@dataclass(frozen=True)
class ClipTask(Task):
    """A clip to be estimated and scored; ``request`` is the whole evaluation's."""

    request: EvaluationRequest

    def carry_out(self, device: str, model: LoadedModel, observer: Observer, warn: Warn) -> Outcome:
        request = replace(self.request, device=device, only=(self.name,))
        (score,) = score_here(request, request.clips(), observer, warn, model)
        return Outcome(score.frames, value=score)

    def absolute(self) -> "ClipTask":
        return replace(self, request=self.request.absolute())

    def in_words(self) -> tuple[str, str]:
        return "the clip", "give the same command again, which goes on"


def on_engine(engine: Engine, retries: int = 2) -> ScoreClips:
    """What scores the clips of an evaluation by an engine's workers, for
    :func:`~depthcrafter_cli.workflows.evaluate.evaluate`.

    A clip that fails ``retries`` times more costs no other clip: its error is raised after them.
    """

    def score(
        request: EvaluationRequest, clips: Sequence[RecordedClip], observer: Observer, warn: Warn
    ) -> Iterator[ClipScore]:
        failed = Outcome()
        total = sum(request.frames_of(clip) for clip in clips)
        tasks = [ClipTask(clip.name, request) for clip in clips]
        ends = carried_out(tasks, engine, retries, observer, warn, before=0, total=total)
        with closing(ends):
            for end in ends:
                if end.outcome.error:
                    failed = failed if failed.error else end.outcome
                else:
                    yield end.outcome.value
        raise_error(failed)

    return score
