"""Options: fields of dataclasses which say their help, their range and how they are typed.

    @dataclass(frozen=True)
    class Settings:
        window: int = option(110, help="Frames denoised together. Default: {default}.", minimum=1)

        def __post_init__(self) -> None:
            settle_options(self)

An option stands beside the field that acts on it and nowhere else. The options of the commands,
the columns of a list of videos, the table in docs/options.md and the class's own documentation are
made of these fields, and :func:`build` gives what was typed back to them. What a program passes in
Python may be the same words.

A message names a field in backquotes: ```window```, or with the value to pass, ```gaps="hold"```.
That is how Python users write it; the command line shows the option instead.
"""

import functools
import math
import numbers
import os
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from depthcrafter_cli.errors import UsageError
from depthcrafter_cli.text import expanded

Part = Literal["depth", "memory", "look", "writing", "files", "metric", "run", ""]
"""What options decide: the disparity; how it fits into memory; what becomes of the disparity;
whether files may be written; which files come of one video; how disparity becomes metres; and how
one run, apart from others, is carried out."""

Value = TypeVar("Value")
_OPTION, _SETTINGS_OF = "option", "settings of"
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_LONG = 200  # characters of a value
# Of frames, seconds, pixels: what is more was not meant, and 64 bits could not count with it.
_LARGEST = 1_000_000_000_000
_TYPED = {bool: "yes or no", int: "a whole number", float: "a number"}
_FORMS: Mapping[Any, str] = {
    **_TYPED, str: "text", Path: "a path", Mapping: "names with their values",
    Callable: "a function",
}  # fmt: skip
_NUMBERS = {bool: int, int: numbers.Integral, float: numbers.Real, Fraction: numbers.Rational}


@dataclass(frozen=True)
class Option:
    """What is known of a field that users may set.

    ``name`` is the field's, ``typed`` how users write it (``normalize`` for ``normalization``),
    ``short`` one letter for it. ``kind`` is its type where it has a value, ``also`` are others,
    ``owner`` is the field of the whole that holds the object that it belongs to, empty for the
    whole itself. ``minimum`` and
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
    also: tuple[type, ...] = ()
    default: Any = None
    owner: str = ""

    @property
    def range(self) -> str:
        """The values that there are, in words; empty if there is no rule."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.above is not None:
            most = "" if self.maximum is None else f" and at most {self.maximum:g}"
            return f"more than {self.above:g}{most}"
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
            raise self._refusal(text, self._expected) from None

    def settled(self, value: Any) -> Any:
        """The value as its field holds it.

        Text is what it stands for where it is typed, and a number of NumPy is one of Python. Raises
        UsageError for a value of another type, or outside the range.
        """
        if value is self.default:
            return value
        if isinstance(value, self.also):
            held = value
        elif isinstance(value, str) and (self.read is not None or self.kind in _TYPED):
            held = self.value_of(value)
        else:
            try:
                held = _held(self.kind, value)
            except (TypeError, ValueError, OverflowError):
                raise self._refusal(value, self._expected) from None
        if held is self.default:
            return held
        if isinstance(held, int | float | Fraction) and self.maximum is None and held > _LARGEST:
            raise self._refusal(held, f"at most {_LARGEST:,}")
        if self.choices:
            fits = held in self.choices
        elif self.accepts is not None:
            fits = self.accepts(held)
        else:
            fits = self._in_range(held)
        if not fits:
            raise self._refusal(held, self.range or self._expected)
        return held

    @property
    def _expected(self) -> str:
        """What values there are, in words."""
        if self.choices or self.form:
            return self.range if self.choices else self.form
        return _form_of(self.kind)

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


def _form_of(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"a list, of which each is {_form_of(get_args(kind)[0])}"
    kind = get_origin(kind) or kind
    return _FORMS.get(kind) or f"a {kind.__name__}"


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


@functools.cache
def _fields_of(kind: Any) -> dict[str, Option]:
    """All fields of a dataclass; of those that are no options only the type and default."""
    hints = get_type_hints(kind)
    return {each.name: _known(each, hints[each.name]) for each in fields(kind)}


def _known(each: Field[Any], hint: Any) -> Option:
    """The option of a field, with what the field itself says of it."""
    made: Option = each.metadata.get(_OPTION, Option(""))
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    kind, choices, also = hint, made.choices, list[type]()
    if get_origin(hint) is Literal:
        kind, choices = str, tuple(kinds)
    elif get_origin(hint) in (Union, types.UnionType):
        kind, *also = kinds
    typed = made.typed or each.name
    return replace(
        made, name=each.name, typed=typed, kind=kind, also=tuple(also), choices=choices,
        default=each.default,
    )  # fmt: skip


def _held(kind: Any, value: Any) -> Any:
    """A value as one of a type. Raises TypeError, ValueError or OverflowError."""
    if getattr(value, "shape", None) == ():  # a number of NumPy or PyTorch
        value = value.item()
    origin = get_origin(kind) or kind
    if origin is tuple:
        values = (value,) if isinstance(value, str | os.PathLike) else value
        return tuple(_held(get_args(kind)[0], each) for each in values)
    if origin is Path:
        return value if isinstance(value, Path) else expanded(os.fspath(value))
    if origin is str and isinstance(value, os.PathLike | int):
        return str(value)
    if origin is Fraction and isinstance(value, float):  # 23.976, not the float next to it
        return Fraction(str(value))
    if origin is bool and value not in (True, False):
        raise ValueError(value)
    if origin in _NUMBERS and isinstance(value, _NUMBERS[origin]):
        return origin(value)
    if isinstance(origin, type) and not isinstance(value, origin):
        raise TypeError(value)
    return value


def settle_options(instance: Any) -> None:
    """Give each field of a dataclass its value as :meth:`Option.settled` says it.

    Objects that the instance holds have settled themselves. Raises UsageError.
    """
    kind: Any = type(instance)
    known = _fields_of(kind)
    for each in fields(instance):
        held = known[each.name].settled(getattr(instance, each.name))
        if (inner := each.metadata.get(_SETTINGS_OF)) is not None:
            own = options_of(inner)
            held = {n: own[n].settled(v) if n in own else v for n, v in held.items()}
        object.__setattr__(instance, each.name, held)


def as_kind(kind: Any, name: str, value: Any) -> Any:
    """An argument as one of a type, as :func:`settle_options` makes fields. Raises UsageError."""
    return Option("", name=name, kind=kind, default=MISSING).settled(value)


def require_functions(**given: Any) -> None:
    """Raise a UsageError for an argument, given by its name, that cannot be called."""
    for name, value in given.items():
        as_kind(Callable, name, value)


def replaced(instance: Value, values: Mapping[str, Any]) -> Value:
    """The dataclass with other values of its fields. Raises UsageError for a name it lacks."""
    names = [each.name for each in fields(instance)]  # type: ignore[arg-type]
    if unknown := [name for name in values if name not in names]:
        raise UsageError(f"got `{unknown[0]}`, expected one of {', '.join(names)}: correct it.")
    return replace(instance, **values)  # type: ignore[type-var]


def build(kind: type[Value], values: Mapping[str, Any], **others: Any) -> Value:
    """A dataclass from values of its options, which reach the objects they belong to.

    Values may be texts as they are typed. ``others`` are its fields that are no options.
    Raises TypeError for a name that is neither, and UsageError for a value that makes no sense.
    """
    known, hints, made = options_of(kind), get_type_hints(kind), dict(others)
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
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) < _LONG and "\n" not in text else f"a {type(value).__name__}"
