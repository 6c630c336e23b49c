"""Runs through time for the tests of the native core: of every cell, in every layout."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from tests.cells.setting import FLOAT64, Setting
from tests.tolerances import TOLERANCE, tolerance

from carousel.cells import _native
from carousel.cells._kernels import native_backward, native_forward
from carousel.cells._plain import plain_backward, plain_forward
from carousel.cells._run import INPUTS, Arriving, Gradients, Passed, Run

__all__ = [
    "LAYOUTS",
    "Shape",
    "all_needed",
    "arriving",
    "assert_same_as_plain",
    "assert_same_bits",
    "drawn",
    "native_only",
]

LAYOUTS = ("time first", "batch first", "packed")
# Both ways are exact to rounding, so they differ by no more than float64 rounds away.
SAME = 1e-12
native_only = pytest.mark.skipif(
    not _native.status().loaded, reason=f"there is no native core: {_native.status().reason}"
)


@dataclass(frozen=True)
class Shape:
    """How large a run is, and where its rows lie."""

    steps: int = 4
    batch: int = 3
    hidden: int = 5
    layout: str = "time first"
    reverse: bool = False
    bias: bool = True

    def __str__(self) -> str:
        way = " reverse" if self.reverse else ""
        return f"T{self.steps} B{self.batch} H{self.hidden} {self.layout}{way}"

    @property
    def sizes(self) -> list[int]:
        """How many sequences have each step; packed: fewer and fewer, some ending together."""
        if self.layout != "packed":
            return [self.batch] * self.steps
        return [
            max(1, self.batch - self.batch * (t // 2 * 2) // self.steps) for t in range(self.steps)
        ]


def drawn(kind: tuple[str, bool], shape: Shape, dtype: torch.dtype = FLOAT64) -> Run:
    """A run of a cell, projected or not, with random weights, input and initial states."""
    setting = Setting(
        kind[0],
        projected=kind[1],
        steps=shape.steps,
        batch=shape.batch,
        hidden=shape.hidden,
        bias=shape.bias,
    )
    weights, x = setting.weights, setting.x
    if weights.w_hr is not None:  # h of the size of m, however many units there are
        weights = replace(weights, w_hr=weights.w_hr / shape.hidden**0.5)
    weights = weights.map(torch.Tensor.contiguous)
    if shape.layout == "batch first":
        x = x.transpose(0, 1).contiguous()
    if shape.layout == "packed":
        x = torch.cat([rows[:size] for rows, size in zip(x, shape.sizes, strict=True)])
    run = Run(
        cell=setting.cell,
        weights=weights,
        x=x,
        h_0=setting.h0,
        c_0=setting.c0 if setting.cell.has_c else None,
        batch_sizes=torch.tensor(shape.sizes) if shape.layout == "packed" else None,
        reverse=shape.reverse,
        batch_first=shape.layout == "batch first",
    )
    return run.to(dtype)


def arriving(run: Run, passed: Passed) -> Arriving:
    """Random gradients at every step and at both ends."""
    generator = torch.Generator().manual_seed(passed.output.numel())

    def like(tensor: torch.Tensor | None) -> torch.Tensor | None:
        if tensor is None:
            return None
        noise = torch.randn(tensor.shape, generator=generator, dtype=FLOAT64)
        return noise.to(run.x.dtype)

    return Arriving(like(passed.output), like(passed.h_n), like(passed.c_n))


def all_needed(run: Run) -> list[bool]:
    """The gradient on everything that the run has."""
    there = {"x": run.x, "h_0": run.h_0, "c_0": run.c_0, **vars(run.weights)}
    return [there[name] is not None for name in INPUTS]


def assert_same_as_plain(run: Run, *, truncated: tuple[bool, ...] = (False,)) -> None:
    """Compare the native core with the plain equations in float64, in all that both give."""
    exact, needs = run.to(FLOAT64), all_needed(run)
    expected, found = plain_forward(exact, keep=True), native_forward(run, keep=True)
    assert_near(found, expected, run)
    up = arriving(run, found)
    for cut in truncated:
        run, exact = replace(run, truncated=cut), replace(exact, truncated=cut)
        wanted = plain_backward(exact, expected, up.to(FLOAT64), needs, totals="full")
        assert_near(native_backward(run, found, up, needs, totals="full"), wanted, run)


def assert_near(found: Passed | Gradients, expected: Passed | Gradients, run: Run) -> None:
    """Compare field by field: there or not, of one shape, off by rounding at most."""
    limit = SAME if run.x.dtype == FLOAT64 else tolerance(run.x.dtype, run.steps)
    assert limit <= TOLERANCE[torch.float32][-1][1]
    for name, wanted in vars(expected).items():
        actual = getattr(found, name)
        assert (actual is None) == (wanted is None), name
        if wanted is None:
            continue
        assert actual.shape == wanted.shape, name
        assert actual.dtype == (FLOAT64 if name == "norms" else run.x.dtype), name
        assert wanted.isfinite().all(), f"{name}: the plain equations give what is not finite"
        assert actual.isfinite().all(), f"{name} is not finite"
        scale = float(wanted.abs().max())
        error = float((actual - wanted).abs().max())
        assert error <= limit * scale, f"{name}: off by {error:.2e}, scale {scale:.2e}"


def assert_same_bits(found: object, expected: object, what: str) -> None:
    """Compare two results field by field, bit by bit; NaN is like NaN."""
    compared = 0
    for name, wanted in vars(expected).items():
        actual = getattr(found, name)
        assert (actual is None) == (wanted is None), name
        if wanted is not None:
            kind = torch.int64 if wanted.dtype == FLOAT64 else torch.int32
            same = actual.contiguous().view(kind) == wanted.contiguous().view(kind)
            assert same.all(), f"{name} has other bits: {what}"
            compared += 1
    assert compared > 0
