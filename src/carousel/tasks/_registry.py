"""The data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from carousel._errors import CarouselError
from carousel.tasks._data import SequenceData
from carousel.tasks._digits import digits
from carousel.tasks._text import text

__all__ = ["DATASETS", "load"]

DATASETS: dict[str, Callable[..., SequenceData]] = {"digits": digits, "text": text}


def load(name: str, **options: float) -> SequenceData:
    """The data set of that name, made anew; ``options`` are the arguments of its function.

    Raises:
        CarouselError: there is no such data set, or it has no such option.
    """
    if name not in DATASETS:
        known = ", ".join(sorted(DATASETS))
        raise CarouselError(f"there is no data set named {name!r}; choose one of: {known}")
    make = DATASETS[name]
    accepted = inspect.signature(make).parameters
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise CarouselError(
            f"the data set {name!r} has no option {', '.join(unknown)}; "
            f"its options are: {', '.join(sorted(accepted))}"
        )
    return make(**options)
