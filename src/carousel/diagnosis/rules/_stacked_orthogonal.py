"""Orthogonal initialisation of the stacked recurrent matrix instead of each gate's block.

W_hh [G*H, H]:  W^T W = g^2 I as a whole leaves blocks with sum sigma^2 / H = g^2 / G,
so singular values of about g / sqrt(G): 0.5 for an LSTM, 0.58 for a GRU
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import number
from carousel.diagnosis._subject import Subject

__all__ = ["stacked_orthogonal"]

# (largest - smallest) / largest singular value. Of a random stack of G blocks it is about
# 2 / (1 + sqrt(G)), 0.67 for an LSTM; of an orthogonal one 0, and training spreads it.
SPREAD = 0.1
LEAST_UNITS = 4  # of fewer, chance makes anything
SOURCE = (
    "Saxe, McClelland & Ganguli 2014, for one matrix; torch.nn.init.orthogonal_ takes the stack"
)


def stacked_orthogonal(subject: Subject) -> Iterator[Finding]:
    """A finding for each gated layer whose W_hh is orthogonal as a whole and not by gate."""
    for layer in subject.derived:
        w_hh = layer.trace.weights.w_hh.double().cpu()
        gates = len(layer.trace.cell.gates)
        if gates < 2 or w_hh.shape[1] < LEAST_UNITS or not bool(w_hh.isfinite().all()):
            continue
        whole = torch.linalg.svdvals(w_hh)
        blocks = torch.stack([torch.linalg.svdvals(part) for part in w_hh.chunk(gates)])
        if _spread(whole) > SPREAD or _spread(blocks[0]) <= SPREAD:
            continue
        size = float(blocks.square().mean().sqrt())
        yield Finding(
            rule="stacked-orthogonal",
            severity="warning",
            layer=layer.name,
            sentence=(
                f"The recurrent weight is orthogonal as one stack of {gates} gates: the block of "
                f"each gate has singular values around {number(size)}, from "
                f"{number(float(blocks.min()))} to {number(float(blocks.max()))}, instead of "
                f"{number(float(whole.mean()))} throughout. Make each block orthogonal by itself."
            ),
            evidence={
                "block_singular_value_rms": size,
                "stack_singular_value": float(whole.mean()),
                "expected_rms": float(whole.mean()) / math.sqrt(gates),
            },
            threshold=SPREAD,
            source=SOURCE,
        )


def _spread(values: Tensor) -> float:
    largest = float(values.max())
    return (largest - float(values.min())) / largest if largest > 0 else math.inf
