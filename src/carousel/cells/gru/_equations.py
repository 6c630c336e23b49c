"""GRU in the form of ``torch.nn.GRU``: the step, its replay, its derivative.

Source: Cho et al. 2014, with the reset gate applied after the recurrent product as cuDNN and
torch have it; the derivation of the derivative is in README.md beside this file.

    a_r = W_ir x_t + b_ir + W_hr h_{t-1} + b_hr          r = sigmoid(a_r)
    a_z = W_iz x_t + b_iz + W_hz h_{t-1} + b_hz          z = sigmoid(a_z)
    q   = W_hn h_{t-1} + b_hn
    a_n = W_in x_t + b_in + r * q                        n = tanh(a_n)
    h_t = (1 - z) * n + z * h_{t-1}
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from carousel.cells import _codes
from carousel.cells._cell import (
    Cell,
    Linearisation,
    State,
    Trajectory,
    Weights,
    never_truncated,
)
from carousel.cells._derivatives import d_sigmoid, d_tanh

__all__ = ["GRU"]

GATES = ("r", "z", "n")


def step(x: Tensor, state: State, weights: Weights) -> State:
    """One step of the equations: x [B, I], state (h [B, H],) -> the next state."""
    (h,) = state
    return (replay(x, h, state, weights).h,)


def replay(x: Tensor, h_prev: Tensor, start: State, weights: Weights) -> Trajectory:
    """All steps at once, where every h_{t-1} is known: the equations without any scan.

    Args:
        x: inputs [T, B, I].
        h_prev: the state h that each step started from [T, B, H].
        start: (h_0 [B, H],), already the first row of ``h_prev``.
        weights: of this layer and direction.
    """
    x_r, x_z, x_n = linear(x, weights.w_ih, weights.b_ih).chunk(3, dim=-1)
    q_r, q_z, q = linear(h_prev, weights.w_hh, weights.b_hh).chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + q_r), torch.sigmoid(x_z + q_z)
    n = torch.tanh(x_n + r * q)
    h = _blend(z, n, h_prev)
    return Trajectory(
        h_prev=h_prev,
        c_prev=None,
        h=h,
        c=None,
        gates={"r": r, "z": z, "n": n},
        recurrent_n=q,
    )


def pre_activations(x: Tensor, trajectory: Trajectory, weights: Weights) -> dict[str, Tensor]:
    """The arguments a_r, a_z and a_n of the activations, each [T, B, H]."""
    x_r, x_z, x_n = linear(x, weights.w_ih, weights.b_ih).chunk(3, dim=-1)
    q_r, q_z, q = linear(trajectory.h_prev, weights.w_hh, weights.b_hh).chunk(3, dim=-1)
    return {"r": x_r + q_r, "z": x_z + q_z, "n": x_n + trajectory.gates["r"] * q}


def unprojected(trajectory: Trajectory) -> Tensor:
    """h_t from the gates and h_{t-1}, [T, B, H]."""
    return _blend(trajectory.gates["z"], trajectory.gates["n"], trajectory.h_prev)


def _blend(z: Tensor, n: Tensor, h_prev: Tensor) -> Tensor:
    return (1 - z) * n + z * h_prev


def linearise(trajectory: Trajectory, weights: Weights, truncated: bool = False) -> Linearisation:
    """The derivative of each step, in the reverse order of ``step``.

    h_t = (1 - z) * n + z * h_{t-1}      d_a_n = d_h * (1 - z) * n'
                                         d_a_z = d_h * (h_{t-1} - n) * z'
                                         d_h_{t-1} = d_h * z
    a_n = ... + r * q                    d_a_r = d_a_n * q * r'      d_q = d_a_n * r
    (a_r, a_z, q) = ... + W_hh h_{t-1}   d_h_{t-1} += (d_a_r, d_a_z, d_q) @ W_hh
    """
    never_truncated("GRU", truncated)
    r, z, n = (trajectory.gates[gate] for gate in GATES)
    assert trajectory.recurrent_n is not None
    n_from_h = (1 - z) * d_tanh(n)
    z_from_h = (trajectory.h_prev - n) * d_sigmoid(z)
    r_from_h = n_from_h * trajectory.recurrent_n * d_sigmoid(r)
    q_from_h = n_from_h * r
    return Linearisation(
        from_h=torch.stack([z, r_from_h, z_from_h, q_from_h], dim=-2),
        from_c=None,
        c_from_h=None,
        n_from_h=n_from_h,
        weights=weights,
        gates=len(GATES),
    )


GRU = Cell(
    name="GRU",
    gates=GATES,
    has_c=False,
    step=step,
    replay=replay,
    linearise=linearise,
    pre_activations=pre_activations,
    unprojected=unprojected,
    native_code=_codes.GRU,
)
