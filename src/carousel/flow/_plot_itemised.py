"""The picture of the itemised gradient: a matrix of loss step by step, in colours.

The matrix is that of Cashman et al. 2018, "RNNbow: Visualizing Learning via Backpropagation
Gradients in RNNs"; a median over the sequences takes the place of their single one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel._drawing import DARK, axes_for, finish, log10_ticks, palette_of
from carousel._optional import optional
from carousel._quantile import quantile
from carousel.flow._itemised import Itemised
from carousel.flow._quantities import Category
from carousel.flow._series import kinds_of
from carousel.flow._strips import HATCHES, NAMES, faces

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from carousel.flow._layer_flow import LayerFlow

__all__ = ["Matrix", "draw_itemised", "matrix_of"]

SIZE = (6.4, 5.2)  # inches
MOST_LOSSES = 250  # rows; more than that no picture of this size shows


@dataclass(frozen=True, eq=False)
class Matrix:
    """What is drawn: a number or a category in each cell, losses and steps in rising order."""

    losses: NDArray[np.int64]  # [K]
    steps: NDArray[np.int64]  # [S]
    log10: NDArray[np.float64]  # [K, S] median over the sequences; NaN where there is no number
    kinds: NDArray[np.int8]  # [K, S] Category, -1 where the loss lies before the step
    some_nan: NDArray[np.bool_]  # [K, S] NaN in some sequences, though not in most


@dataclass(frozen=True, eq=False)
class _Mark:
    """What is drawn over cells that are no plain number."""

    cells: NDArray[np.bool_]  # [K, S]
    face: str
    ink: str
    hatch: str
    label: str


def draw_itemised(
    layer: LayerFlow, ax: Axes | None, state: str, losses: Sequence[int] | None, title: str
) -> Axes:
    """See ``LayerPlots.itemised``."""
    if losses is None:
        rows = min(layer.steps, MOST_LOSSES)
        losses = np.unique(np.linspace(0, layer.steps - 1, rows).round().astype(int)).tolist()
    matrix = matrix_of(layer, layer.itemised(losses), state)
    ax = axes_for(ax, size=SIZE)
    palette = palette_of(ax)
    colours = optional("matplotlib", "plots", "A plot").colormaps
    # Large is what stands out from the ground, and small is near to it.
    shades = colours["viridis" if palette is DARK else "YlGnBu"]
    numbers = matrix.log10[np.isfinite(matrix.log10)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 0.0)
    if high - low < 1:
        low, high = (low + high) / 2 - 0.5, (low + high) / 2 + 0.5
    across, up = _edges(matrix.steps), _edges(matrix.losses)
    mesh = ax.pcolormesh(
        *(across, up, np.ma.masked_invalid(matrix.log10)),
        cmap=shades,
        vmin=low,
        vmax=high,
        rasterized=True,
    )
    _draw_categories(ax, matrix, across, up)
    finish(ax, title=title, x="step t", y=_words(state), steps=True)
    ax.grid(visible=False)
    ax.set_xlim(across[0], across[-1])
    ax.set_ylim(up[0], up[-1])
    locator = optional("matplotlib.ticker", "plots", "A plot").MaxNLocator
    ax.yaxis.set_major_locator(locator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    _key(ax, matrix, reverse=layer.direction == "reverse")
    if len(numbers):
        figure = ax.get_figure(root=True)
        assert figure is not None
        bar = figure.colorbar(mesh, ax=ax, pad=0.02, fraction=0.05)
        places, marks = log10_ticks(low, high, narrow=high - low < 1.3)
        bar.set_ticks(places, labels=marks)
        bar.ax.tick_params(colors=palette.quiet, labelsize=8.5, length=0)
        bar.outline.set_visible(False)
    return ax


def matrix_of(layer: LayerFlow, found: Itemised, state: str) -> Matrix:
    """Medians over the sequences, and the category that holds for most of them."""
    items = found.log10_h if state == "h" else found.log10_c
    assert items is not None
    rows = found.losses.argsort()
    losses, steps = found.losses[rows].cpu(), found.steps.cpu()
    log10 = items[rows].cpu().double()
    lengths = layer.lengths.cpu()
    valid_loss, valid_step = (at.unsqueeze(1) < lengths for at in (losses, steps))
    ahead = losses.unsqueeze(1) - steps
    way = (ahead <= 0 if layer.direction == "reverse" else ahead >= 0).unsqueeze(-1)
    there = valid_loss.unsqueeze(1) & valid_step
    kinds = kinds_of(log10, layer.dtype, there)
    ranked = there & (kinds != Category.NAN)
    middle = quantile(log10, ranked, 0.5)
    none = ~ranked.any(-1)
    kind = kinds_of(middle, layer.dtype, torch.ones_like(none))
    kind = torch.where(_most(kinds == Category.NAN, there), int(Category.NAN), kind)
    kind[~there.any(-1)] = Category.PADDING
    kind[~way.squeeze(-1)] = -1
    middle[kind != Category.VALUE] = math.nan
    some_nan = ((kinds == Category.NAN) & there & way).any(-1) & (kind != Category.NAN)
    return Matrix(
        *(losses.numpy(), steps.numpy(), middle.numpy(), kind.to(torch.int8).numpy()),
        some_nan=some_nan.numpy(),
    )


def _most(marked: Tensor, of: Tensor) -> Tensor:
    """Whether at least half of those entries over the last axis are marked that count."""
    return (2 * (marked & of).sum(-1) >= of.sum(-1)) & of.any(-1)


def _edges(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where cells begin and end: half-way between neighbours."""
    middles = (places[:-1] + places[1:]) / 2
    return np.concatenate([[places[0] - 0.5], middles, [places[-1] + 0.5]])


