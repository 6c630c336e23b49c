"""LSTM with forget gate and optional projection: the step, its replay, its derivative.

Source: Gers, Schmidhuber & Cummins 2000, eq. 1-5, with the conventions of ``torch.nn.LSTM``; the
derivation of the derivative is in README.md beside this file.

    a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh        a = (a_i, a_f, a_g, a_o)
    i, f, o = sigmoid(a_i, a_f, a_o);   g = tanh(a_g)
    c_t = f * c_{t-1} + i * g
    m_t = o * tanh(c_t)
    h_t = m_t                                        or W_hr m_t with a projection
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from carousel.cells._cell import Cell, Linearisation, State, Trajectory, Weights
from carousel.cells._derivatives import d_sigmoid, d_tanh
from carousel.cells._products import pre_activations
from carousel.cells._scan import elementwise_scan

__all__ = ["LSTM"]

GATES = ("i", "f", "g", "o")


def step(x: Tensor, state: State, weights: Weights) -> State:
    """One step of the equations: x [B, I], state (h [B, P], c [B, H]) -> the next state."""
    h, c = state
    a = linear(x, weights.w_ih, weights.b_ih) + linear(h, weights.w_hh, weights.b_hh)
    i, f, g, o = _activate(a)
    c = f * c + i * g
    m = o * torch.tanh(c)
    return _project(m, weights), c


def replay(x: Tensor, h_prev: Tensor, start: State, weights: Weights) -> Trajectory:
    """All steps at once, where every h_{t-1} is known: one product, then a scan for c.

    Args:
        x: inputs [T, B, I].
        h_prev: the state h that each step started from [T, B, P].
        start: (h_0 [B, P], c_0 [B, H]).
        weights: of this layer and direction.
    """
    a = pre_activations(x, h_prev, weights)
    i, f, g, o = _activate(a)
    states = elementwise_scan(f, i * g, start[1])
    c_prev, c = states[:-1], states[1:]
    m = o * torch.tanh(c)
    return Trajectory(
        h_prev=h_prev,
        c_prev=c_prev,
        h=_project(m, weights),
        c=c,
        gates=dict(zip(GATES, (i, f, g, o), strict=True)),
        pre_activations=dict(zip(GATES, a.chunk(4, dim=-1), strict=True)),
    )


def linearise(trajectory: Trajectory, weights: Weights) -> Linearisation:
    """The derivative of each step, in the reverse order of ``step``.

    m_t = o * tanh(c_t)             d_a_o = d_m * tanh(c) * o'        d_c += d_m * o * tanh'(c)
    c_t = f * c_{t-1} + i * g       d_a_i = d_c * g * i'              d_a_f = d_c * c_{t-1} * f'
                                    d_a_g = d_c * i * g'              d_c_{t-1} = d_c * f
    a   = ... + W_hh h_{t-1}        d_h_{t-1} = d_a @ W_hh
    """
    i, f, g, o = (trajectory.gates[gate] for gate in GATES)
    assert trajectory.c is not None
    assert trajectory.c_prev is not None
    tanh_c = torch.tanh(trajectory.c)
    c_from_m = o * d_tanh(tanh_c)

    from_c = f.new_empty(*f.shape[:-1], 4, f.shape[-1])
    from_c[..., 0, :] = f
    torch.mul(g, d_sigmoid(i), out=from_c[..., 1, :])
    torch.mul(trajectory.c_prev, d_sigmoid(f), out=from_c[..., 2, :])
    torch.mul(i, d_tanh(g), out=from_c[..., 3, :])
    o_from_m = tanh_c * d_sigmoid(o)
    return Linearisation(
        from_h=o_from_m.unsqueeze(-2),
        from_c=from_c,
        c_from_h=c_from_m,
        n_from_h=None,
        weights=weights,
        gates=len(GATES),
    )


def _activate(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    a_i, a_f, a_g, a_o = a.chunk(4, dim=-1)
    return torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)


def _project(m: Tensor, weights: Weights) -> Tensor:
    return m if weights.w_hr is None else linear(m, weights.w_hr)


LSTM = Cell(name="LSTM", gates=GATES, has_c=True, step=step, replay=replay, linearise=linearise)
