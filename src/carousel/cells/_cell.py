"""What every recurrence provides, whatever its equations are.

A cell is a step ``state, x_t -> state`` with ``state = (h,)`` or ``(h, c)``, and the derivative of
that step written by hand. The derivative has one shape for all cells: with ``v`` the gradient that
stands at the state after the step,

    u[k]  = from_h[k] * v_m + from_c[k] * v_c           k = 0..G-1 gates, k = G the direct way
    v_h'  = (u[0] .. u[G-1]) @ W_hh  (+ u[G] for a cell without c)
    v_c'  = u[G]                     (for a cell with c)

where ``v_m = v_h``, or ``v_h @ W_hr`` when the cell projects its output. ``from_h`` and ``from_c``
are what a cell's ``linearise`` returns; following them backward is the work of ``_adjoint.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

__all__ = ["Cell", "Linearisation", "State", "Trajectory", "Weights"]

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer in one direction, named as in the equations."""

    w_ih: Tensor  # [G*H, I]
    w_hh: Tensor  # [G*H, P], P = H without projection
    b_ih: Tensor | None = None  # [G*H]
    b_hh: Tensor | None = None  # [G*H]
    w_hr: Tensor | None = None  # [P, H]

    def map(self, function: Callable[[Tensor], Tensor]) -> Weights:
        """The same weights with ``function`` applied to each tensor that is there."""
        changed = {
            name: function(tensor) for name, tensor in vars(self).items() if tensor is not None
        }
        return replace(self, **changed)

    def tensors(self) -> list[Tensor]:
        """Those that are there, in the order of the fields."""
        return [tensor for tensor in vars(self).values() if tensor is not None]


@dataclass(frozen=True)
class Trajectory:
    """Everything that the equations give along one run through time.

    ``h`` is recomputed from ``h_prev``, step by step, so comparing it with what a module put out
    says how exactly the run was met.
    """

    h_prev: Tensor  # [T, B, P]  the state that each step started from
    c_prev: Tensor | None  # [T, B, H]
    h: Tensor  # [T, B, P]
    c: Tensor | None  # [T, B, H]
    gates: dict[str, Tensor]  # activations, each [T, B, H]
    pre_activations: dict[str, Tensor]  # their arguments, each [T, B, H]
    recurrent_n: Tensor | None = None  # [T, B, H]  GRU: W_hn h + b_hn, which the gate r multiplies

    def map(self, function: Callable[[Tensor], Tensor]) -> Trajectory:
        """The same trajectory with ``function`` applied to each tensor that is there."""

        def each(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else function(tensor)

        return Trajectory(
            h_prev=function(self.h_prev),
            c_prev=each(self.c_prev),
            h=function(self.h),
            c=each(self.c),
            gates={gate: function(activation) for gate, activation in self.gates.items()},
            pre_activations={gate: function(a) for gate, a in self.pre_activations.items()},
            recurrent_n=each(self.recurrent_n),
        )


@dataclass(frozen=True)
class Linearisation:
    """The derivative of every step of a trajectory; see the head of this file."""

    from_h: Tensor  # [T, B, G(+1), H]
    from_c: Tensor | None  # [T, B, G+1, H]
    c_from_h: Tensor | None  # [T, B, H]  dm_t/dc_t: how dL/dc_t is fed by dL/dh_t
    n_from_h: Tensor | None  # [T, B, H]  GRU: d_a_n where x meets it, before r scales it
    weights: Weights
    gates: int  # G

    @property
    def carries_c(self) -> bool:
        """Whether the state has a part c beside h."""
        return self.from_c is not None

    @property
    def carries_h(self) -> bool:
        """Whether h_{t-1} reaches h_t directly, beside the recurrent weights (GRU)."""
        return self.from_c is None and self.from_h.shape[-2] > self.gates


@dataclass(frozen=True)
class Cell:
    """One recurrence: its equations and the hand-written derivative beside them."""

    name: str
    gates: tuple[str, ...]
    has_c: bool
    step: Callable[[Tensor, State, Weights], State]
    replay: Callable[[Tensor, Tensor, State, Weights], Trajectory]
    linearise: Callable[[Trajectory, Weights], Linearisation]
