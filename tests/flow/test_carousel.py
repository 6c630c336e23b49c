"""One step's derivative in terms, and the carousel's own product over any lag."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.flow.one_step import Single, singles
from tests.lstm_family import LSTM
from tests.tolerances import assert_close
from tests.trace.own_layers import CELLS, Own, flow_of
from tests.trace.test_calls import run_chunks
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import LayerFlow

FLOAT64 = torch.float64
WITH_CAROUSEL = [cell for cell in CELLS if cell in LSTM or cell == "gru"]


def problem_of(cell: str, *, projected: bool = False, **more: object) -> Own:
    case = Case(cell=cell, bidirectional=True, ragged="unsorted", state="given", steps=5)
    return Own(replace(case, projected=projected, **more))


def layers_of(problem: Problem) -> list[tuple[LayerFlow, Single]]:
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    return [(flow[name], single) for name, single in singles(problem, "all").items()]


class TestStepTerms:
    """Against autograd of the oracle's equations, way by way, and finite differences."""

    @pytest.mark.parametrize("cell", CELLS)
    @pytest.mark.parametrize("projected", [False, True])
    def test_each_term_and_their_sum(self, cell: str, projected: bool) -> None:
        if projected and cell not in LSTM:
            return
        for layer, single in layers_of(problem_of(cell, projected=projected)):
            steps = range(4) if layer.direction == "reverse" else range(1, 5)
            for step in steps:
                found = layer.step_terms(step)
                assert found.step == step
                assert found.state == ("c" if cell in LSTM else "h")
                for b, length in enumerate(layer.lengths.tolist()):
                    if step >= length or single.before(b, step) is None:
                        assert found.total[b].isnan().all()
                        continue
                    direct = single.jacobian(b, step, live="")
                    terms = {
                        gate: single.jacobian(b, step, live=gate) - direct for gate in single.gates
                    }
                    if "direct" in found.terms:
                        terms = {"direct": direct, **terms}
                    terms.pop("o", None)  # it has no say in c_t
                    assert list(found.terms) == list(terms)
                    for name, term in terms.items():
                        assert_close(found.terms[name][b], term, 5, FLOAT64, name)
                    whole = single.jacobian(b, step)
                    assert_close(found.total[b], whole, 5, FLOAT64, "total")

    @pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "gru", "rnn_tanh"])
    def test_finite_differences(self, cell: str) -> None:
        """c of the step before moved, and the h that it shows with it."""
        problem = Own(Case(cell=cell, state="given", steps=3, batch=1, hidden=4))
        ((layer, single),) = layers_of(problem)
        found = layer.step_terms(2).total[0]
        h, c = single.state(0, 0)
        columns = []
        for unit in range(4):
            ends = []
            for sign in (1e-6, -1e-6):
                nudge = torch.zeros(4, dtype=FLOAT64)
                nudge[unit] = sign
                after_h, after_c = single.step(0, 1, h, c, nudge=nudge if c is not None else 0.0)
                if c is None:
                    after_h = after_h + nudge
                after_h, after_c = single.step(0, 2, after_h, after_c)
                ends.append(after_h if after_c is None else after_c)
            columns.append((ends[0] - ends[1]) / 2e-6)
        expected = torch.stack(columns, dim=1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)

    def test_it_is_the_full_derivative_beside_a_truncated_gradient(self) -> None:
        full, cut = (
            Own(Case(cell="lstm", state="given"), options=options)
            for options in ({}, {"gradient": "1997"})
        )
        cut.module.load_state_dict(full.module.state_dict())
        one, other = (
            flow_of(p.module, lambda p=p: p.loss("all"))["l0"].step_terms(2) for p in (full, cut)
        )
        for name, term in one.terms.items():
            assert torch.equal(term, other.terms[name])

    def test_a_state_that_was_changed_in_between(self) -> None:
        problem = Own(Case(cell="lstm", state="requires_grad", steps=5))

        def flow(factor: float) -> LayerFlow:
            return flow_of(
                problem.module, lambda: run_chunks(problem, (2, 3), lambda state: factor * state)
            )["l0"]

        assert flow(0.5).step_terms(2).total.isnan().all()
        assert not flow(0.5).step_terms(3).total.isnan().any()
        assert not flow(1.0).step_terms(2).total.isnan().any()

    @pytest.mark.parametrize(
        ("name", "step"), [("l0", 0), ("l0", 5), ("l0", -1), ("l0_reverse", 4)]
    )
    def test_a_step_without_one_before_it(self, name: str, step: int) -> None:
        problem = problem_of("lstm", ragged="no")
        layer = flow_of(problem.module, lambda: problem.loss("all"))[name]
        with pytest.raises(CarouselError, match=f"has one before it, got step {step}: .* 5 steps"):
            layer.step_terms(step)


