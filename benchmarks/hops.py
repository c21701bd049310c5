"""How far a reader must walk: the files that a run enters before its first frame, and the ways.

    python benchmarks/hops.py [VIDEO OPTIONS...]     by default examples/bunny.mp4 --max-frames 8

Counts the files of the package in which a function is called until the first frame of the video is
asked for; how often a call is in another file than the call before it; and from how many files to
how many others that leads. What a module calls while it is imported is a declaration, and not a
step of the run: it is left out, or counted with --imports.
"""

import sys
import tempfile
from inspect import CO_OPTIMIZED
from itertools import pairwise
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
_FIRST_FRAME = ("media/reader.py", "read_frames")


class FirstFrameAsked(BaseException):
    """Ends the run."""


def walk(arguments: list[str], *, imports: bool) -> list[str]:
    """The files entered, one after another, as often as they change."""
    import depthcrafter_cli
    from depthcrafter_cli.cli import main

    package = f"{Path(depthcrafter_cli.__file__).parent}/"
    path: list[str] = []

    def enter(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        is_function = code.co_flags & CO_OPTIMIZED  # not the body of a module or a class
        if event != "call" or not is_function or not code.co_filename.startswith(package):
            return
        if not imports and is_imported(frame):
            return
        file = code.co_filename.removeprefix(package)
        if path[-1:] != [file]:
            path.append(file)
        if (file, code.co_name) == _FIRST_FRAME:
            raise FirstFrameAsked

    sys.argv = ["depthcrafter", *arguments]
    sys.setprofile(enter)
    try:
        main()
    except FirstFrameAsked:
        pass
    finally:
        sys.setprofile(None)
    return path


def is_imported(frame: FrameType | None) -> bool:
    """Whether a call is made while a module is imported."""
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and frame.f_globals["__name__"] != "__main__"


def count() -> None:
    """Print the numbers."""
    imports = "--imports" in sys.argv
    given = [each for each in sys.argv[1:] if each != "--imports"] or [
        str(ROOT / "examples" / "bunny.mp4"),
        "--max-frames",
        "8",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = walk(
            ["run", *given, "--out", f"{folder}/depth.mp4", "--device", "cpu", "--quiet"],
            imports=imports,
        )
    ways = set(pairwise(path))
    print(f"{len(set(path))} files entered, {len(ways)} ways between them, {len(path)} changes")


if __name__ == "__main__":
    count()
