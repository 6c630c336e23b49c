"""The truncated gradient of 1997 beside the full one: what the cut costs.

Hochreiter & Schmidhuber 1997, appendix A.1: what leaves the cell through its gates goes no further
back. What arrives from outside at each step is the same for both; then

    full:    d_h[t-1] = injected + d_a[t] @ W_hh        d_c[t-1] = .. + f * d_c[t] + peepholes
    1997:    d_h[t-1] = injected                        d_c[t-1] = .. + f * d_c[t]

and each gives its own gradient for every parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import Adjoint, Scaled, adjoint, adjoint_along
from carousel.flow._difference import Difference
from carousel.flow._one_step import OneStep, linearised
from carousel.flow._parameter_factors import factors_of
from carousel.flow._parameters import Sum, parameter_gradient
from carousel.flow._running import in_running_order, turned_back
from carousel.flow._shown import Shown, listed, per_cent
from carousel.trace import Trace

__all__ = ["Gradient1997", "gradient_1997"]


@dataclass(frozen=True, eq=False, repr=False)
class Gradient1997(Shown):
    """The gradient of one LSTM layer followed back as in 1997, and as it is."""

    scaled_d_h: Scaled
    scaled_d_c: Scaled
    parameters: Mapping[str, Tensor]  # truncated, by torch's names: weight_ih, ..
    full: Mapping[str, Tensor]  # the full gradients, likewise
    differences: Mapping[str, Difference]  # of the former from the latter

    def __str__(self) -> str:
        off = listed((name, per_cent(one.relative)) for name, one in self.differences.items())
        return f"The truncated gradient of 1997 differs from the full one, relatively, by: {off}."

    @cached_property
    def d_h(self) -> Tensor:
        """The truncated dL/dh_t [T, B, P]: nothing but what is injected."""
        return self.scaled_d_h.value()

    @cached_property
    def d_c(self) -> Tensor:
        """The truncated dL/dc_t [T, B, H]."""
        return self.scaled_d_c.value()


def gradient_1997(trace: Trace) -> Gradient1997:
    """Follow a layer's gradient back both ways; see ``LayerFlow.gradient_1997``."""
    if trace.d_c is None:
        raise CarouselError(
            f"{trace.name} is a {trace.cell.name}: the truncated gradient of 1997 follows the cell "
            "state c, which it does not have. Ask for it of an LSTM, of any variant."
        )
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        running = in_running_order(trace)
        recorded = linearised(running)
        cut = _followed(recorded, truncated=True)
        full = _followed(recorded, truncated=False)
        known = factors_of(running)
        both = {
            name: (parameter_gradient(cut, factors), parameter_gradient(full, factors))
            for name, factors in known.items()
        }

    def shaped(name: str, found: Sum) -> Tensor:
        parameter = known[name].parameter
        return found.value(parameter).view_as(parameter)

    turn = partial(turned_back, trace)
    assert cut.trace.d_c is not None
    return Gradient1997(
        scaled_d_h=cut.trace.d_h.map(turn),
        scaled_d_c=cut.trace.d_c.map(turn),
        parameters={name: shaped(name, pair[0]) for name, pair in both.items()},
        full={name: shaped(name, pair[1]) for name, pair in both.items()},
        differences={name: _difference(*pair) for name, pair in both.items()},
    )


def _followed(recorded: OneStep, *, truncated: bool) -> OneStep:
    """A layer with the totals of one of both ways, from what was injected."""
    trace = recorded.trace
    one = linearised(trace, truncated=truncated)
    if truncated == (trace.gradient == "1997"):
        return one
    back = _back(recorded, one, truncated=truncated)
    return OneStep(replace(trace, d_h=back.d_h, d_c=back.d_c), one.linearisation)


def _back(recorded: OneStep, one: OneStep, *, truncated: bool) -> Adjoint:
    trace = recorded.trace
    arriving = (trace.d_h_injected, trace.d_c_injected)
    if not trace.boundaries:
        return adjoint_along(trace.cell, trace.trajectory, trace.weights, *arriving, truncated)
    # Where a state was not handed on as it was, neither way leads back over the boundary.
    to_h, to_c = (crosses.unsqueeze(-1) for crosses in recorded.crossings)
    lin = one.linearisation
    assert lin.from_c is not None
    carry = torch.where(to_c, lin.from_c[..., 0, :], 0.0).unsqueeze(-2)
    inner = torch.where(to_h.unsqueeze(-1), lin.from_c[..., 1:, :], 0.0)
    ends = replace(
        lin,
        from_c=torch.cat([carry, inner], dim=-2),
        from_h=torch.where(to_h.unsqueeze(-1), lin.from_h, 0.0),
    )
    return adjoint(ends, *arriving)


def _difference(cut: Sum, full: Sum) -> Difference:
    if not bool(full.mantissa.any()):
        return Difference(math.nan, math.nan)
    log2 = cut.minus(full).log2_norm() - full.log2_norm()
    return Difference(float(torch.exp2(log2)), float(cut.cosine(full)))
