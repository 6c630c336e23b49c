"""Nothing is timed before it is known to compute what its peer computes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Mismatch", "agree", "same"]

# Largest difference allowed, relative to the largest entry of what is expected.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


class Mismatch(Exception):  # noqa: N818 - the name says what happened
    """Two ways that are to be timed against each other disagree."""


class HasResults(Protocol):
    """What can be run once for all that it computes."""

    def results(self) -> dict[str, Tensor]:
        """Outputs and gradients by name."""
        ...


def agree(found: HasResults, expected: HasResults) -> None:
    """Run both once and compare every output and every gradient.

    Raises:
        Mismatch: they disagree, or one gives what the other does not.
    """
    same(found.results(), expected.results())


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare named tensors.

    Raises:
        Mismatch: a name is on one side only, a shape differs, or numbers differ by more than
            rounding.
    """
    if found.keys() != expected.keys():
        raise Mismatch(f"Found {sorted(found)}, expected {sorted(expected)}.")
    for name, value in found.items():
        target = expected[name]
        if value.shape != target.shape:
            raise Mismatch(f"{name} is {list(value.shape)}, expected {list(target.shape)}.")
        scale = target.abs().max().item() or 1.0
        gap = (value - target).abs().max().item() / scale
        if not gap <= TOLERANCE[target.dtype]:  # a NaN fails too
            raise Mismatch(
                f"{name} is off by {gap:.1e} of its largest entry; "
                f"{TOLERANCE[target.dtype]:.0e} is allowed."
            )
