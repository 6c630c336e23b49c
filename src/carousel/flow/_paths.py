"""The ways that the total gradient of a state came, taken apart exactly.

For an LSTM of any variant, with psi the function at the cell's output:

    d_c[t] = f[t+1] * d_c[t+1]                                                   direct
           + into_c[t] * (d_a_k[t+1] @ W_hk @ W_hr) + p_k * d_a_k[t+1]           i, f, g, o
           + into_c[t] * (injected_h[t] @ W_hr) + injected_c[t]                  injected

    into_c[t] = o * psi'(c_t) + p_o * psi(c_t) * o'         dm_t/dc_t: how c_t is seen in h_t

f is 1 - i or 1 where the variant has no gate f, W_hr falls away without a projection, p without
peepholes. A path has the name of the gate of step t+1 through which it left. For a GRU:

    d_h[t] = z[t+1] * d_h[t+1] + (d_a_k[t+1] @ W_hk, k = r, z, n) + injected_h[t]

and for a simple RNN the same with one gate, h, and nothing direct. What a later call of the module
sent back through operations outside of it is a path of its own, "between calls".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import Linearisation, Scaled, adjoint
from carousel.flow._one_step import OneStep, common_exponent, linearised, unit
from carousel.flow._running import in_running_order, turned_back
from carousel.flow._shown import Shown, counted, listed, middle, per_cent
from carousel.trace import Trace

__all__ = ["Paths", "paths"]

BETWEEN = "between calls"


@dataclass(frozen=True, eq=False, repr=False)
class Paths(Shown):
    """The parts of dL/dc_t of an LSTM, or of dL/dh_t of a GRU or an RNN, by the way they came.

    Names: "direct" (along the carousel: f * d_c, or z * d_h; an RNN has none), the gates through
    which the rest came from the step after, "injected" (at this step from outside, through the
    output gate for an LSTM) and, where the state was changed between calls, "between calls". They
    add up to the total. 0 at padding.

    Beside them stands the cut "carousel": what would be left of the total if it came "direct" and
    "injected" alone, over any number of steps.
    """

    state: Literal["c", "h"]  # whose gradient it is
    scaled: Mapping[str, Scaled]  # the parts, each [T, B, H], on powers of two of their own
    scaled_total: Scaled
    scaled_carousel: Scaled | None
    valid: Tensor  # [T, B] bool

    def __str__(self) -> str:
        shares = listed((name, per_cent(middle(share))) for name, share in self.shares().items())
        return (
            f"How dL/d{self.state}_t came, as shares of it (medians over "
            f"{counted(self.valid.shape[0], 'step')} and "
            f"{counted(self.valid.shape[1], 'sequence')}): {shares}."
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts."""
        return tuple(self.scaled)

    @cached_property
    def parts(self) -> Mapping[str, Tensor]:
        """The parts by name, each [T, B, H] in the dtype of the flow."""
        return {name: part.value() for name, part in self.scaled.items()}

    @cached_property
    def total(self) -> Tensor:
        """dL/dc_t, or dL/dh_t [T, B, H]."""
        return self.scaled_total.value()

    @cached_property
    def carousel(self) -> Tensor | None:
        """What is left if only the carousel is followed [T, B, H]; None for an RNN."""
        return None if self.scaled_carousel is None else self.scaled_carousel.value()

    def log10_norm(self, name: str) -> Tensor:
        """log10 of the norm over the units of a part, "total" or "carousel", [T, B] float64.

        On a running scale: -400.0 is a possible value, -inf an exact zero, or padding.

        Raises:
            CarouselError: there is nothing of that name.
        """
        known = {**self.scaled, "total": self.scaled_total}
        if self.scaled_carousel is not None:
            known["carousel"] = self.scaled_carousel
        if name not in known:
            raise CarouselError(f"There is no path {name!r}. Expected one of: {', '.join(known)}.")
        log10 = known[name].log2_norm() * math.log10(2)
        return torch.where(self.valid, log10, -math.inf)

    def shares(self) -> Mapping[str, Tensor]:
        """How much of the total each part makes: <part, total> / <total, total>, [T, B] float64.

        They add up to 1. A share is negative where a part points against the total, and NaN where
        the total is zero, and at padding.
        """
        total = _double(self.scaled_total)
        there = self.valid & (total.mantissa != 0).any(-1)
        exponent = common_exponent([total])
        own = total.at(exponent).mantissa
        square = own.square().sum(-1)
        found = {}
        for name, part in self.scaled.items():
            share = (_double(part).at(exponent).mantissa * own).sum(-1) / square
            found[name] = torch.where(there, share, math.nan)
        return found


