"""The elementwise recurrence c_t = f_t * c_{t-1} + b_t."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["elementwise_scan"]

SHORT = 64  # steps up to which a plain loop is the fastest


def elementwise_scan(factor: Tensor, term: Tensor, start: Tensor) -> Tensor:
    """Run c_t = factor_t * c_{t-1} + term_t over time.

    Long sequences are cut into pieces: all pieces run side by side from zero, then each takes over
    what the one before left, c_t = c_t from zero + (factor_1 .. factor_t) c_0, in 2 sqrt(T) steps.

    Args:
        factor: [T, B, H].
        term: [T, B, H].
        start: c_0 [B, H].

    Returns:
        c_1 .. c_T [T, B, H].
    """
    steps = factor.shape[0]
    if steps <= SHORT:
        return _loop(factor, term, start)
    piece = math.isqrt(steps)
    whole = steps - steps % piece
    factors = factor[:whole].unflatten(0, (-1, piece)).transpose(0, 1)  # [piece, pieces, B, H]
    terms = term[:whole].unflatten(0, (-1, piece)).transpose(0, 1)
    from_zero = _loop(factors, terms, torch.zeros_like(terms[0]))
    product = torch.cumprod(factors, dim=0)
    ends = _loop(product[-1], from_zero[-1], start)  # what each piece leaves, one after another
    begins = torch.cat([start.unsqueeze(0), ends[:-1]])
    states = torch.addcmul(from_zero, product, begins).transpose(0, 1).flatten(0, 1)
    return torch.cat([states, _loop(factor[whole:], term[whole:], ends[-1])])


def _loop(factor: Tensor, term: Tensor, start: Tensor) -> Tensor:
    states = []
    state = start
    for factor_t, term_t in zip(factor.unbind(0), term.unbind(0), strict=True):
        state = torch.addcmul(term_t, factor_t, state)
        states.append(state)
    return torch.stack(states) if states else torch.empty_like(term)
