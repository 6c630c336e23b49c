"""What every recurrence provides, whatever its equations are.

A cell is a step ``state, x_t -> state`` with ``state = (h,)`` or ``(h, c)``, and the derivative of
that step written by hand. The derivative has one shape for all cells. With ``v_h`` and ``v_c`` the
gradient that stands at the state after step t, ``v_c`` without what c_t receives through h_t:

    v_m = v_h, or v_h @ W_hr where the cell projects its output
    d_c = v_c + c_from_h * v_m                    the total dL/dc_t
    u   = (from_c[k] * d_c .., from_h[k] * v_m ..)
    v_h' = (gates of u) @ W_hh                    (+ the carry, for a cell without c)
    v_c' = the carry of u                         (for a cell with c)

The rows of ``u`` are the gradients on the pre-activations of the gates, in the order of the
weights; in front of them stands the carry, the direct way from the state before, if there is one.
A cell's ``linearise`` gives the factors; following them backward is the work of ``_adjoint.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from carousel._errors import CarouselError

__all__ = [
    "Cell",
    "Linearisation",
    "Linearise",
    "State",
    "Trajectory",
    "Weights",
    "never_truncated",
]

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer in one direction, named as in the equations."""

    w_ih: Tensor  # [G*H, I]
    w_hh: Tensor  # [G*H, P], P = H without projection
    b_ih: Tensor | None = None  # [G*H]
    b_hh: Tensor | None = None  # [G*H]
    w_hr: Tensor | None = None  # [P, H]
    peephole: Tensor | None = None  # [K, H]  a row for each of the cell's ``peepholes``, in order

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
    recurrent_n: Tensor | None = None  # [T, B, H]  GRU: W_hn h + b_hn, which the gate r multiplies
    stacked: Tensor | None = None  # [T, B, G, H]  whose parts the gates are, where one tensor is

    def map(self, function: Callable[[Tensor], Tensor]) -> Trajectory:
        """The same trajectory with ``function`` applied to each tensor that is there."""

        def each(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else function(tensor)

        stacked, gates = None, {}
        if self.stacked is None:
            gates = {gate: function(activation) for gate, activation in self.gates.items()}
        else:
            stacked = function(self.stacked.flatten(-2)).unflatten(-1, self.stacked.shape[-2:])
            gates = dict(zip(self.gates, stacked.unbind(-2), strict=True))
        return Trajectory(
            h_prev=function(self.h_prev),
            c_prev=each(self.c_prev),
            h=function(self.h),
            c=each(self.c),
            gates=gates,
            recurrent_n=each(self.recurrent_n),
            stacked=stacked,
        )


@dataclass(frozen=True)
class Linearisation:
    """The derivative of every step of a trajectory; see the head of this file."""

    from_h: Tensor  # [T, B, K, H]  rows of u that follow from v_m
    from_c: Tensor | None  # [T, B, K, H]  rows of u that follow from d_c; they come first
    c_from_h: Tensor | None  # [T, B, H]  dm_t/dc_t: how dL/dc_t is fed by dL/dh_t
    n_from_h: Tensor | None  # [T, B, H]  GRU: d_a_n where x meets it, before r scales it
    weights: Weights
    gates: int  # G

    @property
    def rows(self) -> int:
        """Rows of u: the gates, and the carry where there is one."""
        return self.from_h.shape[-2] + (0 if self.from_c is None else self.from_c.shape[-2])

    def map(self, function: Callable[[Tensor], Tensor]) -> Linearisation:
        """The same with ``function`` applied to each factor that is there."""

        def each(factor: Tensor | None) -> Tensor | None:
            return None if factor is None else function(factor)

        return replace(
            self,
            from_h=function(self.from_h),
            from_c=each(self.from_c),
            c_from_h=each(self.c_from_h),
            n_from_h=each(self.n_from_h),
        )


class Linearise(Protocol):
    """A cell's hand-written derivative: a trajectory to the factors of each of its steps."""

    def __call__(
        self, trajectory: Trajectory, weights: Weights, truncated: bool = False
    ) -> Linearisation:
        """Take the derivative of every step along a trajectory.

        Args:
            trajectory: of one run.
            weights: of this layer and direction.
            truncated: the truncated gradient of Hochreiter & Schmidhuber 1997 instead of the
                gradient: what leaves the cell through its gates goes no further.

        Raises:
            CarouselError: ``truncated`` of a cell that has no such gradient.
        """
        ...


@dataclass(frozen=True)
class Cell:
    """One recurrence: its equations and the hand-written derivative beside them."""

    name: str
    gates: tuple[str, ...]  # in the order of the rows of the weights
    has_c: bool
    step: Callable[[Tensor, State, Weights], State]
    replay: Callable[[Tensor, Tensor, State, Weights], Trajectory]
    linearise: Linearise
    # (x [T, B, I], trajectory, weights) -> the arguments of the activations, each [T, B, H]
    pre_activations: Callable[[Tensor, Trajectory, Weights], dict[str, Tensor]]
    unprojected: Callable[[Trajectory], Tensor]  # m_t [T, B, H]: h_t before any projection
    native_code: int  # what the native core calls this cell, see _codes.py
    peepholes: tuple[str, ...] = ()  # gates that see c, in the order of ``Weights.peephole``
    derived: bool = True  # whether the derivative is written by hand; see _opaque.py for the others


def never_truncated(name: str, truncated: bool) -> None:
    """Refuse the truncated gradient of a cell that has no cell state.

    Raises:
        CarouselError: where it is asked for.
    """
    if truncated:
        raise CarouselError(
            f"The truncated gradient of 1997 follows the cell state c, which the {name} does not "
            "have. It exists for the LSTM and all its variants; use the full gradient here "
            "(truncated=False)."
        )
