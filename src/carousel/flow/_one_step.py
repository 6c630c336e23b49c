"""One step back in time, gate by gate: what the total gradients of step t send to step t-1.

    d_a_k = row_k * d_c, or row_k * d_m          a row of ``cells.Linearisation`` for each gate k
    v_h[t-1] = sum_k d_a_k @ W_hk (+ z * d_h)    the GRU's direct way
    v_c[t-1] = keep * d_c + sum_k p_k d_a_k      the LSTM's; keep: f, 1 - i or 1; p_k: peepholes

``v`` is the gradient at the state before, without what is injected there, and v_c without what c
receives through h; d_m is d_h, or d_h @ W_hr with a projection. The sums are taken apart here, each
on the power of two of the step that sends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from carousel.cells import Linearisation, Scaled, binary_exponent, largest
from carousel.trace import Trace

__all__ = ["OneStep", "common_exponent", "linearised", "unit"]


@dataclass(frozen=True, eq=False)
class OneStep:
    """The steps of a trace, each followed back once from the totals that the trace holds.

    The trace is in running order wherever one step is related to the next; what only looks at each
    step by itself takes any order.
    """

    trace: Trace
    linearisation: Linearisation

    @property
    def gates(self) -> tuple[str, ...]:
        """In the order of the weights."""
        return self.trace.cell.gates

    @cached_property
    def d_h(self) -> Scaled:
        """dL/dh_t with entries up to 1 beside the exponent [T, B, P]."""
        return unit(self.trace.d_h)

    @cached_property
    def d_c(self) -> Scaled | None:
        """dL/dc_t likewise [T, B, H]."""
        return None if self.trace.d_c is None else unit(self.trace.d_c)

    @cached_property
    def d_m(self) -> Scaled:
        """dL/dm_t [T, B, H], m_t being h_t before the projection."""
        return self.d_h.linear(self.through_projection)

    def through_projection(self, d_h: Tensor) -> Tensor:
        """d_h @ W_hr, or d_h itself without a projection."""
        w_hr = self.linearisation.weights.w_hr
        return d_h if w_hr is None else d_h @ w_hr

    def block(self, gate: str) -> Tensor:
        """W_hk, the rows of W_hh that belong to a gate [H, P]."""
        units = self.linearisation.from_h.shape[-1]
        start = self.gates.index(gate) * units
        return self.linearisation.weights.w_hh[start : start + units]

    def row(self, gate: str) -> Tensor:
        """What multiplies d_c or d_m in d_a of a gate, where h meets it [T, B, H]."""
        return self._row(self.linearisation.rows - len(self.gates) + self.gates.index(gate))

    def d_a(self, gate: str) -> Scaled:
        """The gradient on a gate's pre-activation, where h meets it [T, B, H].

        Of the GRU's n this is behind r: the gradient on W_hn h + b_hn.
        """
        sender = self.d_c if self._from_c(gate) else self.d_m
        assert sender is not None
        return sender.linear(lambda d: self.row(gate) * d)

    def d_a_input(self, gate: str) -> Scaled:
        """The same where x meets it: of the GRU's n in front of r."""
        n_from_h = self.linearisation.n_from_h
        if n_from_h is None or gate != "n":
            return self.d_a(gate)
        return self.d_m.linear(lambda d: n_from_h * d)

    def to_h(self, gate: str) -> Scaled:
        """d_a_k[t] @ W_hk: what step t sends to h_{t-1} through a gate [T, B, P]."""
        return self.d_a(gate).linear(lambda d_a: d_a @ self.block(gate))

    def to_c(self, gate: str) -> Tensor | None:
        """p_k * d_a_k[t]: what it sends straight to c_{t-1}, on ``d_a``'s exponent [T, B, H]."""
        p = self.peephole(gate)
        return None if p is None else p * self.d_a(gate).mantissa

    def peephole(self, gate: str) -> Tensor | None:
        """p_k [H] of a gate that sees c_{t-1}; None for the others, and where it is cut off."""
        seeing = self.trace.cell.peepholes
        peephole = self.linearisation.weights.peephole
        if gate == "o" or gate not in seeing or peephole is None:
            return None
        return peephole[seeing.index(gate)]

    @cached_property
    def keep(self) -> Tensor | None:
        """The carousel's own factor [T, B, H]: f (or 1 - i, or 1) of an LSTM, z of a GRU."""
        cell, lin = self.trace.cell, self.linearisation
        if lin.rows == lin.gates:
            return None
        if cell.peepholes and lin.weights.peephole is not None:
            # The carry holds the peepholes' terms too; to take them off again would lose digits.
            lin = cell.linearise(self.trace.trajectory, lin.weights, truncated=True)
            return None if lin.from_c is None else lin.from_c[..., 0, :]
        return self._row(0)

    @cached_property
    def direct(self) -> Scaled | None:
        """keep * d_c[t], or keep * d_h[t]: what goes straight to the state before [T, B, H]."""
        keep = self.keep
        if keep is None:
            return None
        sender = self.d_h if self.d_c is None else self.d_c
        return sender.linear(lambda d: keep * d)

    def back_h(self) -> Scaled:
        """v_h[t-1]: all that step t sends to h_{t-1} [T, B, P]."""
        ways = [self.to_h(gate) for gate in self.gates]
        if self.d_c is None and self.direct is not None:
            ways.append(self.direct)
        return _sum(ways)

    def back_c(self) -> Scaled | None:
        """v_c[t-1]: all that step t sends to c_{t-1} but through h_{t-1} [T, B, H]."""
        lin = self.linearisation
        if self.d_c is None or lin.from_c is None:
            return None
        carry = lin.from_c[..., 0, :]
        return self.d_c.linear(lambda d_c: carry * d_c)

    def into_c(self, at_h: Scaled) -> Scaled:
        """What a gradient at h_t is at c_t: c_from_h * (d_h @ W_hr), [T, B, P] -> [T, B, H]."""
        factor = self.linearisation.c_from_h
        assert factor is not None
        return at_h.linear(lambda d_h: factor * self.through_projection(d_h))

    def at(self, steps: list[int]) -> OneStep:
        """Some of the steps alone."""

        def pick(tensor: Tensor) -> Tensor:
            return tensor[steps]

        trace, lin = self.trace, self.linearisation
        return OneStep(trace.along_time(pick), lin.map(pick))

    @cached_property
    def crossings(self) -> tuple[Tensor, Tensor]:
        """Whether what step t sends arrives at h_{t-1}, and at c_{t-1}, as it is: [T, B] bool.

        It does not from a sequence's first step, and not over a boundary between two calls where
        the state was detached, reset or changed on its way. Whether it was detached is known from
        the graph. Where it was not, its gradient may have been changed on the way back, as by a
        hook, so what arrived is compared with what was sent.
        """
        trace = self.trace
        crosses = trace.valid.clone()
        crosses[0] = False
        if not trace.boundaries:
            return crosses, crosses
        steps = list(trace.boundaries)
        to_h, to_c = crosses.clone(), crosses.clone()
        sent, arrived_h = self.at(steps), self.arrived_h(steps)
        unchanged = trace.handed_over == 1
        before = [step - 1 for step in steps]
        size_h = trace.d_h.map(lambda tensor: tensor[before])
        to_h[steps] &= unchanged & self._same(arrived_h, sent.back_h(), size_h)
        back_c, arrived_c = sent.back_c(), self.arrived_c(steps)
        if back_c is not None and arrived_c is not None:
            size_c = self.at(before).into_c(size_h)
            to_c[steps] &= unchanged & self._same(arrived_c, back_c, size_c)
        to_h[[step for step in steps if "h" in trace.cut_states.get(step, "")]] = False
        to_c[[step for step in steps if "c" in trace.cut_states.get(step, "")]] = False
        if trace.gradient == "1997":  # which sends nothing to h: whether it would cross shows at c
            to_h = to_c
        return to_h, to_c

    def arrived_h(self, steps: list[int]) -> Scaled:
        """What came to h of the step before each of ``steps`` through time, by the totals."""
        before = [step - 1 for step in steps]
        total = self.trace.d_h.map(lambda tensor: tensor[before])
        injected = self.trace.d_h_injected.map(lambda tensor: tensor[before])
        return self._rest(total, [injected])

    def arrived_c(self, steps: list[int]) -> Scaled | None:
        """The same of c, without what c received through h; None without c."""
        trace = self.trace
        if trace.d_c is None or trace.d_c_injected is None:
            return None
        before = [step - 1 for step in steps]
        total = trace.d_c.map(lambda tensor: tensor[before])
        injected = trace.d_c_injected.map(lambda tensor: tensor[before])
        through_h = self.at(before).into_c(unit(trace.d_h.map(lambda tensor: tensor[before])))
        return self._rest(total, [injected, through_h])

    def earlier(self, sent: Scaled, crosses: Tensor) -> Scaled:
        """What each step sent, laid at the step before; zero where it does not cross."""
        mantissa = torch.where(crosses[1:].unsqueeze(-1), sent.mantissa[1:], 0.0)
        exponent = torch.where(crosses[1:], sent.exponents()[1:], 0)
        return Scaled(pad(mantissa, (0, 0, 0, 0, 0, 1)), pad(exponent, (0, 0, 0, 1)))

    def _row(self, index: int) -> Tensor:
        from_c, from_h = self.linearisation.from_c, self.linearisation.from_h
        ahead = 0 if from_c is None else from_c.shape[-2]
        if from_c is not None and index < ahead:
            return from_c[..., index, :]
        return from_h[..., index - ahead, :]

    def _from_c(self, gate: str) -> bool:
        return self.trace.d_c is not None and gate != "o"

    def _rounding(self) -> float:
        """What a state's gradient may lose on its way from call to call, relative.

        It is rounded to the module's dtype, and is the result of products of the replay's.
        """
        computed = self.trace.d_h.mantissa.dtype
        return 4 * torch.finfo(self.trace.dtype).eps + 256 * torch.finfo(computed).eps

    def _rest(self, total: Scaled, known: list[Scaled]) -> Scaled:
        """A total without its known parts; zero where all that is left of a row may be rounding."""
        rest = _sum([total, *(part.linear(torch.neg) for part in known)])
        noise = self._rounding() * _ceiling([total, *known], rest.exponents())
        nothing = (rest.mantissa.abs().double() <= noise).all(dim=-1, keepdim=True)
        return rest.linear(lambda left: torch.where(nothing, 0.0, left))

    def _same(self, one: Scaled, other: Scaled, beside: Scaled) -> Tensor:
        """Whether two agree to rounding, or to that of what stood beside them, [steps, B]."""
        gap = _sum([one, other.linear(torch.neg)])
        noise = self._rounding() * _ceiling([one, other, beside], gap.exponents())
        return (gap.mantissa.abs().double() <= noise).all(dim=-1)


