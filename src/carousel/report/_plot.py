"""What every line chart needs, whoever draws it: the lines, a log axis and an axis of steps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carousel.report._schema import CategoryName, FlowSummary, LayerSummary, Level, Series
from carousel.report._words import series_label

__all__ = [
    "Line",
    "LogAxis",
    "column_bins",
    "comparison_lines",
    "layer_lines",
    "letter_places",
    "log_axis",
    "points",
    "position",
    "step_ticks",
    "strips",
]

MOST_LINES = 8  # in the figure that compares flows
NARROW = 1.3  # decades: numbers of similar size get a finer axis
LETTER_ROOM = 0.15  # with so much room around it a letter needs no better place
LETTER_SHARES = (0.03, 0.97, 0.25, 0.5, 0.75, 0.12, 0.88, 0.38, 0.62)  # along a line, best first
Path = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One series to draw, under a letter."""

    key: str  # "A", "B", ..: what tells the lines apart without colour
    label: str
    series: Series
    layer: LayerSummary
    explains_zero: bool  # whether zeros and padding of this line deserve a strip of their own

    @property
    def steps(self) -> int:
        """T."""
        return self.layer.steps

    def centre(self, index: int) -> float:
        """Where a bin lies, in steps; step t fills the interval from t to t + 1."""
        return (self.layer.first_step[index] + self.layer.last_step[index] + 1) / 2


@dataclass(frozen=True)
class LogAxis:
    """A log axis; positions on it are log10."""

    low: float  # at the bottom
    high: float
    ticks: tuple[tuple[int, int], ...]  # (digit, exponent): 5, -4 stands for 5e-4

    def fraction(self, level: float) -> float:
        """0 at the bottom, 1 at the top; what lies outside stays on the edge."""
        return min(1.0, max(0.0, (level - self.low) / (self.high - self.low)))


@dataclass(frozen=True)
class Strip:
    """Where one category occurs along one line."""

    line: Line
    category: CategoryName

    def share(self, bins: Iterable[int]) -> float:
        """The part of the norms in these bins that fall into the category, 0 to 1."""
        counts = self.line.series.counts
        here = there = 0
        for index in bins:
            here += counts.of(self.category)[index]
            there += counts.total(index)
            if self.category != "padding":
                there -= counts.padding[index]
        return here / there if here else 0.0


def layer_lines(layer: LayerSummary) -> tuple[Line, ...]:
    """The lines of one layer's chart: total, injected and, where there is one, the cell state."""
    return tuple(
        Line("ABC"[index], series_label(series, layer), series, layer, explains_zero=index == 0)
        for index, series in enumerate(layer.series)
    )


def comparison_lines(flows: tuple[FlowSummary, ...]) -> tuple[Line, ...]:
    """The total gradients of several flows; of the first layers only, where there are too many."""
    chosen = [(flow, layer) for flow in flows for layer in flow.layers]
    if len(chosen) > MOST_LINES:
        chosen = [(flow, flow.layers[0]) for flow in flows if flow.layers][:MOST_LINES]
    return tuple(
        Line(
            "ABCDEFGH"[index],
            flow.name if len(flow.layers) == 1 else f"{flow.name}: {layer.name}",
            layer.total,
            layer,
            explains_zero=True,
        )
        for index, (flow, layer) in enumerate(chosen)
    )


def strips(lines: Iterable[Line]) -> tuple[Strip, ...]:
    """A strip for each category that occurs along each line."""
    return tuple(
        Strip(line, category)
        for line in lines
        for category in line.series.counts.occurring()
        if line.explains_zero or category not in ("zero", "padding")
    )


