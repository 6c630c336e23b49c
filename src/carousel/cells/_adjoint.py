"""The reverse scan: total gradients of the states from what arrives at each step from outside.

    v_T = injected_T;     v_{t-1} = injected_{t-1} + J_t^T v_t;      d_h, d_c = v (+ d_m through c)

One function for every cell; what differs between cells is the ``Linearisation``. The scan runs on
plain numbers as long as they stay far from the ends of the dtype's range, checked block by block,
and otherwise carries a power of two for each sequence, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.cells._cell import Linearisation
from carousel.cells._scaled import Scaled, binary_exponent, largest, power_of_two

__all__ = ["Adjoint", "PullBack", "adjoint", "pull_back"]

BLOCK = 64  # steps between two looks at the range

Vector = tuple[Tensor, Tensor | None]  # the gradient at (h, c), without what c gets through h
PullBack = Callable[[int, Tensor, Tensor | None], Vector]


@dataclass(frozen=True)
class Adjoint:
    """Total gradients of one layer in one direction, in the order in which the layer runs."""

    d_h: Scaled  # [T, B, P]
    d_c: Scaled | None  # [T, B, H], including what reaches c_t through h_t
    d_h_start: Scaled  # [1, B, P]  dL/dh_0
    d_c_start: Scaled | None  # [1, B, H]  dL/dc_0
    d_a: Scaled  # [T, B, G, H] on the pre-activations, where the input meets them

    def d_x(self, w_ih: Tensor) -> Scaled:
        """dL/dx_t = d_a_t @ W_ih, [T, B, I]."""
        return self.d_a.linear(lambda d_a: d_a.flatten(-2) @ w_ih)


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
    v_m = v_h.linear(lambda v: _through_projection(v, linearisation.weights.w_hr))
    d_c = None
    if v_c is not None and linearisation.c_from_h is not None:
        through_h = linearisation.c_from_h * v_m.mantissa
        d_c = v_c.linear(lambda v: v + through_h)
    return Adjoint(
        d_h=v_h,
        d_c=d_c,
        d_h_start=start_h,
        d_c_start=start_c,
        d_a=Scaled(_on_pre_activations(linearisation, v_m.mantissa, v_c), v_h.exponent),
    )


def pull_back(linearisation: Linearisation) -> PullBack:
    """The transposed Jacobian of a step as a function: (t, v_h, v_c) -> the vector before step t.

    The vectors may carry axes in front: v_h [..., B, P], v_c [..., B, H].
    """
    gates, w_hh = linearisation.gates, linearisation.weights.w_hh
    w_hr = linearisation.weights.w_hr
    carries_c, carries_h = linearisation.carries_c, linearisation.carries_h
    from_h = linearisation.from_h.unbind(0)
    from_c = () if linearisation.from_c is None else linearisation.from_c.unbind(0)

    def step(t: int, v_h: Tensor, v_c: Tensor | None) -> Vector:
        u = from_h[t] * _through_projection(v_h, w_hr).unsqueeze(-2)
        if v_c is not None:
            u = torch.addcmul(u, from_c[t], v_c.unsqueeze(-2))
        v_h = u[..., :gates, :].flatten(-2) @ w_hh
        if carries_c:
            return v_h, u[..., gates, :]
        if carries_h:
            v_h = v_h + u[..., gates, :]
        return v_h, None

    return step


class _Sweep:
    """The state of one reverse scan. ``v`` always includes the injection of its own step."""

    def __init__(
        self, linearisation: Linearisation, injected_h: Scaled, injected_c: Scaled | None
    ) -> None:
        self.step = pull_back(linearisation)
        self.steps, self.batch = injected_h.mantissa.shape[:2]
        self.injected_h, self.injected_c = injected_h, injected_c
        self.rows_h = injected_h.mantissa.unbind(0)
        self.rows_c = None if injected_c is None else injected_c.mantissa.unbind(0)
        self.size, self.c_arrives = self._sizes()
        self.exponent = torch.zeros(self.batch, dtype=torch.int32, device=self.size.device)
        self.scaled = False  # whether any exponent is in use
        self.found_h: list[Tensor] = []  # v at T-1, T-2, ..
        self.found_c: list[Tensor] = []
        self.found_exponent: list[Tensor] = []
        range_of = torch.finfo(injected_h.mantissa.dtype)
        self.high = float(range_of.max) ** 0.5
        self.low = float(range_of.tiny) ** 0.5

    def _sizes(self) -> tuple[Tensor, list[bool]]:
        """The largest injected entry [T, B], and the steps at which anything arrives at c."""
        size = largest(self.injected_h.mantissa)
        if self.injected_c is None:
            return size, []
        size_c = largest(self.injected_c.mantissa)
        return torch.maximum(size, size_c), (size_c != 0).any(dim=-1).tolist()

    def run(self) -> None:
        """From the last step to before the first."""
        v: Vector = (torch.zeros_like(self.rows_h[0]), None)
        if self.rows_c is not None:
            v = (v[0], torch.zeros_like(self.rows_c[0]))
        v = self._arrive(self.steps - 1, v)
        plain_injection = self.injected_h.exponent is None and (
            self.injected_c is None or self.injected_c.exponent is None
        )
        for stop in range(self.steps, 0, -BLOCK):
            start = max(0, stop - BLOCK)
            if plain_injection and not self.scaled:
                after = self._plain_block(start, stop, v)
                if after is not None:
                    v = after
                    continue
            v = self._scaled_block(start, stop, v)
            if plain_injection:
                v = self._leave_scale(v)
        self.last = v

    def _plain_block(self, start: int, stop: int, v: Vector) -> Vector | None:
        """Steps stop-1 .. start on plain numbers; None where they leave the safe range."""
        found_h: list[Tensor] = []
        found_c: list[Tensor] = []
        for t in range(stop - 1, start - 1, -1):
            found_h.append(v[0])
            v_h, v_c = self.step(t, *v)
            if v_c is not None:
                assert v[1] is not None
                found_c.append(v[1])
                if t > 0 and self.c_arrives[t - 1]:
                    assert self.rows_c is not None
                    v_c = v_c + self.rows_c[t - 1]
            v = (v_h + self.rows_h[t - 1] if t > 0 else v_h, v_c)
        sizes = largest(torch.stack([*found_h, v[0]]))
        if v[1] is not None:
            sizes = torch.maximum(sizes, largest(torch.stack([*found_c, v[1]])))
        if not self._in_range(sizes, start, stop):
            return None
        self.found_h += found_h
        self.found_c += found_c
        self.found_exponent += [self.exponent] * len(found_h)
        return v

    def _in_range(self, sizes: Tensor, start: int, stop: int) -> bool:
        """Whether every size [steps + 1, B] is safe, or stays zero or non-finite as it came."""
        injected = self.size[max(start - 1, 0) : stop - 1].flip(0)
        if start == 0:
            injected = torch.cat([injected, torch.zeros_like(self.size[:1])])
        new, old = sizes[1:], sizes[:-1]
        safe = (sizes >= self.low) & (sizes <= self.high)
        stays_zero = (new == 0) & (old == 0)
        stays_broken = ~new.isfinite() & (~old.isfinite() | ~injected.isfinite())
        entered = safe[0] | (sizes[0] == 0) | ~sizes[0].isfinite()
        return bool(entered.all() & (safe[1:] | stays_zero | stays_broken).all())

    def _scaled_block(self, start: int, stop: int, v: Vector) -> Vector:
        """The same steps with an exponent for each sequence, renewed at every step."""
        self.scaled = True
        v = self._rescale(v)
        for t in range(stop - 1, start - 1, -1):
            self.found_h.append(v[0])
            if v[1] is not None:
                self.found_c.append(v[1])
            self.found_exponent.append(self.exponent)
            v = self._rescale(self.step(t, *v))
            if t > 0:
                v = self._arrive(t - 1, v)
        return v

    def _arrive(self, t: int, v: Vector) -> Vector:
        """v plus what is injected at step t, both brought to the larger of their exponents."""
        size, zero = self._size(v), torch.iinfo(torch.int32).min // 2
        row_h, row_c = self.injected_h, self.injected_c
        parts = [(row_h, 0)] if row_c is None else [(row_h, 0), (row_c, 1)]
        exponent = torch.where(size == 0, zero, self.exponent)
        for injected, _ in parts:
            row_size = largest(injected.mantissa[t])
            row_exponent = binary_exponent(row_size)
            if injected.exponent is not None:
                row_exponent = row_exponent + injected.exponent[t]
            if not self.scaled and injected.exponent is None:
                row_exponent = torch.zeros_like(row_exponent)
            exponent = torch.maximum(exponent, torch.where(row_size == 0, zero, row_exponent))
        exponent = torch.where(exponent == zero, 0, exponent).to(torch.int32)
        self.scaled = self.scaled or bool(exponent.any())
        result = list(_times_power_of_two(v, self.exponent - exponent))
        for injected, part in parts:
            shift = -exponent
            if injected.exponent is not None:
                shift = shift + injected.exponent[t]
            (row, _) = _times_power_of_two((injected.mantissa[t], None), shift)
            old = result[part]
            assert old is not None
            result[part] = old + row
        self.exponent = exponent
        return result[0], result[1]  # type: ignore[return-value]  # h is always there

    def _rescale(self, v: Vector) -> Vector:
        """Bring the largest entry of each sequence into [1/2, 1)."""
        shift = binary_exponent(self._size(v))
        self.exponent = self.exponent + shift
        return _times_power_of_two(v, -shift)

    def _leave_scale(self, v: Vector) -> Vector:
        """Back to plain numbers, once every sequence is far enough from the ends of the range."""
        size = self._size(v).double() * power_of_two(self.exponent)
        idle = (size == 0) | ~size.isfinite()
        if bool((idle | ((size > self.low * 2**20) & (size < self.high / 2**20))).all()):
            v = _times_power_of_two(v, torch.where(idle, 0, self.exponent))
            self.exponent = torch.zeros_like(self.exponent)
            self.scaled = False
        return v

    def _size(self, v: Vector) -> Tensor:
        size = largest(v[0])
        return size if v[1] is None else torch.maximum(size, largest(v[1]))

    def totals(self) -> tuple[Scaled, Scaled | None]:
        """v_h and v_c of every step, in time order."""
        h = torch.stack(self.found_h[::-1])
        exponent = torch.stack(self.found_exponent[::-1])
        shared = exponent if bool(exponent.any()) else None
        c = Scaled(torch.stack(self.found_c[::-1]), shared) if self.found_c else None
        return Scaled(h, shared), c

    def start(self) -> tuple[Scaled, Scaled | None]:
        """The gradient at the initial state."""
        exponent = self.exponent.unsqueeze(0) if self.scaled else None
        v_h, v_c = self.last
        c = None if v_c is None else Scaled(v_c.unsqueeze(0), exponent)
        return Scaled(v_h.unsqueeze(0), exponent), c


def _times_power_of_two(v: Vector, exponent: Tensor) -> Vector:
    factor = power_of_two(exponent).to(v[0].dtype).unsqueeze(-1)
    return v[0] * factor, None if v[1] is None else v[1] * factor


def _through_projection(v_h: Tensor, w_hr: Tensor | None) -> Tensor:
    return v_h if w_hr is None else v_h @ w_hr


def _on_pre_activations(linearisation: Linearisation, v_m: Tensor, v_c: Scaled | None) -> Tensor:
    """d_a of every gate [T, B, G, H]."""
    gates = linearisation.gates
    d_a = linearisation.from_h[..., :gates, :] * v_m.unsqueeze(-2)
    if v_c is not None and linearisation.from_c is not None:
        d_a = d_a.addcmul_(linearisation.from_c[..., :gates, :], v_c.mantissa.unsqueeze(-2))
    if linearisation.n_from_h is not None:
        d_a[..., gates - 1, :] = linearisation.n_from_h * v_m
    return d_a