def linearised(trace: Trace, truncated: bool | None = None) -> OneStep:
    """A trace, with the derivative along which its gradient came.

    Args:
        trace: of one layer.
        truncated: None: as the gradient was; else the full derivative or that of 1997.
    """
    if truncated is None:
        truncated = trace.gradient == "1997"
    lin = trace.cell.linearise(trace.trajectory, trace.weights, truncated=truncated)
    if truncated:
        lin = replace(lin, weights=replace(lin.weights, peephole=None))
    return OneStep(trace, lin)


def unit(scaled: Scaled) -> Scaled:
    """The same numbers with entries up to 1, so that a product with small weights is in range."""
    return scaled.at(scaled.exponents() + binary_exponent(largest(scaled.mantissa)))


def common_exponent(parts: list[Scaled]) -> Tensor:
    """The exponent [T, B] on which all parts have entries up to 1; 0 where all are zero."""
    exponent = torch.stack([part.ceiling() for part in parts]).amax(0)
    return torch.where(exponent < -(2**29), 0, exponent)  # ``ceiling`` of zero


def _sum(parts: list[Scaled]) -> Scaled:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _ceiling(parts: list[Scaled], exponent: Tensor) -> Tensor:
    """The largest entry of several, as a mantissa on an exponent, [T, B, 1] float64."""
    largest_log2 = torch.stack([part.log2_largest() for part in parts]).amax(0)
    return torch.exp2(largest_log2 - exponent).unsqueeze(-1)
