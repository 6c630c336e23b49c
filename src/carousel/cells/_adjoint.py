"""The reverse scan: total gradients of the states from what arrives at each step from outside.

    v_T = injected_T;     v_{t-1} = injected_{t-1} + J_t^T v_t;      d_h, d_c = v (+ d_m through c)

One sweep for every cell. What goes through a stretch of steps is either the ``Linearisation``,
step by step in torch, or the native core along the trajectory; both are ``Steps``. The scan goes
block by block, each on one power of two for each sequence: 2^0 as long as the numbers are of
ordinary size. A block whose numbers near the ends of the dtype's range is taken in shorter pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from carousel.cells._cell import Cell, Linearisation, Trajectory, Weights
from carousel.cells._kernels import NativeSteps
from carousel.cells._scaled import (
    Scaled,
    binary_exponent,
    largest,
    times_power_of_two,
)

__all__ = [
    "Adjoint",
    "PullBack",
    "Steps",
    "Totals",
    "adjoint",
    "adjoint_along",
    "adjoint_through",
    "pull_back",
]

ORDINARY = 20  # numbers from 2^-20 to 2^20 need no exponent beside them

# The gradient at (h, c), without what c gets through h: [.., B, P] and [.., B, H].
Vector = tuple[Tensor, Tensor | None]
PullBack = Callable[..., Vector]


class Steps(Protocol):
    """The way back through a stretch of steps, with what arrives on it."""

    block: int  # steps between two looks at the range
    outputs: int  # P
    units: int  # H
    has_c: bool

    def advance(
        self, start: int, stop: int, v: Vector, into: Vector, d_h: Tensor, d_c: Tensor | None
    ) -> Vector:
        """From the gradient at step stop-1 to the one before step start.

        Args:
            start: the first step.
            stop: the step after the last.
            v: the gradient at step stop-1, what arrives there included.
            into: what arrives at h and at c of the steps start .. stop-2; c: None for nothing.
            d_h: where the total dL/dh_t is written, [stop - start, B, P].
            d_c: where the total dL/dc_t is written, [stop - start, B, H].

        Returns:
            The gradient before step start, without what arrives there.
        """
        ...

    def d_a(self, d_h: Tensor, d_c: Tensor | None) -> Tensor:
        """The gradient on the pre-activations, where the input meets them, [T, B, G, H]."""
        ...


@dataclass(frozen=True)
class Totals:
    """Total gradients of one layer in one direction, in the order in which the layer runs."""

    d_h: Scaled  # [T, B, P]
    d_c: Scaled | None  # [T, B, H], including what reaches c_t through h_t
    d_h_start: Scaled  # [1, B, P]  dL/dh_0
    d_c_start: Scaled | None  # [1, B, H]  dL/dc_0


@dataclass(frozen=True)
class Adjoint(Totals):
    """The same, and the way that they came."""

    steps: Steps
    weights: Weights

    def d_a(self) -> Scaled:
        """The gradient on the pre-activations, where the input meets them, [T, B, G, H]."""
        d_c = None if self.d_c is None else self.d_c.mantissa
        return Scaled(self.steps.d_a(self.d_h.mantissa, d_c), self.d_h.exponent)

    def d_x(self) -> Scaled:
        """dL/dx_t = d_a_t @ W_ih, [T, B, I]."""
        return self.d_a().linear(lambda d_a: d_a.flatten(-2) @ self.weights.w_ih)


def adjoint(linearisation: Linearisation, injected_h: Scaled, injected_c: Scaled | None) -> Adjoint:
    """Follow the gradient from the last step to the first.

    Args:
        linearisation: the derivative of each step.
        injected_h: what arrives at each h_t from outside this recurrence [T, B, P].
        injected_c: what arrives at each c_t from outside [T, B, H]; None: nothing does.

    Returns:
        The total gradients, exact to the rounding of the dtype over any number of steps.
    """
    steps = _LinearSteps(linearisation)
    return adjoint_through(steps, linearisation.weights, injected_h, injected_c)


def adjoint_along(
    cell: Cell,
    trajectory: Trajectory,
    weights: Weights,
    injected_h: Scaled,
    injected_c: Scaled | None,
    truncated: bool = False,
) -> Adjoint:
    """The same along a trajectory, by the native core where it can.

    Args:
        cell: whose trajectory it is.
        trajectory: of one run.
        weights: of this layer and direction.
        injected_h: what arrives at each h_t from outside this recurrence [T, B, P].
        injected_c: what arrives at each c_t from outside [T, B, H]; None: nothing does.
        truncated: the truncated gradient of 1997 instead of the gradient.
    """
    if NativeSteps.can_take(trajectory, weights):
        steps = NativeSteps(cell, trajectory, weights, truncated)
        return adjoint_through(steps, weights, injected_h, injected_c)
    return adjoint(cell.linearise(trajectory, weights, truncated), injected_h, injected_c)


def adjoint_through(
    steps: Steps, weights: Weights, injected_h: Scaled, injected_c: Scaled | None
) -> Adjoint:
    """The same through any steps; the other arguments are those of ``adjoint_along``."""
    sweep = _Sweep(steps, injected_h, injected_c)
    sweep.run()
    exponent = sweep.exponents if bool(sweep.exponents.any()) else None
    start = sweep.exponent.unsqueeze(0)
    d_h0, d_c0 = sweep.before_first
    return Adjoint(
        d_h=Scaled(sweep.d_h, exponent),
        d_c=None if sweep.d_c is None else Scaled(sweep.d_c, exponent),
        d_h_start=Scaled(d_h0.unsqueeze(0), start),
        d_c_start=None if d_c0 is None else Scaled(d_c0.unsqueeze(0), start),
        steps=steps,
        weights=weights,
    )


def pull_back(linearisation: Linearisation) -> PullBack:
    """The transposed Jacobian of a step as a function: the gradient before step t.

    (t, v_h [.., B, P], v_c [.., B, H]) -> the same one step earlier, for any axes in front. The
    function also takes ``plus`` [B, P], which is added to the new v_h, and ``out_h`` and ``out_c``,
    into which the new v_h and the total d_c of step t are written. The new v_c stands in memory
    that the next call uses again.
    """
    gates, w_hh = linearisation.gates, linearisation.weights.w_hh
    w_hr = linearisation.weights.w_hr
    carry = linearisation.rows > gates
    from_h = linearisation.from_h.unbind(0)
    from_c = () if linearisation.from_c is None else linearisation.from_c.unbind(0)
    c_from_h = () if linearisation.c_from_h is None else linearisation.c_from_h.unbind(0)
    scratch: dict[torch.Size, tuple[Tensor, ...]] = {}

    def parts(like: Tensor) -> tuple[Tensor, ...]:
        """Rows that follow from d_c, rows that follow from v_m, the gates, the carry."""
        rows, units = linearisation.rows, linearisation.from_h.shape[-1]
        u = like.new_empty(*like.shape[:-1], rows, units)
        split = rows - linearisation.from_h.shape[-2]
        d_a = u[..., rows - gates :, :].flatten(-2)
        return u[..., :split, :], u[..., split:, :], d_a, u[..., 0, :]

    def step(
        t: int,
        v_h: Tensor,
        v_c: Tensor | None,
        plus: Tensor | None = None,
        out_h: Tensor | None = None,
        out_c: Tensor | None = None,
    ) -> Vector:
        if v_h.shape not in scratch:
            scratch[v_h.shape] = parts(v_h)
        u_c, u_h, d_a, direct = scratch[v_h.shape]
        v_m = v_h if w_hr is None else v_h @ w_hr
        if v_c is not None:
            d_c = torch.addcmul(v_c, c_from_h[t], v_m, out=out_c)
            torch.mul(from_c[t], d_c.unsqueeze(-2), out=u_c)
        torch.mul(from_h[t], v_m.unsqueeze(-2), out=u_h)
        if plus is None:
            v_h = torch.matmul(d_a, w_hh, out=out_h)
        else:
            v_h = torch.addmm(plus, d_a, w_hh, out=out_h)
        if v_c is not None:
            return v_h, direct
        return (v_h.add_(direct) if carry else v_h), None

    return step


class _LinearSteps:
    """The linearisation followed back, step by step in torch."""

    block = 64

    def __init__(self, linearisation: Linearisation) -> None:
        self.linearisation = linearisation
        self.step = pull_back(linearisation)
        self.has_c = linearisation.from_c is not None
        self.units = linearisation.from_h.shape[-1]
        w_hr = linearisation.weights.w_hr
        self.outputs = self.units if w_hr is None else w_hr.shape[0]

    def advance(
        self, start: int, stop: int, v: Vector, into: Vector, d_h: Tensor, d_c: Tensor | None
    ) -> Vector:
        """See Steps."""
        length = stop - start
        rows_h, into_h = d_h.unbind(0), into[0].unbind(0)
        rows_c = [None] * length if d_c is None else d_c.unbind(0)
        # Often nothing arrives at c but at the end: those steps need no addition.
        arrives = [False] * length
        if into[1] is not None:
            arrives = (into[1] != 0).flatten(1).any(-1).tolist()
        v_h, v_c = rows_h[-1].copy_(v[0]), None if v[1] is None else v[1].clone()
        for k in range(length - 1, 0, -1):
            v_h, v_c = self.step(start + k, v_h, v_c, into_h[k - 1], rows_h[k - 1], rows_c[k])
            if v_c is not None and into[1] is not None and arrives[k - 1]:
                v_c = v_c + into[1][k - 1]
        v_h, v_c = self.step(start, v_h, v_c, None, None, rows_c[0])
        return v_h.clone(), None if v_c is None else v_c.clone()

    def d_a(self, d_h: Tensor, d_c: Tensor | None) -> Tensor:
        """See Steps."""
        lin = self.linearisation
        v_m = d_h if lin.weights.w_hr is None else d_h @ lin.weights.w_hr
        u = lin.from_h * v_m.unsqueeze(-2)
        if d_c is not None and lin.from_c is not None:
            u = torch.cat([lin.from_c * d_c.unsqueeze(-2), u], dim=-2)
        d_a = u[..., lin.rows - lin.gates :, :]
        if lin.n_from_h is not None:
            d_a[..., -1, :] = lin.n_from_h * v_m
        return d_a


class _Sweep:
    """The state of one reverse scan. ``v`` always includes the injection of its own step."""

    def __init__(self, through: Steps, injected_h: Scaled, injected_c: Scaled | None) -> None:
        self.through = through
        self.injected_h, self.injected_c = injected_h, injected_c
        self.steps, batch, self.outputs = injected_h.mantissa.shape
        self.broken = ~largest(injected_h.mantissa).isfinite()  # [T, B], by what came from outside
        if injected_c is not None:
            self.broken = self.broken | ~largest(injected_c.mantissa).isfinite()
        self.d_h = torch.empty_like(injected_h.mantissa, memory_format=torch.contiguous_format)
        self.d_c: Tensor | None = None
        if through.has_c:
            self.d_c = self.d_h.new_empty(self.steps, batch, through.units)
        self.exponents = torch.zeros(self.steps, batch, dtype=torch.int32, device=self.d_h.device)
        self.exponent = self.exponents[0]  # of v
        self.before_first: Vector = (self.d_h[0], None)
        range_of = torch.finfo(self.d_h.dtype)
        self.high = float(range_of.max) ** 0.5
        self.low = float(range_of.tiny) ** 0.5

    def run(self) -> None:
        """From the last step to before the first."""
        row = self._row(self.steps - 1)
        self.exponent = row.exponents()[0]
        v = self._split(row.mantissa[0])
        stop, length = self.steps, self.through.block
        while stop > 0:
            v = self._renewed(v)
            start = max(0, stop - length)
            block = self._block(start, stop, v)
            if block is None and stop - start == 1:
                v = self._single(start, v)
                stop, length = start, 2
            elif block is None:
                length = (stop - start) // 2
            else:
                v, bits_per_step = block
                stop, length = start, self._length_at(bits_per_step)
        self.before_first = v

    def _block(self, start: int, stop: int, v: Vector) -> tuple[Vector, float] | None:
        """Steps stop-1 .. start on one exponent; None where the numbers leave the safe range.

        Returns:
            v before the block, and by how many powers of two a step changed it at most.
        """
        first = max(start - 1, 0)
        injected_h = self._rows(self.injected_h, first, stop - 1)
        injected_c = None
        if self.injected_c is not None:
            injected_c = self._rows(self.injected_c, first, stop - 1)
        entered = largest(_joined(v))
        into = (
            injected_h[start - first :],
            None if injected_c is None else injected_c[start - first :],
        )
        v = self._through(start, stop, v, into)
        if start > 0:
            v_c = v[1] if v[1] is None or injected_c is None else v[1] + injected_c[0]
            v = (v[0] + injected_h[0], v_c)
        sizes = largest(self.d_h[start:stop])
        if self.d_c is not None:
            sizes = torch.maximum(sizes, largest(self.d_c[start:stop]))
        sizes = torch.cat([largest(_joined(v)).unsqueeze(0), sizes])  # in the order of time
        if not self._in_range(sizes, entered, self.broken[first : stop - 1]):
            return None
        self.exponents[start:stop] = self.exponent
        change = (sizes[0].log2() - sizes[-1].log2()).abs().nan_to_num(0.0, 0.0, 0.0)
        return v, float(change.max()) / (stop - start)

    def _through(self, start: int, stop: int, v: Vector, into: Vector) -> Vector:
        d_c = None if self.d_c is None else self.d_c[start:stop]
        return self.through.advance(start, stop, v, into, self.d_h[start:stop], d_c)

    def _rows(self, injected: Scaled, start: int, stop: int) -> Tensor:
        """What is injected at some steps, on the exponent of v."""
        rows = injected.map(lambda tensor: tensor[start:stop])
        if rows.exponent is None and not bool(self.exponent.any()):
            return rows.mantissa
        return rows.at(self.exponent.expand(rows.mantissa.shape[:2])).mantissa

    def _in_range(self, sizes: Tensor, entered: Tensor, came_broken: Tensor) -> bool:
        """Whether every size [steps + 1, B] is safe, or stays zero or non-finite as it came.

        Only what was not finite when it came may be so: on the exponent of a v that has vanished,
        an injection of ordinary size overflows, and must be taken on its own.
        """
        earlier, later = sizes[:-1], sizes[1:]
        safe = (sizes >= self.low) & (sizes <= self.high)
        stays_zero = (earlier == 0) & (later == 0)
        broken = ~later.isfinite()
        broken[len(broken) - len(came_broken) :] |= came_broken
        fine = safe[:-1] | stays_zero | (~earlier.isfinite() & broken)
        came = safe[-1] | (entered == 0) | ~entered.isfinite()
        return bool(came.all() & fine.all())

    def _single(self, t: int, v: Vector) -> Vector:
        """Step t with what is injected before it added on the larger of both exponents."""
        self.exponents[t] = self.exponent
        nothing = self.d_h[:0]
        v = self._renewed(self._through(t, t + 1, v, (nothing, None)))
        if t == 0:
            return v
        there = Scaled(_joined(v).unsqueeze(0), self.exponent.unsqueeze(0))
        total = there + self._row(t - 1)
        self.exponent = total.exponents()[0]
        return self._split(total.mantissa[0])

    def _row(self, t: int) -> Scaled:
        """What is injected at step t, h and c side by side, [1, B, P + H]."""
        h = self.injected_h.map(lambda tensor: tensor[t : t + 1])
        if self.d_c is None:
            return h
        units = self.d_c.shape[-1]
        padded = h.linear(lambda row: pad(row, (0, units)))
        if self.injected_c is None:
            return padded
        c = self.injected_c.map(lambda tensor: tensor[t : t + 1])
        return padded + c.linear(lambda row: pad(row, (self.outputs, 0)))

    def _renewed(self, v: Vector) -> Vector:
        """v with the exponent 0 where it is of ordinary size, else with entries up to 1."""
        joined = _joined(v)
        size = largest(joined)
        exponent = self.exponent + binary_exponent(size)
        idle = (size == 0) | (exponent.abs() <= ORDINARY)
        exponent = torch.where(idle, 0, exponent).to(torch.int32)
        shift = self.exponent - exponent
        self.exponent = exponent
        if not bool(shift.any()):
            return v
        return self._split(times_power_of_two(joined, shift))

    def _length_at(self, bits_per_step: float) -> int:
        """How many steps may be taken at once without nearing the end of the range."""
        bits = -0.75 * math.log2(self.low)
        block = self.through.block
        return block if bits_per_step * block <= bits else max(1, int(bits / bits_per_step))

    def _split(self, joined: Tensor) -> Vector:
        if self.d_c is None:
            return joined, None
        return joined[..., : self.outputs], joined[..., self.outputs :]


def _joined(v: Vector) -> Tensor:
    return v[0] if v[1] is None else torch.cat([v[0], v[1]], dim=-1)
