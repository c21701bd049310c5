"""Options: fields of dataclasses which say their help, their range and how they are typed.

    @dataclass(frozen=True)
    class Settings:
        window: int = option(110, help="Frames denoised together. Default: {default}.", minimum=1)

        def __post_init__(self) -> None:
            check_options(self)

An option stands beside the field that acts on it and nowhere else. The options of the commands,
the columns of a list of videos, the table in docs/options.md and the class's own documentation are
made of these fields, and :func:`build` gives what was typed back to them.

A message names a field in backquotes: ```window```, or with the value to pass, ```gaps="hold"```.
That is how Python users write it; the command line shows the option instead.
"""

import functools
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from depthcrafter_cli.errors import UsageError

Part = Literal["depth", "memory", "look", "writing", "files", "metric", "run", ""]
"""What options decide: the disparity; how it fits into memory; what becomes of the disparity;
whether files may be written; which files come of one video; how disparity becomes metres; and how
one run, apart from others, is carried out."""

Value = TypeVar("Value")
_OPTION, _SETTINGS_OF = "option", "settings of"
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_FORMS = {bool: "yes or no", int: "a whole number", float: "a number", Path: "a pathlib.Path"}
_KINDS = {bool: bool, int: numbers.Integral, float: numbers.Real, Path: Path}
# Of frames, seconds, pixels: what is more was not meant, and 64 bits could not count with it.
_LARGEST = 1_000_000_000_000


@dataclass(frozen=True)
class Option:
    """What is known of a field that users may set.

    ``name`` is the field's, ``typed`` how users write it (``normalize`` for ``normalization``),
    ``short`` one letter for it. ``kind`` is its type where it has a value, ``owner`` the field of
    the whole that holds the object that it belongs to, empty for the whole itself. ``minimum`` and
    ``maximum`` belong to the range, ``above`` does not; ``accepts`` is any other rule. ``read``
    makes a value of text, and raises ValueError; texts that are given ``many`` times are one, with
    spaces between. ``form`` says what ``read`` and ``accepts``
    expect, and how to mend it. What is not ``saved`` may differ where a run goes on: it says how
    one is carried out, not what comes of it.
    """

    help: str
    part: Part = ""
    saved: bool = True
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    accepts: Callable[[Any], bool] | None = None
    read: Callable[[str], Any] | None = None
    form: str = ""
    typed: str = ""
    short: str = ""
    many: bool = False
    name: str = ""
    kind: Any = None
    default: Any = None
    owner: str = ""

    @property
    def range(self) -> str:
        """The values that there are, in words; empty if there is no rule."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.above is not None:
            return f"more than {self.above:g}"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum} to {self.maximum}"
        return "" if self.minimum is None else f"at least {self.minimum:g}"

    def value_of(self, text: str) -> Any:
        """The value that a text stands for. Raises UsageError."""
        try:
            if self.read is not None:
                return self.read(text)
            return _TRUTH[text.lower()] if self.kind is bool else self.kind(text)
        except UsageError:
            raise
        except (ValueError, KeyError, ZeroDivisionError):
            raise self._refusal(text, self.form or _FORMS[self.kind]) from None

    def check(self, value: Any) -> None:
        """Raise UsageError for a value of another type, or outside the range."""
        kind: Any = self.kind if is_dataclass(self.kind) else _KINDS.get(self.kind, object)
        if not isinstance(value, kind):
            raise self._refusal(value, _FORMS.get(self.kind) or f"a {kind.__name__}")
        if isinstance(value, int | float | Fraction) and self.maximum is None and value > _LARGEST:
            raise self._refusal(value, f"at most {_LARGEST:,}")
        if self.choices:
            fits = value in self.choices
        elif self.accepts is not None:
            fits = self.accepts(value)
        else:
            fits = self._in_range(value)
        if not fits:
            raise self._refusal(value, self.range or self.form)

    def _in_range(self, value: Any) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
        )

    def _refusal(self, value: Any, expected: str) -> UsageError:
        remedy = "" if ": " in expected else ": correct it"
        return UsageError(f"got `{self.name}` {_shown(value)}, expected {expected}{remedy}.")


def option(default: Value, *, help: str, **rules: Any) -> Value:
    """A field that users may set; ``rules`` are other fields of :class:`Option`.

    ``{default}`` in ``help`` becomes the default.
    """
    made = Option(help.replace("{default}", _shown(default).strip("'")), **rules)
    declared: Value = field(default=default, metadata={_OPTION: made})
    return declared


def settings_of(kind: type) -> Mapping[str, Any]:
    """A field that holds some options of ``kind``, those which shall not be its own defaults."""
    declared: Mapping[str, Any] = field(default_factory=dict, metadata={_SETTINGS_OF: kind})
    return declared


def _collected(kind: Any) -> dict[str, Option]:
    found: dict[str, Option] = {}
    hints = get_type_hints(kind)
    for each in fields(kind):
        inner = each.metadata.get(_SETTINGS_OF, hints[each.name])
        if _OPTION in each.metadata:
            new = {each.name: _known(each, hints[each.name])}
        elif is_dataclass(inner):
            new = {name: replace(o, owner=each.name) for name, o in options_of(inner).items()}
        else:
            continue
        if twice := sorted({*found} & {*new}):
            raise TypeError(f"{kind.__name__} has the option {', '.join(twice)} twice")
        found |= new
    return found


options_of: Callable[[Any], dict[str, Option]] = functools.cache(_collected)
"""The options of a dataclass, and of those that its fields hold, by field, in their order.

