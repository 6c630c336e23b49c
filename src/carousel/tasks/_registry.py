"""The data sets and the long-range tasks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from carousel._errors import CarouselError
from carousel.tasks._adding import Adding
from carousel.tasks._data import SequenceData
from carousel.tasks._delayed_recall import DelayedRecall
from carousel.tasks._digits import digits
from carousel.tasks._long_range import LongRangeTask
from carousel.tasks._temporal_order import TemporalOrder
from carousel.tasks._text import text

__all__ = ["DATASETS", "TASKS", "load", "long_range"]

DATASETS: dict[str, Callable[..., SequenceData]] = {"digits": digits, "text": text}

TASKS: dict[str, type[LongRangeTask]] = {
    kind.name: kind for kind in (Adding, DelayedRecall, TemporalOrder)
}


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


def long_range(name: str, lag_steps: int) -> LongRangeTask:
    """The long-range task of that name whose longest lag is ``lag_steps``.

    Raises:
        CarouselError: there is no such task, or it cannot have so short a lag.

    >>> task = long_range("temporal-order", lag_steps=90)
    >>> task.steps, task.shortest_lag_steps
    (101, 81)
    """
    if name not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise CarouselError(f"there is no long-range task named {name!r}; choose one of: {known}")
    return TASKS[name].with_lag(lag_steps)
