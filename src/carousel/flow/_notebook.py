"""What a notebook shows of a flow: a small table, and the gradient by step as a line.

Colours are the notebook's own (currentColor) or can be read on light and on dark ground, and
nothing is loaded from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from carousel.flow._quantities import Category
from carousel.flow._series import Series, series_of

if TYPE_CHECKING:
    from carousel.flow._layer_flow import LayerFlow

__all__ = ["table"]

WIDTH, HEIGHT, STRIP = 170, 34, 6  # pixels; bars lie below the line
MOST_BINS = 85  # two pixels each
INJECTED = "#c2672a"  # this and the following can be read on light and on dark ground
MARKS = {
    Category.ZERO: "#8b8f9a",
    Category.UNDERFLOW: "#7880e0",
    Category.INFINITE: "#e0503f",
    Category.NAN: "#d63fa3",
    Category.PADDING: "#b9bec8",
}
NAMES = {
    Category.ZERO: "zero",
    Category.UNDERFLOW: "underflow",
    Category.INFINITE: "infinite",
    Category.NAN: "NaN",
    Category.PADDING: "padding",
}
HEADS = (
    *("layer", "cell", "steps × sequences", "units", "‖dL/dhₜ‖ by step t"),
    *("at step 0", "at the last step", "certificate"),
)
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
CELL = "text-align: left; padding: 0.25em 1.2em 0.25em 0; vertical-align: middle;"


def table(layers: Mapping[str, LayerFlow], remarks: Sequence[str]) -> str:
    """HTML: a row for each layer, and the notes below."""
    if not layers:
        return "<p>A flow without layers.</p>"
    head = "".join(f'<th scope="col" style="{CELL}">{name}</th>' for name in HEADS)
    rows = "".join(_row(name, layer) for name, layer in layers.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in remarks)
    below = f'<ul style="margin: 0.4em 0; opacity: 0.8">{notes}</ul>' if notes else ""
    return (
        '<div style="overflow-x: auto"><table style="border-collapse: collapse; '
        'font-variant-numeric: tabular-nums; background: none">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        '<p style="margin: 0.3em 0; opacity: 0.8; font-size: 0.9em">Line: median over the '
        "sequences of the total gradient, logarithmic; dotted: the part injected from above. "
        f"Bars, at full height where for every sequence: {_legend()}.</p>{below}</div>"
    )


def _row(name: str, layer: LayerFlow) -> str:
    total, injected = (
        series_of(layer.log10_norm(quantity), layer.category(quantity), MOST_BINS)
        for quantity in ("d_h", "d_h_injected")
    )
    ends = series_of(layer.log10_norm("d_h"), layer.category("d_h"), layer.steps)
    cells = (
        layer.kind + (", reverse" if layer.direction == "reverse" else ""),
        f"{layer.steps} × {layer.batch}",
        str(layer.hidden),
    )
    first, last = (_level(ends, index) for index in (0, -1))
    said = f"‖dL/dh‖: {first} at step 0, {last} at step {layer.steps - 1}"
    missed = not layer.certificate <= layer.certificate_limit
    certificate = f"{layer.certificate:.1e}" + (" above its limit" if missed else "")
    marked = f"<strong>{certificate}</strong>" if missed else certificate
    return (
        f'<tr><th scope="row" style="{CELL} font-family: monospace">{escape(name)}</th>'
        + "".join(f'<td style="{CELL}">{escape(cell)}</td>' for cell in cells)
        + f'<td style="{CELL}">{_sparkline(total, injected, said)}</td>'
        + "".join(f'<td style="{CELL}">{cell}</td>' for cell in (first, last, marked))
        + "</tr>"
    )


def _sparkline(total: Series, injected: Series, said: str) -> str:
    """The lines on one logarithmic scale, and a row of bars for each category that occurs."""
    levels = np.concatenate([total.median, injected.median])
    levels = levels[np.isfinite(levels)]
    low, high = (float(levels.min()), float(levels.max())) if levels.size else (0.0, 0.0)
    scale = (HEIGHT - 4) / (high - low) if high > low else 0.0
    paths = "".join(
        f'<path d="{_path(series, low, scale)}" fill="none" stroke-linecap="round" {style}/>'
        for series, style in (
            (total, 'stroke="currentColor" stroke-width="1.5"'),
            (injected, f'stroke="{INJECTED}" stroke-width="2.5" stroke-dasharray="0.1 3.5"'),
        )
    )
    kinds = [kind for kind in MARKS if kind in total.met]
    bars = "".join(
        f'<rect x="{(piece.begin + 0.5) / total.steps * WIDTH:.1f}" '
        f'y="{HEIGHT + number * STRIP + (1 if piece.every else 3)}" '
        f'width="{(piece.end - piece.begin) / total.steps * WIDTH:.1f}" '
        f'height="{4 if piece.every else 2}" fill="{MARKS[kind]}"/>'
        for number, kind in enumerate(kinds)
        for piece in total.pieces(kind)
    )
    height = HEIGHT + len(kinds) * STRIP
    return (
        f'<svg role="img" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
        f"<title>{said}</title>{paths}{bars}</svg>"
    )


def _path(series: Series, low: float, scale: float) -> str:
    """A path through the medians that are numbers; a single one becomes a dot."""
    path, pen = [], "M"
    for centre, level in zip(series.centre, series.median, strict=True):
        if not math.isfinite(level):
            pen = "M"
            continue
        x = (centre + 0.5) / series.steps * WIDTH
        y = HEIGHT - 2 - (level - low) * scale
        path.append(f"{pen}{x:.1f} {y:.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(path)


def _level(series: Series, index: int) -> str:
    """One median in words."""
    level = float(series.median[index])
    if math.isnan(level):
        return "NaN" if series.counts[index, Category.NAN] else "no data"
    if math.isinf(level):
        return "infinite" if level > 0 else "zero"
    if -3 <= level < 4:
        return f"{10**level:.3g}"
    power = math.floor(level)
    return f"{10 ** (level - power):.1f}×10{str(power).translate(SUPERSCRIPTS)}"


def _legend() -> str:
    return ", ".join(
        f'<span style="border-bottom: 3px solid {colour}">{NAMES[kind]}</span>'
        for kind, colour in MARKS.items()
    )
