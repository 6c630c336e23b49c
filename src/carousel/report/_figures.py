"""The figures of the page as plain geometry; the templates turn it into SVG.

Positions are per cent of a figure's width and height, so that a figure fits any paper or screen
and its lettering never shrinks. Paths live in a box of BOX x BOX that is stretched to the figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from carousel.report._plot import (
    Line,
    LogAxis,
    column_bins,
    letter_places,
    log_axis,
    points,
    position,
    step_ticks,
    strips,
)
from carousel.report._schema import CategoryName, HeatMap, LayerSummary, Level
from carousel.report._words import NAMED, explained, norm, scaled_power

__all__ = ["Curve", "HeatFigure", "LineFigure", "Tick", "heat_figure", "line_figure"]

BOX = 1000
COLUMNS = 400  # points of a curve
SHADES = 12  # of a heat map
MOST_BOUNDARIES = 24  # more than these are a loop over single steps, not chunks
Point = tuple[float, float]
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis, in per cent from the left or from the top."""

    at: float
    label: str
    anchor: str  # "start", "middle" or "end"
    minor: bool = False  # may be left out where there is little room


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    key: str
    label: str
    style: int  # which colour and which dashes
    path: str
    dots: str  # points with no neighbour
    band: str  # from the 10 % to the 90 % quantile
    letter: Point | None  # where its letter stands, in per cent
    above: bool  # whether the letter stands above that point, and not on it


@dataclass(frozen=True)
class StripFigure:
    """Where one category occurs along one line."""

    name: str
    category: CategoryName
    pieces: tuple[tuple[float, float, bool], ...]  # start, width, whether in every sequence


@dataclass(frozen=True)
class Explained:
    """A category and what it means."""

    category: CategoryName
    name: str
    meaning: str


