"""The gradient, item by item: which step's loss sent how much of dL/dh_t.

    G[s, s] = what arrives at step s from outside;     G[s, t] = (J_{t+1}^T .. J_s^T) G[s, s]
    d_h[t]  = sum over s of G[s, t]                    and d_c[t] likewise

All items go back together, as one batch in front of the sequences, over the trajectory, which is
known: no pass of the model is repeated. Each item and sequence has a power of two of its own.

Source: Cashman et al. 2018, "RNNbow: Visualizing Learning via Backpropagation Gradients in RNNs",
whose picture this matrix is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import Scaled, binary_exponent, largest, times_power_of_two
from carousel.flow._arriving import ORDINARY, arriving, linearisation_of
from carousel.flow._running import in_running_order
from carousel.flow._shown import Shown, counted, middle, per_cent
from carousel.flow._tangent import back_of
from carousel.trace import Trace

__all__ = ["Itemised", "itemised"]

MOST_BYTES = 2**31  # of a result
CACHE_BYTES = 2 * 2**20  # of the items that go back together, over one block
BLOCK = 16  # steps between two looks at the range
LEAST_CHUNK = 16


@dataclass(frozen=True, eq=False, repr=False)
class Itemised(Shown):
    """G[t_loss, t]: the part of dL/dh_t, and of dL/dc_t, that each step's injection sent.

    What a step injects is all that arrives there from outside this recurrence: from the layer above
    or the loss on the output, and from losses on h_n and c_n at a sequence's last step. At a step
    after which a later call took h or c over changed or detached, the way of single items to it
    ends: what came back to it over that boundary is counted with the item of that step.

    K items, S steps, B sequences; both kinds of steps in the order of the input.
    """

    losses: Tensor  # [K] int64, steps whose injections are the items
    steps: Tensor  # [S] int64, steps that they are followed to
    log10_h: Tensor  # [K, S, B] float64, log10 of the norm over the units; -inf is an exact zero
    log10_c: Tensor | None  # [K, S, B]; None for a cell without c
    share_h: Tensor  # [K, S, B] float64, <item, total> / <total, total>; NaN where the total is 0
    share_c: Tensor | None
    vectors_at: Tensor  # [V] int64, steps at which the items themselves are kept
    d_h: Tensor  # [K, V, B, P]
    d_c: Tensor | None  # [K, V, B, H]

    def __str__(self) -> str:
        own = self.losses.unsqueeze(1) == self.steps
        said = (
            f"What the losses of {counted(len(self.losses), 'step')} sent to "
            f"{counted(len(self.steps), 'step')} of {counted(self.share_h.shape[2], 'sequence')}"
        )
        if not bool(own.any()):
            return f"{said}, none of which is the step of its loss."
        share = per_cent(middle(self.share_h[own]))
        return f"{said}: the loss of step t itself makes {share} of dL/dh_t (median)."


def itemised(
    trace: Trace,
    losses: Sequence[int] | None = None,
    t_from: int = 0,
    t_to: int | None = None,
    vectors_at: Sequence[int] = (),
) -> Itemised:
    """Follow what each step injects back through time; see ``LayerFlow.itemised``."""
    total_steps = trace.x.shape[0]
    t_to = total_steps if t_to is None else t_to
    if not 0 <= t_from < t_to <= total_steps:
        raise CarouselError(
            f"Expected 0 <= t_from < t_to <= {total_steps}, the steps of {trace.name}; got "
            f"t_from={t_from} and t_to={t_to}."
        )
    chosen = _steps(trace, "losses", range(total_steps) if losses is None else losses)
    kept = _steps(trace, "vectors_at", vectors_at)
    if any(not t_from <= t < t_to for t in kept):
        raise CarouselError(
            f"Expected every step of vectors_at from t_from={t_from} to t_to={t_to} (exclusive), "
            f"got {list(kept)}."
        )
    _refuse_what_does_not_fit(trace, len(chosen), t_to - t_from, len(kept))
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        return _Items(trace, chosen, range(t_from, t_to), kept).followed()


def _steps(trace: Trace, name: str, steps: Sequence[int]) -> tuple[int, ...]:
    found = tuple(int(step) for step in steps)
    total = trace.x.shape[0]
    if any(not 0 <= step < total for step in found) or len(set(found)) < len(found):
        raise CarouselError(
            f"Expected {name} to be different steps of {trace.name}, from 0 to {total - 1}; got "
            f"{list(found)}."
        )
    return found


def _refuse_what_does_not_fit(trace: Trace, items: int, steps: int, kept: int) -> None:
    batch, states = trace.x.shape[1], 1 + trace.cell.has_c
    entries = 2 * states * steps * 8
    if trace.direction == "reverse":
        entries *= 2  # it is turned around at the end
    units = trace.trajectory.h.shape[-1]
    if trace.trajectory.c is not None:
        units += trace.trajectory.c.shape[-1]
    size = items * batch * (entries + kept * units * trace.d_h.mantissa.element_size())
    if size > MOST_BYTES:
        raise CarouselError(
            f"{items} items over {steps} steps of {batch} sequences would take {size:,} bytes, "
            f"more than the {MOST_BYTES:,} that are allowed. Choose some of the losses "
            "(losses=[..]), a range of steps (t_from=, t_to=), fewer vectors_at, or measure fewer "
            "sequences."
        )


class _Items:
    """The work on one trace, in running order."""

    def __init__(
        self, trace: Trace, losses: tuple[int, ...], steps: range, kept: tuple[int, ...]
    ) -> None:
        self.trace, self.losses, self.steps, self.kept = trace, losses, steps, kept
        self.running = in_running_order(trace)
        self.device = trace.x.device
        self.batch = trace.x.shape[1]
        self.every = torch.arange(self.batch, device=self.device)
        self.linearisation = linearisation_of(self.running)
        self.arriving = arriving(self.running, self.linearisation)
        # Where each item begins and each wanted step lies when the layer runs, [.., B].
        self.starts = self._place(losses)
        self.wanted = self._place(tuple(steps))
        self.low, self.high = steps.start, steps.stop
        if trace.direction == "reverse":
            self.low = int(self.wanted.min().clamp(min=0))
            self.high = max(int(self.wanted.max()), self.low) + 1
        shape = (len(losses), self.high - self.low, self.batch)
        self.log2 = [self._filled(shape, -math.inf) for _ in self.arriving.vectors]
        self.share = [self._filled(shape, 0.0) for _ in self.arriving.vectors]
        kept_shape = (len(losses), len(kept), self.batch)
        self.vectors = [
            part.new_zeros(*kept_shape, part.shape[-1]) for part in self.arriving.vectors
        ]
        self.kept_places = self._place(kept)  # [V, B]
        both = (self.running.d_h, self.running.d_c)
        self.totals = [_Totals.of(total) for total in both if total is not None]

    def _filled(self, shape: tuple[int, ...], value: float) -> Tensor:
        return torch.full(shape, value, dtype=torch.float64, device=self.device)

    def _place(self, steps: tuple[int, ...]) -> Tensor:
        """The running steps of steps of the input, [len, B]; below 0 where they are padding."""
        column = torch.tensor(steps, dtype=torch.int64, device=self.device).unsqueeze(1)
        if self.trace.direction == "reverse":
            return self.trace.lengths - 1 - column
        return torch.where(column < self.trace.lengths, column, -1)

    def followed(self) -> Itemised:
        """All items, a chunk at a time, the latest first."""
        there = self.arriving.there[self.starts.clamp(min=0), self.every]
        there &= self.starts >= 0
        items = there.any(1).nonzero().flatten()
        latest = torch.where(there, self.starts, -1).amax(1)
        items = items[latest[items].argsort(descending=True)]
        for chunk in items.split(self._chunk()) if len(items) else ():
            self._follow(chunk, int(latest[chunk].max()))
        log10 = [self._in_order(log2, -math.inf) * math.log10(2) for log2 in self.log2]
        shares = [self._in_order(share, 0.0) for share in self.share]
        places = self.wanted.clamp(min=0)
        for share, total in zip(shares, self.totals, strict=True):
            nothing = total.nothing[places, self.every] | (self.wanted < 0)
            share.masked_fill_(nothing, math.nan)
        return Itemised(
            losses=torch.tensor(self.losses, dtype=torch.int64),
            steps=torch.tensor(tuple(self.steps), dtype=torch.int64),
            log10_h=log10[0],
            log10_c=log10[1] if len(log10) > 1 else None,
            share_h=shares[0],
            share_c=shares[1] if len(shares) > 1 else None,
            vectors_at=torch.tensor(self.kept, dtype=torch.int64),
            d_h=self.vectors[0],
            d_c=self.vectors[1] if len(self.vectors) > 1 else None,
        )

    def _chunk(self) -> int:
        numbers = BLOCK * self.batch * sum(vector.shape[-1] for vector in self.vectors)
        return max(LEAST_CHUNK, CACHE_BYTES // (numbers * self.trace.d_h.mantissa.element_size()))

    def _in_order(self, found: Tensor, padding: float) -> Tensor:
        """From running steps low .. high to the wanted steps of the input, [K, S, B]."""
        if self.trace.direction == "reverse":
            index = (self.wanted - self.low).clamp(0, self.high - self.low - 1)
            found = found.gather(1, index.expand(len(found), -1, -1))
        return found.masked_fill_(self.wanted < 0, padding)

    def _follow(self, items: Tensor, latest: int) -> None:
        """Some items from the latest start to the first step that is wanted."""
        way = _Way(self, self.starts[items])
        for start, stop, found in way.blocks(latest + 1):
            begin, end = max(start, self.low), min(stop, self.high)
            if begin >= end:
                continue
            rows = slice(begin - start, end - start)
            place = slice(begin - self.low, end - self.low)
            for k, whole in enumerate(found):
                part = whole.rows(rows)
                share = self.totals[k].share(part, slice(begin, end))
                self.log2[k][items, place] = part.log2.transpose(0, 1)
                self.share[k][items, place] = share.transpose(0, 1)
                self._keep(k, items, part, begin, end)

    def _keep(self, k: int, items: Tensor, found: _Found, begin: int, end: int) -> None:
        """The vectors at the steps where they are wanted."""
        for place, steps in enumerate(self.kept_places):
            inside = ((steps >= begin) & (steps < end)).nonzero().flatten()
            if len(inside):
                rows = steps[inside] - begin
                self.vectors[k][items.unsqueeze(1), place, inside] = times_power_of_two(
                    found.mantissa[rows, :, inside], found.exponent[rows, :, inside]
                ).transpose(0, 1)


@dataclass(frozen=True)
class _Found:
    """What a chunk of items is at some steps, h or c: mantissa * 2 ** exponent."""

    mantissa: Tensor  # [steps, K, B, units]
    exponent: Tensor  # [steps, K, B] int32
    log2: Tensor  # [steps, K, B] float64, of the norm

    def rows(self, place: slice) -> _Found:
        """Some of the steps."""
        return _Found(self.mantissa[place], self.exponent[place], self.log2[place])


class _Way:
    """The way back of one chunk of items, those that begin last in front."""

    def __init__(self, work: _Items, starts: Tensor) -> None:
        self.step = back_of(work.running, work.linearisation)
        self.arriving = work.arriving
        self.starts, self.stop_at = starts, work.low  # [K, B]
        self.begins: dict[int, list[int]] = {}
        self.together = (starts == starts[:, :1]).all(1).tolist()  # in all sequences at one step
        for k, row in enumerate(starts.tolist()):
            for t in dict.fromkeys(row):
                self.begins.setdefault(t, []).append(k)
        self.v = [part.new_zeros(*starts.shape, part.shape[-1]) for part in self.arriving.vectors]
        self.exponent = torch.zeros(starts.shape, dtype=torch.int32, device=starts.device)
        self.bits = 0.4 * math.log2(torch.finfo(self.v[0].dtype).max)

    def blocks(self, stop: int) -> Iterator[tuple[int, int, list[_Found]]]:
        """From before step ``stop`` back, block by block: (start, stop, what is found there)."""
        length = BLOCK
        while stop > self.stop_at:
            start = max(self.stop_at, stop - length)
            alone = stop - start == 1
            before = [part.clone() for part in self.v], self.exponent.clone()
            values, exponents = self._block(start, stop)
            log2 = [_log2_norm(value, alone=alone) for value in values]
            if not alone and not self._safe(log2):
                (self.v, self.exponent), length = before, (stop - start) // 2
                continue
            yield (
                start,
                stop,
                [
                    _Found(value, exponents, norm + exponents)
                    for value, norm in zip(values, log2, strict=True)
                ],
            )
            self._renew()
            stop, length = start, min(BLOCK, 2 * length)

    def _block(self, start: int, stop: int) -> tuple[list[Tensor], Tensor]:
        """What is found at the steps start .. stop-1, and its exponents."""
        count = stop - start
        exponents = self.exponent.new_empty(count, *self.exponent.shape)
        found = [part.new_empty(count, *part.shape) for part in self.v]
        v_h, v_c = self.v[0], self.v[1] if len(self.v) > 1 else None
        for t in range(stop - 1, start - 1, -1):
            row = t - start
            self._begin(t, v_h, v_c)
            exponents[row] = self.exponent
            found[0][row] = v_h
            out_c = None if v_c is None else found[1][row]
            v_h, v_c = self.step(t, v_h, v_c, out_c=out_c)
            if t in self.arriving.crossing:
                v_h, v_c = self.arriving.stop(t, v_h, v_c)
        # v_c stands where the next call of the step writes.
        self.v = [v_h] if v_c is None else [v_h, v_c.clone()]
        return found, exponents

    def _begin(self, t: int, *v: Tensor | None) -> None:
        """Put what arrives at step t into the items that begin there."""
        for k in self.begins.get(t, ()):
            if self.together[k]:
                for part, arrives in zip(v, self.arriving.vectors, strict=False):
                    assert part is not None
                    part[k] = arrives[t]
                self.exponent[k] = self.arriving.exponent[t]
                continue
            begins = self.starts[k] == t
            for part, arrives in zip(v, self.arriving.vectors, strict=False):
                assert part is not None
                part[k] = torch.where(begins.unsqueeze(-1), arrives[t], part[k])
            self.exponent[k] = torch.where(begins, self.arriving.exponent[t], self.exponent[k])

    def _safe(self, log2: list[Tensor]) -> bool:
        """Whether all norms stay far from the ends of the range, or zero or broken as they came."""
        for norms, after in zip(log2, self.v, strict=True):
            sizes = torch.cat([_log2_norm(after.unsqueeze(0), alone=True), norms])
            earlier, later = sizes[:-1], sizes[1:]
            ordinary = earlier.abs() <= self.bits
            stays_zero = (later == -math.inf) & (earlier == -math.inf)
            broken = later.isnan() | (later == math.inf)
            if not bool((ordinary | stays_zero | broken).all()):
                return False
        return True

    def _renew(self) -> None:
        """Bring the numbers back to ordinary size, exactly."""
        size = torch.stack([largest(part) for part in self.v]).amax(0)
        shift = binary_exponent(size)
        if bool((shift.abs() > ORDINARY).any()):
            self.v = [times_power_of_two(part, -shift) for part in self.v]
            self.exponent = self.exponent + shift


def _log2_norm(values: Tensor, *, alone: bool) -> Tensor:
    """log2 of the norm over the units, float64; ``alone``: where squares may leave the range."""
    if alone:
        return Scaled(values).log2_norm()
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm.double().log2()


@dataclass(frozen=True)
class _Totals:
    """The total of every step, at ordinary size: what items are compared with."""

    vector: Tensor  # [T, B, units]
    exponent: Tensor  # [T, B]
    square: Tensor  # [T, B] float64, <vector, vector>
    nothing: Tensor  # [T, B] bool

    @staticmethod
    def of(total: Scaled) -> _Totals:
        """From a total gradient."""
        shift = binary_exponent(largest(total.mantissa))
        vector = times_power_of_two(total.mantissa, -shift)
        square = vector.double().square().sum(-1)
        return _Totals(vector, total.exponents() + shift, square, square == 0)

    def share(self, found: _Found, place: slice) -> Tensor:
        """<item, total> / <total, total> of items at some steps, [steps, K, B] float64."""
        along = torch.einsum("tkbu,tbu->tkb", found.mantissa, self.vector[place]).double()
        scale = torch.exp2((found.exponent - self.exponent[place].unsqueeze(1)).double())
        share = along * scale / self.square[place].unsqueeze(1)
        # An item that is exactly zero has no part in a total, however far the exponents are apart.
        return torch.where(along == 0, 0.0, share)