def log_axis(levels: Iterable[Level], most_ticks: int) -> LogAxis | None:
    """The axis that holds all numbers among ``levels``; None where there is no number.

    It ends at whole powers of ten, or, where all numbers are of similar size, at 1, 2 or 5 times
    one.
    """
    numbers = [level for level in levels if isinstance(level, float)]
    if not numbers:
        return None
    least, most = min(numbers), max(numbers)
    if most - least < NARROW:
        powers = range(math.floor(least) - 1, math.ceil(most) + 2)
        grid = [(digit, power) for power in powers for digit in (1, 2, 5)]
        below = [mark for mark in grid if position(mark) <= least]
        above = [mark for mark in grid if position(mark) > most]
        ticks = grid[grid.index(below[-1]) : grid.index(above[0]) + 1]
        return LogAxis(position(ticks[0]), position(ticks[-1]), tuple(ticks))
    low, high = math.floor(least), math.ceil(most)
    step = nice_step((high - low) / (most_ticks - 1))
    first = -(-low // step) * step
    return LogAxis(
        float(low), float(high), tuple((1, power) for power in range(first, high + 1, step))
    )


def position(mark: tuple[int, int]) -> float:
    """The log10 of a mark on a log axis."""
    return math.log10(mark[0]) + mark[1]


def step_ticks(steps: int, most: int) -> tuple[int, ...]:
    """Round step numbers from 0 on, and the last step."""
    if steps == 1:
        return (0,)
    step = nice_step((steps - 1) / max(1, most - 1))
    ticks = list(range(0, steps, step))
    if len(ticks) > 1 and steps - 1 - ticks[-1] < 0.7 * step:
        ticks.pop()
    return (*ticks, steps - 1)


def nice_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, .. that is not below ``least``."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= least:
                return factor * power
        power *= 10


def column_bins(line: Line, columns: int, steps: int) -> list[list[int]]:
    """The bins that fall into each of ``columns`` equal parts of an axis of ``steps`` steps.

    Where bins are wider than columns, each column has the one that covers its middle; beyond the
    line's own end it has none.
    """
    inside: list[list[int]] = [[] for _ in range(columns)]
    count = len(line.series.median)
    for index in range(count):
        inside[min(columns - 1, int(line.centre(index) / steps * columns))].append(index)
    for column, bins in enumerate(inside):
        middle = (column + 0.5) / columns * steps
        if not bins and middle < line.steps:
            width = line.layer.last_step[0] + 1
            bins.append(min(count - 1, int(middle // width)))
    return inside


def points(
    line: Line, levels: tuple[Level, ...], columns: int, steps: int
) -> list[tuple[float, float | None]]:
    """(position from 0 to 1, level) along a line; None where there is no number.

    More bins than columns are joined: a column's level is the median of the numbers in it.
    """
    if len(levels) <= columns:
        return [
            (line.centre(index) / steps, level if isinstance(level, float) else None)
            for index, level in enumerate(levels)
        ]
    joined: list[tuple[float, float | None]] = []
    for column, bins in enumerate(column_bins(line, columns, steps)):
        numbers = [level for index in bins if isinstance(level := levels[index], float)]
        middle = statistics.median(numbers) if numbers else None
        joined.append(((column + 0.5) / columns, middle))
    return joined


def letter_places(paths: Sequence[Path]) -> list[tuple[float, float] | None]:
    """Where the letter of each path stands: on the path, as far from the others as can be.

    Args:
        paths: points (x, y) of each line, both from 0 to 1, ordered by x.

    Returns:
        For each path one of its points; None for a path without any.
    """
    taken: list[tuple[float, float]] = []
    places: list[tuple[float, float] | None] = []
    for index, path in enumerate(paths):
        others = [other for number, other in enumerate(paths) if number != index and other]

        def room(place: tuple[float, float], others: list[Path] = others) -> float:
            gaps = [abs(place[1] - height_at(other, place[0])) for other in others]
            letters = [math.dist(place, letter) for letter in taken]
            return min([*gaps, *letters, LETTER_ROOM])

        candidates = [path[round(share * (len(path) - 1))] for share in LETTER_SHARES if path]
        best = max(candidates, key=room, default=None)
        places.append(best)
        if best is not None:
            taken.append(best)
    return places


def height_at(path: Path, x: float) -> float:
    """The y of the path's point that is nearest to ``x``, far away where the path is not there."""
    nearest = min(path, key=lambda point: abs(point[0] - x))
    return nearest[1] if abs(nearest[0] - x) < LETTER_ROOM else math.inf
