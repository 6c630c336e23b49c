"""Whether the total gradient keeps its size from step to step.

    Omega_t = (||v[t+1] ds_{t+1}/ds_t|| / ||v[t+1]|| - 1)^2

Pascanu, Mikolov & Bengio 2013, eq. 9-10, there a regulariser; v[t+1] is the total gradient
dL/ds_{t+1}. Of an LSTM s is the whole state (h, c): v = (d_h, v_c), v_c being what arrives at c_t
other than through h_t, so that each way counts once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from carousel.cells import Scaled, pull_back
from carousel.flow._one_step import OneStep, linearised
from carousel.flow._quantities import Category
from carousel.flow._running import in_running_order, turned_back
from carousel.flow._shown import Shown, counted, middle, number
from carousel.trace import Trace

__all__ = ["Omega", "omega", "omega_gradient"]


@dataclass(frozen=True, eq=False, repr=False)
class Omega(Shown):
    """How the total gradient changes its size on the way from step t+1 to step t.

    In the reverse direction step t-1 stands for t+1. ``category`` says why a value is NaN: ZERO
    where the gradient at step t+1 is exactly zero, NAN where it is not finite or the state was
    changed in between by operations outside the module, PADDING where there is no step after t.
    """

    log10_ratio: Tensor  # [T, B] float64, log10 of ||v[t+1] ds_{t+1}/ds_t|| / ||v[t+1]||
    category: Tensor  # [T, B] int8, ``carousel.flow.Category``

    def __str__(self) -> str:
        ratios = self.log10_ratio[~self.log10_ratio.isnan()]
        if not len(ratios):
            return "There is no step over which the size of the total gradient can be compared."
        low, high = number(float(ratios.min())), number(float(ratios.max()))
        return (
            f"From one step to the one before, the total gradient is {number(middle(ratios))} "
            f"times as large (median of {counted(len(ratios), 'value')}, {low} to {high}); Omega "
            f"adds up to {middle(self.total):.3g} (median over the sequences)."
        )

    @property
    def value(self) -> Tensor:
        """Omega_t [T, B] float64."""
        return (torch.pow(10.0, self.log10_ratio) - 1).square()

    @property
    def total(self) -> Tensor:
        """The sum over the steps that have a value [B] float64: eq. 9."""
        return self.value.nan_to_num(0.0).sum(0)


def omega(trace: Trace) -> Omega:
    """The ratio of each step, with the derivative along which the gradient came."""
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        one = linearised(in_running_order(trace))
        valid = one.trace.valid
        sent = _log2_norm(one.back_h(), one.back_c())
        there = _log2_norm(one.d_h, _arriving_at_c(one))
        ratio = sent - there
        category = torch.full(
            ratio.shape, int(Category.VALUE), dtype=torch.int8, device=ratio.device
        )
        category[there == -math.inf] = Category.ZERO
        to_h, to_c = one.crossings
        broken = ~(to_h & to_c) | there.isnan() | (there == math.inf) | ratio.isnan()
        category[broken & (category == Category.VALUE)] = Category.NAN
        ratio = torch.where(category == Category.VALUE, ratio, math.nan) * math.log10(2)
        # From the step that sends to the one that receives, which is where it is shown.
        ratio = pad(ratio[1:], (0, 0, 0, 1), value=math.nan)
        category = pad(category[1:], (0, 0, 0, 1), value=int(Category.PADDING))
        last = pad(valid[1:], (0, 0, 0, 1)).logical_not()
        ratio[last], category[last] = math.nan, Category.PADDING
    return Omega(turned_back(trace, ratio), turned_back(trace, category))


def omega_gradient(trace: Trace) -> tuple[float, Tensor]:
    """Omega, summed over the steps and averaged over the sequences, and its gradient by W_hh.

    It is the immediate derivative: the states and the total gradients are taken as they are, as in
    eq. 10. W_hh enters through the one factor of ds_{t+1}/ds_t that it is.

    Returns:
        Omega, and dOmega/dW_hh [G*H, P] float64. Steps without a value (see ``Omega``) add nothing.
    """
    with torch.autocast(trace.x.device.type, enabled=False):
        with torch.no_grad():
            one = linearised(in_running_order(trace))
            arriving = _arriving_at_c(one)
            log2 = _log2_norm(one.d_h, arriving)
            to_h, to_c = one.crossings
            there = log2.isfinite() & one.trace.valid & to_h & to_c
            there[0] = False  # nothing lies before it
            unit = torch.where(log2.isfinite(), log2, 0.0).round().to(torch.int32)
            v_h = one.d_h.at(unit).mantissa[there].double().unsqueeze(0)
            v_c = None
            if arriving is not None:
                v_c = arriving.at(unit).mantissa[there].double().unsqueeze(0)
            factors = one.linearisation.map(lambda f: f[there].double().unsqueeze(0))
        w_hh = trace.weights.w_hh.detach().double().requires_grad_()
        if v_h.shape[1] == 0 or trace.gradient == "1997":  # nothing is sent through W_hh
            return 0.0, torch.zeros_like(w_hh).detach()
        with torch.enable_grad():
            weights = replace(factors.weights.map(Tensor.double), w_hh=w_hh)
            sent = _joined(*pull_back(replace(factors, weights=weights))(0, v_h, v_c))
            size = torch.linalg.vector_norm(_joined(v_h, v_c), dim=-1)
            sent = torch.linalg.vector_norm(sent, dim=-1)
            total = (sent / size - 1).square().sum() / trace.x.shape[1]
            (gradient,) = torch.autograd.grad(total, w_hh)
    return float(total.detach()), gradient


def _joined(h: Tensor, c: Tensor | None) -> Tensor:
    return h if c is None else torch.cat([h, c], dim=-1)


def _arriving_at_c(one: OneStep) -> Scaled | None:
    """What arrives at c_t other than through h_t: from the step after, and from outside."""
    back_c, trace = one.back_c(), one.trace
    if back_c is None or trace.d_c_injected is None:
        return None
    _, to_c = one.crossings
    found = one.earlier(back_c, to_c) + trace.d_c_injected
    for step in trace.boundaries:
        came = one.arrived_c([step])
        assert came is not None
        if not bool(to_c[step].all()):
            other = torch.where(to_c[step].unsqueeze(-1), 0.0, came.value()[0])
            mantissa = torch.zeros_like(found.mantissa)
            mantissa[step - 1] = other
            found = found + Scaled(mantissa)
    return found


def _log2_norm(h: Scaled, c: Scaled | None) -> Tensor:
    """log2 of the norm over the units of both [T, B] float64."""
    if c is None:
        return h.log2_norm()
    both = torch.stack([h.log2_norm(), c.log2_norm()])
    largest = both.amax(0)
    scale = torch.where(largest.isfinite(), largest, 0.0)
    norm: Tensor = torch.exp2(2 * (both - scale)).sum(0).log2() / 2 + scale
    return norm
