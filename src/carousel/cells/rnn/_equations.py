"""The simple recurrence, one cell for each nonlinearity: the step, its replay, its derivative.

Source: Elman 1990, with the two biases of ``torch.nn.RNN``.

    a = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh
    h_t = phi(a)                                 phi: tanh, relu, sigmoid or the identity
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from carousel.cells import _codes
from carousel.cells._cell import (
    Cell,
    Linearisation,
    State,
    Trajectory,
    Weights,
    never_truncated,
)
from carousel.cells._derivatives import d_identity, d_relu, d_sigmoid, d_tanh
from carousel.cells._products import pre_activations as products

__all__ = ["RNN"]

Function = Callable[[Tensor], Tensor]

NONLINEARITIES: dict[str, tuple[Function, Function]] = {  # phi, phi' from the output of phi
    "tanh": (torch.tanh, d_tanh),
    "relu": (torch.relu, d_relu),
    "sigmoid": (torch.sigmoid, d_sigmoid),
    "identity": (torch.clone, d_identity),
}
CODES = {
    "tanh": _codes.TANH,
    "relu": _codes.RELU,
    "sigmoid": _codes.SIGMOID,
    "identity": _codes.IDENTITY,
}


def step(phi: Function, x: Tensor, state: State, weights: Weights) -> State:
    """One step of the equations: x [B, I], state (h [B, H],) -> the next state."""
    (h,) = state
    return (replay(phi, x, h, state, weights).h,)


def replay(phi: Function, x: Tensor, h_prev: Tensor, start: State, weights: Weights) -> Trajectory:
    """All steps at once, where every h_{t-1} is known: one product and one nonlinearity.

    Args:
        phi: the nonlinearity.
        x: inputs [T, B, I].
        h_prev: the state h that each step started from [T, B, H].
        start: (h_0 [B, H],), already the first row of ``h_prev``.
        weights: of this layer and direction.
    """
    h = phi(products(x, h_prev, weights))
    return Trajectory(
        h_prev=h_prev,
        c_prev=None,
        h=h,
        c=None,
        gates={"h": h},
    )


def pre_activations(x: Tensor, trajectory: Trajectory, weights: Weights) -> dict[str, Tensor]:
    """The argument a [T, B, H] of the nonlinearity, by the name of what it gives."""
    return {"h": products(x, trajectory.h_prev, weights)}


def unprojected(trajectory: Trajectory) -> Tensor:
    """h_t [T, B, H], the one activation."""
    return trajectory.gates["h"]


def linearise(
    d_phi: Function, trajectory: Trajectory, weights: Weights, truncated: bool = False
) -> Linearisation:
    """The derivative of each step, in the reverse order of ``step``.

    h_t = phi(a)                 d_a = d_h * phi'(a)
    a = ... + W_hh h_{t-1}       d_h_{t-1} = d_a @ W_hh
    """
    never_truncated("RNN", truncated)
    return Linearisation(
        from_h=d_phi(trajectory.h).unsqueeze(-2),
        from_c=None,
        c_from_h=None,
        n_from_h=None,
        weights=weights,
        gates=1,
    )


RNN: dict[str, Cell] = {
    name: Cell(
        name=f"RNN {name}",
        gates=("h",),
        has_c=False,
        step=partial(step, phi),
        replay=partial(replay, phi),
        linearise=partial(linearise, d_phi),
        pre_activations=pre_activations,
        unprojected=unprojected,
        native_code=_codes.RNN | CODES[name],
    )
    for name, (phi, d_phi) in NONLINEARITIES.items()
}
