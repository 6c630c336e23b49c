"""JSON as the server reads and writes it: strict, and without copying large answers."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, NoReturn

from carousel._errors import CarouselError

__all__ = ["decoded", "encoded"]


def encoded(answer: object) -> bytes:
    """A frozen dataclass, and all that it is made of, as JSON.

    ``dataclasses.asdict`` would copy every number of a matrix first, which takes longer than to
    write it.

    Raises:
        ValueError: a number in it is not finite: JSON has none such, and ``Level`` names it.
    """
    return json.dumps(answer, default=members, allow_nan=False, separators=(",", ":")).encode()


def members(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def decoded(body: bytes) -> Any:
    """What a body says; an empty one says ``{}``.

    Raises:
        CarouselError: it is no JSON, or JSON of which two readers could think differently.
    """
    try:
        return json.loads(
            body.decode() or "{}", parse_constant=not_a_number, object_pairs_hook=once_each
        )
    except RecursionError:
        raise CarouselError("The request is nested too deeply.") from None
    except ValueError as error:  # of JSON, of UTF-8, or of an integer of thousands of digits
        raise CarouselError(f"The request is not JSON: {error}.") from None


def not_a_number(name: str) -> NoReturn:
    """Python reads NaN and Infinity, which are not JSON."""
    raise ValueError(f"{name} is not a number")


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice in an object")
    return found
