"""The gradients of a layer's parameters from those of its states, for any part of these.

    weight_ih += d_a x^T      weight_hh += d_a h_{t-1}^T      bias_ih, bias_hh += d_a
    weight_hr += d_h m^T      peephole_k += d_a_k * c_{t-1}   (c_t for the gate o)

All of it is linear in (d_h, d_c), so a part of the one gives a part of the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.cells import Linearisation
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
    lin, weights, trajectory = linearisation, trace.weights, trace.trajectory
    rows = slice(first, first + len(d_h))
    d_m = d_h if weights.w_hr is None else d_h @ weights.w_hr
    u = lin.from_h[rows] * d_m.unsqueeze(-2)
    if d_c is not None and lin.from_c is not None:
        u = torch.cat([lin.from_c[rows] * d_c.unsqueeze(-2), u], dim=-2)
    d_a = u[..., lin.rows - lin.gates :, :]  # where h_{t-1} meets it
    at_x = d_a
    if lin.n_from_h is not None:
        at_x = torch.cat([d_a[..., :-1, :], (lin.n_from_h[rows] * d_m).unsqueeze(-2)], dim=-2)
    found = {
        "weight_ih": _outer(at_x.flatten(-2), trace.x[rows]),
        "weight_hh": _outer(d_a.flatten(-2), trajectory.h_prev[rows]),
    }
    if weights.b_ih is not None:
        found["bias_ih"] = at_x.flatten(-2).sum((0, 1))
    if weights.b_hh is not None:
        found["bias_hh"] = d_a.flatten(-2).sum((0, 1))
    if weights.w_hr is not None:
        found["weight_hr"] = _outer(d_h, trace.cell.unprojected(trajectory)[rows])
    if weights.peephole is not None:
        assert trajectory.c is not None
        assert trajectory.c_prev is not None
        found["weight_peephole"] = torch.stack(
            [
                (
                    d_a[..., trace.cell.gates.index(gate), :]
                    * (trajectory.c if gate == "o" else trajectory.c_prev)[rows]
                ).sum((0, 1))
                for gate in trace.cell.peepholes
            ]
        )
    return found


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Summed over steps and sequences: [S, B, M] and [S, B, N] -> [M, N]."""
    return left.flatten(0, 1).T @ right.flatten(0, 1)
