"""Which remedies answer which finding, the most promising first. The one place that says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._gates import keeping_of
from carousel.diagnosis._subject import Subject
from carousel.diagnosis.remedies import (
    CarryState,
    Chrono,
    Clipping,
    Flossing,
    ForgetBias,
    Identity,
    Orthogonal,
    PascanuOmega,
    Remedy,
    StateDtype,
    SwapToLSTM,
)
from carousel.diagnosis.remedies._places import BARE_CELL, THE_MODEL, CellPath, without_number
from carousel.flow import LayerFlow

__all__ = ["CURES", "FITS", "MAKERS", "Maker", "cures_of", "remedies_for"]

Maker = Callable[[Finding, Subject], Remedy | None]  # None where it does not fit the layer

CURES: dict[str, tuple[str, ...]] = {
    "nonfinite": ("clipping", "state-dtype", "orthogonal", "identity"),
    "axes": (),
    "padding": (),
    # What is cut is cut by the loop around the module, or by the batch's own length: chunks inside
    # a call, TruncationLength, make no piece of time longer.
    "truncation": (),
    "carry": ("carry-state",),
    "injected-only": (),
    "vanishing": ("chrono", "forget-bias", "orthogonal", "identity", "lstm", "flossing", "omega"),
    "growing": ("clipping", "orthogonal", "identity", "lstm", "flossing", "omega"),
    "forget-gate-default": ("chrono", "forget-bias"),
    "contraction": ("orthogonal", "identity", "lstm"),
    "saturated": ("chrono", "forget-bias", "orthogonal"),
    "dead-relu": ("identity",),
    "double-forget-bias": ("forget-bias",),
    "double-chrono": ("chrono",),
    "stacked-orthogonal": ("orthogonal",),
    "starved": ("orthogonal",),
    "clipping": ("clipping",),
    "underflow": ("state-dtype",),
    "non-normal": ("orthogonal",),
}


def _has_forget_bias(layer: LayerFlow, _: Subject) -> bool:
    keeping = keeping_of(layer)
    return _biased(layer) and keeping is not None and keeping.gate != "z"


def _has_keeping_bias(layer: LayerFlow, _: Subject) -> bool:
    return _biased(layer) and keeping_of(layer) is not None


def _biased(layer: LayerFlow) -> bool:
    return layer.trace.cell.derived and layer.trace.weights.b_ih is not None


def _is_simple(layer: LayerFlow, _: Subject) -> bool:
    return layer.trace.cell.derived and len(layer.trace.cell.gates) == 1


def _is_tanh_and_no_cell(layer: LayerFlow, _: Subject) -> bool:
    """The state of an LSTMCell is (h, c), which the loop that calls the cell would have to know."""
    return layer.trace.cell.name == "RNN tanh" and not _is_cell(layer)


def _runs_one_way(layer: LayerFlow, subject: Subject) -> bool:
    """A module that gets sequences, in one direction, and not a cell in a loop of its own."""
    return not _is_cell(layer) and not any(
        other.direction == "reverse" and other.trace.path == layer.trace.path
        for other in subject.layers
    )


def _is_cell(layer: LayerFlow) -> bool:
    """A cell goes by the path of its module, which may end as the name of a layer does: "l0"."""
    return without_number(layer.name) == (layer.trace.path or BARE_CELL)


# Which layers a remedy can be applied to at all, where not to every one.
FITS: dict[str, Callable[[LayerFlow, Subject], bool]] = {
    "carry-state": _runs_one_way,
    "chrono": _has_keeping_bias,
    "forget-bias": _has_forget_bias,
    "identity": _is_simple,
    "lstm": _is_tanh_and_no_cell,
}


def _chrono(finding: Finding, subject: Subject) -> Remedy | None:
    """It spreads the memory over all lags up to one, which somebody has to name."""
    return None if subject.lag_steps is None else Chrono(finding.layer, max(2, subject.lag_steps))


def _forget_bias(finding: Finding, subject: Subject) -> Remedy:
    if subject.lag_steps is None:
        return ForgetBias(finding.layer)
    return ForgetBias.for_lag(finding.layer, max(2, subject.lag_steps))


def _lstm(finding: Finding, subject: Subject) -> Remedy:
    """With chrono initialisation for the lag, where there are biases to set."""
    lag = subject.lag_steps
    if lag is None or not all(_biased(layer) for layer in _layers(finding, subject)):
        return SwapToLSTM(finding.layer)
    return SwapToLSTM(finding.layer, max(2, lag))


def _clipping(_: Finding, subject: Subject) -> Remedy | None:
    """At a percentile of the norms that were recorded, where any can be clipped at."""
    if subject.clipping is None:
        return Clipping()
    norms = [norm for norm in subject.clipping.norms if math.isfinite(norm) and norm > 0]
    return Clipping().fitted(norms) if norms else None


def _carry_state(finding: Finding, _: Subject) -> Remedy | None:
    """It joins calls that start from zeros; a state that came detached is carried already."""
    return CarryState(finding.layer) if "calls" in finding.evidence else None


def _state_dtype(finding: Finding, subject: Subject) -> Remedy | None:
    """The next wider one; there is none above float64."""
    dtypes = {layer.dtype for layer in _layers(finding, subject)}
    if dtypes == {torch.float64}:
        return None
    narrow = dtypes - {torch.float32, torch.float64}
    return StateDtype(finding.layer, "float32" if narrow else "float64")


def _layers(finding: Finding, subject: Subject) -> tuple[LayerFlow, ...]:
    return (subject.flow[finding.layer],) if finding.layer else subject.layers


MAKERS: dict[str, Maker] = {
    "carry-state": _carry_state,
    "chrono": _chrono,
    "clipping": _clipping,
    "flossing": lambda finding, _: Flossing(finding.layer),
    "forget-bias": _forget_bias,
    "identity": lambda finding, _: Identity(finding.layer),
    "lstm": _lstm,
    "omega": lambda finding, _: PascanuOmega(finding.layer),
    "orthogonal": lambda finding, _: Orthogonal(finding.layer),
    "state-dtype": _state_dtype,
}


def cures_of(finding: Finding, subject: Subject) -> tuple[str, ...]:
    """The names of the remedies that answer a finding and fit its layer."""
    names = CURES[finding.rule]
    if not finding.layer:
        return names
    layer = subject.flow[finding.layer]
    return tuple(name for name in names if name not in FITS or FITS[name](layer, subject))


def remedies_for(finding: Finding, subject: Subject) -> tuple[Remedy, ...]:
    """The remedies of a finding that can be made, in the order of the table."""
    makers = [MAKERS[name] for name in cures_of(finding, subject) if name in MAKERS]
    made = [maker(finding, subject) for maker in makers]
    return tuple(_placed(remedy, subject) for remedy in made if remedy is not None)


def _placed(remedy: Remedy, subject: Subject) -> Remedy:
    """What a cell's name means, said for its code: the model itself, or the path of a module."""
    if not remedy.layer or not _is_cell(subject.flow[remedy.layer]):
        return remedy
    bare = subject.flow[remedy.layer].trace.path == ""
    return replace(remedy, layer=THE_MODEL if bare else CellPath(remedy.layer))
