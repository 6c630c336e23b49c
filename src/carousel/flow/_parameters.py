"""The gradient of a layer's parameters as a sum over time: which steps make it.

    dL/dW = sum_t G_t,     G_t = sum_b left[t, b] right[t, b]^T

The factors of each parameter stand in ``_parameter_factors.py``. The G_t are never all there: the
norm of each follows from inner products within the batch,

    ||G_t||^2 = sum_{b, b'} <left_b, left_b'> <right_b, right_b'>

and the partial sums are one matrix each that runs along time, with a power of two beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.cells import Scaled, binary_exponent, times_power_of_two
from carousel.flow._one_step import OneStep, common_exponent, linearised, unit
from carousel.flow._parameter_factors import Factors, factors_of
from carousel.flow._shown import Shown, counted, number
from carousel.trace import Trace

__all__ = ["ParameterTerms", "Sum", "parameter_gradient", "parameter_terms"]

NOTHING = -(2**40)  # the exponent of an exact zero
GRAM_ENTRIES = 2**22  # inner products that are in memory at once


@dataclass(frozen=True, eq=False, repr=False)
class ParameterTerms(Shown):
    """The T terms of one parameter's gradient, in the order of the input.

    *Early* and *late* are by that order too, also for the reverse direction. All logarithms are of
    Frobenius norms, on a running scale: -inf is an exact zero. A cosine with zero is NaN.
    """

    name: str
    gradient: Tensor  # dL/dW, the sum of all terms, in the parameter's shape
    log10_norms: Tensor  # [T] float64, ||G_t||, summed over the batch before the norm is taken
    log10_by_sequence: Tensor  # [T, B] float64, of each sequence's own term
    log10_from_start: Tensor  # [T] float64, ||sum of the terms of steps 0 .. t||
    log10_from_end: Tensor  # [T] float64, ||sum of the terms of steps t .. T-1||
    cosine_with_total: Tensor  # [T] float64, between G_t and the gradient
    cosine_early_late: Tensor  # [T] float64, between the sums before step t and from t on

    def __str__(self) -> str:
        norm = number(float(self.log10_from_start[-1]))
        said = f"The gradient of {self.name} (norm {norm}) is the sum of "
        said += counted(len(self.log10_norms), "term")
        known = torch.where(self.log10_norms.isnan(), -math.inf, self.log10_norms)
        if not bool((known > -math.inf).any()):
            return f"{said}, none of which is a number above zero."
        step = int(known.argmax())
        return f"{said}; the largest is that of step {step} (norm {number(float(known[step]))})."

    @property
    def norms(self) -> Tensor:
        """||G_t|| as plain numbers [T] float64."""
        return torch.pow(10.0, self.log10_norms)


@dataclass(frozen=True, eq=False)
class Sum:
    """A matrix with one power of two beside it; entries up to 1."""

    mantissa: Tensor  # [M, N] float64
    exponent: Tensor  # [] int64; NOTHING for zero

    @staticmethod
    def of(matrix: Tensor, exponent: Tensor) -> Sum:
        """A matrix on an exponent, with entries brought to at most 1."""
        size = matrix.abs().amax()
        shift = binary_exponent(size).to(torch.int64)
        exponent = torch.where(size == 0, NOTHING, exponent + shift)
        return Sum(matrix * _two_to(-shift), exponent)

    def at(self, exponent: Tensor) -> Tensor:
        """The matrix on another exponent, not below its own."""
        return self.mantissa * _two_to(self.exponent - exponent)

    def minus(self, other: Sum) -> Sum:
        """The difference."""
        exponent = torch.maximum(self.exponent, other.exponent)
        return Sum.of(self.at(exponent) - other.at(exponent), exponent)

    def log2_norm(self) -> Tensor:
        """log2 of the Frobenius norm []."""
        norm: Tensor = torch.linalg.vector_norm(self.mantissa).log2() + self.exponent
        return norm

    def cosine(self, other: Sum) -> Tensor:
        """<self, other> / (||self|| ||other||) []; NaN where one is zero."""
        norms = torch.linalg.vector_norm(self.mantissa) * torch.linalg.vector_norm(other.mantissa)
        cosine: Tensor = (self.mantissa * other.mantissa).sum() / norms
        return cosine

    def value(self, like: Tensor) -> Tensor:
        """The plain matrix in the dtype of another tensor."""
        return times_power_of_two(self.mantissa, self.exponent.clamp(-4000, 4000)).to(like.dtype)


@dataclass(frozen=True, eq=False)
class _Rows:
    """left and right of each step and sequence, entries up to 1, in float64."""

    left: Tensor  # [T, B, M]
    right: Tensor  # [T, B, N]
    exponent: Tensor  # [T, B] int64; NOTHING where the term is zero

    @staticmethod
    def of(left: Scaled, right: Tensor, valid: Tensor) -> _Rows:
        """Rows of a trace; padding is zero."""
        left, other = unit(left), unit(Scaled(right))
        sizes = left.mantissa.abs().amax(-1), other.mantissa.abs().amax(-1)
        there = valid & (sizes[0] != 0) & (sizes[1] != 0)
        exponent = (left.exponents() + other.exponents()).to(torch.int64)
        mask = there.unsqueeze(-1)
        return _Rows(
            left=torch.where(mask, left.mantissa.double(), 0.0),
            right=torch.where(mask, other.mantissa.double(), 0.0),
            exponent=torch.where(there, exponent, NOTHING),
        )

    def steps_exponent(self) -> Tensor:
        """The largest exponent in the batch, by step [T]."""
        return self.exponent.amax(1)

    def total(self) -> Sum:
        """The sum of all terms."""
        top = self.exponent.amax()
        left = self.left * _two_to(self.exponent - top).unsqueeze(-1)
        return Sum.of(left.flatten(0, 1).T @ self.right.flatten(0, 1), top)

    def left_by_step(self) -> Tensor:
        """left on the exponent of its step [T, B, M]."""
        shift = self.exponent - self.steps_exponent().unsqueeze(1)
        return self.left * _two_to(shift).unsqueeze(-1)


def parameter_gradient(step: OneStep, factors: Factors) -> Sum:
    """dL/dW of one parameter along the totals of a trace, [M, N]; N = 1 but for a matrix."""
    return _rows(step, factors).total()


def parameter_terms(trace: Trace, name: str) -> ParameterTerms:
    """The terms of one parameter's gradient; see ``LayerFlow.parameter_terms``."""
    known = factors_of(trace)
    if name not in known:
        raise CarouselError(
            f"{trace.name} ({trace.cell.name}) has no parameter {name!r}. "
            f"It has: {', '.join(known)}."
        )
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        rows = _rows(linearised(trace), known[name])
        total = rows.total()
        left, exponent = rows.left_by_step(), rows.steps_exponent()
        log2_norms = _gram_norms(left, rows.right).log2()
        cosine = _cosine_with(total, left, rows.right, log2_norms)
        start = _partial(left, rows.right, exponent, total, range(len(left)))
        end = _partial(left, rows.right, exponent, total, range(len(left) - 1, -1, -1))
        parameter = known[name].parameter
        log2_by_sequence = _norm(rows.left).log2() + _norm(rows.right).log2() + rows.exponent
        return ParameterTerms(
            name=name,
            gradient=total.value(parameter).view_as(parameter),
            log10_norms=(log2_norms + exponent) * math.log10(2),
            log10_by_sequence=log2_by_sequence * math.log10(2),
            log10_from_start=start[0] * math.log10(2),
            log10_from_end=end[0] * math.log10(2),
            cosine_with_total=cosine,
            cosine_early_late=_split_cosine(start, end),
        )


