"""Options that several commands share, as one parameter of each command."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_type_hints

from depthcrafter_cli.cli.options import declared
from depthcrafter_cli.options import Option, Part, options_of
from depthcrafter_cli.workflows.request import RunRequest

Values = dict[str, Any]
"""The options that were given, by the fields that they set."""


class Some:
    """Which options of a dataclass a command has: those of some parts, and some by their names."""

    def __init__(self, kind: type, *parts: Part, names: tuple[str, ...] = ()) -> None:
        self.options = {
            name: each
            for name, each in options_of(kind).items()
            if each.part in parts or name in names
        }


DEPTH: tuple[Part, ...] = ("depth", "memory")
RESULT: tuple[Part, ...] = ("look", "writing")
RunValues = Annotated[Values, Some(RunRequest, *RESULT, "files", *DEPTH, "run")]
VideoValues = Annotated[Values, Some(RunRequest, *RESULT, *DEPTH)]
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
        n: " ".join(v) or None
        for n, v in values.items()
        if n in options and options[n].many and v is not None
    }
    values = {**values, **joined}
    return {n: value for n, value in values.items() if value is not None or n not in options}
