"""The terms of a parameter's gradient against a loop whose steps have weights of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.flow.one_step import singles
from tests.lstm_family import LSTM
from tests.oracles import parameters_of, step_of, weights_of
from tests.tolerances import assert_close
from tests.trace.own_layers import CELLS, Own, flow_of, rich
from tests.trace.test_calls import run_chunks
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import Category, LayerFlow, ParameterTerms

FLOAT32, FLOAT64 = torch.float32, torch.float64
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_peephole")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "more",
    [
        {"layers": 2, "bidirectional": True, "ragged": "unsorted", "state": "given"},
        {"steps": 1},
        {"batch": 1, "bias": False, "steps": 7},
        {"projected": True, "layers": 2, "dropout": 0.4, "state": "given"},
    ],
    ids=lambda more: "-".join(more),
)
def test_the_sum_is_the_gradient(cell: str, more: dict) -> None:
    if more.get("projected") and cell not in LSTM:
        return
    problem = Own(replace(Case(cell=cell), **more))
    assert_sums(problem.module, flow_of(problem.module, lambda: problem.loss("all")))


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
@pytest.mark.parametrize("ragged", ["no", "unsorted", "unbatched"])
def test_the_sum_is_the_gradient_of_torch(cell: str, ragged: str) -> None:
    case = Case(cell=cell, layers=2, bidirectional=True, ragged=ragged, state="given")
    problem = Problem(replace(case, projected=cell == "lstm"))
    assert_sums(problem.module, flow_of(problem.module, lambda: problem.loss("all")))


@pytest.mark.parametrize("cell", ["lstm_peephole", "lstm_nog"])
def test_the_sum_is_the_truncated_gradient_where_that_was_taken(cell: str) -> None:
    problem = Own(rich(cell), options={"gradient": "1997"})
    assert_sums(problem.module, flow_of(problem.module, lambda: problem.loss("all")))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_the_sum_over_several_calls(cell: str) -> None:
    problem = Own(Case(cell=cell, layers=2, state="requires_grad", steps=5))
    for between in (lambda state: state, lambda state: torch.tanh(0.5 * state)):
        problem.module.zero_grad()
        flow = flow_of(problem.module, lambda b=between: run_chunks(problem, (2, 1, 2), b))
        assert_sums(problem.module, flow)


def assert_sums(module: nn.Module, flow: carousel.Flow) -> None:
    count = 0
    for layer in flow.layers.values():
        for name in NAMES:
            parameter = getattr(module, f"{name}_{layer.name}", None)
            if parameter is None:
                expected = rf"no parameter '{name}'. It has: weight_ih, "
                with pytest.raises(CarouselError, match=expected):
                    layer.parameter_terms(name)
                continue
            found = layer.parameter_terms(name)
            assert_close(found.gradient, parameter.grad, layer.steps, FLOAT64, name)
            count += 1
    assert count == len(list(module.parameters()))


@dataclass
class Steps:
    """By parameter, the gradient of each step's own copy for each sequence, [T, B, *shape]."""

    terms: dict[str, torch.Tensor]


def loop(problem: Problem) -> Steps:
    """One forward layer whose weights are leaves of their own at every step of every sequence."""
    case = problem.case
    weights = {k: v.detach() for k, v in weights_of(parameters_of(problem.module), "l0").items()}
    found: dict[str, list[torch.Tensor]] = {name: [] for name in weights}
    for b, length in enumerate(problem.lengths.tolist()):
        copies = {
            name: value.expand(case.steps, *value.shape).clone().requires_grad_()
            for name, value in weights.items()
        }
        h = torch.zeros(case.state_size, dtype=FLOAT64) if problem.h0 is None else problem.h0[0, b]
        c = None
        if case.cell in LSTM:
            c = torch.zeros(case.hidden, dtype=FLOAT64) if problem.h0 is None else problem.c0[0, b]
        loss = torch.zeros((), dtype=FLOAT64)
        for t in range(length):
            step = step_of(
                case.cell, {k: v[t] for k, v in copies.items()}, problem.x[t, b].double(), h, c
            )
            h, c = step.h, step.c
            loss = loss + (problem.w_output[t, b] * h).sum()
        gradients = torch.autograd.grad(loss, list(copies.values()))
        for name, gradient in zip(copies, gradients, strict=True):
            found[name].append(gradient)
    return Steps({name: torch.stack(parts, dim=1) for name, parts in found.items()})


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def assert_norms(log10: torch.Tensor, tensors: torch.Tensor, what: str) -> None:
    norms = tensors.flatten(log10.dim()).norm(dim=-1)
    # The norm of a sum over the batch is the root of a sum of inner products: where sequences
    # cancel, half of the digits are left. None do here.
    torch.testing.assert_close(
        torch.pow(10.0, log10), norms, rtol=1e-9, atol=1e-10, msg=lambda text: f"{what}: {text}"
    )


