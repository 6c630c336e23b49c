"""Zeros and what underflows, by step, counted against plain loops over the entries."""

from __future__ import annotations

import math

import pytest
import torch
from tests.cases import Case, Problem
from torch import nn

import carousel
from carousel import CarouselError

FLOAT64 = torch.float64


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm", "gru"])
def test_counts(cell: str) -> None:
    """A ragged batch, with a zero and a denormal put into the gradient of one step."""
    problem = Problem(Case(cell=cell, ragged="unsorted", bidirectional=True, steps=5))
    with torch.no_grad():
        problem.w_output[2, :, 1] = 0.0
        problem.w_output[2, :, 2] = 5e-324
    flow = carousel.measure(problem.module, lambda: problem.loss("output"))
    for layer in flow.layers.values():
        valid = torch.arange(5)[:, None] < layer.lengths
        names = ["d_h", "d_h_injected", "h", "x", *layer.gates]
        names += ["d_c", "c"] if layer.c is not None else []
        for name in names:
            tensor = layer.gates.get(name)
            tensor = getattr(layer, name, layer.trace.x) if tensor is None else tensor
            found = layer.tiny(name)
            for t in range(5):
                entries = tensor[t][valid[t]].flatten().tolist()
                zeros = sum(entry == 0 for entry in entries) / len(entries)
                under = sum(0 < abs(e) < 2.0**-1022 for e in entries) / len(entries)
                assert float(found.zeros[t]) == pytest.approx(zeros), name
                assert float(found.underflowed[t]) == pytest.approx(under), name
    injected = flow["l0"].tiny("d_h_injected")
    assert float(injected.zeros[2]) == pytest.approx(1 / 5)
    assert float(injected.underflowed[2]) == pytest.approx(1 / 5)


@pytest.mark.parametrize(("w", "dtype"), [(1e-30, torch.float32), (1e-200, FLOAT64)])
def test_what_vanishes_beyond_the_dtype_has_underflowed(w: float, dtype: torch.dtype) -> None:
    """w^lag is below the normal numbers from lag 2 on, and never exactly zero."""
    rnn = nn.RNN(1, 1).to(dtype)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.fill_(w)
    x = torch.zeros(20, 1, 1, dtype=dtype)
    layer = carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())["l0"]
    found = layer.tiny("d_h")
    assert found.zeros.tolist() == [0.0] * 20
    assert found.underflowed.tolist() == [1.0] * 18 + [0.0] * 2
    assert layer.tiny("h").zeros.tolist() == [1.0] * 20


def test_the_range_is_that_of_the_module() -> None:
    """The same numbers underflow in float32 and not in float64; float16 ends at 6e-5."""
    x = torch.full((3, 1, 1), 1e-39, dtype=FLOAT64)
    x[1] = 1e-5
    for dtype, expected in [
        (FLOAT64, [0.0, 0.0, 0.0]),
        (torch.float32, [1.0, 0.0, 1.0]),
        (torch.bfloat16, [1.0, 0.0, 1.0]),
    ]:
        rnn = nn.RNN(1, 2).to(dtype)
        layer = carousel.measure(rnn, lambda r=rnn, d=dtype: r(x.to(d))[0].sum())["l0"]
        assert layer.tiny("x").underflowed.tolist() == expected, dtype


def test_dead_relus_are_zeros() -> None:
    rnn = nn.RNN(1, 4, nonlinearity="relu").to(FLOAT64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.bias_ih_l0.copy_(torch.tensor([1.0, -1.0, -1.0, -1.0]))
    x = torch.zeros(3, 2, 1, dtype=FLOAT64)
    layer = carousel.measure(rnn, lambda: rnn(x)[0].sum())["l0"]
    assert layer.tiny("h").zeros.tolist() == [0.75] * 3


def test_nan_is_neither() -> None:
    problem = Problem(Case(cell="lstm", batch=1))
    problem.w_output[1, 0, 0] = math.nan
    layer = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"]
    assert float(layer.tiny("d_h").zeros[0]) == 0.0
    assert float(layer.tiny("d_h").underflowed[0]) == 0.0


def test_an_unknown_name_lists_the_known_ones() -> None:
    problem = Problem(Case(cell="gru"))
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    with pytest.raises(CarouselError, match=r"no quantity 'f'.* d_h, d_h_injected, h, x, r, z, n"):
        layer.tiny("f")
