"""What is measured: a group of rows, one for each shape, with figures that may have a target."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from carousel import CarouselError
from harness._checks import Mismatch
from harness._grid import Shape
from harness._timing import Ratio, Timing, interleaved

__all__ = ["Case", "Comparison", "Group", "Options", "Row", "Target", "run_group"]

# A row that raises one of these is left out, loudly; the rest of the table is still measured.
FAILURES = (Mismatch, CarouselError, RuntimeError, ValueError, TypeError)


@dataclass(frozen=True)
class Options:
    """What the command line says about all groups."""

    threads: int
    budget_s: float  # for the timed rounds of a row
    quick: bool
    null: bool  # torch stands in for Carousel: what the method reads when nothing differs


@dataclass(frozen=True)
class Case:
    """One row before it is timed.

    ``check`` runs first, on the full size, and raises Mismatch; it warms up as well. ``values``
    are further figures, computed when the times are known.
    """

    ways: dict[str, Callable[[], object]]
    check: Callable[[], None]
    values: Callable[[Timing], dict[str, float]] = lambda _: {}


@dataclass(frozen=True)
class Comparison:
    """A figure of a row: the seconds of one way divided by those of another."""

    label: str
    over: str
    under: str


@dataclass(frozen=True)
class Target:
    """What a figure is to reach, over the rows where ``where`` holds.

    ``mean`` bounds the geometric mean and ``each`` every single row, from below, or from above if
    ``at_most``.
    """

    label: str
    mean: float | None = None
    each: float | None = None
    at_most: bool = False
    where: Callable[[Shape], bool] = lambda _: True
    rows: str = "all rows"  # ``where`` in words


@dataclass(frozen=True)
class Row:
    """What came of one shape."""

    shape: Shape
    rounds: int = 0
    milliseconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def figure(self, label: str) -> float | None:
        """A ratio's median or a value; None where this row has none of that name."""
        return self.ratios[label].median if label in self.ratios else self.values.get(label)


@dataclass(frozen=True)
class Group:
    """Rows of one kind.

    Either ``case`` makes of a shape what is timed, or ``measure`` makes the row itself. ``whole``
    gives figures of the rows together.
    """

    name: str
    title: str
    shapes: tuple[Shape, ...]
    case: Callable[[Shape, Options], Case] | None = None
    measure: Callable[[Shape, Options], Row] | None = None
    comparisons: tuple[Comparison, ...] = ()
    targets: tuple[Target, ...] = ()
    whole: Callable[[list[Row]], dict[str, float]] = lambda _: {}
    plotted: str | None = None  # the comparison that the plot shows


def run_group(group: Group, options: Options) -> tuple[list[Row], list[str]]:
    """Measure all rows of a group and print each as it comes.

    Returns:
        The rows, and what went wrong with those that are not among them.
    """
    print(f"\n### {group.name}: {group.title}\n", flush=True)
    rows, failures, begin = [], [], time.monotonic()
    for shape in group.shapes:
        try:
            row = _measured(group, shape, options)
        except FAILURES as error:
            failures.append(f"{group.name}, {shape}: {type(error).__name__}: {error}")
            print(f"\n**FAILED, not timed.** {failures[-1]}\n", flush=True)
            continue
        if not rows:
            _print_head(row)
        rows.append(row)
        _print_row(row)
    for label, value in group.whole(rows).items():
        print(f"\n{label}: {value:.3f}")
    print(f"{group.name} took {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return rows, failures


def _measured(group: Group, shape: Shape, options: Options) -> Row:
    torch.manual_seed(0)
    if group.measure is not None:
        return group.measure(shape, options)
    assert group.case is not None
    case = group.case(shape, options)
    case.check()
    timing = interleaved(case.ways, options.budget_s, warmups=_warmups(shape))
    row = Row(
        shape,
        timing.rounds,
        {way: 1e3 * timing.median(way) for way in case.ways},
        {
            figure.label: timing.ratio(figure.over, figure.under)
            for figure in group.comparisons
            if figure.over in case.ways and figure.under in case.ways
        },
        case.values(timing),
    )
    del case
    gc.collect()
    return row


def _warmups(shape: Shape) -> int:
    """The check has run every layer once, which is enough where a step takes long."""
    return 0 if shape.flops(4) > 1e10 else 2


def _cells(row: Row) -> list[tuple[str, str]]:
    """Headings and texts of a row."""
    cells = [(name, str(getattr(row.shape, name))) for name in ("B", "T", "H")]
    cells += [(f"{way} ms", f"{time_ms:.2f}") for way, time_ms in row.milliseconds.items()]
    for label, ratio in row.ratios.items():
        cells.append((label, f"{ratio.median:.2f}x"))
        cells.append(("95 %", f"{ratio.low:.2f}..{ratio.high:.2f}"))
    for label, value in row.values.items():
        cells.append((label, f"{value:.0f}" if value >= 1000 else f"{value:.3g}"))
    if row.rounds:
        cells.append(("rounds", str(row.rounds)))
    return cells


def _print_head(row: Row) -> None:
    headings = [f"{name:>{_width(name)}}" for name, _ in _cells(row)]
    print(f"| {' | '.join(headings)} |")
    print(f"|{'|'.join('-' * (len(heading) + 1) + ':' for heading in headings)}|")


def _print_row(row: Row) -> None:
    texts = [f"{text:>{_width(name)}}" for name, text in _cells(row)]
    print(f"| {' | '.join(texts)} |", flush=True)


def _width(heading: str) -> int:
    least = 12 if heading == "95 %" else 5
    return max(len(heading), least)
