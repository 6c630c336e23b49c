"""The reverse scan: total gradients of the states from what arrives at each step from outside.

    v_T = injected_T;     v_{t-1} = injected_{t-1} + J_t^T v_t;      d_h, d_c = v (+ d_m through c)

One function for every cell; what differs between cells is the ``Linearisation``. The scan goes
block by block, each on one power of two for each sequence: 2^0 as long as the numbers are of
ordinary size. A block whose numbers near the ends of the dtype's range is taken in shorter pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells._cell import Linearisation
from carousel.cells._scaled import (
    Scaled,
    binary_exponent,
    largest,
    shared_exponent,
    times_power_of_two,
)

__all__ = ["Adjoint", "PullBack", "adjoint", "pull_back"]

BLOCK = 64  # steps between two looks at the range
ORDINARY = 20  # numbers from 2^-20 to 2^20 need no exponent beside them

# The gradient at (h, c), without what c gets through h: [.., B, P] and [.., B, 1, H].
Vector = tuple[Tensor, Tensor | None]
PullBack = Callable[..., Vector]


@dataclass(frozen=True)
class Adjoint:
    """Total gradients of one layer in one direction, in the order in which the layer runs."""

    d_h: Scaled  # [T, B, P]
    d_c: Scaled | None  # [T, B, H], including what reaches c_t through h_t
    d_h_start: Scaled  # [1, B, P]  dL/dh_0
    d_c_start: Scaled | None  # [1, B, H]  dL/dc_0
    linearisation: Linearisation
    v_c: Scaled | None  # [T, B, H]  d_c without what reaches c_t through h_t

    def d_a(self) -> Scaled:
        """The gradient on the pre-activations, where the input meets them, [T, B, G, H]."""
        lin = self.linearisation
        v_m = _through_projection(self.d_h.mantissa, lin.weights.w_hr)
        d_a = lin.from_h[..., : lin.gates, :] * v_m.unsqueeze(-2)
        if self.v_c is not None and lin.from_c is not None:
            d_a.addcmul_(lin.from_c[..., : lin.gates, :], self.v_c.mantissa.unsqueeze(-2))
        if lin.n_from_h is not None:
            d_a[..., lin.gates - 1, :] = lin.n_from_h * v_m
        return Scaled(d_a, self.d_h.exponent)

    def d_x(self) -> Scaled:
        """dL/dx_t = d_a_t @ W_ih, [T, B, I]."""
        w_ih = self.linearisation.weights.w_ih
        return self.d_a().linear(lambda d_a: d_a.flatten(-2) @ w_ih)


def adjoint(linearisation: Linearisation, injected_h: Scaled, injected_c: Scaled | None) -> Adjoint:
    """Follow the gradient from the last step to the first.

    Args:
        linearisation: the derivative of each step.
        injected_h: what arrives at each h_t from outside this recurrence [T, B, P].
        injected_c: what arrives at each c_t from outside [T, B, H]; None: nothing does.

    Returns:
        The total gradients, exact to the rounding of the dtype over any number of steps.
    """
    if injected_c is None and linearisation.carries_c:
        steps, batch, _, units = linearisation.from_h.shape
        injected_c = Scaled(linearisation.from_h.new_zeros(1, 1, 1).expand(steps, batch, units))
    sweep = _Sweep(linearisation, injected_h, injected_c)
    sweep.run()
    v_h, v_c = sweep.totals()
    start_h, start_c = sweep.start()
    d_c = None
    if v_c is not None and linearisation.c_from_h is not None:
        v_m = _through_projection(v_h.mantissa, linearisation.weights.w_hr)
        d_c = Scaled(v_c.mantissa + linearisation.c_from_h * v_m, v_c.exponent)
    return Adjoint(
        d_h=v_h,
        d_c=d_c,
        d_h_start=start_h,
        d_c_start=start_c,
        linearisation=linearisation,
        v_c=v_c,
    )


def pull_back(linearisation: Linearisation) -> PullBack:
    """The transposed Jacobian of a step as a function: the gradient before step t.

    (t, v_h [.., B, P], v_c [.., B, 1, H], plus) -> v_h + plus [.., B, P], v_c [.., B, 1, H]

    Any axes may stand in front where there is no plus. v_c keeps an axis for the gates, which
    saves a step in the innermost loop.
    """
    gates, w_hh = linearisation.gates, linearisation.weights.w_hh
    w_hr = linearisation.weights.w_hr
    carries_c, carries_h = linearisation.carries_c, linearisation.carries_h
    from_h = linearisation.from_h.unbind(0)
    from_c = () if linearisation.from_c is None else linearisation.from_c.unbind(0)

    def step(t: int, v_h: Tensor, v_c: Tensor | None, plus: Tensor | None = None) -> Vector:
        u = from_h[t] * _through_projection(v_h, w_hr).unsqueeze(-2)
        if v_c is not None:
            u = torch.addcmul(u, from_c[t], v_c)
        d_a = u.narrow(-2, 0, gates).flatten(-2)
        v_h = d_a @ w_hh if plus is None else torch.addmm(plus, d_a, w_hh)
        if carries_c:
            return v_h, u.narrow(-2, gates, 1)
        if carries_h:
            v_h = v_h + u.select(-2, gates)
        return v_h, None

    return step


class _Sweep:
    """The state of one reverse scan. ``v`` always includes the injection of its own step."""

    def __init__(
        self, linearisation: Linearisation, injected_h: Scaled, injected_c: Scaled | None
    ) -> None:
        self.step = pull_back(linearisation)
        self.steps, _, self.outputs = injected_h.mantissa.shape
        self.injected = injected_h if injected_c is None else _beside(injected_h, injected_c)
        _, rows_c = self._split(self.injected.mantissa)
        # Often nothing arrives at c but at the end: those steps need no addition.
        self.c_arrives = [] if rows_c is None else (rows_c != 0).flatten(1).any(-1).tolist()
        self.exponent = self.injected.exponents()[-1]
        self.found_h: list[Tensor] = []  # v at T-1, T-2, ..
        self.found_c: list[Tensor] = []
        self.found_exponent: list[Tensor] = []
        range_of = torch.finfo(injected_h.mantissa.dtype)
        self.high = float(range_of.max) ** 0.5
        self.low = float(range_of.tiny) ** 0.5

    def run(self) -> None:
        """From the last step to before the first."""
        v = self._split(self.injected.mantissa[-1])
        stop, length = self.steps, BLOCK
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
        self.last = v

    def _block(self, start: int, stop: int, v: Vector) -> tuple[Vector, float] | None:
        """Steps stop-1 .. start on one exponent; None where the numbers leave the safe range.

        Returns:
            v before the block, and by how many powers of two a step changed it at most.
        """
        rows = self.injected.map(lambda tensor: tensor[max(start - 1, 0) : stop])
        if rows.exponent is not None or bool(self.exponent.any()):
            rows = rows.at(self.exponent.expand(rows.mantissa.shape[:2]))
        rows_h, rows_c = self._split(rows.mantissa)
        into_h = rows_h.unbind(0)[::-1]  # into_h[k + 1] joins after the k-th step of this block
        into_c = () if rows_c is None else rows_c.unbind(0)[::-1]
        found_h: list[Tensor] = []
        found_c: list[Tensor] = []
        for k, t in enumerate(range(stop - 1, start - 1, -1), start=1):
            found_h.append(v[0])
            if v[1] is not None:
                found_c.append(v[1])
            v_h, v_c = self.step(t, *v, into_h[k] if t > 0 else None)
            if v_c is not None and t > 0 and self.c_arrives[t - 1]:
                v_c = v_c + into_c[k]
            v = (v_h, v_c)
        sizes = largest(torch.stack([*found_h, v[0]]))
        if v[1] is not None:
            sizes = torch.maximum(sizes, largest(torch.stack([*found_c, v[1]])).squeeze(-1))
        if not self._in_range(sizes, largest(rows.mantissa).flip(0)[1:]):
            return None
        self.found_h += found_h
        self.found_c += found_c
        self.found_exponent += [self.exponent] * len(found_h)
        change = (sizes[-1].log2() - sizes[0].log2()).abs().nan_to_num(0.0, 0.0, 0.0)
        return v, float(change.max()) / len(found_h)

    def _in_range(self, sizes: Tensor, injected: Tensor) -> bool:
        """Whether every size [steps + 1, B] is safe, or stays zero or non-finite as it came."""
        new, old = sizes[1:], sizes[:-1]
        safe = (sizes >= self.low) & (sizes <= self.high)
        stays_zero = (new == 0) & (old == 0)
        broken = ~old.isfinite()
        broken[: len(injected)] |= ~injected.isfinite()
        entered = safe[0] | (sizes[0] == 0) | ~sizes[0].isfinite()
        fine = safe[1:] | stays_zero | (~new.isfinite() & broken)
        return bool(entered.all() & fine.all())

    def _single(self, t: int, v: Vector) -> Vector:
        """Step t with what is injected before it added on the larger of both exponents."""
        self.found_h.append(v[0])
        if v[1] is not None:
            self.found_c.append(v[1])
        self.found_exponent.append(self.exponent)
        v = self._renewed(self.step(t, *v))
        if t == 0:
            return v
        there = Scaled(_joined(v).unsqueeze(0), self.exponent.unsqueeze(0))
        total = there + self.injected.map(lambda tensor: tensor[t - 1 : t])
        self.exponent = total.exponents()[0]
        return self._split(total.mantissa[0])

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
        return BLOCK if bits_per_step * BLOCK <= bits else max(1, int(bits / bits_per_step))

    def _split(self, joined: Tensor) -> Vector:
        if joined.shape[-1] == self.outputs:
            return joined, None
        return joined[..., : self.outputs], joined[..., self.outputs :].unsqueeze(-2)

    def totals(self) -> tuple[Scaled, Scaled | None]:
        """v_h and v_c of every step, in time order."""
        h = torch.stack(self.found_h[::-1])
        exponent = torch.stack(self.found_exponent[::-1])
        shared = exponent if bool(exponent.any()) else None
        c = Scaled(torch.stack(self.found_c[::-1]).squeeze(-2), shared) if self.found_c else None
        return Scaled(h, shared), c

    def start(self) -> tuple[Scaled, Scaled | None]:
        """The gradient at the initial state."""
        exponent = self.exponent.unsqueeze(0) if bool(self.exponent.any()) else None
        v_h, v_c = self.last
        c = None if v_c is None else Scaled(v_c.squeeze(-2).unsqueeze(0), exponent)
        return Scaled(v_h.unsqueeze(0), exponent), c


def _joined(v: Vector) -> Tensor:
    return v[0] if v[1] is None else torch.cat([v[0], v[1].squeeze(-2)], dim=-1)


def _beside(h: Scaled, c: Scaled) -> Scaled:
    """h and c as one quantity, the units of c behind those of h."""
    exponent = None
    if h.exponent is not None or c.exponent is not None:
        exponent = shared_exponent(h, c)
        h, c = h.at(exponent), c.at(exponent)
    return Scaled(torch.cat([h.mantissa, c.mantissa], dim=-1), exponent)


def _through_projection(v_h: Tensor, w_hr: Tensor | None) -> Tensor:
    return v_h if w_hr is None else v_h @ w_hr
