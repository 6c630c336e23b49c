"""Directions carried along a product of Jacobians, with the triangles that they leave.

    A = J_n .. J_1 Q_0        A = Q_n R_n .. R_2 R_1

A factorisation at every step is exact and slow; one after several steps loses the directions that
have shrunk beside the others. How much has been lost can be read off the triangle: a column that
keeps |r_ii| of its length ||R_i|| has lost log10(||R_i|| / |r_ii|) of float64's 16 decimals. So the
stretch between two factorisations follows that number, and a stretch that lost too much is taken
again in halves.

In between nothing has to be orthonormal. Gaussian elimination with exchange of rows, A = F U,
gives columns F that are far from dependent for a quarter of the work, and U is as good a triangle:
the diagonal of the whole, |r_ii| of F times |u_ii|, is what it would have been. Where somebody
reads the diagonal, at the cuts, stands a QR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Frame", "Link", "random_frame"]

# Decimals that a stretch should lose, and those beyond which it is taken again; of 16 the rest are
# left. Few directions are factorised fast, so there is no need to lose as much.
AIM, MOST_LOST = {"few": 4.0, "many": 8.0}, {"few": 6.0, "many": 9.5}
ALWAYS_LOST = 1.0  # about what a factorisation loses over no step at all
MOST_RANGE = 100.0  # decimals by which a stretch may grow or shrink: float64 has 308
LONGEST = 32  # steps in a stretch
MANY = 64  # directions from which on elimination is faster than QR
RESOLVED = 1e-13  # of its column: what a single step leaves below is rounding, so zero


@dataclass(frozen=True)
class Link:
    """One stretch: the triangle that it left."""

    stop: int  # steps taken so far
    triangle: Tensor  # [B, k, k]
    order: Tensor | None  # [B, k] where directions changed places: new place -> old place


class Frame:
    """k directions for each sequence, orthonormal at the cuts.

    Args:
        advance: (step, q [B, S, k]) -> the directions after it.
        directions: orthonormal columns [B, S, k] to begin with, float64.
        drop: put directions that a step maps to zero last, where they disturb no other. They stay
            there, marked in ``dead``. Otherwise they stay where they are, with a zero on the
            diagonal of the triangle.
    """

    def __init__(
        self, advance: Callable[[int, Tensor], Tensor], directions: Tensor, *, drop: bool = False
    ) -> None:
        self.advance, self.directions, self.drop = advance, directions, drop
        batch, _, count = directions.shape
        self.dead = torch.zeros(batch, count, dtype=torch.bool, device=directions.device)
        self.many = count >= MANY
        self.aim, self.most_lost = (
            table["many" if self.many else "few"] for table in (AIM, MOST_LOST)
        )
        self.stretch = 1

    def along(
        self, order: Sequence[int], cuts: Iterable[int] = (), lengths: Tensor | None = None
    ) -> Iterator[Link]:
        """Go through the steps in ``order``; the directions end up orthonormal.

        Args:
            order: the steps.
            cuts: numbers of steps after which the product of the triangles' diagonals is read.
            lengths: [B] steps after which a sequence ends; it then rests.
        """
        marks = sorted({*cuts, len(order)} - {0})
        begin = self.directions
        shortest = len(order) if lengths is None else int(lengths.min())
        done = 0
        while done < len(order):
            mark = next(mark for mark in marks if mark > done)
            stop = min(done + self.stretch, mark)
            live = None if lengths is None or shortest >= stop else lengths > done
            found = self._stretched(order[done:stop], live, at_cut=stop == mark)
            if found is None:
                continue
            q, triangle, places = found
            if live is not None:
                q = torch.where(live[:, None, None], q, begin)
            self.directions, done = q, stop
            yield Link(stop, triangle, places)

    def _stretched(
        self, steps: Sequence[int], live: Tensor | None, *, at_cut: bool
    ) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """One stretch and its factorisation; None where it lost too much."""
        a = self.directions
        for t in steps:
            a = self.advance(t, a)
        places = None
        if not at_cut and self.many:
            q, triangle = _eliminated(a)
            lost, size = self._quality(triangle, live)
            if len(steps) == 1 and not (lost <= self.most_lost and size <= MOST_RANGE):
                q, triangle, places = self._orthonormal(a, live)
                lost, size = self._quality(triangle, live)
        else:
            alone = live if len(steps) == 1 else torch.zeros_like(self.dead[:, 0])
            q, triangle, places = self._orthonormal(a, alone)
            lost, size = self._quality(triangle, live)
        if len(steps) > 1 and not (lost <= self.most_lost and size <= MOST_RANGE):
            self.stretch = len(steps) // 2
            return None
        by_loss = (self.aim - ALWAYS_LOST) / max(lost - ALWAYS_LOST, 0.1)
        fits = round(len(steps) * min(by_loss, MOST_RANGE / 2 / max(size, 0.1)))
        self.stretch = max(1, min(fits, max(2 * len(steps), self.stretch), LONGEST))
        return q, triangle, places

    def _orthonormal(
        self, a: Tensor, checked: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """QR; in the sequences ``checked`` [B] (None: in all), what has vanished is put last."""
        q, triangle = torch.linalg.qr(a)
        places = None
        # Again for each direction that vanishes in front of others, which hardly ever happens.
        while bool((fresh := self._vanished(triangle, checked)).any()):
            self.dead = self.dead | fresh
            if not self.drop:
                triangle.diagonal(dim1=-2, dim2=-1).masked_fill_(fresh, 0.0)
                break
            order = self.dead.to(torch.int8).argsort(dim=-1, stable=True)
            places = order if places is None else places.gather(-1, order)
            self.dead = self.dead.gather(-1, order)
            a = a.gather(-1, order.unsqueeze(1).expand_as(a))
            q, triangle = torch.linalg.qr(a)
        return q, triangle, places

    def _vanished(self, triangle: Tensor, live: Tensor | None) -> Tensor:
        """Directions [B, k] of which a single step leaves nothing but rounding."""
        kept = triangle.diagonal(dim1=-2, dim2=-1).abs()
        largest = triangle.abs().amax(-2)  # of the column: no square that may leave the range
        gone = (kept <= RESOLVED * largest) & ~self.dead
        return gone if live is None else gone & live.unsqueeze(-1)

    def _quality(self, triangle: Tensor, live: Tensor | None) -> tuple[float, float]:
        """Decimals lost, and decimals of growth or decay, at most, over what is alive."""
        kept = triangle.diagonal(dim1=-2, dim2=-1).abs().log10()
        length = triangle.mT.square().sum(-1).sqrt().log10()
        dead = self.dead if live is None else self.dead | ~live.unsqueeze(-1)
        lost = (length - kept).masked_fill(dead, 0.0)
        size = torch.maximum(length.abs(), kept.abs()).masked_fill(dead, 0.0)
        worst_lost, worst_size = torch.stack([lost.amax(), size.amax()]).tolist()
        # A NaN, of whatever origin, is taken step by step; nothing in it can be lost.
        return (
            (worst_lost, worst_size)
            if not math.isnan(worst_lost + worst_size)
            else (math.inf, math.inf)
        )


def _eliminated(a: Tensor) -> tuple[Tensor, Tensor]:
    """A = F U by columns, F with entries up to 1: a permutation of a lower triangle."""
    lu, pivots = torch.linalg.lu_factor_ex(a)[:2]
    size, count = a.shape[-2:]
    permutation = torch.lu_unpack(lu, pivots, unpack_data=False)[0]
    rows = (permutation @ torch.arange(size, dtype=a.dtype, device=a.device)).long()
    lower = lu.tril(-1)
    lower.diagonal(dim1=-2, dim2=-1).fill_(1)
    first = size * torch.arange(len(a), device=a.device).unsqueeze(-1)  # row of each sequence
    f = lower.flatten(0, 1).index_select(0, (rows + first).flatten()).view_as(a)
    return f, lu[..., :count, :].triu()


def random_frame(batch: int, size: int, count: int, device: torch.device) -> Tensor:
    """The same random orthonormal columns for every sequence, [B, S, k] float64."""
    draws = torch.randn(
        size, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    columns: Tensor = torch.linalg.qr(draws)[0]
    return columns.to(device).expand(batch, -1, -1)
