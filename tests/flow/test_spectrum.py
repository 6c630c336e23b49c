"""Lyapunov spectra: known answers, plain QR over the oracle's matrices, and every awkward case."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import Case, Problem
from tests.oracles import step_jacobians
from tests.trace.own_layers import CELLS, Own
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import carousel
from carousel.flow import LayerFlow, Spectrum, _frame, _spectrum
from carousel.flow._frame import random_frame

FLOAT64 = torch.float64


def map_of(
    cell: object, start: list[list[float]], steps: int, dtype: torch.dtype = FLOAT64
) -> LayerFlow:
    state = torch.tensor(start, dtype=dtype)
    x = torch.zeros(steps, len(start), 1, dtype=dtype)
    return carousel.measure_cell(cell, x, state, lambda h: h.sum())["cell"]


def linear(matrix: torch.Tensor, steps: int = 200, batch: int = 1) -> LayerFlow:
    """The linear RNN h_t = W h_{t-1}, as a layer."""
    rnn = carousel.RNN(1, len(matrix), nonlinearity="identity").to(FLOAT64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.copy_(matrix)
    x = torch.zeros(steps, batch, 1, dtype=FLOAT64)
    return carousel.measure(rnn, lambda: rnn(x)[0].sum())["l0"]


def similar(eigenvalues: list[float]) -> torch.Tensor:
    """A matrix with these eigenvalues, far from symmetric."""
    size = len(eigenvalues)
    draws = torch.randn(size, size, generator=torch.Generator().manual_seed(3), dtype=FLOAT64)
    return draws @ torch.diag(torch.tensor(eigenvalues, dtype=FLOAT64)) @ torch.linalg.inv(draws)


def forget_only(f: float, steps: int = 60, batch: int = 2) -> LayerFlow:
    """An LSTM with W_hh = 0 and a constant forget gate."""
    lstm = nn.LSTM(1, 3).to(FLOAT64)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0[3:6] = math.log(f / (1 - f))
    x = torch.zeros(steps, batch, 1, dtype=FLOAT64)
    return carousel.measure(lstm, lambda: lstm(x)[0].sum())["l0"]


def chaotic(batch: int = 2, hidden: int = 40) -> tuple[nn.RNN, torch.Tensor]:
    """A tanh RNN with random weights of gain 2.5 and without input."""
    generator = torch.Generator().manual_seed(5)
    rnn = nn.RNN(1, hidden, bias=False).to(FLOAT64)
    with torch.no_grad():
        w = torch.randn(hidden, hidden, generator=generator, dtype=FLOAT64)
        rnn.weight_hh_l0.copy_(2.5 * w / hidden**0.5)
        rnn.weight_ih_l0.zero_()
    return rnn, torch.randn(1, batch, hidden, generator=generator, dtype=FLOAT64)


def same(found: Spectrum, expected: Spectrum, atol: float = 1e-12) -> None:
    for name in ("exponents", "standard_errors", "by_sequence"):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=0, atol=atol, equal_nan=True
        )


class TestKnownAnswers:
    """Maps and networks whose exponents are known in closed form."""

    def test_logistic_map(self) -> None:
        """x' = 4 x (1 - x): ln 2, within two standard errors."""
        found = map_of(lambda _, x: 4 * x * (1 - x), [[0.3], [0.6180339]], 3000).spectrum()
        gap = abs(float(found.exponents[0]) - math.log(2))
        assert gap <= 2 * float(found.standard_errors[0])
        assert 1e-5 < float(found.standard_errors[0]) < 0.01
        assert found.leading_interval[0] < math.log(2) < found.leading_interval[1]
        assert found.kind == "expanding"
        assert found.kaplan_yorke == 1.0
        assert "doubles every" in str(found)

    def test_cat_map(self) -> None:
        """(x, y)' = (2x + y, x + y) mod 1: ln of (3 +- sqrt 5) / 2."""
        matrix = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=FLOAT64)
        found = map_of(lambda _, x: (x @ matrix.T) % 1, [[0.1, 0.7]], 200).spectrum()
        golden = math.log((3 + 5**0.5) / 2)
        assert found.exponents.tolist() == pytest.approx([golden, -golden], abs=1e-12)
        assert found.kaplan_yorke == pytest.approx(2.0)

    def test_henon_map(self) -> None:
        """x' = 1 - 1.4 x^2 + y, y' = 0.3 x: 0.419 (Sprott 2003), and their sum is ln 0.3."""

        def henon(_: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
            x, y = s.unbind(-1)
            return torch.stack([1 - 1.4 * x * x + y, 0.3 * x], -1)

        found = map_of(henon, [[0.1, 0.1]], 3000).spectrum()
        assert float(found.exponents[0]) == pytest.approx(0.419, abs=0.015)
        assert float(found.exponents.sum()) == pytest.approx(math.log(0.3), abs=1e-10)
        assert found.kaplan_yorke == pytest.approx(1.26, abs=0.02)

    def test_linear_map(self) -> None:
        eigenvalues = [1.1, 0.9, -0.5, 0.2]
        found = linear(similar(eigenvalues), 400).spectrum()
        expected = [math.log(abs(value)) for value in eigenvalues]
        assert found.exponents.tolist() == pytest.approx(expected, abs=1e-8)
        assert linear(similar(eigenvalues), 400).spectrum(2).exponents.tolist() == pytest.approx(
            expected[:2], abs=1e-8
        )

    @pytest.mark.parametrize(("a", "kind"), [(0.8, "contracting"), (1.25, "expanding")])
    def test_scaled_orthogonal_linear_rnn(self, a: float, kind: str) -> None:
        """Every exponent is ln a."""
        draws = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=FLOAT64)
        found = linear(a * torch.linalg.qr(draws)[0], batch=3).spectrum()
        assert found.exponents.tolist() == pytest.approx([math.log(a)] * 6, abs=1e-12)
        assert found.kind == kind
        assert float(found.standard_errors.max()) < 1e-12
        assert found.kaplan_yorke == (0.0 if a < 1 else 6.0)

    def test_exponents_far_apart(self) -> None:
        """-0.1, -7 and -24 a step, which one factorisation a step would barely hold."""
        matrix = torch.diag(torch.tensor([0.9, 1e-3, 1e-10], dtype=FLOAT64))
        found = linear(matrix).spectrum()
        expected = torch.tensor([0.9, 1e-3, 1e-10], dtype=FLOAT64).log()
        torch.testing.assert_close(found.exponents, expected, rtol=1e-9, atol=0)

    @pytest.mark.parametrize("a", [1e-9, 1e9])
    def test_no_under_or_overflow(self, a: float) -> None:
        found = linear(a * torch.eye(3, dtype=FLOAT64), 300).spectrum()
        assert found.exponents.tolist() == pytest.approx([math.log(a)] * 3, rel=1e-12)

    @pytest.mark.parametrize("f", [0.1, 0.5, 0.99])
    def test_constant_forget_gate(self, f: float) -> None:
        """W_hh = 0: ln f for each c; what h was is forgotten at once, -inf."""
        found = forget_only(f).spectrum()
        assert found.exponents[:3].tolist() == pytest.approx([math.log(f)] * 3, abs=1e-12)
        assert (found.exponents[3:] == -math.inf).all()
        assert found.standard_errors[3:].isnan().all()
        assert (found.by_sequence[:, 3:] == -math.inf).all()

    def test_leaving_c_out_would_be_wrong(self) -> None:
        """The Jacobian of h alone says that nothing is remembered, or simply something else."""
        layer = forget_only(0.99)
        blocks = step_blocks(layer)
        assert not blocks.any()
        assert layer.spectrum(1).kind == "contracting"
        problem = Problem(Case(cell="lstm", steps=200, hidden=4, batch=1, state="given"))
        layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        q, total = torch.ones(4, dtype=FLOAT64), 0.0
        for t, block in enumerate(step_blocks(layer)):
            q = block @ q
            total += float(q.norm().log()) if t >= 50 else 0.0
            q = q / q.norm()
        assert abs(total / 150 - float(layer.spectrum(1, transient=50).exponents[0])) > 0.1

    @settings(max_examples=10)
    @given(w=st.floats(-3.99, 3.99).filter(bool), bias=st.floats(-3, 3))
    def test_a_sigmoid_unit_below_4_always_contracts(self, w: float, bias: float) -> None:
        """sigma' <= 1/4."""
        found = map_of(lambda _, h: torch.sigmoid(w * h + bias), [[0.2]], 60).spectrum()
        assert found.kind == "contracting"
        assert float(found.exponents[0]) <= math.log(abs(w) / 4)

    def test_two_trajectories(self) -> None:
        """The leading exponent is how fast two trajectories part, followed by brute force."""
        rnn, h0 = chaotic()
        x = torch.zeros(600, 2, 1, dtype=FLOAT64)
        layer = carousel.measure(rnn, lambda: rnn(x, h0)[0].square().sum())["l0"]
        found = layer.spectrum(3, transient=100)
        assert found.kind == "expanding"
        with torch.no_grad():
            w, h = rnn.weight_hh_l0, h0[0]
            near, total = h + 1e-8, torch.zeros(2, dtype=FLOAT64)
            for t in range(600):
                h, near = torch.tanh(h @ w.T), torch.tanh(near @ w.T)
                distance = (near - h).norm(dim=-1)
                if t >= 100:
                    total += (distance / 1e-8).log()
                near = h + (near - h) * (1e-8 / distance).unsqueeze(-1)
        # Where the two set out they point along different directions still: e-fold over 500 steps.
        torch.testing.assert_close(found.by_sequence[:, 0], total / 500, rtol=0, atol=1 / 500)
        assert float(total.min()) / 500 > 0.1

    def test_kaplan_yorke(self) -> None:
        """0.5, -0.1 and -1: 2 + 0.4 / 1."""
        matrix = torch.diag(torch.tensor([0.5, -0.1, -1.0], dtype=FLOAT64).exp())
        assert linear(matrix).spectrum().kaplan_yorke == pytest.approx(2.4, abs=1e-9)
        assert math.isnan(linear(matrix).spectrum(2).kaplan_yorke)
        assert linear(matrix[1:, 1:]).spectrum(1).kaplan_yorke == 0.0


