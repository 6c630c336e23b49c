"""The picture of a Lyapunov spectrum: exponents from the largest on, with standard errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel._drawing import Palette, axes_for, finish, palette_of, stroke
from carousel.flow._quantities import Category
from carousel.flow._series import Series, series_of
from carousel.flow._spectrum import Spectrum
from carousel.flow._strips import Strip, draw_strips, floor_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from carousel.flow._layer_flow import LayerFlow

__all__ = ["draw_spectrum"]

UNRESOLVED = "unresolved"  # zero, or too small beside the others to be told from it
WORDS = 0.26  # the height of three lines of words, in shares of the axes
FEW = 40  # exponents whose points can be told apart


def draw_spectrum(
    layer: LayerFlow, ax: Axes | None, k: int | None, transient: int | None, title: str
) -> Axes:
    """See ``LayerPlots.spectrum``."""
    found = layer.spectrum(k, transient)
    ax = axes_for(ax)
    palette = palette_of(ax)
    exponents = found.exponents.numpy()
    band = _by_index(found.by_sequence.T)
    strips = _strips(_by_index(found.exponents.unsqueeze(1))) + _left_out(layer, found, band)
    floor = floor_of(len(strips))
    index = np.arange(1, len(exponents) + 1)
    known = np.isfinite(exponents)
    _limits(ax, exponents[known], floor, len(exponents))
    ax.axhline(0.0, color=palette.ink, linewidth=0.9)
    low, high = band.low[1:], band.high[1:]
    inside = np.isfinite(low) & np.isfinite(high)
    colour = palette.lines[0]
    ax.fill_between(
        *(index, np.where(inside, low, 0.0), np.where(inside, high, 0.0)),
        where=inside,
        color=colour,
        alpha=0.15,
        linewidth=0,
        label="_sequences",
    )
    few = len(exponents) <= FEW
    errors = np.nan_to_num(found.standard_errors.numpy())
    ax.errorbar(
        *(index[known], exponents[known], errors[known]),
        color=colour,
        linestyle="none",
        marker="o",
        markersize=4.5 if few else 2.5,
        elinewidth=1.2 if few else 0.9,
        capsize=2.5 if few else 0,
        label="exponents",
    )
    draw_strips(ax, strips)
    if strips:
        bottom, top = ax.get_ylim()
        ax.axhline(bottom + floor * (top - bottom), color=palette.rule, linewidth=0.8)
    finish(
        ax,
        title=title,
        x="exponent i, from the largest",
        y=r"$\lambda_i$ (1 / step), with standard errors; band: most sequences",
        steps=True,
    )
    _say(ax, found, palette, floor)
    return ax


def _by_index(values: Tensor) -> Series:
    """Over the sequences, by index from 1 on; index 0 is empty. ``values`` [k, B]."""
    values = torch.nn.functional.pad(values, (0, 0, 1, 0), value=math.nan)
    kinds = torch.zeros_like(values, dtype=torch.int8)
    kinds[values == -math.inf] = Category.ZERO
    kinds[values.isnan()] = Category.NAN
    kinds[0] = Category.VALUE
    return series_of(values, kinds, len(values))


def _strips(exponents: Series) -> list[Strip]:
    names = {Category.ZERO: f"-inf: {UNRESOLVED}", Category.NAN: "NaN"}
    return [
        Strip(words, None, kind, exponents.pieces(kind))
        for kind, words in names.items()
        if kind in exponents.met
    ]


def _left_out(layer: LayerFlow, found: Spectrum, band: Series) -> list[Strip]:
    """That sequences whose states are not finite are not in the exponents."""
    broken = int((~layer.h.isfinite().all(-1) & layer.trace.valid).any(0).sum())
    if not broken or bool(found.exponents.isnan().any()):
        return []
    words = f"NaN: {broken} of {layer.batch}"
    return [Strip(words, None, Category.NAN, band.pieces(Category.NAN))]


def _limits(ax: Axes, numbers: NDArray[np.float64], floor: float, count: int) -> None:
    """Room for the exponents and for zero, above the strips."""
    ax.set_xlim(0.5, count + 0.5)
    if not len(numbers):
        ax.set_yticks([])
        ax.set_ylim(-1, 1)
        ax.text(0.5, 0.6, "no number to draw", transform=ax.transAxes, ha="center", va="center")
        return
    low, high = min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))
    margin = 0.07 * (high - low) or 0.1
    low, high = low - margin, high + margin
    ax.set_ylim(low - (high - low) * floor / (1 - floor), high)
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= high])


def _corner(ax: Axes, found: Spectrum, floor: float) -> tuple[bool, float]:
    """Whether at the right above or at the left below, and at which share of the height."""
    bottom, top = ax.get_ylim()
    zero = (0.0 - bottom) / (top - bottom)
    above = 0.96 if zero < 0.7 else zero - 0.09  # the words at the zero line come first
    heights = (found.exponents.numpy() - bottom) / (top - bottom)
    right, left = heights[-(len(heights) // 2) :], heights[: max(1, len(heights) // 2)]
    in_right = int((right > above - WORDS).sum())
    in_left = int((left < floor + WORDS).sum())
    return (True, above) if in_right <= in_left else (False, floor + 0.04)


def _say(ax: Axes, found: Spectrum, palette: Palette, floor: float) -> None:
    """What the spectrum comes to, in the corner that the falling exponents leave free."""
    lines = []
    if math.isfinite(float(found.exponents[0])):
        low, high = found.leading_interval
        lines.append(rf"$\lambda_1$ = {float(found.exponents[0]):+.3g} ({low:+.3g} to {high:+.3g})")
    if not math.isnan(found.kaplan_yorke):
        lines.append(f"Kaplan-Yorke dimension {found.kaplan_yorke:.3g} of {found.size}")
    else:
        lines.append(f"{len(found.exponents)} of {found.size} exponents")
    lines.append(f"over {found.steps} steps, after {found.transient} left out")
    if found.left_out:
        lines.append(f"sequences not counted: {found.left_out}")
    right, y = _corner(ax, found, floor)
    ax.text(
        *(0.985 if right else 0.015, y, "\n".join(lines)),
        transform=ax.transAxes,
        ha="right" if right else "left",
        va="top" if right else "bottom",
        fontsize=9,
        linespacing=1.5,
        color=palette.ink,
        path_effects=stroke(ax),
    )
    bottom, top = ax.get_ylim()
    for words, up in (("nearby states part", 3), ("nearby states approach each other", -3)):
        if bottom < 0 < top and (up < 0 or top > 0.1 * (top - bottom)):
            ax.annotate(
                words,
                (1, 0),
                xycoords=("axes fraction", "data"),
                xytext=(-3, up),
                textcoords="offset points",
                ha="right",
                va="bottom" if up > 0 else "top",
                fontsize=8,
                color=palette.quiet,
            )
