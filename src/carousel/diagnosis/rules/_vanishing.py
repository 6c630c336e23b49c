"""Vanishing: what one step's loss sends back is as good as gone at the lag that the task needs.

    left at the lag = exp(rate * lag),    rate = d/dk ln ||ds_T/ds_{T-k}||  per step

The rate is that of the layer's Jacobian products, not of ``d_h``, which adds up many losses. The
state of a stack in one direction keeps what its slowest layer keeps: where one layer reaches the
lag, the others' vanishing is no error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from carousel.diagnosis._finding import Finding, Severity
from carousel.diagnosis._foreseen import (
    chrono_weights,
    horizon_with,
    orthogonal_weights,
    steps_of,
)
from carousel.diagnosis._gates import Keeping, block, keeping_of
from carousel.diagnosis._numbers import LN10, counted, number, power
from carousel.diagnosis._pieces import longest_piece
from carousel.diagnosis._subject import Subject
from carousel.flow import Horizon, LayerFlow

__all__ = ["LITTLE_LEFT", "vanishing"]

# What is left at the lag, as a share of what the same loss sends to its own step. The noise of a
# gradient over B sequences is about 1 / sqrt(B) of it: a tenth shows with 100 sequences, which is
# an ordinary batch, and a thousandth takes a million, which none is.
LITTLE_LEFT = 1e-1
NOTHING_LEFT = 1e-3
SOURCE = (
    "Hochreiter 1991; Bengio, Simard & Frasconi 1994; the share is held against the noise of a "
    "batch, 1/sqrt(sequences)"
)


def vanishing(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer whose gradient is gone at the lag, or over the measured steps."""
    decaying = [layer for layer in subject.layers if layer.horizon().kind in ("decaying", "zero")]
    for layer in decaying:
        lag = longest_piece(layer) - 1 if subject.lag_steps is None else subject.lag_steps
        log10_left = _log10_left(layer.horizon(), lag)
        if log10_left >= math.log10(LITTLE_LEFT):
            continue
        severity, threshold = _severity(subject, layer, log10_left, lag)
        if subject.lag_steps is None and threshold != NOTHING_LEFT:
            continue
        yield _finding(subject, layer, severity, threshold, (lag, log10_left))


def _severity(
    subject: Subject, layer: LayerFlow, log10_left: float, lag: int
) -> tuple[Severity, float]:
    """How bad it is, and by which threshold; nothing is an error without a lag."""
    gone = log10_left < math.log10(NOTHING_LEFT)
    threshold = NOTHING_LEFT if gone else LITTLE_LEFT
    if subject.lag_steps is None or _reached_beside(subject, layer, lag):
        return "info", threshold
    return ("error" if gone else "warning"), threshold


def _reached_beside(subject: Subject, layer: LayerFlow, lag: int) -> bool:
    """Whether another layer of the stack, in the same direction, keeps enough at the lag."""
    place = subject.places[layer.name]
    stack = (
        subject.flow[name]
        for name, other in subject.places.items()
        if (other.path, other.reverse, other.number) == (place.path, place.reverse, place.number)
    )
    return any(
        _log10_left(other.horizon(), lag) >= math.log10(LITTLE_LEFT)
        for other in stack
        if other.name != layer.name
    )


def _log10_left(horizon: Horizon, lag: int) -> float:
    """log10 of what is left at the lag; NaN, which is below nothing, where it is not known."""
    if horizon.kind == "zero":
        return -math.inf if horizon.lags <= lag else 0.0
    if horizon.kind in ("growing", "level"):
        return 0.0
    return horizon.rate * lag / LN10


def _finding(
    subject: Subject,
    layer: LayerFlow,
    severity: Severity,
    threshold: float,
    at: tuple[int, float],
) -> Finding:
    lag, log10_left = at
    horizon = layer.horizon()
    evidence = {
        "rate_per_step": horizon.rate,
        "horizon_steps": steps_of(horizon),
        "half_life_steps": horizon.half_life or 0.0,
        "lag_steps": float(lag),
        "left_at_lag_log10": log10_left,
    }
    because, more = _cause(layer)
    evidence |= more
    if horizon.kind == "zero":
        back = counted(horizon.lags, "step")
        said = f"The gradient is exactly zero from {back} back on{because}"
    else:
        said = f"The gradient halves every {number(horizon.half_life or 0.0)} steps{because}"
    if subject.lag_steps is None:
        said += (
            f": over the {lag} steps that were measured, {power(log10_left)} of it is left. Give "
            "the number of steps that the task needs (lag) to have this judged."
        )
    else:
        said += f"; your task needs {lag}, where {power(log10_left)} of it is left"
        gain, more = _gain(layer, lag)
        evidence |= more
        said += f"; {gain}." if gain else "."
        if severity == "info":
            said += " Another layer of the stack reaches that far."
    return Finding(
        rule="vanishing",
        severity=severity,
        layer=layer.name,
        sentence=said,
        evidence=evidence,
        threshold=math.log10(threshold),
        source=SOURCE,
    )


def _cause(layer: LayerFlow) -> tuple[str, dict[str, float]]:
    """Why it decays, as far as one number says it, with that number."""
    if not layer.trace.cell.derived:
        return "", {}
    keeping = keeping_of(layer)
    if keeping is not None:
        return _gates_cause(keeping)
    if len(layer.trace.cell.gates) > 1:
        return "", {}
    radius = float(torch.linalg.eigvals(block(layer, "h")).abs().max())
    if radius >= 1:
        return _slope(layer)
    said = f" because the recurrent weight shrinks it (spectral radius {number(radius)})"
    return said, {"spectral_radius": radius}


def _gates_cause(keeping: Keeping) -> tuple[str, dict[str, float]]:
    finite = keeping.factor[keeping.factor.isfinite()]
    if not len(finite):
        return "", {}
    middle = float(finite.median())
    at = f"{middle:.2f}" if 0.05 < middle < 0.95 else number(middle)
    return f" because the {keeping.word} sit at {at}", {"keeping_gate_median": middle}


def _slope(layer: LayerFlow) -> tuple[str, dict[str, float]]:
    """The mean derivative of a simple RNN's nonlinearity along the run."""
    lin = layer.trace.cell.linearise(layer.trace.trajectory, layer.trace.weights)
    slope = float(lin.from_h[..., 0, :][layer.trace.valid].double().mean())
    name = layer.kind.removeprefix("RNN ")
    return (
        f" because the slope of {name} is {number(slope)} on average",
        {"slope_mean": slope},
    )


def _gain(layer: LayerFlow, lag: int) -> tuple[str, dict[str, float]]:
    """What the plainest cure would give, from running the layer again on its own input."""
    if not layer.trace.cell.derived:
        return "", {}
    if len(layer.trace.cell.gates) == 1:
        name, weights = "orthogonal", orthogonal_weights(layer)
    else:
        chrono = chrono_weights(layer, lag)
        if chrono is None:
            return "", {}
        name, weights = "chrono", chrono
    steps = steps_of(horizon_with(layer, weights))
    if math.isnan(steps) or steps <= steps_of(layer.horizon()):
        return "", {}
    own = number(steps_of(layer.horizon()))
    if math.isinf(steps):
        said = f"{name} initialisation gives a gradient that does not decay"
    elif steps * math.log(1 / NOTHING_LEFT) < lag:
        said = f"{name} initialisation alone gives a horizon of {number(steps)} steps (now {own})"
    else:
        said = f"{name} initialisation gives a horizon of {number(steps)} steps (now {own})"
    return said, {f"{name}_horizon_steps": steps}
