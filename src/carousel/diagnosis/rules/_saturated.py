"""Gates that are saturated or shut: where an activation stands at its end, nothing is learnt there.

    sigmoid' = s (1 - s) <= 0.0099 for s outside 0.01 .. 0.99, a 25th of its greatest
    tanh'    = 1 - s^2   <= 0.0199 for |s| above 0.99, a 50th

A gate that keeps the state belongs near its end: f near 1, with i near 0, is what chrono
initialisation sets for long lags. That is no fault, up to a horizon that no task needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells.lstm import VARIANTS
from carousel.diagnosis._finding import Finding
from carousel.diagnosis._gates import COUPLED
from carousel.diagnosis._numbers import share
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["END", "lower_end", "saturated"]

END = 0.01  # of the range: beyond it the slope is a 25th of its greatest, for tanh a 50th
NEARLY_ALWAYS = 0.95  # of the steps: the rest is a spike now and then
HALF = 0.5  # of the units: below it is what training makes of single units (Karpathy et al. 2015)
SOME = 0.1  # of the units: worth a look
FOREVER = 1e-4  # a keeping gate this near its end has a horizon of 10 000 steps
SOURCE = (
    "Karpathy, Johnson & Fei-Fei 2015, section 4.2 (saturated gates); Glorot & Bengio 2010; "
    "sigma(10) = 0.99995"
)
CELL_INPUTS = {variant.cell_name: variant.cell_input for variant in VARIANTS.values()}


@dataclass(frozen=True, eq=False)
class _Ends:
    """Where the units of one gate stand, each [H] bool."""

    low: Tensor  # nearly always at the lower end
    high: Tensor
    either: Tensor  # nearly always at one of the two


def saturated(subject: Subject) -> Iterator[Finding]:
    """A finding for each gate of which many units stand at an end."""
    for layer in subject.derived:
        valid = layer.trace.valid
        if not bool(layer.h[valid].isfinite().all()):
            continue
        for gate, activation in layer.gates.items():
            lowest = lower_end(layer, gate)
            if lowest is None:
                continue
            values = activation[valid]
            ends = _ends(values, lowest, END)
            shut, stuck = _faults(subject, layer, gate, ends)
            for word, units in (("shut", shut), ("saturated", stuck)):
                part = float(units.double().mean())
                if part >= SOME:
                    yield _finding(layer, gate, word, units, _steps_share(values, lowest, units))


def lower_end(layer: LayerFlow, gate: str) -> float | None:
    """The lower end of a gate's range, 0 or -1, the upper being 1; None for one without ends."""
    if gate in "ifo" or gate in ("r", "z"):
        return 0.0
    ends = {"RNN tanh": -1.0, "RNN sigmoid": 0.0, "GRU": -1.0}
    if layer.kind in ends:
        return ends[layer.kind]
    return -1.0 if gate == "g" and CELL_INPUTS.get(layer.kind) == "tanh" else None


def _ends(values: Tensor, lowest: float, end: float) -> _Ends:
    low, high = values < lowest + end, values > 1 - end

    def nearly_always(flags: Tensor) -> Tensor:
        return flags.double().mean(0) >= NEARLY_ALWAYS

    return _Ends(nearly_always(low), nearly_always(high), nearly_always(low | high))


def _steps_share(values: Tensor, lowest: float, units: Tensor) -> float:
    """At how many of the steps those units stand at an end."""
    flags = (values < lowest + END) | (values > 1 - END)
    return float(flags[:, units].double().mean())


def _faults(subject: Subject, layer: LayerFlow, gate: str, ends: _Ends) -> tuple[Tensor, Tensor]:
    """Which units [H] are shut, and which stand at an end in another way that hinders learning."""
    nobody = torch.zeros_like(ends.low)
    keeps = _keeps(subject, layer)
    coupled = layer.kind in COUPLED
    if gate in ("g", "n", "h"):
        return nobody, ends.either
    if gate in ("f", "z"):
        return ends.low, ends.either & ~ends.low & ~(ends.high & keeps)
    if gate == "i" and coupled:  # shut, it keeps; open, it forgets all
        return nobody, ends.either & ~(ends.low & keeps)
    if gate == "i":
        return ends.low & ~keeps, ends.either & ~ends.low
    return ends.low, ends.either & ~ends.low


def _keeps(subject: Subject, layer: LayerFlow) -> Tensor:
    """Units [H] whose state is kept for long, but not for longer than any task needs."""
    forever = FOREVER if subject.lag_steps is None else min(FOREVER, 0.1 / subject.lag_steps)
    valid, gates = layer.trace.valid, layer.gates
    name = next((gate for gate in ("f", "z") if gate in gates), None)
    if name is None and layer.kind not in COUPLED:
        return torch.zeros(layer.hidden, dtype=torch.bool, device=valid.device)
    kept = gates[name][valid].double() if name else 1 - gates["i"][valid].double()
    long = (kept > 1 - END).double().mean(0) >= NEARLY_ALWAYS
    endless = (kept > 1 - forever).double().mean(0) >= NEARLY_ALWAYS
    return long & ~endless


def _finding(layer: LayerFlow, gate: str, word: str, units: Tensor, steps: float) -> Finding:
    part = float(units.double().mean())
    what = {
        "shut": "lets nothing through, and its slope is as good as zero",
        "saturated": "stands at an end of its range, where its slope is as good as zero: it cannot "
        "learn to move",
    }[word]
    name = f"The gate {gate}" if len(layer.gates) > 1 else f"The {layer.kind.split()[-1]}"
    return Finding(
        rule="saturated",
        severity="warning" if part >= HALF else "info",
        layer=layer.name,
        sentence=(
            f"{name} of {share(part)} of the units {what} ({word} at {share(steps)} of the steps)."
        ),
        evidence={"units_share": part, f"{word}_steps_share": steps, "end_of_range": END},
        threshold=HALF if part >= HALF else SOME,
        source=SOURCE,
    )
