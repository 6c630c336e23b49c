"""Norms, their logarithms beyond the range of the dtype, and the five reasons for no number."""

from __future__ import annotations

import math

import pytest
import torch
from tests.cases import Case, Problem, few
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import carousel
from carousel.flow import Category

FLOAT64 = torch.float64


def scalar_rnn(w: float, nonlinearity: str, dtype: torch.dtype, bias: float = 0.0) -> nn.RNN:
    rnn = nn.RNN(1, 1, nonlinearity=nonlinearity).to(dtype)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.fill_(w)
        rnn.bias_ih_l0.fill_(bias)
    return rnn


def measure_last(rnn: nn.RNN, steps: int) -> object:
    """Loss on the last output; the states stay at zero, where tanh' = 1."""
    x = torch.zeros(steps, 1, 1, dtype=rnn.weight_hh_l0.dtype)

    def loss() -> torch.Tensor:
        return rnn(x)[0][-1].sum()

    return carousel.measure(rnn, loss)["l0"]


def counts(category: torch.Tensor) -> dict[Category, int]:
    found = {kind: int((category == kind).sum()) for kind in Category}
    return {kind: count for kind, count in found.items() if count}


@pytest.mark.parametrize(("w", "dtype"), [(1e-30, torch.float32), (1e-200, FLOAT64)])
def test_a_gradient_below_the_range_is_still_a_number(w: float, dtype: torch.dtype) -> None:
    """d_h[t] = w^(T-1-t): in float32 down to 1e-570, in float64 to 1e-3800."""
    steps = 20
    rnn = scalar_rnn(w, "tanh", dtype)
    layer = measure_last(rnn, steps)
    per_step = math.log10(rnn.weight_hh_l0.item())
    expected = [per_step * (steps - 1 - t) for t in range(steps)]
    assert expected[0] < -400
    log10 = layer.log10_norm("d_h")
    assert log10.dtype == FLOAT64
    rounding = steps * torch.finfo(dtype).eps  # each step's product is rounded once
    assert log10.flatten().tolist() == pytest.approx(expected, abs=rounding, rel=1e-15)
    tiny = math.log10(torch.finfo(dtype).tiny)
    kinds = [Category.VALUE if value >= tiny else Category.UNDERFLOW for value in expected]
    assert layer.category("d_h").flatten().tolist() == kinds
    assert kinds.count(Category.UNDERFLOW) >= 18
    assert layer.norm("d_h").flatten().tolist()[0] == 0.0
    assert float(layer.d_h[0]) == 0.0


def test_a_dead_relu_is_an_exact_zero_not_an_underflow() -> None:
    layer = measure_last(scalar_rnn(0.5, "relu", torch.float32, bias=-1.0), 20)
    category = layer.category("d_h").flatten().tolist()
    assert category == [Category.ZERO] * 19 + [Category.VALUE]
    assert layer.log10_norm("d_h").flatten().tolist() == [-math.inf] * 19 + [0.0]


@pytest.mark.parametrize(("w", "dtype"), [(1e30, torch.float32), (1e200, FLOAT64)])
def test_a_gradient_beyond_the_range_is_still_a_number(w: float, dtype: torch.dtype) -> None:
    steps = 20
    rnn = scalar_rnn(w, "tanh", dtype)
    layer = measure_last(rnn, steps)
    per_step = math.log10(rnn.weight_hh_l0.item())
    expected = [per_step * (steps - 1 - t) for t in range(steps)]
    rounding = steps * torch.finfo(dtype).eps
    log10 = layer.log10_norm("d_h").flatten().tolist()
    assert log10 == pytest.approx(expected, abs=rounding, rel=1e-15)
    largest = math.log10(torch.finfo(dtype).max)
    kinds = [Category.VALUE if value <= largest else Category.INFINITE for value in expected]
    assert layer.category("d_h").flatten().tolist() == kinds
    assert float(layer.d_h[0]) == math.inf


def test_up_and_down_again() -> None:
    """Beyond the range and back: 1e-60 a step, then 1e60 a step, is 1 again."""
    cell = nn.RNNCell(1, 1, bias=False).to(FLOAT64)
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.weight_hh.fill_(1.0)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self) -> torch.Tensor:
            h = torch.zeros(1, 1, dtype=FLOAT64, requires_grad=True)
            x = torch.zeros(1, 1, dtype=FLOAT64)
            for t in range(40):
                h = self.cell(x, h * (1e60 if t < 20 else 1e-60))
            return h.sum()

    model = Loop()
    layer = carousel.measure(model, model)["cell"]
    # d_h[t] = 1e-60^(39 - t) for t >= 19, then grows again to 1e-60^20 * 1e60^19 at t = 0.
    log10 = layer.log10_norm("d_h").flatten().tolist()
    assert log10[39] == 0.0
    assert log10[36] == pytest.approx(-180.0)


