"""The elementwise recurrence c_t = f_t * c_{t-1} + b_t."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["elementwise_scan"]


def elementwise_scan(factor: Tensor, term: Tensor, start: Tensor) -> Tensor:
    """Run c_t = factor_t * c_{t-1} + term_t over time.

    Args:
        factor: [T, B, H].
        term: [T, B, H].
        start: c_0 [B, H].

    Returns:
        c_1 .. c_T [T, B, H].
    """
    states = []
    state = start
    for factor_t, term_t in zip(factor.unbind(0), term.unbind(0), strict=True):
        state = torch.addcmul(term_t, factor_t, state)
        states.append(state)
    return torch.stack(states)