def step_blocks(layer: LayerFlow) -> torch.Tensor:
    """dh_t/dh_{t-1} of sequence 0, [T, H, H]."""
    tangent = _spectrum.tangent_of(layer.trace, FLOAT64)
    hidden = layer.h.shape[-1]
    return torch.stack([tangent.jacobian(t)[0, :hidden, :hidden] for t in range(layer.steps)])


def plain_qr(
    jacobians: list[torch.Tensor], k: int, transient: int, start: torch.Tensor | None = None
) -> torch.Tensor:
    """Exponents by one QR a step, from the same directions or those given."""
    size = len(jacobians[0])
    q = random_frame(1, size, k, torch.device("cpu"))[0] if start is None else start
    total = torch.zeros(k, dtype=FLOAT64)
    for t, jacobian in enumerate(jacobians):
        q, r = torch.linalg.qr(jacobian @ q)
        if t >= transient:
            total += r.diagonal().abs().log()
    return (total / (len(jacobians) - transient)).sort(descending=True).values


class TestAgainstPlainQR:
    """One QR a step over Jacobians from autograd of the equations."""

    @pytest.mark.parametrize("ragged", ["no", "unsorted"])
    @pytest.mark.parametrize(
        ("cell", "projected"),
        [("rnn_tanh", False), ("gru", False), ("lstm", False), ("lstm", True)],
    )
    def test_torch_layers(self, cell: str, *, projected: bool, ragged: str) -> None:
        case = Case(
            cell=cell,
            projected=projected,
            ragged=ragged,
            bidirectional=True,
            steps=24,
            batch=2,
            state="given",
        )
        problem = Problem(case)
        flow = carousel.measure(problem.module, lambda: problem.loss("all"))
        for name in case.layer_names:
            for k in (None, 2):
                found = flow[name].spectrum(k, transient=3)
                for b, jacobians in enumerate(step_jacobians(problem, name)):
                    expected = plain_qr(list(jacobians.values()), k or found.size, 3)
                    torch.testing.assert_close(found.by_sequence[b], expected, rtol=0, atol=1e-7)

    @pytest.mark.parametrize("cell", CELLS)
    def test_own_layers(self, cell: str) -> None:
        problem = Own(Case(cell=cell, state="given", steps=24, batch=2))
        layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        found = layer.spectrum(2, transient=3)
        for b, jacobians in enumerate(step_jacobians(problem, "l0")):
            expected = plain_qr(list(jacobians.values()), 2, 3)
            torch.testing.assert_close(found.by_sequence[b], expected, rtol=0, atol=1e-7)

    @pytest.mark.parametrize("cell", ["lstm", "gru"])
    def test_stretches_and_elimination(self, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Several steps to a factorisation, and elimination in between, change nothing to see."""
        problem = Problem(Case(cell=cell, steps=200, batch=2, hidden=70, state="given"))
        layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        taken = []
        original = _frame._eliminated
        monkeypatch.setattr(
            _frame, "_eliminated", lambda a: (taken.append(a.shape[-1]), original(a))[1]
        )
        found = layer.spectrum()
        assert len(taken) > 20
        monkeypatch.setattr(_frame, "MANY", 10_000)
        monkeypatch.setattr(_frame, "LONGEST", 1)
        same(found, layer.spectrum(), atol=1e-6)
        monkeypatch.setattr(_frame, "LONGEST", 32)
        same(found, layer.spectrum(), atol=1e-6)


class TestSingularDirections:
    """Exactly singular directions are -inf, and disturb no other."""

    def test_rank_of_the_matrix(self) -> None:
        matrix = similar([0.9, 0.5, 0.0, 0.0])
        found = linear(matrix).spectrum()
        assert found.exponents[:2].tolist() == pytest.approx(
            [math.log(0.9), math.log(0.5)], abs=1e-9
        )
        assert (found.exponents[2:] == -math.inf).all()

    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_direction_that_dies_in_front(
        self, batch: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From the axes as directions, the first of which is mapped to zero."""
        inner = torch.tensor([[0.6, 0.2], [0.1, 0.7]], dtype=FLOAT64)
        matrix = torch.zeros(3, 3, dtype=FLOAT64)
        matrix[0, 1:] = torch.tensor([0.5, 0.3], dtype=FLOAT64)
        matrix[1:, 1:] = inner
        axes = torch.eye(3, dtype=FLOAT64).expand(batch, -1, -1)
        monkeypatch.setattr(_spectrum, "random_frame", lambda *_: axes)
        found = linear(matrix, batch=batch).spectrum()
        expected = torch.linalg.eigvals(inner).abs().log().sort(descending=True).values
        torch.testing.assert_close(found.exponents[:2], expected, rtol=0, atol=1e-9)
        assert found.exponents[2] == -math.inf

    def test_a_direction_that_dies_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first of three axes dies at step 30; what the others did before stays with them."""
        monkeypatch.setattr(
            _spectrum, "random_frame", lambda *_: torch.eye(3, dtype=FLOAT64).unsqueeze(0)
        )
        x = torch.tensor([0.9, 0.6, 0.3], dtype=FLOAT64).repeat(60, 1, 1)
        x[30, 0, 0] = 0.0
        x[40:, 0, 1] = 0.7
        layer = carousel.measure_cell(
            lambda x, h: x * h, x, torch.ones(1, 3, dtype=FLOAT64), lambda h: h.sum()
        )["cell"]
        found = layer.spectrum(transient=10).exponents
        expected = [(30 * math.log(0.6) + 20 * math.log(0.7)) / 50, math.log(0.3), -math.inf]
        assert found.tolist() == pytest.approx(expected, abs=1e-12)

    def test_what_died_disturbs_no_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After the death of the first axis the steps would turn it upon the others."""
        axes = torch.eye(3, dtype=FLOAT64).unsqueeze(0)
        monkeypatch.setattr(_spectrum, "random_frame", lambda *_: axes)
        generator = torch.Generator().manual_seed(4)
        steps = torch.randn(60, 3, 3, generator=generator, dtype=FLOAT64)
        steps[:20, 1:, 0] = 0.0  # up to there the first axis stays what it is
        steps[20, :, 0] = 0.0
        layer = carousel.measure_cell(
            lambda x, h: (x.unflatten(-1, (3, 3)) @ h.unsqueeze(-1)).squeeze(-1),
            steps.flatten(1).unsqueeze(1),
            torch.ones(1, 3, dtype=FLOAT64),
            lambda h: h.sum(),
        )["cell"]
        found = layer.spectrum(transient=25)
        expected = plain_qr(list(steps), 2, 25, axes[0, :, 1:])
        torch.testing.assert_close(found.exponents[:2], expected, rtol=0, atol=1e-9)
        assert found.exponents[2] == -math.inf

    def test_a_dead_layer(self) -> None:
        rnn = nn.RNN(1, 3, nonlinearity="relu").to(FLOAT64)
        with torch.no_grad():
            rnn.bias_ih_l0.fill_(-9.0)
        x = torch.zeros(40, 2, 1, dtype=FLOAT64)
        found = carousel.measure(rnn, lambda: (rnn(x)[0] + 1).square().sum())["l0"].spectrum()
        assert found.kind == "zero"
        assert (found.exponents == -math.inf).all()
        assert found.kaplan_yorke == 0.0
        assert "mapped to zero" in str(found)

    def test_dead_in_one_sequence_of_three(self) -> None:
        """The others count; where most are dead, the exponent is -inf."""

        def cell(_: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.where(h > 0, 0.5 * h, 0.0)

        found = map_of(cell, [[1e3], [-1.0], [2e3]], 40).spectrum()
        assert found.by_sequence.flatten().tolist() == [
            pytest.approx(math.log(0.5)),
            -math.inf,
            pytest.approx(math.log(0.5)),
        ]
        assert float(found.exponents[0]) == pytest.approx(math.log(0.5))
        assert map_of(cell, [[1e3], [-1.0]], 40).spectrum().kind == "zero"

    @pytest.mark.parametrize(
        ("first", "rest", "kind"), [(-1.0, 0.1, "expanding"), (-10.0, -1.0, "contracting")]
    )
    def test_exponents_are_in_order_where_sequences_lost_different_ones(
        self, first: float, rest: float, kind: str
    ) -> None:
        """exp(first, -inf) in one sequence, exp(rest, rest) in two others."""
        rates = torch.tensor([[first, -math.inf], [rest, rest], [rest, rest]], dtype=FLOAT64)
        found = map_of(lambda _, h: rates.exp() * h, [[1.0, 1.0]] * 3, 100).spectrum()
        mean = (first + 2 * rest) / 3
        assert found.exponents.tolist() == pytest.approx([rest, mean], abs=1e-9)
        error = (rest - first) / 3  # of the mean of three, two of them alike
        assert found.standard_errors.tolist() == pytest.approx([0.0, error], abs=1e-9)
        assert found.leading_interval == pytest.approx((rest, rest), abs=1e-9)
        assert found.kind == kind
        assert f"largest Lyapunov exponent {rest:+.3g}" in str(found)
        assert found.kaplan_yorke == pytest.approx(0.0 if rest < 0 else 1 + rest / -mean)


class TestSequences:
    """Lengths, directions, calls, and what is not finite."""

    def test_each_sequence_over_its_own_length(self) -> None:
        torch.manual_seed(0)
        lstm, x = nn.LSTM(2, 3).double(), torch.randn(60, 3, 2, dtype=FLOAT64)
        lengths = [60, 25, 41]
        packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        layer = carousel.measure(lstm, lambda: pad_packed_sequence(lstm(packed)[0])[0].sum())["l0"]
        found = layer.spectrum()
        for b, length in enumerate(lengths):
            alone = x[:length, b : b + 1]
            expected = carousel.measure(lstm, lambda alone=alone: lstm(alone)[0].sum())["l0"]
            torch.testing.assert_close(
                found.by_sequence[b], expected.spectrum().by_sequence[0], rtol=0, atol=1e-9
            )
        assert found.left_out == 0

    def test_short_sequences_are_left_out_and_named(self) -> None:
        torch.manual_seed(0)
        gru, x = nn.GRU(2, 3).double(), torch.randn(60, 2, 2, dtype=FLOAT64)
        packed = pack_padded_sequence(x, torch.tensor([60, 12]))
        layer = carousel.measure(gru, lambda: pad_packed_sequence(gru(packed)[0])[0].sum())["l0"]
        found = layer.spectrum()
        assert found.left_out == 1
        assert found.by_sequence[1].isnan().all()
        assert found.by_sequence[0].isfinite().all()
        assert "not finite: 1" in str(found)

    def test_reverse_is_forward_on_the_reversed_input(self) -> None:
        torch.manual_seed(0)
        both, x = nn.LSTM(2, 3, bidirectional=True).double(), torch.randn(50, 2, 2, dtype=FLOAT64)
        one = nn.LSTM(2, 3).double()
        one.load_state_dict(
            {k.removesuffix("_reverse"): v for k, v in both.state_dict().items() if "rev" in k}
        )
        found = carousel.measure(both, lambda: both(x)[0].sum())["l0_reverse"].spectrum()
        expected = carousel.measure(one, lambda: one(x.flip(0))[0].sum())["l0"].spectrum()
        same(found, expected)

    def test_chunks_with_carried_state_are_the_whole(self) -> None:
        problem = Problem(Case(cell="gru", state="given", steps=50))

        def chunks() -> torch.Tensor:
            _, state = problem.module(problem.x[:20], problem.state)
            return problem.module(problem.x[20:], state)[0].square().sum()

        whole = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        same(carousel.measure(problem.module, chunks)["l0"].spectrum(), whole.spectrum(), atol=1e-9)

    @pytest.mark.parametrize("factor", [0.0, math.nan])
    def test_a_reset_ends_a_stretch_and_the_longest_counts(self, factor: float) -> None:
        problem = Problem(Case(cell="lstm", state="given", steps=60, batch=2))
        layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
        handed_over = torch.tensor([[factor, 1.0]])
        broken = LayerFlow(replace(layer.trace, boundaries=(20,), handed_over=handed_over))
        found = broken.spectrum(transient=5)
        later = [own[t] for own in step_jacobians(problem, "l0")[:1] for t in range(20, 60)]
        expected = plain_qr(later, 10, 5)
        torch.testing.assert_close(found.by_sequence[0], expected, rtol=0, atol=1e-7)
        torch.testing.assert_close(
            found.by_sequence[1], layer.spectrum(transient=5).by_sequence[1], rtol=0, atol=1e-9
        )

    def test_nan_in_one_sequence(self) -> None:
        problem = Problem(Case(cell="lstm", state="given", steps=40))
        clean = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"].spectrum()
        problem.x[30, 1] = math.nan
        found = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"].spectrum()
        assert found.left_out == 1
        assert found.by_sequence[1].isnan().all()
        torch.testing.assert_close(
            found.by_sequence[[0, 2]], clean.by_sequence[[0, 2]], rtol=0, atol=1e-9
        )

    def test_nan_everywhere(self) -> None:
        problem = Problem(Case(cell="gru", state="given", steps=40))
        problem.x[30] = math.nan
        found = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"].spectrum()
        assert found.kind == "nonfinite"
        assert found.exponents.isnan().all()
        assert math.isnan(found.kaplan_yorke)
        assert "not finite" in str(found)

    def test_float32_is_the_same_to_its_rounding(self) -> None:
        case = Case(cell="lstm", state="given", steps=80)
        one, other = (
            carousel.measure(p.module, lambda p=p: p.loss("all"))["l0"].spectrum()
            for p in (Problem(case), Problem(case, dtype=torch.float32))
        )
        assert other.exponents.dtype == FLOAT64
        torch.testing.assert_close(one.exponents, other.exponents, rtol=0, atol=1e-4)

    def test_leading_ones_are_those_of_the_whole(self) -> None:
        """k directions move alike whether or not others stand behind them."""
        rnn, h0 = chaotic()
        x = torch.zeros(600, 2, 1, dtype=FLOAT64)
        layer = carousel.measure(rnn, lambda: rnn(x, h0)[0].square().sum())["l0"]
        whole, few = layer.spectrum(), layer.spectrum(4)
        torch.testing.assert_close(few.exponents, whole.exponents[:4], rtol=0, atol=5e-3)
        assert whole.exponents.diff().max() <= 0


class TestStandardErrors:
    """From windows of time and the batch."""

    def test_intervals_cover_the_long_run(self) -> None:
        """19 in 20 are meant to; 15 of 20 at least do.

        Of four sequences: what two say of the error between sequences is next to nothing.
        """
        torch.manual_seed(2)
        lstm = nn.LSTM(2, 4).double()
        with torch.no_grad():
            lstm.weight_hh_l0 *= 3

        def leading(steps: int, batch: int) -> Spectrum:
            x = torch.randn(steps, batch, 2, dtype=FLOAT64)
            return carousel.measure(lstm, lambda: lstm(x)[0].sum())["l0"].spectrum(1)

        truth = float(leading(4000, 4).exponents[0])
        intervals = [leading(200, 4).leading_interval for _ in range(20)]
        assert sum(low < truth < high for low, high in intervals) >= 15
        assert max(high - low for low, high in intervals) < 0.2

    def test_sequences_that_differ_count_too(self) -> None:
        """Constant rates within each of nine sequences, but another one in each."""
        rates = torch.linspace(0.1, 0.9, 9, dtype=FLOAT64).unsqueeze(-1)
        found = map_of(lambda _, h: rates * h, [[1.0]] * 9, 60).spectrum()
        spread = rates.log().std() / 3
        assert float(found.standard_errors[0]) == pytest.approx(float(spread), rel=1e-9)

    @pytest.mark.parametrize("batch", [2, 4, 7, 16])
    def test_intervals_cover_where_each_sequence_has_a_rate_of_its_own(self, batch: int) -> None:
        """Steady rates from N(-0.1, 0.1^2): 95 % of 400 intervals, to three standard errors."""
        generator = torch.Generator().manual_seed(batch)
        covered = 0
        for _ in range(400):
            rate = -0.1 + 0.1 * torch.randn(batch, 1, generator=generator, dtype=FLOAT64)
            noise = torch.randn(batch, 8, 1, generator=generator, dtype=FLOAT64)
            rates = list(rate.unsqueeze(1) + 0.003 * noise)
            spans = [torch.full((8, 1), 10)] * batch
            own = torch.stack([each.mean(0) for each in rates])
            exponents, errors, margins = _spectrum._means(rates, spans, own)
            covered += abs(float(exponents[0]) + 0.1) <= float(margins[0])
            assert float(errors[0]) >= (1 - 1e-9) * float(own.std(0)) / batch**0.5
        assert 0.917 <= covered / 400 <= 0.983

    def test_the_interval_is_that_of_the_error_between_few_sequences(self) -> None:
        rates = torch.tensor([[-0.3], [-0.1], [-0.05]], dtype=FLOAT64)
        found = map_of(lambda _, h: rates.exp() * h, [[1.0]] * 3, 60).spectrum()
        error = float(rates.std()) / 3**0.5
        low, high = found.leading_interval
        assert float(found.standard_errors[0]) == pytest.approx(error, rel=1e-9)
        assert [low, high] == pytest.approx([-0.15 - 4.303 * error, -0.15 + 4.303 * error])
        assert found.kind == "level"

    def test_sequences_of_unequal_length_weigh_as_their_steps_do(self) -> None:
        """A mean that is one sequence's by 4/5 is hardly surer than that sequence is."""
        rates = [torch.full((4, 1), -0.1, dtype=FLOAT64), torch.full((4, 1), -0.3, dtype=FLOAT64)]
        spans = [torch.full((4, 1), 40), torch.full((4, 1), 10)]
        own = torch.tensor([[-0.1], [-0.3]], dtype=FLOAT64)
        exponents, errors, _ = _spectrum._means(rates, spans, own)
        assert float(exponents) == pytest.approx(-0.14)
        assert float(errors) == pytest.approx(0.2 / 2**0.5 * math.hypot(0.8, 0.2))

    def test_level(self) -> None:
        found = linear(torch.eye(2, dtype=FLOAT64)).spectrum()
        assert found.kind == "level"
        assert "cannot be told" in str(found)


class TestRefusals:
    """Too few steps are said, wrong arguments are errors."""

    def test_too_short_is_said_of_the_sequences_that_are_finite(self) -> None:
        """A long sequence that is not finite, and a finite one of 12 steps."""
        rnn = nn.RNN(1, 2).to(FLOAT64)
        x = torch.zeros(100, 2, 1, dtype=FLOAT64)
        x[50, 0] = math.nan
        packed = pack_padded_sequence(x, [100, 12])
        found = carousel.measure(rnn, lambda: rnn(packed)[1].sum())["l0"].spectrum()
        assert found.kind == "too short"
        assert (found.steps, found.transient) == (9, 3)
        assert "9 after a transient of 3, at least 16 are needed" in str(found)

    @pytest.mark.parametrize("steps", [1, 5, 19])
    def test_not_enough_steps(self, steps: int) -> None:
        found = linear(0.9 * torch.eye(2, dtype=FLOAT64), steps).spectrum()
        assert found.kind == "too short"
        assert found.exponents.isnan().all()
        assert found.standard_errors.isnan().all()
        assert found.by_sequence.isnan().all()
        assert "Not enough steps" in str(found)

    def test_a_long_transient_leaves_too_few(self) -> None:
        layer = linear(0.9 * torch.eye(2, dtype=FLOAT64), 60)
        assert layer.spectrum(transient=44).kind == "contracting"
        found = layer.spectrum(transient=45)
        assert found.kind == "too short"
        assert "15 after a transient of 45" in str(found)

    def test_just_enough(self) -> None:
        found = linear(0.9 * torch.eye(2, dtype=FLOAT64), 21).spectrum()
        assert found.kind == "contracting"
        assert (found.steps, found.transient, found.size) == (16, 5, 2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"k": 0}, "k from 1 to 2"),
            ({"k": 3}, "k from 1 to 2"),
            ({"k": 1.5}, "k to be a whole number"),
            ({"k": True}, "k to be a whole number"),
            ({"transient": -1}, "transient from 0 to 39"),
            ({"transient": 40}, "transient from 0 to 39"),
            ({"transient": 2.0}, "transient to be a whole number"),
        ],
    )
    def test_wrong_arguments(self, arguments: dict[str, object], message: str) -> None:
        layer = linear(0.9 * torch.eye(2, dtype=FLOAT64), 40)
        with pytest.raises(carousel.CarouselError, match=message):
            layer.spectrum(**arguments)
