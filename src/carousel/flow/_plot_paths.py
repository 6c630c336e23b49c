"""The picture of paths: norms by step, and below them the shares that make the total, stacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel._drawing import axes_for, finish, palette_of, stroke
from carousel._optional import optional
from carousel.flow._paths import BETWEEN, Paths
from carousel.flow._quantities import categories
from carousel.flow._series import series_of
from carousel.flow._strips import (
    GAP,
    Curve,
    draw_curves,
    floor_of,
    label_curves,
    mark_range,
    strips_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from carousel.flow._layer_flow import LayerFlow

__all__ = ["draw_paths", "pooled_shares"]

SIZE = (7.2, 5.0)  # inches
HEIGHT = 0.4  # of the area of shares, of what the strips leave of the axes
KEY = 0.075  # height of the row of names above it, in shares of the axes
LIMITS = (-1.0, 2.0)  # shares beyond are cut off
THICK = 0.14  # of the area's height: where a name has room inside
NAMES = {"direct": "direct (carousel)", "injected": "injected from above", BETWEEN: BETWEEN}
COLOURS = {"direct": 2, "injected": 1, BETWEEN: 7}
GATES = (4, 3, 6, 5)  # colours of the gates, in their order


def draw_paths(layer: LayerFlow, ax: Axes | None, title: str, most_bins: int) -> Axes:
    """See ``LayerPlots.paths``."""
    found = layer.paths()
    ax = axes_for(ax, size=SIZE)
    palette = palette_of(ax)
    scaled = {"total": (found.scaled_total, palette.lines[0])}
    if found.scaled_carousel is not None:
        scaled["carousel"] = (found.scaled_carousel, palette.lines[2])
    curves = [
        Curve(
            series_of(
                found.log10_norm(name),
                categories(part, layer.dtype, found.valid),
                most_bins,
            ),
            rf"total $dL/d{found.state}_t$" if name == "total" else "carousel alone",
            colour,
            dashed=name == "carousel",
        )
        for name, (part, colour) in scaled.items()
    ]
    floor = floor_of(len(strips_of(curves)))
    height = HEIGHT * (1 - floor)
    room = GAP + height + KEY
    draw_curves(ax, curves, room=room)
    mark_range(ax, layer.dtype)
    shares = pooled_shares(found, most_bins)
    _draw_shares(ax, shares, curves[0].series.edges, (floor + GAP, height))
    finish(
        ax,
        title=title,
        x="step t",
        y=rf"$\|dL/d{found.state}_t\|$ (loss per unit of {found.state}), and how it came: "
        "shares of the total",
        steps=True,
    )
    label_curves(ax, curves, room=room)
    return ax


def pooled_shares(found: Paths, most_bins: int) -> dict[str, NDArray[np.float64]]:
    """The share of each path in a bin of steps, all sequences taken as one vector; each [N].

    NaN where the total is zero, or not finite. The bins are those of ``series_of``.
    """
    total = found.log10_norm("total")
    steps, batch = total.shape
    width = -(-steps // most_bins)
    bins = -(-steps // width)

    def binned(values: Tensor) -> Tensor:
        missing = bins * width - steps
        padded = torch.nn.functional.pad(values, (0, 0, 0, missing), value=torch.nan)
        return padded.reshape(bins, width * batch).cpu()

    size = binned(total)
    known = size.isfinite()
    largest = torch.where(known, size, -torch.inf).amax(1, keepdim=True)
    weight = torch.where(known, torch.pow(10.0, 2 * (size - largest)), 0.0)
    every = weight.sum(1)
    pooled = {}
    for name, share in found.shares().items():
        own = torch.where(known, binned(share), 0.0)
        pooled[name] = ((weight * own).sum(1) / every).numpy()
    return pooled


def _draw_shares(
    ax: Axes,
    shares: Mapping[str, NDArray[np.float64]],
    edges: NDArray[np.float64],
    place_in_axes: tuple[float, float],
) -> None:
    """The stacked area, with a name in each layer that has room for one and a key of the others.

    Args:
        ax: where to draw.
        shares: each [N].
        edges: of the bins, in steps [N + 1].
        place_in_axes: where the area begins, and how high it is, in shares of the axes.
    """
    palette = palette_of(ax)
    bottom, height = place_in_axes
    levels = np.nan_to_num(np.stack(list(shares.values())))
    lowest, highest = (part.sum(axis=0) for part in (np.minimum(levels, 0), np.maximum(levels, 0)))
    low = max(LIMITS[0], float(lowest.min(initial=0.0)))
    high = min(LIMITS[1], float(highest.max(initial=1.0)))

    def place(share: NDArray[np.float64]) -> NDArray[np.float64]:
        return bottom + height * (np.clip(share, low, high) - low) / (high - low)

    across = ax.get_xaxis_transform()  # x in data, y in shares of the axes
    sides = np.repeat(edges, 2)[1:-1]
    gates = iter(GATES)
    lone = "direct" not in shares  # of a simple RNN, which has no gates to tell apart
    up, down = (np.zeros(levels.shape[1]) for _ in range(2))
    unnamed = []
    for name, level in zip(shares, levels, strict=True):
        colour = palette.lines[COLOURS[name] if name in COLOURS else next(gates)]
        begin = np.where(level >= 0, up, down)
        end = begin + level
        up, down = np.where(level >= 0, end, up), np.where(level < 0, end, down)
        ax.fill_between(
            *(sides, np.repeat(place(begin), 2), np.repeat(place(end), 2)),
            where=np.repeat(level != 0, 2),
            transform=across,
            facecolor=colour,
            alpha=0.85,
            linewidth=0,
            label=f"_share {name}",
        )
        label = NAMES.get(name, "through the weights" if lone else f"gate {name}")
        ends = (place(begin), place(end))
        if not _name_inside(ax, edges, ends, np.abs(ends[1] - ends[0]) >= THICK * height, label):
            unnamed.append((label, colour))
    for mark, beyond, at in (("^", highest > high + 1e-9, high), ("v", lowest < low - 1e-9, low)):
        centre = ((edges[:-1] + edges[1:]) / 2)[beyond]
        if len(centre):
            y = place(np.full(len(centre), at))
            ax.plot(centre, y, mark, color=palette.ink, markersize=3, transform=across)
    for share in dict.fromkeys((low, 0.0, 1.0, high)):
        if share in (0.0, 1.0) or min(abs(share), abs(share - 1)) > 0.25 * (high - low):
            _mark(ax, float(place(np.array([share]))[0]), f"{100 * share:.0f} %")
    _key(ax, unnamed, bottom + height)


def _name_inside(
    ax: Axes,
    edges: NDArray[np.float64],
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    thick: NDArray[np.bool_],
    label: str,
) -> bool:
    """Write a name in the middle of the longest stretch where its layer is thick, if it fits."""
    cuts = np.flatnonzero(np.diff(np.pad(thick, 1).astype(int)))
    stretches = list(zip(cuts[::2], cuts[1::2], strict=True))
    if not stretches:
        return False
    first, stop = max(stretches, key=lambda stretch: edges[stretch[1]] - edges[stretch[0]])
    width = ax.get_window_extent().width
    room = width * (edges[stop] - edges[first]) / (edges[-1] - edges[0])
    if room < 6.5 * len(label) * ax.figure.dpi / 100:
        return False
    middle = (first + stop - 1) // 2
    ax.text(
        *((edges[first] + edges[stop]) / 2, (ends[0][middle] + ends[1][middle]) / 2, label),
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="center",
        fontsize=8,
        color=palette_of(ax).ink,
        path_effects=stroke(ax),
    )
    return True


def _mark(ax: Axes, y: float, words: str) -> None:
    palette = palette_of(ax)
    ax.text(
        *(-0.012, y, words),
        transform=ax.transAxes,
        ha="right",
        va="center",
        fontsize=8,
        color=palette.quiet,
    )


def _key(ax: Axes, names: list[tuple[str, str]], bottom: float) -> None:
    """Which colours the thin layers have, in a row above the area."""
    if not names:
        return
    patch = optional("matplotlib.patches", "plots", "A plot").Patch
    key = ax.legend(
        handles=[patch(facecolor=colour, alpha=0.85, label=label) for label, colour in names],
        loc="lower left",
        bbox_to_anchor=(0.0, bottom),
        ncols=len(names),
        frameon=False,
        fontsize=8,
        borderaxespad=0.2,
        borderpad=0.2,
        handlelength=1.0,
        handleheight=0.9,
        handletextpad=0.5,
        columnspacing=1.4,
        labelcolor=palette_of(ax).quiet,
    )
    key.set_in_layout(False)
