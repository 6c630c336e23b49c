"""Requests of the page: frozen dataclasses whose annotations say what is allowed.

A field is a bool, a ``Literal``, another such class, a number as ``Annotated[int, Range(..)]``, a
text as ``Annotated[str, Text(..)]``, a tuple as ``Annotated[tuple[X, ...], Items(..)]``, or one of
these ``| None``. ``parse`` makes one of what JSON brought and refuses everything else by name; the
page's own checks are generated from the same annotations (``carousel.serve._typescript``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from carousel._errors import CarouselError

__all__ = ["Items", "Range", "Text", "parse"]

R = TypeVar("R")


@dataclass(frozen=True)
class Range:
    """A number from low to high, both included; step is what a slider moves by."""

    low: float
    high: float
    step: float = 1


@dataclass(frozen=True)
class Text:
    """At most so many characters, none of them a control character."""

    most: int


@dataclass(frozen=True)
class Items:
    """So many entries."""

    least: int
    most: int


def parse(kind: type[R], value: object, place: str = "") -> R:
    """A request made of parsed JSON; a field left out takes its default.

    Raises:
        CarouselError: a field that is unknown, missing, of another type or out of its range.
    """
    if not isinstance(value, Mapping):
        raise _refused(place or kind.__name__, "an object", value)
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in value:
        if name not in known:
            raise CarouselError(
                f"{_path(place, str(name)[:40])} is unknown: expected one of {', '.join(known)}."
            )
    made: dict[str, Any] = {}
    for name, field in known.items():
        if name in value:
            made[name] = _entry(hints[name], value[name], _path(place, name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise CarouselError(f"{_path(place, name)} is missing.")
    return kind(**made)


def _entry(hint: Any, value: object, place: str) -> Any:
    """One value of the type that its annotation says."""
    if get_origin(hint) in (Union, UnionType):
        if value is None:
            return None
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    if get_origin(hint) is Annotated:
        kind, limit = get_args(hint)
        return _limited(kind, limit, value, place)
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise _refused(place, f"one of {', '.join(get_args(hint))}", value)
        return value
    if is_dataclass(hint):
        return parse(hint, value, place)  # type: ignore[arg-type]
    if hint is bool and isinstance(value, bool):
        return value
    raise _refused(place, "true or false", value)


def _limited(kind: Any, limit: Range | Text | Items, value: object, place: str) -> Any:
    """A number, a text or a tuple within its limits."""
    if isinstance(limit, Range):
        what = "a whole number" if kind is int else "a number"
        right = isinstance(value, int) or (kind is float and isinstance(value, float))
        # bool is an int in Python; a JSON integer may be beyond every float
        if isinstance(value, bool) or not right or not limit.low <= value <= limit.high:  # type: ignore[operator]
            raise _refused(place, f"{what} from {limit.low:g} to {limit.high:g}", value)
        made = kind(value)
        assert math.isfinite(made)
        return made
    if isinstance(limit, Text):
        wrong = not isinstance(value, str) or len(value) > limit.most or not value.isprintable()
        if wrong:
            raise _refused(place, f"at most {limit.most} printable characters", value)
        return value
    if not isinstance(value, list) or not limit.least <= len(value) <= limit.most:
        raise _refused(place, f"a list of {limit.least} to {limit.most} entries", value)
    hint = get_args(kind)[0]
    return tuple(_entry(hint, entry, f"{place}[{at}]") for at, entry in enumerate(value))


def _path(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _refused(place: str, expected: str, value: object) -> CarouselError:
    shown = repr(value)
    return CarouselError(
        f"{place}: expected {expected}, got {shown if len(shown) <= 60 else shown[:57] + '...'}."
    )
