"""Products of step Jacobians, from each sequence's last step backward, on a running scale.

    ds_T/ds_t = J_T J_{T-1} .. J_{t+1},   s = (h, c) of the LSTM, s = h of the others

Rows of the product are pulled back one step at a time, so no Jacobian is ever formed, and a power
of two beside each product keeps 1e-400 a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import binary_exponent, times_power_of_two
from carousel.flow._running import in_running_order
from carousel.flow._shown import Shown, middle, number
from carousel.flow._tangent import tangent_of
from carousel.trace import Trace

__all__ = [
    "NORMS",
    "JacobianNorms",
    "by_lag",
    "jacobian_norms",
    "log_norms_by_lag",
    "norm_named",
    "spectral",
]

Norm = Callable[[Tensor], Tensor]  # [R, B, S] -> [B]


@dataclass(frozen=True, eq=False, repr=False)
class JacobianNorms(Shown):
    """``||ds_T/ds_t||`` by lag, T the last valid step of each sequence.

    Where a lag is not there, because the sequence is shorter or the state was changed on the way
    by operations outside the module, the value is NaN; -inf is an exact zero.
    """

    lags: Tensor  # [L] int64, 0 .. L-1 steps back
    log10: Tensor  # [L, B] float64

    def __str__(self) -> str:
        known = (~self.log10.isnan()).any(1).nonzero().flatten().tolist()
        if not known or known[-1] == 0:
            return "There is no step before the last one, and so no norm of ds_T/ds_t to tell."
        said = [f"{number(middle(self.log10[lag]))} at lag {lag}" for lag in sorted({1, known[-1]})]
        return f"||ds_T/ds_t|| is {' and '.join(said)} (medians over the sequences)."


def jacobian_norms(trace: Trace, norm: str = "spectral") -> JacobianNorms:
    """The norm of the full product for every lag; see ``LayerFlow.jacobian_norms``."""
    known = norm_named(norm)
    units = trace.trajectory.h.shape[-1]
    if trace.trajectory.c is not None:
        units += trace.trajectory.c.shape[-1]
    log = log_norms_by_lag(trace, torch.eye(units), known)
    return JacobianNorms(torch.arange(log.shape[0]), log / math.log(10))


def norm_named(name: object) -> Norm:
    """The norm of this name; a miss lists those that there are, and says so of a lag.

    Raises:
        CarouselError: there is none.
    """
    if isinstance(name, str) and name in NORMS:
        return NORMS[name]
    lag = ""
    if isinstance(name, SupportsIndex) and not isinstance(name, bool):
        lag = f" All lags come at once: call it without one, row {name} is what you look for."
    raise CarouselError(f"There is no norm {name!r}. Expected one of: {', '.join(NORMS)}.{lag}")


def log_norms_by_lag(
    trace: Trace, rows: Tensor, norm: Norm, most_lags: int | None = None
) -> Tensor:
    """ln norm(rows @ ds_T/ds_t) for every lag, [L, B] float64.

    Args:
        trace: of one layer.
        rows: to pull back, [R, S], or [R, B, S] of each sequence its own; the identity gives the
            product itself.
        norm: of the pulled rows.
        most_lags: where to stop; None: at the first step.
    """
    trace = in_running_order(trace)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        stop = 0
        if most_lags is not None:
            stop = max(0, int(trace.lengths.min()) - most_lags)
        by_step = _pull_rows(trace, rows, norm, stop)
        return by_lag(by_step, trace.lengths)[: int(trace.lengths.max()) - stop]


def _pull_rows(trace: Trace, rows: Tensor, norm: Norm, stop: int) -> Tensor:
    """ln norm at every step t from the last one down to ``stop``, [T, B]; NaN elsewhere."""
    tangent = tangent_of(trace, truncated=trace.gradient == "1997")
    h, steps, batch = trace.trajectory.h, tangent.steps, tangent.batch
    begin = rows.to(h)
    if begin.dim() == 2:
        begin = begin.unsqueeze(1).expand(-1, batch, -1)
    v = torch.zeros_like(begin)
    exponent = torch.zeros(batch, dtype=torch.float64, device=h.device)
    found = torch.full((steps, batch), torch.nan, dtype=torch.float64, device=h.device)
    for t in range(steps - 1, stop - 1, -1):
        starts = (trace.lengths - 1 == t).unsqueeze(-1)
        if bool(starts.any()):
            v = torch.where(starts, begin, v)
            exponent = torch.where(starts.squeeze(-1), 0.0, exponent)
        size = v.abs().amax(dim=(0, 2)).double()
        shift = binary_exponent(size)
        v = times_power_of_two(v, -shift)
        exponent = exponent + shift
        found[t] = norm(v).double().log() + exponent * math.log(2)
        v = tangent.pull(t, v.transpose(0, 1)).transpose(0, 1)
    return torch.where(trace.valid, found, torch.nan)


def by_lag(by_step: Tensor, lengths: Tensor) -> Tensor:
    """From [T, B] by step to [T, B] by steps back from each sequence's last one."""
    lags = torch.arange(by_step.shape[0], device=by_step.device).unsqueeze(1)
    step = lengths.unsqueeze(0) - 1 - lags
    found = by_step.gather(0, step.clamp(min=0))
    return torch.where(step >= 0, found, torch.nan)


def frobenius(rows: Tensor) -> Tensor:
    """sqrt of the sum of squares, [R, B, S] -> [B]."""
    norm: Tensor = torch.linalg.vector_norm(rows, dim=(0, 2))
    return norm


def spectral(rows: Tensor) -> Tensor:
    """The largest singular value, [R, B, S] -> [B] float64."""
    matrices = rows.transpose(0, 1).double()  # single precision leaves the squares too little room
    size = matrices.abs().amax(dim=(1, 2))
    usable = size.isfinite() & (size > 0)
    unit = torch.where(usable[:, None, None], matrices / size[:, None, None], 0.0)
    largest: Tensor = torch.linalg.eigvalsh(unit @ unit.mT)[:, -1].clamp(min=0).sqrt() * size
    return torch.where(usable, largest, size)


NORMS: dict[str, Norm] = {"spectral": spectral, "frobenius": frobenius}