Raises TypeError if two have one name: neither could be told from the other.
"""


def _known(each: Field[Any], hint: Any) -> Option:
    """The option of a field, with what the field itself says of it."""
    made: Option = each.metadata[_OPTION]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    kind, choices = hint, made.choices
    if get_origin(hint) is Literal:
        kind, choices = str, tuple(kinds)
    elif kinds and get_origin(hint) is not tuple:
        kind = kinds[0]
    typed = made.typed or each.name
    return replace(
        made, name=each.name, typed=typed, kind=kind, choices=choices, default=each.default
    )


def check_options(instance: Any) -> None:
    """Raise UsageError for an option whose value is of another type or outside its range.

    A default is right as it was declared. Objects that the instance holds have checked themselves.
    """
    for each in options_of(type(instance)).values():
        holder = getattr(instance, each.owner) if each.owner else vars(instance)
        if isinstance(holder, Mapping) and holder.get(each.name, each.default) is not each.default:
            each.check(holder[each.name])


def read_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of options by field, those that are text as what it stands for. Raises UsageError."""
    known = options_of(kind)
    return {
        name: known[name].value_of(value) if isinstance(value, str) and name in known else value
        for name, value in values.items()
    }


def build(kind: type[Value], values: Mapping[str, Any], **others: Any) -> Value:
    """A dataclass from values of its options, which reach the objects they belong to.

    Values may be texts, as :func:`read_values` says. ``others`` are its fields that are no options.
    Raises TypeError for a name that is neither, and UsageError for a value that makes no sense.
    """
    known, hints, made = options_of(kind), get_type_hints(kind), dict(others)
    values = read_values(kind, values)
    for each in fields(kind):  # type: ignore[arg-type]
        held = {n: v for n, v in values.items() if n in known and known[n].owner == each.name}
        if _SETTINGS_OF in each.metadata:  # a flag that is not given is there, and sets nothing
            held = {n: v for n, v in held.items() if known[n].kind is not bool or v}
        if held:
            made[each.name] = held if _SETTINGS_OF in each.metadata else hints[each.name](**held)
    made |= {n: v for n, v in values.items() if n not in known or not known[n].owner}
    return kind(**made)


def documented(kind: type[Value]) -> type[Value]:
    """The dataclass with its options at the end of its documentation."""
    if kind.__doc__ is not None:  # it is where Python was asked to drop them
        told = [
            f"    {each.name}{f', in {each.unit}' * bool(each.unit)}: {each.help}"
            + f" Expected: {each.range}." * bool(each.range)
            for each in options_of(kind).values()
            if not each.owner
        ]
        kind.__doc__ = "\n".join((kind.__doc__.rstrip(), "", "    Options:", *told))
    return kind


def _shown(value: Any) -> str:
    """A value as users would write it."""
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    if isinstance(value, Fraction):
        value = float(min(value, Fraction(10**308)))  # it may be more than any float
    if isinstance(value, float):
        return f"{value:.9g}"
    return repr(value) if isinstance(value, str) else str(value)
