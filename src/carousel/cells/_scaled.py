"""Tensors over time with a power of two beside them, so that 1e-400 is a number and not 0.

A gradient that halves at every step leaves float32 after 126 steps. Multiplying by a power of two
is exact, so keeping one exponent for each step and sequence loses nothing and forgets nothing:
an exact zero stays distinguishable from a value that the dtype cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Scaled",
    "binary_exponent",
    "largest",
    "power_of_two",
    "shared_exponent",
    "times_power_of_two",
]

NO_SIZE = torch.iinfo(torch.int32).min // 2  # below the exponent of everything that is not zero


@dataclass(frozen=True)
class Scaled:
    """``mantissa * 2 ** exponent``, the exponent shared by the units of one step and sequence."""

    mantissa: Tensor  # [T, B, H]
    exponent: Tensor | None = None  # [T, B] int32; None where it is 0 throughout

    def value(self) -> Tensor:
        """The plain tensor [T, B, H]: what the dtype cannot hold becomes 0 or infinite."""
        if self.exponent is None:
            return self.mantissa
        return times_power_of_two(self.mantissa, self.exponent)

    def log2_norm(self) -> Tensor:
        """log2 of the Euclidean norm over the units [T, B] float64; -inf is an exact zero."""
        if self.mantissa.dtype == torch.float64:
            size = largest(self.mantissa)
            size = torch.where((size > 0) & size.isfinite(), size, 1.0)
            log2 = _norm(self.mantissa / size.unsqueeze(-1)).log2() + size.log2()
        else:
            log2 = _norm(self.mantissa).log2()  # in float64, where no square is out of range
        return log2 if self.exponent is None else log2 + self.exponent

    def log2_largest(self) -> Tensor:
        """log2 of the largest absolute entry over the units [T, B] float64."""
        log2 = largest(self.mantissa).double().log2()
        return log2 if self.exponent is None else log2 + self.exponent

    def map(self, function: Callable[[Tensor], Tensor]) -> Scaled:
        """Apply to mantissa and exponent alike what only rearranges steps and sequences."""
        exponent = None if self.exponent is None else function(self.exponent)
        return Scaled(function(self.mantissa), exponent)

    def linear(self, function: Callable[[Tensor], Tensor]) -> Scaled:
        """Apply a map that is linear and acts on the units of one step and sequence alone."""
        return Scaled(function(self.mantissa), self.exponent)

    def __add__(self, other: Scaled) -> Scaled:
        if self.exponent is None and other.exponent is None:
            return Scaled(self.mantissa + other.mantissa)
        exponent = shared_exponent(self, other)
        return Scaled(self.at(exponent).mantissa + other.at(exponent).mantissa, exponent)

    def exponents(self) -> Tensor:
        """The exponents [T, B] int32, written out where they are 0."""
        if self.exponent is not None:
            return self.exponent
        return self.mantissa.new_zeros(self.mantissa.shape[:-1], dtype=torch.int32)

    def at(self, exponent: Tensor) -> Scaled:
        """The same numbers with another exponent [T, B]."""
        shift = self.exponents() - exponent
        return Scaled(times_power_of_two(self.mantissa, shift), exponent)

    def ceiling(self) -> Tensor:
        """The exponent of the largest entry [T, B]; far below all others where there is none."""
        size = largest(self.mantissa)
        return torch.where(size == 0, NO_SIZE, self.exponents() + binary_exponent(size))

    @staticmethod
    def cat(parts: Sequence[Scaled], dim: int) -> Scaled:
        """Join along steps (0) or sequences (1)."""
        if len(parts) == 1:
            return parts[0]
        mantissa = torch.cat([part.mantissa for part in parts], dim)
        if all(part.exponent is None for part in parts):
            return Scaled(mantissa)
        return Scaled(mantissa, torch.cat([part.exponents() for part in parts], dim))


def shared_exponent(one: Scaled, other: Scaled) -> Tensor:
    """The exponent [T, B] on which both can stand without overflow; 0 where both are zero."""
    exponent = torch.maximum(one.ceiling(), other.ceiling())
    return torch.where(exponent == NO_SIZE, 0, exponent)


def largest(tensor: Tensor) -> Tensor:
    """The largest absolute value over the last axis; NaN where there is one."""
    return tensor.abs().amax(dim=-1)  # far faster than the norm of order infinity


def _norm(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor.double(), dim=-1)
    return norm


def binary_exponent(size: Tensor) -> Tensor:
    """k with size in [2^(k-1), 2^k), int32; 0 where size is zero, infinite or NaN."""
    exponent: Tensor = torch.frexp(size).exponent
    return torch.where(size.isfinite(), exponent, torch.zeros_like(exponent))


def times_power_of_two(tensor: Tensor, exponent: Tensor) -> Tensor:
    """tensor [.., B, H] times 2 ** exponent [.., B], rounded once, to the tensor's dtype."""
    # In two factors: one alone may leave even the range of float64 where the product does not.
    half = exponent.div(2, rounding_mode="floor")
    scaled: Tensor = tensor.double() * power_of_two(half).unsqueeze(-1)
    scaled = scaled * power_of_two(exponent - half).unsqueeze(-1)
    return scaled.to(tensor.dtype)


def power_of_two(exponent: Tensor) -> Tensor:
    """2.0 ** exponent as float64, exact; exponents are cut to those of normal numbers."""
    # Written as bits: torch.exp2 and torch.ldexp go through vectorised pow, which may round.
    bits = exponent.to(torch.int64).clamp(-1022, 1023) + 1023
    return (bits << 52).view(torch.float64)
