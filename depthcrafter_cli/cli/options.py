"""How options are declared to typer, and those of the command line alone. Only typer is imported.

The options of a run stand beside the fields that act (:mod:`depthcrafter_cli.options`); here they
become typer's, in groups that several commands share, and what the layers below say of a field
becomes the option that users type.
"""

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from depthcrafter_cli.errors import DepthCrafterError, UsageError
from depthcrafter_cli.media.formats import formats_in_words
from depthcrafter_cli.options import Option, Part, options_of
from depthcrafter_cli.text import expanded, video_path
from depthcrafter_cli.workflows.request import STANDARD_INPUT, RunRequest

_FIELD = re.compile(r"`(\w+)(?:=([^`]*))?`")


def option(
    *names: str, text: str, parser: Callable[[str], Any] | None = None, **settings: Any
) -> Any:
    """An option whose help says its default itself.

    ``parser`` makes a path of what is typed, which may not look like an option: where the path was
    forgotten, the option behind it would become one.
    """
    if parser is not None:
        settings["parser"] = past_click(_no_option(names[0], parser))
    return typer.Option(*names, help=text, show_default=False, **settings)


class PastClick(Exception):  # noqa: N818
    """Carries the error that caused it past click, which takes any ValueError for its own."""


def past_click(parser: Callable[[str], Any]) -> Callable[[str], Any]:
    """The parser, for typer: what it refuses comes out of typer as it is."""

    @functools.wraps(parser)
    def parsed(text: str) -> Any:
        try:
            return parser(text)
        except DepthCrafterError as error:
            raise PastClick from error

    return parsed


def _no_option(name: str, parser: Callable[[str], Any]) -> Callable[[str], Any]:
    @functools.wraps(parser)
    def parsed(typed: str | Path) -> Any:
        text = str(typed)  # the default of an option comes here as well, which may be a Path
        if text.startswith("-"):
            raise UsageError(
                f"got {name} {text}, expected a path after {name}: add it, or write ./{text} for a "
                "file or folder of that name."
            )
        return parser(text)

    return parsed


def flag_of(each: Option) -> str:
    """The option of the command line that sets a field, such as ``--max-res``."""
    return f"--{each.typed.replace('_', '-')}"


def declared(each: Option) -> Any:
    """A field's option as typer wants a parameter annotated; None means that it is not given."""
    flag, kind, settings = flag_of(each), each.kind, {}
    parser = each.read if kind is Path else None
    if kind is bool:
        flag += f"/--no-{flag[2:]}" * bool(each.default)
    elif each.read is not None and kind is not Path:
        kind = str
    elif _is_number(each):
        kind, settings = str, {"metavar": f"<{kind.__name__}>"}
    if each.many:
        kind = list[str]
    short = [f"-{each.short}"] * bool(each.short)
    return Annotated[kind | None, option(flag, *short, text=each.help, parser=parser, **settings)]


def names_of(*kinds: type) -> dict[str, str]:
    """The option that sets each field of some dataclasses, for :func:`as_typed`."""
    names = {each.name: flag_of(each) for kind in kinds for each in options_of(kind).values()}
    return {"outputs": "--out", "given": "--from", **names}


NAMES = names_of(RunRequest)


def as_typed(sentence: str, names: Mapping[str, str]) -> str:
    """A sentence with the options that users type in place of the fields it names in backquotes."""

    def typed(found: re.Match[str]) -> str:
        field, value = found.groups()
        if field not in names:
            return found.group()
        name, value = names[field], (value or "True").strip('"')
        if value == "False":
            return f"--no-{name[2:]}"
        return name if value == "True" else f"{name} {value}"

    return _FIELD.sub(typed, sentence)


def output_path(text: str) -> Path:
    """An output as typed; what ends in a slash is a folder, also if its name has a dot."""
    path = expanded(text)
    if text.endswith(("/", os.sep)) and path.suffix and not path.is_dir():
        from depthcrafter_cli.media.sinks.png16 import PngSink

        return PngSink.pattern(path)
    return path


Values = dict[str, Any]
"""The options that were given, by the fields that they set."""


class Some:
    """Which options of a dataclass a command has: those of some parts, and some by their names.

    Without either it has all of them.
    """

    def __init__(self, kind: type, *parts: Part, names: tuple[str, ...] = ()) -> None:
        self.options = {
            name: each
            for name, each in options_of(kind).items()
            if each.part in parts or name in names or not (parts or names)
        }