@pytest.mark.parametrize("ragged", ["no", "unsorted"])
@pytest.mark.parametrize("cell", CELLS)
def test_each_term(cell: str, ragged: str) -> None:
    problem = Own(Case(cell=cell, ragged=ragged, state="given", steps=6))
    layer = flow_of(problem.module, lambda: problem.loss("output"))["l0"]
    for name, terms in loop(problem).terms.items():
        found = layer.parameter_terms(name)
        steps = terms.sum(1)
        total = steps.sum(0)
        assert_close(found.gradient, total, 6, FLOAT64, name)

        assert_norms(found.log10_norms, steps, "norms")
        assert torch.equal(found.norms, torch.pow(10.0, found.log10_norms))
        assert_norms(found.log10_by_sequence, terms, "norms by sequence")
        assert_norms(found.log10_from_start, steps.cumsum(0), "from the start")
        assert_norms(found.log10_from_end, steps.flip(0).cumsum(0).flip(0), "from the end")
        assert found.cosine_early_late[0].isnan()
        for t in range(6):
            expected = cosine(steps[t], total)
            assert float(found.cosine_with_total[t]) == pytest.approx(expected, abs=1e-9)
            if t:
                expected = cosine(steps[:t].sum(0), steps[t:].sum(0))
                assert float(found.cosine_early_late[t]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("small", ["early", "late"])
def test_the_cosine_of_a_part_that_is_lost_beside_the_other(small: str) -> None:
    """1e-12 a step, so that the difference of the total and the larger part would be noise."""
    problem = Own(Case(cell="rnn_identity", state="given", steps=6))
    if small == "early":
        with torch.no_grad():
            problem.module.weight_hh_l0.mul_(1e-12)
        problem.w_output[:-1] = 0.0
    else:
        problem.w_output *= torch.pow(1e-12, torch.arange(6, dtype=FLOAT64))[:, None, None]
    layer = flow_of(problem.module, lambda: problem.loss("output"))["l0"]
    steps = loop(problem).terms["weight_ih"].sum(1)
    found = layer.parameter_terms("weight_ih").cosine_early_late
    sizes = steps.flatten(1).norm(dim=1).log10()
    assert (sizes[-1] - sizes[0]).abs() > 50
    for t in range(1, 6):
        expected = cosine(steps[:t].sum(0), steps[t:].sum(0))
        assert float(found[t]) == pytest.approx(expected, abs=1e-10), t


def test_the_order_is_that_of_the_input_in_both_directions() -> None:
    """Sequence by sequence, the reverse direction is the forward one of the input turned around."""
    problem = Own(Case(cell="lstm", bidirectional=True, steps=6))
    with torch.no_grad():
        for name, parameter in problem.module.named_parameters():
            if name.endswith("_reverse"):
                parameter.copy_(getattr(problem.module, name.removesuffix("_reverse")))
    problem.x = torch.cat([problem.x[:3], problem.x[:3].flip(0)])
    problem.w_output = torch.cat([problem.w_output[..., :5]] * 2, -1)
    problem.w_output[..., 5:] = problem.w_output[..., :5].flip(0)
    flow = flow_of(problem.module, lambda: problem.loss("output"))
    one, other = (flow[name].parameter_terms("weight_hh") for name in ("l0", "l0_reverse"))
    torch.testing.assert_close(one.log10_norms, other.log10_norms.flip(0))
    torch.testing.assert_close(one.log10_from_start, other.log10_from_end.flip(0))
    assert not torch.allclose(one.log10_norms, other.log10_norms)


class TestExtremes:
    """Beyond the range of the dtype, and what is not there."""

    @staticmethod
    def diagonal(w: float, steps: int, dtype: torch.dtype) -> LayerFlow:
        """h stays 1e-20, d_h[t] = w^(T-1-t)."""
        rnn = carousel.RNN(1, 1, nonlinearity="identity", bias=False).to(dtype)
        with torch.no_grad():
            rnn.weight_hh_l0.fill_(w)
            rnn.weight_ih_l0.fill_(0.0)
        x = torch.full((steps, 1, 1), 3.0, dtype=dtype)
        return flow_of(rnn, lambda: rnn(x)[0][-1].sum())["l0"]

    @pytest.mark.parametrize(("w", "dtype"), [(0.01, FLOAT32), (1e-9, FLOAT64), (100.0, FLOAT32)])
    def test_the_terms_of_w_ih(self, w: float, dtype: torch.dtype) -> None:
        """3 w^(T-1-t), and geometric sums of it."""
        steps = 60
        found = self.diagonal(w, steps, dtype).parameter_terms("weight_ih")
        lag = torch.arange(steps - 1, -1, -1, dtype=FLOAT64)
        stored = float(torch.tensor(w, dtype=dtype))
        expected = math.log10(3) + lag * math.log10(stored)
        near = {"rtol": 1e-9, "atol": 60 * torch.finfo(dtype).eps}
        torch.testing.assert_close(found.log10_norms, expected, **near)
        torch.testing.assert_close(found.log10_by_sequence[:, 0], expected, **near)
        count = torch.arange(1, steps + 1, dtype=FLOAT64)
        # The sum of n terms is the largest of them times (1 - q^n) / (1 - q), q < 1.
        q = min(stored, 1 / stored)
        tail = torch.log10((1 - q**count) / (1 - q))
        start, end = found.log10_from_start, found.log10_from_end.flip(0)
        if w < 1:
            torch.testing.assert_close(start, expected + tail, **near)
            torch.testing.assert_close(end, math.log10(3) + tail, **near)
        else:
            torch.testing.assert_close(start, expected[0] + tail, **near)
            torch.testing.assert_close(end, expected.flip(0) + tail, **near)
        assert expected.abs().max() > 100
        assert (found.cosine_early_late[1:] == 1).all()
        torch.testing.assert_close(found.cosine_with_total, torch.ones(steps, dtype=FLOAT64))

    def test_zero_terms(self) -> None:
        """States at zero: w_hh has no term at all, and no cosine."""
        found: ParameterTerms = self.diagonal(0.5, 5, FLOAT64).parameter_terms("weight_hh")
        assert found.gradient.tolist() == [[0.0]]
        for log10 in (found.log10_norms, found.log10_from_start, found.log10_from_end):
            assert (log10 == -math.inf).all()
        assert found.cosine_with_total.isnan().all()
        assert found.cosine_early_late.isnan().all()

    def test_nan(self) -> None:
        problem = Problem(Case(cell="gru", steps=5))
        problem.w_output[2, 1, 0] = math.nan
        found = flow_of(problem.module, lambda: problem.loss("output"))["l0"].parameter_terms(
            "bias_ih"
        )
        assert found.log10_by_sequence[:3, 1].isnan().all()
        assert found.log10_by_sequence[3:].isfinite().all()
        assert found.log10_norms.isnan().tolist() == [True] * 3 + [False] * 2
        assert found.log10_from_end.isnan().tolist() == [True] * 3 + [False] * 2
        assert found.gradient.isnan().any()

    @pytest.mark.parametrize("cell", ["lstm_peephole", "gru"])
    def test_float32(self, cell: str) -> None:
        case = Case(cell=cell, steps=80, state="given")
        wide, narrow = Own(case), Own(case, dtype=FLOAT32)
        layers = [flow_of(p.module, lambda p=p: p.loss("all"))["l0"] for p in (wide, narrow)]
        for name in ("weight_ih", "weight_hh", "bias_hh"):
            one, other = (layer.parameter_terms(name) for layer in layers)
            assert other.gradient.dtype == FLOAT32
            assert_close(other.gradient, one.gradient, 80, FLOAT32, name)
            assert_close(other.norms, one.norms, 80, FLOAT32, name)


class TestOmega:
    """Pascanu, Mikolov & Bengio 2013, eq. 9-10."""

    @pytest.mark.parametrize("cell", CELLS)
    @pytest.mark.parametrize("projected", [False, True])
    def test_against_autograd(self, cell: str, projected: bool) -> None:
        if projected and cell not in LSTM:
            return
        case = Case(cell=cell, bidirectional=True, ragged="unsorted", state="given", steps=5)
        problem = Own(replace(case, projected=projected))
        flow = flow_of(problem.module, lambda: problem.loss("all"))
        for name, single in singles(problem, "all").items():
            found = flow[name].omega()
            expected = torch.full((5, 3), math.nan, dtype=FLOAT64)
            for b in range(3):
                for t in range(int(flow[name].lengths[b])):
                    before = single.before(b, t)
                    if before is None:
                        continue
                    state = [
                        s.clone().requires_grad_() for s in single.state(b, before) if s is not None
                    ]
                    after = single.step(b, t, state[0], state[1] if len(state) > 1 else None)
                    v = [single.reference.d_h[t, b], single.v_c(b, t)][: len(state)]
                    loss = sum((a * s).sum() for a, s in zip(v, after, strict=False))
                    pulled = torch.cat(torch.autograd.grad(loss, state))
                    expected[before, b] = (pulled.norm() / torch.cat(v).norm() - 1) ** 2
            there = ~expected.isnan()
            assert torch.equal(found.category == Category.VALUE, there)
            assert torch.equal(found.category == Category.PADDING, ~there)
            torch.testing.assert_close(found.value, expected, rtol=1e-8, atol=1e-9, equal_nan=True)
            torch.testing.assert_close(found.total, expected.nansum(0), rtol=1e-8, atol=1e-9)

    def test_known_answer(self) -> None:
        """h_t = w h_{t-1}: (|w| - 1)^2 at each step but the last, far beyond the range too."""
        for w in (-0.001, 2.0):
            layer = TestExtremes.diagonal(w, 200, FLOAT32)
            found = layer.omega()
            expected = torch.full((199, 1), (abs(w) - 1) ** 2, dtype=FLOAT64)
            torch.testing.assert_close(found.value[:-1], expected, rtol=1e-6, atol=0)
            assert found.value[-1].isnan().all()
            assert found.category[-1].tolist() == [Category.PADDING]
            assert float(found.total) == pytest.approx(199 * (abs(w) - 1) ** 2, rel=1e-6)

    def test_why_there_is_no_value(self) -> None:
        problem = Problem(Case(cell="lstm", steps=6))
        problem.w_output[4:] = 0.0
        problem.w_output[2, 1, 0] = math.nan
        found = flow_of(problem.module, lambda: problem.loss("output"))["l0"].omega()
        value, zero, nan, padding = Category.VALUE, Category.ZERO, Category.NAN, Category.PADDING
        assert found.category[:, 0].tolist() == [value] * 3 + [zero] * 2 + [padding]
        assert found.category[:, 1].tolist() == [nan] * 2 + [value] + [zero] * 2 + [padding]
        assert torch.equal(found.value.isnan(), found.category != value)

    @pytest.mark.parametrize("cell", ["lstm", "gru"])
    def test_several_calls(self, cell: str) -> None:
        problem = Own(Case(cell=cell, state="requires_grad", steps=5))

        def omega(chunks: tuple[int, ...], factor: float) -> carousel.flow.Omega:
            def run() -> torch.Tensor:
                state, outputs = problem.state, []
                for x in problem.x.split(list(chunks)):
                    output, state = problem.module(x, state)
                    outputs.append(output)
                    parts = state if isinstance(state, tuple) else (state,)
                    parts = tuple(part * factor for part in parts)
                    state = parts if isinstance(state, tuple) else parts[0]
                return (problem.w_output * torch.cat(outputs)).sum()

            return flow_of(problem.module, run)["l0"].omega()

        whole, split = omega((5,), 1.0), omega((2, 3), 1.0)
        torch.testing.assert_close(split.value, whole.value, rtol=1e-9, atol=0, equal_nan=True)
        changed = omega((2, 3), 0.5)
        assert changed.category[1].tolist() == [Category.NAN] * 3
        assert (changed.category[[0, 2, 3]] == Category.VALUE).all()
