"""A line chart in characters: log axis, steps, a strip for each category, and a legend."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from carousel.report._canvas import Canvas, sample
from carousel.report._plot import (
    Line,
    LogAxis,
    Strip,
    column_bins,
    letter_places,
    log_axis,
    points,
    position,
    step_ticks,
    strips,
)
from carousel.report._schema import CategoryName
from carousel.report._words import NAMED, as_ascii, clean, explained, scaled_power

__all__ = ["Chart", "chart"]

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red", "white", "bright_black")
# (in some sequences, in all of them), and the colour; the letters speak without it.
GLYPHS: dict[CategoryName, tuple[str, str, str]] = {
    "zero": ("o", "0", "magenta"),
    "underflow": ("u", "U", "blue"),
    "infinite": ("i", "I", "bold red"),
    "nan": ("n", "N", "bold red"),
    "padding": ("-", "=", "dim"),
}
FEWEST_COLUMNS = 20


@dataclass(frozen=True)
class Chart:
    """A drawn chart."""

    rows: list[Text]  # must not be wrapped
    legend: list[Text]


def chart(lines: tuple[Line, ...], width: int, rows: int, unicode: bool) -> Chart:
    """The chart of ``lines``, ``width`` characters wide, with ``rows`` rows for the lines."""
    axis = log_axis((level for line in lines for level in line.series.median), rows // 2)
    steps = max(line.steps for line in lines)
    shown = strips(lines)
    names = [strip_name(strip, lines) for strip in shown]
    labels = tick_labels(axis, rows, unicode)
    gutter = max(len(name) for name in (*names, *labels.values(), "")) + 1
    columns = max(FEWEST_COLUMNS, width - gutter - 1)

    drawn = [
        *plot(lines, axis, labels, gutter=gutter, columns=columns, rows=rows, unicode=unicode),
        x_axis(steps, gutter, columns, unicode),
        x_labels(steps, gutter, columns),
    ]
    drawn += [
        strip_row(name, strip, gutter, columns, steps)
        for name, strip in zip(names, shown, strict=True)
    ]
    return Chart(drawn, legend(lines, shown, width, unicode))


def plot(
    lines: tuple[Line, ...],
    axis: LogAxis | None,
    labels: dict[int, str],
    *,
    gutter: int,
    columns: int,
    rows: int,
    unicode: bool,
) -> list[Text]:
    """The rows with the lines in them."""
    if axis is None:
        return [Text(" " * gutter + ("│" if unicode else "|") + "  no number to draw")]
    canvas = Canvas(columns, rows, braille=unicode)
    steps = max(line.steps for line in lines)
    drawn = []
    for index, line in enumerate(lines):
        path = [
            (x, None if level is None else axis.fraction(level))
            for x, level in points(line, line.series.median, columns * 2, steps)
        ]
        canvas.line(path, index)
        drawn.append([(x, y) for x, y in path if y is not None])
    for index, place in enumerate(letter_places(drawn)):
        if place is not None:
            canvas.letter(*place, lines[index].key, index)
    result = []
    for row in range(rows):
        tick = labels.get(row, "")
        text = Text().append(tick.rjust(gutter - 1) + " ", style="dim")
        text.append(("┤" if tick else "│") if unicode else ("+" if tick else "|"), style="dim")
        for mark, owner in canvas.cells(row):
            text.append(mark, style="" if owner is None else COLOURS[owner % len(COLOURS)])
        result.append(text)
    return result


def tick_labels(axis: LogAxis | None, rows: int, unicode: bool) -> dict[int, str]:
    """The labels of the log axis by row, counted from the top."""
    if axis is None:
        return {}
    labels = {}
    for mark in axis.ticks:
        row = round((1 - axis.fraction(position(mark))) * (rows - 1))
        label = scaled_power(*mark)
        labels[row] = label if unicode else as_ascii(label)
    return labels


def x_axis(steps: int, gutter: int, columns: int, unicode: bool) -> Text:
    """The line under the chart, with a mark at each labelled step."""
    rule = ["─" if unicode else "-"] * columns
    for tick in step_ticks(steps, most_ticks(steps, columns)):
        rule[column_of(tick, steps, columns)] = "┬" if unicode else "+"
    return Text(" " * gutter + ("└" if unicode else "+") + "".join(rule), style="dim")


def x_labels(steps: int, gutter: int, columns: int) -> Text:
    """The step numbers, each under its mark, and the name of the axis where there is room."""
    row = [" "] * columns
    taken = -1
    for tick in step_ticks(steps, most_ticks(steps, columns)):
        label = str(tick)
        start = column_of(tick, steps, columns) - len(label) // 2
        start = min(max(0, start), columns - len(label))
        if start <= taken:
            continue
        row[start : start + len(label)] = label
        taken = start + len(label)
    return Text("step".rjust(gutter) + " " + "".join(row), style="dim")


def most_ticks(steps: int, columns: int) -> int:
    """How many step numbers fit."""
    return max(2, min(9, columns // (len(str(steps)) + 4)))


def column_of(step: int, steps: int, columns: int) -> int:
    """The column in which the middle of a step lies."""
    return min(columns - 1, int((step + 0.5) / steps * columns))


def strip_name(strip: Strip, lines: tuple[Line, ...]) -> str:
    """What stands before a strip."""
    return f"{strip.line.key} {NAMED[strip.category]}" if len(lines) > 1 else NAMED[strip.category]


def strip_row(name: str, strip: Strip, gutter: int, columns: int, steps: int) -> Text:
    """Where a category occurs: one glyph for some of the sequences, one for all of them."""
    some, every, style = GLYPHS[strip.category]
    row = Text().append(name.rjust(gutter) + " ", style="dim")
    for bins in column_bins(strip.line, columns, steps):
        share = strip.share(bins)
        row.append(" " if share == 0 else every if share == 1 else some, style=style)
    return row


def legend(
    lines: tuple[Line, ...], shown: tuple[Strip, ...], width: int, unicode: bool
) -> list[Text]:
    """What each line and each glyph means."""
    entries = []
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        entry = Text().append(f"{line.key} {sample(index, braille=unicode)} ", style=colour)
        label = clean(line.label)
        entries.append(entry.append(label if unicode else as_ascii(label)))
    result = flowed(entries, width)
    for category in dict.fromkeys(strip.category for strip in shown):
        some, every, style = GLYPHS[category]
        layer = next(strip.line.layer for strip in shown if strip.category == category)
        meaning = f"{NAMED[category]}: {explained(category, layer)}"
        entry = Text().append(every, style=style)
        entry.append(f" {meaning if unicode else as_ascii(meaning)} ({some}: in some sequences)")
        result.append(entry)
    return result


def flowed(entries: list[Text], width: int) -> list[Text]:
    """Entries beside one another as long as they fit."""
    rows: list[Text] = []
    for entry in entries:
        if rows and rows[-1].cell_len + 3 + entry.cell_len <= width:
            rows[-1].append("   ").append_text(entry)
        else:
            rows.append(entry)
    return rows