@dataclass(frozen=True)
class LineFigure:
    """A chart of norms by step."""

    description: str
    curves: tuple[Curve, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    limit: Tick | None  # the smallest normal number of the dtype, where the axis reaches it
    boundaries: tuple[float, ...]
    strips: tuple[StripFigure, ...]
    legend: tuple[Explained, ...]


@dataclass(frozen=True)
class HeatFigure:
    """A map of norms by sequence and step."""

    description: str
    steps: int  # the width of the box that the paths lie in, one for each step
    rows: int  # and its height
    shades: tuple[tuple[int, str], ...]  # (shade, path)
    blocks: tuple[tuple[CategoryName, float, float, float, float], ...]  # x, y, width, height
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    lowest: str
    highest: str
    legend: tuple[Explained, ...]


def line_figure(lines: tuple[Line, ...], description: str) -> LineFigure:
    """The chart of ``lines`` on one log axis, with the band that holds most sequences."""
    steps = max(line.steps for line in lines)
    axis = log_axis(
        (
            level
            for line in lines
            for levels in (line.series.median, line.series.low, line.series.high)
            for level in levels
        ),
        most_ticks=7,
    )
    shown = strips(lines)
    layer = lines[0].layer
    return LineFigure(
        description=description,
        curves=curves(lines, axis, steps),
        y_ticks=() if axis is None else y_ticks(axis),
        x_ticks=x_ticks(steps),
        limit=None if axis is None else limit_tick(axis, layer),
        boundaries=boundaries(layer, steps) if all(line.layer is layer for line in lines) else (),
        strips=tuple(
            StripFigure(
                name=f"{strip.line.key} {NAMED[strip.category]}",
                category=strip.category,
                pieces=pieces(
                    [strip.share(bins) for bins in column_bins(strip.line, COLUMNS, steps)]
                ),
            )
            for strip in shown
        ),
        legend=legend([(strip.category, strip.line.layer) for strip in shown]),
    )


def curves(lines: tuple[Line, ...], axis: LogAxis | None, steps: int) -> tuple[Curve, ...]:
    """The lines with their bands, each with its letter where there is room for it."""
    if axis is None:
        return tuple(
            Curve(line.key, line.label, index, "", "", "", None, above=False)
            for index, line in enumerate(lines)
        )
    medians = [placed(line, line.series.median, axis, steps) for line in lines]
    letters = letter_places(
        [[(x / BOX, y / BOX) for x, y in filter(None, median)] for median in medians]
    )
    found = []
    for index, (line, median, letter) in enumerate(zip(lines, medians, letters, strict=True)):
        runs = runs_of(median)
        low = placed(line, grounded(line.series.low, axis), axis, steps)
        high = placed(line, line.series.high, axis, steps)
        found.append(
            Curve(
                key=line.key,
                label=line.label,
                style=index,
                path="".join(polyline(run) for run in runs if len(run) > 1),
                dots="".join(f"M{written(run[0])}h0" for run in runs if len(run) == 1),
                band="".join(bands(low, high)),
                letter=None if letter is None else (letter[0] * 100, letter[1] * 100),
                above=sum(map(len, runs)) == 1,
            )
        )
    return tuple(found)


def placed(line: Line, levels: tuple[Level, ...], axis: LogAxis, steps: int) -> list[Point | None]:
    """The points of a line in the box; None where there is no number."""
    return [
        None if level is None else (x * BOX, (1 - axis.fraction(level)) * BOX)
        for x, level in points(line, levels, COLUMNS, steps)
    ]


def grounded(levels: tuple[Level, ...], axis: LogAxis) -> tuple[Level, ...]:
    """Levels in which an exact zero lies at the bottom of the axis: a band may reach it."""
    return tuple(axis.low if level == "zero" else level for level in levels)


def runs_of(path: list[Point | None]) -> list[list[Point]]:
    """The unbroken parts of a path."""
    runs: list[list[Point]] = [[]]
    for point in path:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def bands(low: list[Point | None], high: list[Point | None]) -> list[str]:
    """The closed areas between two paths, wherever both are there."""
    pairs = list(zip(low, high, strict=True))
    both_low = runs_of([a if b is not None else None for a, b in pairs])
    both_high = runs_of([b if a is not None else None for a, b in pairs])
    return [
        polyline(above + below[::-1]) + "z"
        for below, above in zip(both_low, both_high, strict=True)
        if len(above) > 1
    ]


def polyline(run: list[Point]) -> str:
    """A path through points."""
    return "M" + "L".join(written(point) for point in run)


def written(point: Point) -> str:
    """A point, to a tenth of a thousandth of the box."""
    return f"{point[0]:.5g} {point[1]:.5g}"


def y_ticks(axis: LogAxis) -> tuple[Tick, ...]:
    """The marks on a log axis."""
    return tuple(
        Tick((1 - axis.fraction(position(mark))) * 100, scaled_power(*mark), "end")
        for mark in axis.ticks
    )


def x_ticks(steps: int) -> tuple[Tick, ...]:
    """The numbers of steps, each under the middle of its step."""
    ticks = step_ticks(steps, 8)
    marks = []
    for index, step in enumerate(ticks):
        at = (step + 0.5) / steps * 100
        anchor = "start" if at < 2 else "end" if at > 98 else "middle"
        minor = index not in (0, len(ticks) - 1) and index % 2 == 1
        marks.append(Tick(at, f"{step:,}".replace(",", "\N{NO-BREAK SPACE}"), anchor, minor))
    return tuple(marks)


def limit_tick(axis: LogAxis, layer: LayerSummary) -> Tick | None:
    """Where the dtype's normal numbers end, if that lies on the axis."""
    level = layer.smallest_log10
    if not axis.low < level < axis.high:
        return None
    first = layer.at_first_step
    below_at_left = (
        isinstance(first, float) and first < level
    )  # there the label is in no line's way
    return Tick(
        (1 - axis.fraction(level)) * 100,
        f"smallest normal {layer.dtype}: {norm(level)}",
        "start" if below_at_left else "end",
    )


def boundaries(layer: LayerSummary, steps: int) -> tuple[float, ...]:
    """Where later calls of the module begin, unless there is one call for nearly every step."""
    if len(layer.boundaries) > MOST_BOUNDARIES:
        return ()
    return tuple(step / steps * 100 for step in layer.boundaries)


def pieces(shares: list[float]) -> tuple[tuple[float, float, bool], ...]:
    """Neighbouring columns of the same kind joined: start and width in per cent."""
    width = 100 / len(shares)
    found: list[tuple[float, float, bool]] = []
    for column, share in enumerate(shares):
        if share == 0:
            continue
        start, every = column * width, share == 1
        if found and found[-1][2] == every and abs(sum(found[-1][:2]) - start) < width / 2:
            found[-1] = (found[-1][0], start + width - found[-1][0], every)
        else:
            found.append((start, width, every))
    return tuple((round(start, 3), round(width, 3), every) for start, width, every in found)


def legend(met: list[tuple[CategoryName, LayerSummary]]) -> tuple[Explained, ...]:
    """What the categories mean that were met, each once."""
    first = dict(reversed(met))
    order: tuple[CategoryName, ...] = ("zero", "underflow", "infinite", "nan", "padding")
    return tuple(
        Explained(name, NAMED[name], explained(name, first[name]))
        for name in order
        if name in first
    )


def heat_figure(layer: LayerSummary, description: str) -> HeatFigure:
    """The map of one layer's total gradient."""
    heat = layer.heat_map
    numbers = [
        level
        for kinds, values in zip(heat.category, heat.level, strict=True)
        for kind, level in zip(kinds, values, strict=True)
        if kind == "value" and isinstance(level, float)
    ]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 0.0)
    met = {category for row in heat.category for category in row}
    return HeatFigure(
        description=description,
        steps=layer.steps,
        rows=len(heat.first_sequence),
        shades=shades(heat, low, high),
        blocks=blocks(heat, layer),
        y_ticks=sequence_ticks(heat),
        x_ticks=x_ticks(layer.steps),
        lowest=norm(low) if numbers else "",
        highest=norm(high) if numbers else "",
        legend=legend([(category, layer) for category in sorted(met) if category != "value"]),
    )


