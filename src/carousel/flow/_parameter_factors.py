"""The two factors of a parameter's gradient, and what the parameters are called.

    dL/dW = sum over steps and sequences of left right^T

    parameter          left                                  right
    weight_ih          d_a, where x meets it                 x_t
    weight_hh          d_a, where h_{t-1} meets it           h_{t-1}
    bias_ih, bias_hh   the same two                          1
    weight_hr          d_h                                   m_t, h_t before the projection
    weight_peephole    d_a_k * c_{t-1} (c_t for the gate o)  1

Names are torch's without their suffix. The two places of d_a differ for the GRU's n alone, which r
scales in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from carousel._errors import CarouselError
from carousel.trace import Trace

__all__ = ["Factors", "factors_of", "not_known"]

NAMES = {
    "weight_ih": "w_ih",
    "weight_hh": "w_hh",
    "bias_ih": "b_ih",
    "bias_hh": "b_hh",
    "weight_hr": "w_hr",
    "weight_peephole": "peephole",
}


@dataclass(frozen=True, eq=False)
class Factors:
    """What makes the gradient of one parameter, along the trajectory that a trace holds."""

    parameter: Tensor
    left: Literal["d_a at x", "d_a at h", "d_h", "peepholes"]
    right: Tensor | None  # [T, B, N]; None: 1
    seen: Mapping[str, Tensor]  # of the peepholes: the c that each gate sees [T, B, H]


def factors_of(trace: Trace) -> dict[str, Factors]:
    """The factors of every parameter that a layer has, by torch's name without its suffix.

    Raises:
        CarouselError: of a cell that was measured as a function, whose parameters are not known.
    """
    if not trace.cell.derived:
        raise not_known(trace.name)
    there = {name: getattr(trace.weights, own) for name, own in NAMES.items()}
    return {
        name: _factors(trace, name, parameter)
        for name, parameter in there.items()
        if parameter is not None
    }


def not_known(layer: str) -> CarouselError:
    """What is said where parameters are asked for of a cell that was measured as a function."""
    return CarouselError(
        f"{layer} was measured as a function (x_t, state) -> state, so its parameters are not "
        "known. Measure torch.nn.RNN, LSTM or GRU, their *Cell modules called in a loop, or one of "
        "Carousel's layers, with carousel.measure to see them."
    )


def _factors(trace: Trace, name: str, parameter: Tensor) -> Factors:
    run = trace.trajectory
    if name == "weight_hr":
        return Factors(parameter, "d_h", trace.cell.unprojected(run), {})
    if name == "weight_peephole":
        assert run.c is not None
        assert run.c_prev is not None
        seen = {gate: run.c if gate == "o" else run.c_prev for gate in trace.cell.peepholes}
        return Factors(parameter, "peepholes", None, seen)
    right = {"weight_ih": trace.x, "weight_hh": run.h_prev}.get(name)
    return Factors(parameter, "d_a at x" if name.endswith("_ih") else "d_a at h", right, {})