def products(single: Single, b: int, live: str | None) -> list[torch.Tensor]:
    """ds_T/ds_t by lag as plain matrices, s = (h, c); between steps only along open ways."""
    length = int(single.reference.valid[:, b].sum())
    order = list(range(length))
    order = order[::-1] if single.reverse else order
    outputs = single.reference.h.shape[-1]
    result: list[torch.Tensor] = []
    for t in reversed(order):
        h, c = single.state(b, single.before(b, t))
        size = outputs + (0 if c is None else len(c))
        if not result:
            result.append(torch.eye(size, dtype=FLOAT64))

        def step(s: torch.Tensor, t: int = t, c: torch.Tensor | None = c) -> torch.Tensor:
            after = single.step(b, t, s[:outputs], None if c is None else s[outputs:], live)
            return torch.cat([part for part in after if part is not None])

        s = h if c is None else torch.cat([h, c])
        result.append(result[-1] @ torch.autograd.functional.jacobian(step, s))
    return result[:-1]


class TestCarouselShare:
    """Against plain float64 matrices, and answers known by hand."""

    @pytest.mark.parametrize("norm", ["spectral", "frobenius"])
    @pytest.mark.parametrize("projected", [False, True])
    @pytest.mark.parametrize("cell", WITH_CAROUSEL)
    def test_against_plain_matrices(self, cell: str, projected: bool, norm: str) -> None:
        if projected and cell not in LSTM:
            return
        order = {"spectral": 2, "frobenius": "fro"}[norm]
        for layer, single in layers_of(problem_of(cell, projected=projected)):
            found = layer.carousel_share(norm)
            assert torch.equal(found.lags, torch.arange(5))
            full = layer.jacobian_norms(norm).log10
            assert torch.equal(found.log10_full.nan_to_num(9.0), full.nan_to_num(9.0))
            for b, length in enumerate(layer.lengths.tolist()):
                expected = [
                    float(torch.linalg.matrix_norm(product, order).log10())
                    for product in products(single, b, "")
                ]
                actual = found.log10_carousel[:length, b].tolist()
                assert actual == pytest.approx(expected, abs=1e-9), f"sequence {b}"
                assert found.log10_carousel[length:, b].isnan().all()
                ratio = torch.pow(10.0, torch.tensor(expected, dtype=FLOAT64) - full[:length, b])
                torch.testing.assert_close(found.share[:length, b], ratio, rtol=1e-8, atol=0)

    @pytest.mark.parametrize("cell", ["lstm", "lstm_1997", "lstm_cifg", "gru"])
    def test_without_recurrent_weights_it_is_all(self, cell: str) -> None:
        problem = Own(Case(cell=cell, state="given", steps=8))
        with torch.no_grad():
            problem.module.weight_hh_l0.zero_()
        layer = flow_of(problem.module, lambda: problem.loss("all"))["l0"]
        share = layer.carousel_share().share
        torch.testing.assert_close(share, torch.ones_like(share), rtol=1e-12, atol=0)

    def test_f_to_the_power_of_the_lag(self) -> None:
        """W_hh = 0 and f = sigmoid(-40), c = 0: 4e-18 a step, 1e-6932 after 399."""
        lstm = nn.LSTM(1, 2).double()
        with torch.no_grad():
            for parameter in lstm.parameters():
                parameter.zero_()
            lstm.bias_ih_l0[2:4] = -40.0
        x = torch.zeros(400, 1, 1, dtype=FLOAT64)
        found = flow_of(lstm, lambda: lstm(x)[0].sum())["l0"].carousel_share()
        log_f = -math.log1p(math.exp(40.0)) / math.log(10)
        # h_T = o tanh(c_T) shows c once more, by o = 0.5 at c = 0.
        expected = torch.arange(400, dtype=FLOAT64) * log_f + math.log10(math.sqrt(1.25))
        assert expected[-1] < -6900
        torch.testing.assert_close(found.log10_carousel[1:400, 0], expected[1:], rtol=1e-12, atol=0)
        torch.testing.assert_close(found.log10_full[1:400, 0], expected[1:], rtol=1e-12, atol=0)
        assert float(found.log10_carousel[0, 0]) == 0.0

    def test_a_closed_forget_gate_is_minus_infinity(self) -> None:
        problem = Problem(Case(cell="lstm", steps=4))
        with torch.no_grad():
            problem.module.bias_ih_l0[5:10] = -2000.0
        layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        for norm in ("spectral", "frobenius"):
            found = layer.carousel_share(norm)
            assert (found.log10_carousel[1:] == -math.inf).all()
            assert (found.share[1:] == 0).all()

    def test_a_reset_ends_it(self) -> None:
        problem = Own(Case(cell="lstm", state="requires_grad", steps=5))
        layer = flow_of(
            problem.module, lambda: run_chunks(problem, (2, 3), lambda state: 0.0 * state)
        )["l0"]
        found = layer.carousel_share()
        assert found.log10_carousel[:3].isfinite().all()
        assert (found.log10_carousel[3:] == -math.inf).all()
        assert (found.log10_full[3:] == -math.inf).all()

    def test_what_cannot_be_asked(self) -> None:
        problem = Problem(Case(cell="rnn_tanh"))
        layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        with pytest.raises(CarouselError, match="simple RNN tanh: it has no carousel"):
            layer.carousel_share()
        problem = Problem(Case(cell="gru"))
        layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        with pytest.raises(CarouselError, match=r"no norm 'max'. Expected one of: spectral, frob"):
            layer.carousel_share("max")
