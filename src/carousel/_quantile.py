"""Quantiles of logarithms, among which -inf (an exact zero) and +inf are values like others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["quantile"]


def quantile(log10: Tensor, ranked: Tensor, share: float) -> Tensor:
    """The quantile over the last axis, of those entries that ``ranked`` marks.

    Between two ranks it lies on the line from one to the other, and where one of the two is
    infinite (an exact zero, or an infinity) on the nearer of them. Where no entry is marked the
    result is infinite and means nothing: the caller knows from ``ranked``.
    """
    count = ranked.sum(dim=-1)
    ordered = log10.masked_fill(~ranked, math.inf).sort(dim=-1).values
    rank = share * (count - 1).clamp(min=0).double()
    below = ordered.gather(-1, rank.floor().long().unsqueeze(-1)).squeeze(-1)
    above = ordered.gather(-1, rank.ceil().long().unsqueeze(-1)).squeeze(-1)
    part = rank - rank.floor()
    between = below + part * (above - below)
    nearer = torch.where(part < 0.5, below, above)
    return torch.where(below.isfinite() & above.isfinite(), between, nearer)