def shades(heat: HeatMap, low: float, high: float) -> tuple[tuple[int, str], ...]:
    """One path for each shade: the cells of that shade, neighbours in a row joined."""
    paths: dict[int, list[str]] = defaultdict(list)
    scale = SHADES / (high - low) if high > low else 0.0
    for y, (kinds, values) in enumerate(zip(heat.category, heat.level, strict=True)):
        row = [
            min(SHADES - 1, math.floor((level - low) * scale))
            if kind == "value" and isinstance(level, float)
            else None
            for kind, level in zip(kinds, values, strict=True)
        ]
        for shade, start, width in runs_in(row):
            if shade is not None:
                left = heat.first_step[start]
                across = heat.last_step[start + width - 1] + 1 - left
                paths[shade].append(f"M{left} {y}h{across}v1h-{across}z")
    return tuple((shade, "".join(paths[shade])) for shade in sorted(paths))


def blocks(
    heat: HeatMap, layer: LayerSummary
) -> tuple[tuple[CategoryName, float, float, float, float], ...]:
    """The cells without a plain value, in per cent; padding is left empty."""
    rows = len(heat.category)
    found = []
    for y, kinds in enumerate(heat.category):
        for kind, start, width in runs_in(kinds):
            if kind in ("value", "padding"):
                continue
            left = heat.first_step[start] / layer.steps * 100
            right = (heat.last_step[start + width - 1] + 1) / layer.steps * 100
            found.append((kind, left, y / rows * 100, right - left, 100 / rows))
    return tuple(found)


def runs_in(row: Sequence[Entry]) -> list[tuple[Entry, int, int]]:
    """(what, start, length) of each run of equal entries."""
    runs: list[tuple[Entry, int, int]] = []
    for index, entry in enumerate(row):
        if runs and runs[-1][0] == entry:
            runs[-1] = (entry, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((entry, index, 1))
    return runs


def sequence_ticks(heat: HeatMap) -> tuple[Tick, ...]:
    """The numbers of sequences beside a map, each at the middle of its row."""
    rows = len(heat.first_sequence)
    each = max(1, math.ceil(rows / 6))
    return tuple(
        Tick((row + 0.5) / rows * 100, str(heat.first_sequence[row]), "end")
        for row in range(0, rows, each)
    )