DEPTH: tuple[Part, ...] = ("depth", "memory")
RESULT: tuple[Part, ...] = ("look", "writing")
RunValues = Annotated[Values, Some(RunRequest, *RESULT, "files", *DEPTH, "run")]
PlanValues = Annotated[Values, Some(RunRequest, *DEPTH, names=("device",))]
ResultValues = Annotated[Values, Some(RunRequest, *RESULT, "files", "metric")]
ResumeValues = Annotated[Values, Some(RunRequest, "memory", names=("keep_work",))]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its groups as parameters of their own.

    A group is a parameter that is a dataclass, or :class:`Some` options of one. So typer, which
    knows no groups of options, sees each as an option.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[list[inspect.Parameter], Callable[[Values], Any]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        group = _group(parameter.annotation)
        if group is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            groups[parameter.name] = group
            parameters += group[0]

    @functools.wraps(command)
    def gathered(**values: Any) -> None:
        for name, (members, made) in groups.items():
            values[name] = made({each.name: values.pop(each.name) for each in members})
        command(**values)

    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    gathered.__annotations__ = annotations
    gathered.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return gathered


def _group(annotation: Any) -> tuple[list[inspect.Parameter], Callable[[Values], Any]] | None:
    """The parameters of a group, and what makes its value of theirs; None for what is none."""
    for some in getattr(annotation, "__metadata__", ()):
        if isinstance(some, Some):
            members = [_parameter(each) for each in some.options.values()]
            return members, functools.partial(_given, some.options)
    if not is_dataclass(annotation):
        return None
    kind: Any = annotation
    options, hints = options_of(kind), get_type_hints(kind, include_extras=True)
    members = [
        _parameter(options[each.name])
        if each.name in options
        else _keyword(each.name, each.default, hints[each.name])
        for each in fields(kind)
    ]
    return members, lambda values: kind(**_given(options, values))


def _parameter(each: Option) -> inspect.Parameter:
    """A flag is given or not; what is not given of any other option is None."""
    return _keyword(each.name, each.default if each.kind is bool else None, declared(each))


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _given(options: dict[str, Option], values: Values) -> Values:
    """The values without those of options that were not given."""
    joined = {
        n: " ".join(v) if v else None
        for n, v in values.items()
        if n in options and options[n].many and v is not None
    }
    read = {
        n: _number(options[n], value)
        for n, value in values.items()
        if n in options and _is_number(options[n]) and value is not None
    }
    values = {**values, **joined, **read}
    return {n: value for n, value in values.items() if value is not None or n not in options}


def _is_number(each: Option) -> bool:
    """Whether an option is read here and not by typer, so that it is refused in our words."""
    return each.kind in (int, float) and each.read is None


def _number(each: Option, text: str) -> Any:
    try:
        return each.value_of(text)
    except UsageError as error:
        raise UsageError(as_typed(str(error), {each.name: flag_of(each)})) from None


Video = Annotated[
    Path,
    typer.Argument(
        help="A video, a folder of images, a pattern such as frame_%05d.png, or one image.",
        parser=past_click(video_path),
    ),
]
VideoToRun = Annotated[
    Path,
    typer.Argument(
        help="A video, a folder of images, a pattern such as frame_%05d.png, one image, or - for "
        "a video by standard input.",
        metavar="VIDEO",
        parser=past_click(lambda text: STANDARD_INPUT if text == "-" else video_path(text)),
    ),
]
Outputs = Annotated[
    list[Path],
    option(
        "--out",
        "-o",
        text="Where to write; may be given several times. The suffix chooses the format: "
        f"{formats_in_words()}.",
        parser=output_path,
    ),
]
Card = Annotated[
    str | None,
    option("--card", text="The GPU to plan for, such as 'RTX 4060'. Default: --device."),
]
WorkFolder = Annotated[
    Path,
    typer.Argument(
        help="The folder of a run, such as depth.mp4.work.",
        metavar="WORKDIR",
        parser=past_click(expanded),
    ),
]
Quiet = Annotated[bool, option("--quiet", "-q", text="Print errors alone, no warnings.")]
Json = Annotated[bool, option("--json", text="Print one JSON event a line instead.")]
Debug = Annotated[bool, option("--debug", text="Show tracebacks.")]
Log = Annotated[
    Path | None,
    option("--log", text="Add all that is said to this file, with times.", parser=expanded),
]
