"""What a command does from start to end: files, model and outputs wired together.

A program calls the same functions as the command line, and each loads what it needs when it is
first used:

    from depthcrafter_cli import workflows

    request = workflows.RunRequest(Path("clip.mp4"), (Path("depth.mp4"),))
    result = workflows.run(request)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthcrafter_cli.workflows.batches.batch import BatchObserver, batch, find_tasks
    from depthcrafter_cli.workflows.batches.options import BatchOptions, Workers
    from depthcrafter_cli.workflows.looking import FitRequest
    from depthcrafter_cli.workflows.metric import fit
    from depthcrafter_cli.workflows.request import RunRequest
    from depthcrafter_cli.workflows.run_plan import RunPlan, plan
    from depthcrafter_cli.workflows.runs import RunResult, finish, resume, run

__all__ = [
    "BatchObserver",
    "BatchOptions",
    "FitRequest",
    "RunPlan",
    "RunRequest",
    "RunResult",
    "Workers",
    "batch",
    "find_tasks",
    "finish",
    "fit",
    "plan",
    "resume",
    "run",
]
_MODULES = {
    "BatchObserver": "batches.batch",
    "BatchOptions": "batches.options",
    "FitRequest": "looking",
    "RunPlan": "run_plan",
    "RunRequest": "request",
    "Workers": "batches.options",
    "batch": "batches.batch",
    "find_tasks": "batches.batch",
    "fit": "metric",
    "plan": "run_plan",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'runs')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