def paths(trace: Trace) -> Paths:
    """Take the gradient of a layer apart; see ``Paths``.

    Along a gradient that was truncated as in 1997, the parts are those of that gradient: nothing
    comes through the gates.
    """
    running = in_running_order(trace)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        step = linearised(running)
        split = _split_c(step) if running.d_c is not None else _split_h(step)
        total = running.d_h if running.d_c is None else running.d_c
        carousel = _carousel(step)
    turn = partial(turned_back, trace)
    return Paths(
        state="h" if running.d_c is None else "c",
        scaled={name: part.map(turn) for name, part in split.items()},
        scaled_total=total.map(turn),
        scaled_carousel=None if carousel is None else carousel.map(turn),
        valid=trace.valid,
    )


def _split_c(step: OneStep) -> dict[str, Scaled]:
    """The parts of d_c, in running order."""
    to_h, to_c = step.crossings
    assert step.direct is not None
    found = {"direct": step.earlier(step.direct, to_c)}
    for gate in step.gates:
        part = step.into_c(step.earlier(step.to_h(gate), to_h))
        straight = step.to_c(gate)
        if straight is not None:
            part = part + step.earlier(Scaled(straight, step.d_a(gate).exponent), to_c)
        found[gate] = part
    injected_c = step.trace.d_c_injected
    assert injected_c is not None
    found["injected"] = step.into_c(unit(step.trace.d_h_injected)) + injected_c
    return found | _between(step)


def _split_h(step: OneStep) -> dict[str, Scaled]:
    """The parts of d_h of a cell without c, in running order."""
    to_h, _ = step.crossings
    found = {} if step.direct is None else {"direct": step.earlier(step.direct, to_h)}
    for gate in step.gates:
        found[gate] = step.earlier(step.to_h(gate), to_h)
    found["injected"] = step.trace.d_h_injected
    return found | _between(step)


def _between(step: OneStep) -> dict[str, Scaled]:
    """What came over boundaries other than as the next step sent it; nothing where none did."""
    trace = step.trace
    boundaries = list(trace.boundaries)
    if not boundaries:
        return {}
    before = [k - 1 for k in boundaries]
    to_h, to_c = (crosses[boundaries] for crosses in step.crossings)
    came = _where_not(to_h, step.arrived_h(boundaries))
    at_c = step.arrived_c(boundaries)
    if at_c is not None:
        came = step.at(before).into_c(came) + _where_not(to_c, at_c)
    if bool((came.mantissa == 0).all()):
        return {}
    steps, batch = trace.valid.shape
    mantissa = came.mantissa.new_zeros(steps, batch, came.mantissa.shape[-1])
    exponent = came.exponents().new_zeros(steps, batch)
    mantissa[before], exponent[before] = came.mantissa, came.exponents()
    return {BETWEEN: Scaled(mantissa, exponent)}


def _carousel(step: OneStep) -> Scaled | None:
    """The total gradient if each step passed back ``keep`` times it and nothing else."""
    keep, lin, trace = step.keep, step.linearisation, step.trace
    if keep is None:
        return None
    to_h, to_c = step.crossings
    crosses = to_h if trace.d_c is None else to_c
    carry = torch.where(crosses.unsqueeze(-1), keep, 0.0).unsqueeze(-2)
    alone = Linearisation(
        from_h=carry if trace.d_c is None else carry[..., :0, :],
        from_c=None if trace.d_c is None else carry,
        c_from_h=lin.c_from_h,
        n_from_h=None,
        weights=replace(lin.weights, w_hh=lin.weights.w_hh[:0], peephole=None),
        gates=0,
    )
    found = adjoint(alone, trace.d_h_injected, trace.d_c_injected)
    return found.d_h if found.d_c is None else found.d_c


def _double(scaled: Scaled) -> Scaled:
    return Scaled(scaled.mantissa.double(), scaled.exponent)


def _where_not(crosses: Tensor, came: Scaled) -> Scaled:
    return came.linear(lambda mantissa: torch.where(crosses.unsqueeze(-1), 0.0, mantissa))
