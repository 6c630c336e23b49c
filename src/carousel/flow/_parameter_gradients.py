"""The gradients of a layer's parameters from those of its states, for any part of these.

All of it is linear in (d_h, d_c), so a part of the one gives a part of the other. The factors are
those of ``_parameter_factors.py``, here as plain tensors and for all parameters at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.cells import Linearisation
from carousel.flow._parameter_factors import Factors, factors_of
from carousel.trace import Trace

__all__ = ["parameter_gradients"]


def parameter_gradients(
    trace: Trace, linearisation: Linearisation, first: int, d_h: Tensor, d_c: Tensor | None
) -> dict[str, Tensor]:
    """What the gradients at some steps give for each parameter, by torch's name without its suffix.

    Args:
        trace: in running order.
        linearisation: of its trajectory.
        first: the first of the steps.
        d_h: at h of the steps [S, B, P].
        d_c: at c, in total [S, B, H]; None for a cell without c.
    """
    lin, weights = linearisation, trace.weights
    rows = slice(first, first + len(d_h))
    d_m = d_h if weights.w_hr is None else d_h @ weights.w_hr
    u = lin.from_h[rows] * d_m.unsqueeze(-2)
    if d_c is not None and lin.from_c is not None:
        u = torch.cat([lin.from_c[rows] * d_c.unsqueeze(-2), u], dim=-2)
    at_h = u[..., lin.rows - lin.gates :, :]  # [S, B, G, H]
    at_x = at_h
    if lin.n_from_h is not None:
        at_x = torch.cat([at_h[..., :-1, :], (lin.n_from_h[rows] * d_m).unsqueeze(-2)], dim=-2)
    lefts = {"d_a at x": at_x.flatten(-2), "d_a at h": at_h.flatten(-2), "d_h": d_h}

    def gradient(factors: Factors) -> Tensor:
        if factors.left == "peepholes":
            gates = [trace.cell.gates.index(gate) for gate in factors.seen]
            seen = torch.stack([c[rows] for c in factors.seen.values()], dim=-2)
            return (at_h[..., gates, :] * seen).sum((0, 1))
        left = lefts[factors.left].flatten(0, 1)
        return left.sum(0) if factors.right is None else left.T @ factors.right[rows].flatten(0, 1)

    return {name: gradient(factors) for name, factors in factors_of(trace).items()}
