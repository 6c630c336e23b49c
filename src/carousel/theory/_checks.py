"""What the arguments of the closed forms have to be."""

from __future__ import annotations

import math
from operator import index
from typing import SupportsFloat, SupportsIndex

from carousel._errors import CarouselError

__all__ = ["finite", "whole_steps"]


def finite(name: str, value: object, meaning: str, above: float = -math.inf) -> float:
    """A finite number above ``above``, as a float.

    Raises:
        CarouselError: it is something else.
    """
    number = float(value) if isinstance(value, SupportsFloat) else math.nan
    if math.isfinite(number) and number > above:
        return number
    bound = "" if above == -math.inf else f" above {above:g}"
    raise CarouselError(f"Expected {name}, {meaning}, to be a finite number{bound}; got {value!r}.")


def whole_steps(name: str, value: object) -> int:
    """A number of steps, 0 or more.

    Raises:
        CarouselError: it is negative, or not a whole number.
    """
    if isinstance(value, SupportsIndex) and not isinstance(value, bool) and index(value) >= 0:
        return index(value)
    raise CarouselError(f"Expected {name} to be a whole number of steps, 0 or more; got {value!r}.")
