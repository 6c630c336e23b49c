"""The elementwise recurrence c_t = f_t * c_{t-1} + b_t."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["elementwise_scan"]

SHORT = 64  # steps up to which a plain loop is the fastest
WIDE = 4096  # numbers in a step from which on a plain loop is the fastest


def elementwise_scan(factor: Tensor, term: Tensor, start: Tensor) -> Tensor:
    """Run c_t = factor_t * c_{t-1} + term_t over time.

    Long and narrow sequences are cut into pieces: all pieces run side by side from zero, then each
    takes over what the one before left, c_t = c_t from zero + (factor_1 .. factor_t) c_0, which
    takes 2 sqrt(T) steps instead of T.

    Args:
        factor: [T, B, H].
        term: [T, B, H].
        start: c_0 [B, H].

    Returns:
        c_0 .. c_T [T + 1, B, H].
    """
    steps = factor.shape[0]
    if steps <= SHORT or start.numel() >= WIDE:
        return _loop(factor, term, start)
    piece = math.isqrt(steps)
    whole = steps - steps % piece
    factors = factor[:whole].unflatten(0, (-1, piece)).transpose(0, 1)  # [piece, pieces, B, H]
    terms = term[:whole].unflatten(0, (-1, piece)).transpose(0, 1)
    from_zero = _loop(factors, terms, torch.zeros_like(terms[0]))[1:]
    product = torch.cumprod(factors, dim=0)
    begins = _loop(product[-1], from_zero[-1], start)  # one piece after another
    states = torch.addcmul(from_zero, product, begins[:-1]).transpose(0, 1).flatten(0, 1)
    return torch.cat(
        [start.unsqueeze(0), states, _loop(factor[whole:], term[whole:], begins[-1])[1:]]
    )


def _loop(factor: Tensor, term: Tensor, start: Tensor) -> Tensor:
    states = start.new_empty(factor.shape[0] + 1, *start.shape)
    rows = states.unbind(0)
    rows[0].copy_(start)
    for t, (factor_t, term_t) in enumerate(zip(factor.unbind(0), term.unbind(0), strict=True)):
        torch.addcmul(term_t, factor_t, rows[t], out=rows[t + 1])
    return states