def test_padding_is_its_own_category() -> None:
    problem = Problem(Case(cell="gru", ragged="unsorted", layers=2, bidirectional=True))
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    steps = problem.case.steps
    for name, layer in flow.layers.items():
        valid = torch.arange(steps)[:, None] < problem.lengths[None, :]
        assert not valid.all()
        for quantity in ("d_h", "d_h_injected", "h"):
            category = layer.category(quantity)
            assert torch.equal(category == Category.PADDING, ~valid), f"{quantity} of {name}"
            assert (layer.norm(quantity)[~valid] == 0).all()
            assert (layer.category(quantity)[valid] == Category.VALUE).all()


def test_an_injected_gradient_that_is_not_there_is_zero() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    layer = carousel.measure(problem.module, lambda: problem.loss("h_n"))["l0"]
    last = problem.case.steps - 1
    assert counts(layer.category("d_h_injected")[:last]) == {Category.ZERO: 3 * last}
    assert counts(layer.category("d_h_injected")[last:]) == {Category.VALUE: 3}
    assert counts(layer.category("d_c_injected")) == {Category.ZERO: 3 * (last + 1)}
    assert counts(layer.category("d_h")) == {Category.VALUE: 3 * (last + 1)}


def test_nan_and_infinity_are_two_categories() -> None:
    problem = Problem(Case(cell="lstm", state="given"))
    problem.w_output[2, 0, 0] = math.inf
    problem.w_output[2, 1, 0] = math.nan
    layer = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"]
    injected = layer.category("d_h_injected")
    assert injected[2].tolist() == [Category.INFINITE, Category.NAN, Category.VALUE]
    assert layer.category("d_h")[3].tolist() == [Category.VALUE] * 3
    assert layer.category("d_h")[2].tolist()[1:] == [Category.NAN, Category.VALUE]
    assert math.isnan(float(layer.log10_norm("d_h_injected")[2, 1]))
    assert float(layer.log10_norm("d_h_injected")[2, 0]) == math.inf


def test_the_categories_are_six() -> None:
    names = ["VALUE", "ZERO", "UNDERFLOW", "INFINITE", "NAN", "PADDING"]
    assert [kind.name for kind in Category] == names


@pytest.mark.parametrize("case", few()[::3], ids=lambda case: case.id)
def test_norm_is_the_euclidean_norm_over_the_units(case: Case) -> None:
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        for name in ("d_h", "d_c", "d_h_injected", "d_c_injected", "h", "c"):
            tensor = getattr(layer, name)
            if tensor is None:
                continue
            expected = tensor.norm(dim=-1)
            torch.testing.assert_close(layer.norm(name), expected, rtol=1e-12, atol=1e-300)
            log10 = layer.log10_norm(name)
            torch.testing.assert_close(log10, expected.log10(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_float32_agrees_with_float64_beyond_the_range_of_float32(cell: str) -> None:
    """A ragged batch whose sequences leave the range at different steps."""
    case = Case(cell=cell, steps=150, hidden=5)
    shrink = {"rnn_tanh": 0.3, "lstm": 0.015, "gru": 0.02}[cell]
    norms = {}
    for dtype in (torch.float32, FLOAT64):
        problem = Problem(case, dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in problem.module.named_parameters():
                parameter.mul_(shrink)
                if cell == "gru" and "bias" in name:
                    parameter[5:10] = -3.0  # hardly anything of the old state is kept
        problem.module.to(dtype)
        x = pack_padded_sequence(problem.x.to(dtype), torch.tensor([150, 90, 40]))

        def run(problem: Problem = problem, x: object = x) -> torch.Tensor:
            h_n = problem.module(x)[1]
            return (h_n[0] if cell == "lstm" else h_n).sum()

        norms[dtype] = carousel.measure(problem.module, run)["l0"].log10_norm("d_h")
    wide, narrow = norms[FLOAT64], norms[torch.float32]
    valid = torch.arange(150)[:, None] < torch.tensor([150, 90, 40])
    assert wide[0, 0] < -45, "the test must leave the range of float32"
    assert (wide[valid] > -math.inf).all()
    # Each step's derivative is off by some 1e-7 of itself in float32, and the steps add up.
    assert (narrow - wide)[valid].abs().max() < 150 * 1e-6
