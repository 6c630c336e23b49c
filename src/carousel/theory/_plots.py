"""A picture for each closed form; each returns the axes that it drew on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from carousel._drawing import DASHES, Line, axes_for, finish, label_lines, log10_axis, palette_of
from carousel._errors import CarouselError
from carousel.theory._bound import NormBound
from carousel.theory._checks import whole_steps
from carousel.theory._gate import bias_for_horizon, chrono_bias, forget_gate
from carousel.theory._nonlinearities import nonlinearity_named
from carousel.theory._power import log10_power
from carousel.theory._product import largest_factor, scalar_product

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_bound", "plot_forget_gate", "plot_largest_factor", "plot_power", "plot_product"]

# Forget biases that people set: torch leaves it near 0, Keras sets 1, Gers 2000 tries 5.
MARKED_BIASES = {"torch's default, b = 0": 0.0, "unit forget bias, b = 1": 1.0}
MARKED_LAGS = (10, 100, 1000)  # of the chrono initialisation
LAG_AXIS = "steps back k"


def plot_power(
    factors: Sequence[float] = (0.5, 1.0, 2.0), steps: int = 20, ax: Axes | None = None
) -> Axes:
    """What is left of a gradient after k steps that multiply it by the same factor: m^k.

    Args:
        factors: m, one line each.
        steps: the most steps back.
        ax: where to draw; None: new axes.

    Raises:
        CarouselError: matplotlib is missing, or a factor is not a finite number.
    """
    steps = whole_steps("steps", steps)
    lags = np.arange(steps + 1)
    levels = [[log10_power(m, int(k)) for k in lags] for m in factors]
    labels = [
        f"{m:g}: {_short(level[-1])} after {steps}"
        for m, level in zip(factors, levels, strict=True)
    ]
    return _lines(
        ax,
        [(lags, np.array(level), label) for level, label in zip(levels, labels, strict=True)],
        title="The same factor at every step",
        x=LAG_AXIS,
        y="product of the factors (1 at the loss)",
    )


def plot_product(
    weights: Sequence[float] = (0.5, 1.0, 2.0, 3.9),
    steps: int = 50,
    nonlinearity: str = "sigmoid",
    *,
    initial: float = 0.0,
    ax: Axes | None = None,
) -> Axes:
    """``|dh_n/dh_(n-k)|`` of one unit by k, for several weights; see ``scalar_product``.

    Args:
        weights: w, one line each.
        steps: n.
        nonlinearity: "sigmoid", "tanh", "relu" or "identity".
        initial: h_0.
        ax: where to draw; None: new axes.

    Raises:
        CarouselError: matplotlib is missing, or what ``scalar_product`` refuses.
    """
    products = [scalar_product(w, steps, nonlinearity, initial=initial) for w in weights]
    lags = np.arange(steps + 1)
    return _lines(
        ax,
        [
            (lags, product.log10_to_end.flip(0).numpy(), f"w = {product.weight:g}")
            for product in products
        ],
        title=rf"One {nonlinearity} unit, $h_t = s(w\,h_{{t-1}})$",
        x=LAG_AXIS,
        y=r"$|\partial h_n / \partial h_{n-k}|$",
    )


def plot_largest_factor(
    nonlinearity: str = "sigmoid", state: float = 1.0, ax: Axes | None = None
) -> Axes:
    """The factor of one step, w s'(w h), over the weight, with its largest value marked.

    Args:
        nonlinearity: "sigmoid" or "tanh".
        state: h, which is held.
        ax: where to draw; None: new axes.

    Raises:
        CarouselError: matplotlib is missing, or what ``largest_factor`` refuses.
    """
    best = largest_factor(nonlinearity, state)
    s = nonlinearity_named(nonlinearity)
    ax = axes_for(ax)
    palette = palette_of(ax)
    weights = np.linspace(0, 4 * best.weight, 401)
    factor = np.array([abs(w) * math.exp(s.log_slope(w * state)) for w in weights])
    ax.plot(weights, factor, color=palette.lines[0], linewidth=2)
    ax.plot([best.weight], [best.factor], "o", color=palette.lines[0], markersize=7)
    ax.annotate(
        f"{best.factor:.3f} at w = {best.weight:.4f}",
        (best.weight, best.factor),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        color=palette.lines[0],
        fontsize=9,
        fontweight="bold",
    )
    ax.axhline(1, color=palette.quiet, linewidth=1, linestyle=(0, (4, 3)))
    ax.annotate(
        "1: the gradient would stay as it is",
        (1, 1),
        xycoords=("axes fraction", "data"),
        xytext=(-2, -5),
        textcoords="offset points",
        ha="right",
        va="top",
        color=palette.quiet,
        fontsize=8.5,
    )
    ax.set_ylim(0, max(1.08, best.factor * 1.2))
    ax.margins(x=0)
    finish(
        ax,
        title=f"No weight lets a {nonlinearity} unit at h = {state:g} pass on more than this",
        x="recurrent weight w",
        y="factor of one step, |w s′(w h)|",
    )
    return ax


def plot_forget_gate(ax: Axes | None = None) -> Axes:
    """The horizon of a forget gate that stands still over its bias, with the usual choices marked.

    Args:
        ax: where to draw; None: new axes.

    Raises:
        CarouselError: matplotlib is missing.
    """
    ax = axes_for(ax)
    palette = palette_of(ax)
    low, high = -2.0, bias_for_horizon(2000.0)
    biases = np.linspace(low, high, 301)
    horizon = np.log10([forget_gate(float(b)).horizon_steps for b in biases])
    ax.plot(biases, horizon, color=palette.lines[0], linewidth=2)
    marks = dict(MARKED_BIASES)
    marks |= {f"chrono, longest lag {lag}": chrono_bias(lag) for lag in MARKED_LAGS}
    for name, bias in marks.items():
        gate = forget_gate(bias)
        colour = palette.lines[1] if name.startswith("chrono") else palette.lines[0]
        place = (bias, math.log10(gate.horizon_steps))
        ax.plot(*place, "o", color=colour, markersize=6)
        ax.annotate(
            f"{name}: f = {gate.f:.4g}, {gate.horizon_steps:.4g} steps",
            place,
            xytext=(-9, 3) if bias > 4 else (9, -3),
            textcoords="offset points",
            ha="right" if bias > 4 else "left",
            va="bottom" if bias > 4 else "top",
            color=colour,
            fontsize=8.5,
        )
    log10_axis(ax, [horizon])
    ax.margins(x=0.01)
    finish(
        ax,
        title="How far back a forget gate remembers, by its bias alone",
        x=r"forget bias $b_f$ (over both biases)",
        y=r"horizon $-1/\ln\,\sigma(b_f)$ (steps)",
    )
    return ax


def plot_bound(bound: NormBound, steps: int = 50, ax: Axes | None = None) -> Axes:
    """The bound (gamma sigma_1)^k of ``||dh_n/dh_(n-k)||``, to lie over ``layer.plot.jacobian()``.

    Args:
        bound: what ``vanishes(w_hh, nonlinearity)`` gives.
        steps: the most steps back.
        ax: where to draw; None: new axes. Axes that have lines already keep their scale and names.

    Raises:
        CarouselError: matplotlib is missing.
    """
    if not isinstance(bound, NormBound):
        raise CarouselError(
            "Expected bound to be what carousel.theory.vanishes(w_hh, nonlinearity) gives, got "
            f"{bound!r}. Of one unit: plot_bound(vanishes(0.5))."
        )
    lags = np.arange(whole_steps("steps", steps) + 1)
    levels = np.array([bound.log10_after(int(k)) for k in lags])
    label = rf"bound $(\gamma\,\sigma_1)^k$, {bound.factor:.3g} a step"
    if ax is not None and axes_for(ax).lines:
        palette = palette_of(ax)
        ax.plot(
            lags,
            levels,
            color=palette.lines[1],
            linewidth=1.6,
            linestyle=(0, (5, 2)),
            label=label,
            scalex=False,
            scaley=False,
        )
        label_lines(ax, [Line(lags.astype(float), levels, label, palette.lines[1])])
        return ax
    return _lines(
        ax,
        [(lags, levels, label)],
        title="The gradient must vanish" if bound.vanishes else "A bound that allows growth",
        x=LAG_AXIS,
        y=r"$\|\partial h_n / \partial h_{n-k}\|$ is at most",
    )


def _lines(
    ax: Axes | None,
    lines: Sequence[tuple[np.ndarray, np.ndarray, str]],
    *,
    title: str,
    x: str,
    y: str,
) -> Axes:
    """Lines of log10 values by lag, each labelled where it lies."""
    ax = axes_for(ax)
    palette = palette_of(ax)
    drawn = []
    for index, (lags, levels, label) in enumerate(lines):
        colour = palette.lines[index % len(palette.lines)]
        known = np.where(np.isfinite(levels), levels, np.nan)
        ax.plot(lags, known, color=colour, linewidth=2, linestyle=DASHES[index % len(DASHES)])
        drawn.append(Line(lags.astype(float), known, label, colour))
    log10_axis(ax, [line.y for line in drawn])
    ax.margins(x=0.01)
    finish(ax, title=title, x=x, y=y, steps=True)
    label_lines(ax, drawn)
    return ax


def _short(level: float) -> str:
    """A number given by its log10, as a label writes it."""
    if level == -math.inf:
        return "0"
    if -3 < level < 7:
        return f"{10**level:,.4g}" if level < 4 else f"{10**level:,.0f}"
    power = math.floor(level)
    return rf"{10 ** (level - power):.1f}$\times10^{{{power}}}$"