def _rows(step: OneStep, factors: Factors) -> _Rows:
    """left and right of one parameter."""
    valid = step.trace.valid
    ones = step.trace.x.new_ones(()).expand(*valid.shape, 1)
    right = ones if factors.right is None else factors.right
    if factors.left == "d_h":
        return _Rows.of(step.d_h, right, valid)
    if factors.left == "peepholes":
        parts = [
            step.d_a(gate).linear(lambda d_a, c=c: d_a * c)  # type: ignore[misc]
            for gate, c in factors.seen.items()
        ]
    else:
        d_a_of = step.d_a_input if factors.left == "d_a at x" else step.d_a
        parts = [d_a_of(gate) for gate in step.gates]
    return _Rows.of(_beside(parts), right, valid)


def _beside(parts: list[Scaled]) -> Scaled:
    """The parts side by side on one exponent, [T, B, units of all]."""
    exponent = common_exponent(parts)
    return Scaled(torch.cat([part.at(exponent).mantissa for part in parts], -1), exponent)


def _gram_norms(left: Tensor, right: Tensor) -> Tensor:
    """||sum_b left_b right_b^T|| by step [T], from inner products within the batch."""
    batch = left.shape[1]
    chunk = max(1, GRAM_ENTRIES // batch**2)
    found = []
    for l_part, r_part in zip(left.split(chunk), right.split(chunk), strict=True):
        grams = (l_part @ l_part.mT) * (r_part @ r_part.mT)
        found.append(grams.sum((1, 2)).clamp(min=0).sqrt())
    return torch.cat(found)


def _cosine_with(total: Sum, left: Tensor, right: Tensor, log2_norms: Tensor) -> Tensor:
    """The cosine of every step's term with the total [T]."""
    inner = ((left @ total.mantissa) * right).sum((1, 2))
    norms = torch.exp2(log2_norms) * torch.linalg.vector_norm(total.mantissa)
    return torch.where(norms > 0, inner / norms, torch.nan)


def _partial(
    left: Tensor, right: Tensor, exponent: Tensor, total: Sum, order: Iterable[int]
) -> tuple[Tensor, Tensor]:
    """log2 norm of the sum of the terms so far, and its cosine with the rest, by step [T].

    Args:
        left: on the exponents of the steps [T, B, M].
        right: [T, B, N].
        exponent: of the steps [T].
        total: the sum of all terms.
        order: of the steps.
    """
    log2_norm = torch.full((len(left),), math.nan, dtype=left.dtype, device=left.device)
    cosine = torch.full_like(log2_norm, math.nan)
    so_far = Sum(torch.zeros_like(total.mantissa), torch.full_like(total.exponent, NOTHING))
    for t in order:
        common = torch.maximum(so_far.exponent, exponent[t])
        term = (left[t] * _two_to(exponent[t] - common)).T @ right[t]
        so_far = Sum.of(so_far.at(common) + term, common)
        log2_norm[t] = so_far.log2_norm()
        cosine[t] = so_far.cosine(total.minus(so_far))
    return log2_norm, cosine


def _split_cosine(start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> Tensor:
    """The cosine between the terms before step t and those from t on [T].

    Of the two sums the smaller one is taken as it was added up, and the other as the rest: the
    rest of a large sum would be rounding.
    """
    early_log2 = start[0].roll(1)  # of the terms before t
    cosine = torch.where(early_log2 <= end[0], start[1].roll(1), end[1])
    cosine[0] = math.nan
    return cosine


def _norm(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor, dim=-1)
    return norm


def _two_to(exponent: Tensor) -> Tensor:
    """2.0 ** exponent in float64; 0 below the range."""
    ones = torch.ones(*exponent.shape, 1, dtype=torch.float64, device=exponent.device)
    shift = exponent.clamp(-1100, 1023).to(torch.int32)
    return times_power_of_two(ones, shift).squeeze(-1)
