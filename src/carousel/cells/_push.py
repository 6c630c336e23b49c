"""The derivative of a step as a map of tangent vectors, forward in time: q_t = J_t q_{t-1}.

The transpose of ``pull_back``, from the same factors and in the reverse order of its lines. With
q_h and q_c a small change of the state before step t:

    r   = (carry: q_c, or q_h for a cell without c;  gates: W_hh q_h)
    q_c' = sum over k of from_c[k] * r_k .. of its rows            (for a cell with c)
    q_m  = sum over k of from_h[k] * r_k .. of its rows + c_from_h * q_c'
    q_h' = q_m, or W_hr q_m where the cell projects its output
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells._cell import Linearisation

__all__ = ["PushForward", "StepMatrices", "push_forward", "step_matrices"]

# A change of (h, c): [.., B, P] and [.., B, H].
Vector = tuple[Tensor, Tensor | None]
PushForward = Callable[[int, Tensor, Tensor | None], Vector]


def push_forward(linearisation: Linearisation) -> PushForward:
    """The Jacobian of a step as a function: the change of the state after step t.

    (t, q_h [.., B, P], q_c [.., B, H]) -> the same one step later, for any axes in front; q_c is
    None for a cell without c.
    """
    lin, gates = linearisation, linearisation.gates
    w_hh_t, w_hr = lin.weights.w_hh.T, lin.weights.w_hr
    units = lin.from_h.shape[-1]
    rows_c = 0 if lin.from_c is None else lin.from_c.shape[-2]
    carry = lin.rows > gates

    def step(t: int, q_h: Tensor, q_c: Tensor | None) -> Vector:
        r = (q_h @ w_hh_t).unflatten(-1, (gates, units))
        if carry:
            r = torch.cat([(q_h if q_c is None else q_c).unsqueeze(-2), r], dim=-2)
        q_m = (lin.from_h[t] * r[..., rows_c:, :]).sum(-2)
        if lin.from_c is None or lin.c_from_h is None:
            return q_m, None
        q_c = (lin.from_c[t] * r[..., :rows_c, :]).sum(-2)
        q_m = torch.addcmul(q_m, lin.c_from_h[t], q_c)
        return (q_m if w_hr is None else q_m @ w_hr.T), q_c

    return step


@dataclass(frozen=True)
class StepMatrices:
    """The Jacobians of steps, the blocks that are diagonal kept as diagonals.

    Multiplying with these takes half of the work of going through the gates, or less, and pays
    where many vectors are pushed.
    """

    from_h: Tensor  # [T, B, S, P]  d(h_t, c_t)/dh_{t-1}
    m_from_c: Tensor | None  # [T, B, H]  the diagonal of dm_t/dc_{t-1}
    c_from_c: Tensor | None  # [T, B, H]  the diagonal of dc_t/dc_{t-1}
    w_hr: Tensor | None  # [P, H]

    def push(self, t: int, q: Tensor) -> Tensor:
        """J_t q: columns q [B, S, k] -> [B, S, k]."""
        dense = self.from_h[t]
        if self.m_from_c is None or self.c_from_c is None:
            return dense @ q
        outputs = dense.shape[-1]
        q_c = q[:, outputs:]
        pushed = dense @ q[:, :outputs]
        if self.w_hr is None:
            pushed[:, :outputs].addcmul_(self.m_from_c[t].unsqueeze(-1), q_c)
        else:
            pushed[:, :outputs] += self.w_hr @ (self.m_from_c[t].unsqueeze(-1) * q_c)
        pushed[:, outputs:].addcmul_(self.c_from_c[t].unsqueeze(-1), q_c)
        return pushed

    def full(self, t: int) -> Tensor:
        """J_t as a matrix [B, S, S]."""
        dense = self.from_h[t]
        if self.m_from_c is None or self.c_from_c is None:
            return dense
        m_from_c = self.m_from_c[t].diag_embed()
        h_from_c = m_from_c if self.w_hr is None else self.w_hr @ m_from_c
        return torch.cat([dense, torch.cat([h_from_c, self.c_from_c[t].diag_embed()], -2)], -1)


def step_matrices(linearisation: Linearisation) -> StepMatrices:
    """The Jacobians of all steps of a linearisation; O(T B G H P) work, O(T B S P) memory."""
    lin, w_hr = linearisation, linearisation.weights.w_hr
    w = lin.weights.w_hh.unflatten(0, (lin.gates, -1))  # [G, H, P]
    if lin.from_c is None or lin.c_from_h is None:
        carry = lin.rows > lin.gates
        dense = _through_gates(lin.from_h[..., 1:, :] if carry else lin.from_h, w)
        if carry:
            dense.diagonal(dim1=-2, dim2=-1).add_(lin.from_h[..., 0, :])
        return StepMatrices(dense, None, None, None)
    inner = lin.from_c.shape[-2] - 1  # the gates that follow from d_c; the carry stands first
    units, outputs = lin.from_c.shape[-1], w.shape[-1]
    dense = w.new_empty(*lin.from_c.shape[:-2], outputs + units, outputs)
    c_from_h = _through_gates(lin.from_c[..., 1:, :], w[:inner], out=dense[..., outputs:, :])
    m_from_h = dense[..., :outputs, :] if w_hr is None else torch.empty_like(c_from_h)
    torch.mul(lin.c_from_h.unsqueeze(-1), c_from_h, out=m_from_h)
    if inner < lin.gates:
        m_from_h.addcmul_(lin.from_h[..., 0, :].unsqueeze(-1), w[inner])
    if w_hr is not None:
        dense[..., :outputs, :] = w_hr @ m_from_h
    c_from_c = lin.from_c[..., 0, :]
    return StepMatrices(dense, lin.c_from_h * c_from_c, c_from_c, w_hr)


def _through_gates(factors: Tensor, w: Tensor, out: Tensor | None = None) -> Tensor:
    """Sum over the gates of diag(factor) W, [T, B, G, H] and [G, H, P] -> [T, B, H, P]."""
    total = torch.mul(factors[..., 0, :].unsqueeze(-1), w[0], out=out)
    for gate in range(1, len(w)):
        total.addcmul_(factors[..., gate, :].unsqueeze(-1), w[gate])
    return total