def _draw_categories(
    ax: Axes, matrix: Matrix, across: NDArray[np.float64], up: NDArray[np.float64]
) -> None:
    """Each category's cells in its colour and hatch, runs of cells in a row as one."""
    polygons = optional("matplotlib.collections", "plots", "A plot").PolyCollection
    for mark in _marks(ax, matrix):
        found = []
        for row, marked in enumerate(mark.cells):
            cuts = np.flatnonzero(np.diff(np.pad(marked, 1).astype(int)))
            for first, stop in zip(cuts[::2], cuts[1::2], strict=True):
                left, right, low, high = across[first], across[stop], up[row], up[row + 1]
                found.append([(left, low), (right, low), (right, high), (left, high)])
        ax.add_collection(
            polygons(
                found,
                facecolor=mark.face,
                edgecolor=mark.ink,
                hatch=mark.hatch,
                linewidth=0,
                label=f"_{mark.label}",
            )
        )


def _marks(ax: Axes, matrix: Matrix) -> list[_Mark]:
    """Those of the categories that occur; over a number only its hatch, where it is not of all."""
    known = faces(palette_of(ax))
    marks = [
        _Mark(matrix.kinds == kind, face, ink, HATCHES[kind], NAMES[kind])
        for kind, (face, ink) in known.items()
    ]
    nan = Category.NAN
    marks.append(
        _Mark(matrix.some_nan, "none", known[nan][1], HATCHES[nan][:2], f"{NAMES[nan]} in some")
    )
    return [mark for mark in marks if mark.cells.any()]


def _key(ax: Axes, matrix: Matrix, *, reverse: bool) -> None:
    """The names of the categories, in the half of the matrix where nothing is sent."""
    patch = optional("matplotlib.patches", "plots", "A plot").Patch
    palette = palette_of(ax)
    handles = [
        patch(
            facecolor=one.face, edgecolor=one.ink, hatch=one.hatch, linewidth=0.5, label=one.label
        )
        for one in _marks(ax, matrix)
    ]
    if handles:
        ax.legend(
            handles=handles,
            loc="upper left" if reverse else "lower right",
            frameon=False,
            fontsize=8.5,
            labelcolor=palette.quiet,
        )


def _words(state: str) -> str:
    return rf"step of the loss (up); colour: its part of $\|dL/d{state}_t\|$"
