"""The products with the weights, for all steps at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from carousel.cells._cell import Weights

__all__ = ["pre_activations"]


def pre_activations(x: Tensor, h_prev: Tensor, weights: Weights) -> Tensor:
    """a = W_ih x + b_ih + W_hh h_prev + b_hh, of any leading shape."""
    bias = weights.b_ih
    if bias is not None and weights.b_hh is not None:
        bias = bias + weights.b_hh
    a = linear(x, weights.w_ih, bias)
    flat = h_prev.reshape(-1, h_prev.shape[-1])
    return torch.addmm(a.flatten(0, -2), flat, weights.w_hh.T).view_as(a)
