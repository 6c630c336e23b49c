"""Products of Jacobians and the horizon against plain float64 matrices from autograd."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import jacobian_products
from torch import nn

import carousel
from carousel.flow import LayerFlow
from carousel.flow._horizon import horizon_of

FLOAT64 = torch.float64
PLAIN = [
    Case(cell="rnn_tanh", state="given"),
    Case(cell="rnn_relu", state="given"),
    Case(cell="gru", state="given"),
    Case(cell="lstm", state="given"),
    Case(cell="lstm", state="given", projected=True),
]
CASES = [
    replace(case, ragged=ragged, layers=layers, bidirectional=both, steps=5)
    for case in PLAIN
    for ragged, layers, both in [
        ("no", 1, False),
        ("unsorted", 2, False),
        ("sorted", 2, True),
        ("unbatched", 1, True),
    ]
]


def expected_log10(problem: Problem, name: str, order: str | int) -> list[list[float]]:
    """Return log10 of the norm for each sequence and lag."""
    products = jacobian_products(problem, name)
    norms = [[float(torch.linalg.matrix_norm(m, order)) for m in lags] for lags in products]
    return [[math.log10(norm) if norm else -math.inf for norm in lags] for lags in norms]


def assert_norms(layer: LayerFlow, norm: str, expected: list[list[float]]) -> None:
    found = layer.jacobian_norms(norm)
    assert found.lags.tolist() == list(range(len(found.lags)))
    assert found.log10.shape == (len(found.lags), layer.batch)
    assert found.log10.dtype == FLOAT64
    for b, lags in enumerate(expected):
        length = int(layer.lengths[b])
        # The oracle's last entry is the derivative by the initial state, lag T.
        actual = found.log10[:length, b].tolist()
        assert actual == pytest.approx(lags[:length], abs=1e-9), f"sequence {b}"
        assert found.log10[length + 1 :, b].isnan().all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_norms_by_lag(case: Case) -> None:
    """s = (h, c) in full; lag 0 is the identity; nothing beyond a sequence's own steps."""
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for name in case.layer_names:
        expected = expected_log10(problem, name, 2)
        assert_norms(flow[name], "spectral", expected)
        assert [lags[0] for lags in expected] == [0.0] * len(expected)
        assert_norms(flow[name], "frobenius", expected_log10(problem, name, "fro"))


@pytest.mark.parametrize("loss", ["output", "h_n"])
def test_norms_do_not_depend_on_the_loss(loss: str) -> None:
    problem = Problem(Case(cell="lstm", layers=2, state="given", losses=("output", "h_n")))
    one = carousel.measure(problem.module, lambda: problem.loss("all"))
    other = carousel.measure(problem.module, lambda: problem.loss(loss))
    for name in ("l0", "l1"):
        a, b = one[name].jacobian_norms().log10, other[name].jacobian_norms().log10
        assert torch.equal(a.nan_to_num(99.0), b.nan_to_num(99.0))


def test_leaving_c_out_would_be_wrong() -> None:
    """With W_hh = 0 the h-to-h Jacobian is zero, but the state (h, c) carries on through c."""
    lstm = nn.LSTM(1, 2).to(FLOAT64)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0[2:4] = 20.0
    x, ones = torch.zeros(30, 1, 1, dtype=FLOAT64), torch.ones(1, 1, 2, dtype=FLOAT64)
    layer = carousel.measure(lstm, lambda: lstm(x, (ones, ones))[0].square().sum())["l0"]
    assert layer.jacobian_norms().log10[29, 0].abs() < 0.1
    assert layer.horizon().steps is None or layer.horizon().steps > 1e6


def rnn_of(matrix: torch.Tensor, nonlinearity: str = "relu", bias: float = 0.0) -> nn.RNN:
    rnn = nn.RNN(1, len(matrix), nonlinearity=nonlinearity).to(FLOAT64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.copy_(matrix)
        rnn.bias_ih_l0.fill_(bias)
    return rnn


def layer_of(rnn: nn.RNN, steps: int, batch: int = 2) -> LayerFlow:
    x = torch.zeros(steps, batch, 1, dtype=FLOAT64)
    h0 = torch.ones(1, batch, rnn.hidden_size, dtype=FLOAT64)
    return carousel.measure(rnn, lambda: rnn(x, h0)[0].square().sum())["l0"]


def test_norms_beyond_the_range_of_the_dtype() -> None:
    """0.001 and 1000 a step over 400 steps: 1e-1197 and 1e1197."""
    for a in (1e-3, 1e3):
        rnn = rnn_of(a * torch.eye(3, dtype=FLOAT64), "tanh")
        x, h0 = torch.zeros(400, 1, 1, dtype=FLOAT64), torch.zeros(1, 1, 3, dtype=FLOAT64)
        found = carousel.measure(rnn, lambda r=rnn, h=h0, x=x: (2 * r(x, h)[0]).sum())
        log10 = found["l0"].jacobian_norms().log10[:400, 0]
        expected = torch.arange(400, dtype=FLOAT64) * math.log10(a)
        torch.testing.assert_close(log10, expected, rtol=1e-12, atol=1e-9)


def test_an_exact_zero_is_minus_infinity() -> None:
    layer = layer_of(rnn_of(torch.eye(2, dtype=FLOAT64), bias=-2.0), 20)
    log10 = layer.jacobian_norms().log10
    assert (log10[0] == 0.0).all()
    assert (log10[1:20] == -math.inf).all()
    horizon = layer.horizon()
    assert horizon.kind == "zero"
    assert horizon.rate == -math.inf


class TestHorizon:
    """Kinds, intervals and derived numbers."""

    def test_decaying(self) -> None:
        horizon = layer_of(rnn_of(0.9 * torch.eye(3, dtype=FLOAT64)), 60).horizon()
        assert horizon.kind == "decaying"
        assert horizon.rate == pytest.approx(math.log(0.9), rel=1e-9)
        assert horizon.steps == pytest.approx(-1 / math.log(0.9), rel=1e-9)
        assert horizon.half_life == pytest.approx(math.log(0.5) / math.log(0.9), rel=1e-9)
        low, high = horizon.steps_interval
        assert low <= horizon.steps * (1 + 1e-9)
        assert high >= horizon.steps * (1 - 1e-9)
        assert "halves every 6.58 steps" in str(horizon)

    def test_growing_is_not_infinite_memory(self) -> None:
        horizon = layer_of(rnn_of(1.1 * torch.eye(3, dtype=FLOAT64)), 60).horizon()
        assert horizon.kind == "growing"
        assert horizon.rate == pytest.approx(math.log(1.1), rel=1e-9)
        assert horizon.steps is None
        assert horizon.steps_interval is None
        assert horizon.half_life is None

    def test_level(self) -> None:
        horizon = layer_of(rnn_of(torch.eye(3, dtype=FLOAT64)), 60).horizon()
        assert horizon.kind == "level"
        assert horizon.steps is None
        assert "does not decay" in str(horizon)
        assert "inf" not in str(horizon)

    def test_too_short(self) -> None:
        for steps in (1, 2, 5):
            horizon = layer_of(rnn_of(0.9 * torch.eye(3, dtype=FLOAT64)), steps).horizon()
            assert horizon.kind == "too short"
            assert math.isnan(horizon.rate)
            assert horizon.steps is None

    def test_nonfinite(self) -> None:
        rnn = rnn_of(0.9 * torch.eye(3, dtype=FLOAT64), "tanh")
        x = torch.zeros(40, 2, 1, dtype=FLOAT64)
        x[35] = math.nan
        with torch.no_grad():
            rnn.weight_ih_l0.fill_(1.0)
        horizon = carousel.measure(rnn, lambda: rnn(x)[0].square().sum())["l0"].horizon()
        assert horizon.kind == "nonfinite"
        assert horizon.steps is None

    def test_slowest_direction_decides(self) -> None:
        """Directions of 0.5 and 0.95 a step: after the transient the rate is that of 0.95."""
        matrix = torch.diag(torch.tensor([0.5, 0.6, 0.95], dtype=FLOAT64))
        horizon = layer_of(rnn_of(matrix), 300).horizon()
        assert horizon.rate == pytest.approx(math.log(0.95), rel=1e-6)

    def test_interval_covers_the_rate_of_a_noisy_network(self) -> None:
        """The rate over 2 000 steps lies in the interval that 200 steps gave."""
        problem = Problem(Case(cell="lstm", steps=400, hidden=5, batch=4))
        generator = torch.Generator().manual_seed(0)
        problem.x = torch.randn(400, 4, 2, generator=generator, dtype=FLOAT64)
        short = carousel.measure(
            problem.module, lambda: problem.module(problem.x[:150])[0].square().sum()
        )["l0"].horizon()
        long = carousel.measure(
            problem.module, lambda: problem.module(problem.x)[0].square().sum()
        )["l0"].horizon()
        low, high = short.rate_interval
        assert low < high
        assert low < long.rate < high

    def test_the_state_it_was_asked_in_does_not_matter(self) -> None:
        layer = layer_of(rnn_of(0.9 * torch.eye(3, dtype=FLOAT64)), 60)
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = layer.horizon()
        assert torch.equal(torch.get_rng_state(), state)
        assert layer.horizon() == first


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_chunks_with_carried_state_have_the_norms_of_the_whole(cell: str) -> None:
    problem = Problem(Case(cell=cell, state="given", steps=5))

    def chunks() -> torch.Tensor:
        _, state = problem.module(problem.x[:2], problem.state)
        output, _ = problem.module(problem.x[2:], state)
        return output.square().sum()

    whole = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    joined = carousel.measure(problem.module, chunks)["l0"]
    torch.testing.assert_close(
        joined.jacobian_norms().log10,
        whole.jacobian_norms().log10,
        rtol=0,
        atol=1e-9,
        equal_nan=True,
    )


def loop_with(cell: nn.Module, factor: float) -> LayerFlow:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self) -> torch.Tensor:
            h = torch.ones(2, 3, dtype=FLOAT64)
            x = torch.zeros(2, 1, dtype=FLOAT64)
            for t in range(6):
                h = self.cell(x, h * factor if t == 4 else h)
            return h.sum()

    model = Loop()
    return carousel.measure(model, model)["cell"]


@pytest.mark.parametrize(("factor", "beyond"), [(0.0, -math.inf), (0.5, math.nan)])
def test_a_state_changed_between_steps_ends_the_product(factor: float, beyond: float) -> None:
    """Reset to zero: an exact zero. Changed in another way: not known, and not guessed."""
    cell = nn.GRUCell(1, 3).to(FLOAT64)
    layer = loop_with(cell, factor)
    log10 = layer.jacobian_norms().log10
    assert log10[:2].isfinite().all()
    assert all(
        (math.isnan(beyond) and math.isnan(value)) or value == beyond
        for value in log10[2:6].flatten().tolist()
    )
    assert layer.notes


def prepared(kind: str) -> torch.nn.RNNBase:
    """Networks of which many directions decay at nearly the same rate."""
    torch.manual_seed(0)
    if kind == "chrono":
        return carousel.init.chrono_(torch.nn.LSTM(3, 24).double(), 64)
    return carousel.init.orthogonal_(torch.nn.RNN(3, 24).double())


@pytest.mark.parametrize(("kind", "apart"), [("chrono", 0.15), ("orthogonal", 0.05)])
def test_the_horizon_has_the_rate_of_the_largest_singular_value(kind: str, apart: float) -> None:
    model, x = prepared(kind), 0.3 * torch.randn(64, 5, 3, dtype=torch.float64)
    layer = carousel.measure(model, lambda: model(x)[0][-1].square().mean())["l0"]
    log = layer.jacobian_norms().log10 * math.log(10)
    expected = float(((log[63] - log[16]) / 47).mean())
    assert layer.horizon().rate == pytest.approx(expected, rel=0.03)
    mean_over_directions = layer.jacobian_norms("frobenius").log10 * math.log(10)
    other = float(((mean_over_directions[63] - mean_over_directions[16]) / 47).mean())
    assert other != pytest.approx(expected, rel=apart), "here the two are not the same"


@pytest.mark.parametrize("batch", [2, 3, 8, 32])
def test_the_interval_covers_the_rate_where_sequences_differ(batch: int) -> None:
    """Each sequence decays at a steady rate of its own, drawn around -0.1."""
    generator, lags, trials = torch.Generator().manual_seed(batch), torch.arange(121.0), 200
    covered = 0
    for _ in range(trials):
        rates = -0.1 + 0.1 * torch.randn(batch, generator=generator, dtype=torch.float64)
        low, high = horizon_of(lags.double().unsqueeze(1) * rates).rate_interval
        covered += low <= -0.1 <= high
    assert covered / trials == pytest.approx(0.95, abs=0.05)


def test_an_infinite_cell_state_is_not_too_short() -> None:
    model, x = torch.nn.LSTM(3, 4), torch.randn(100, 2, 3)
    start = (torch.zeros(1, 2, 4), torch.full((1, 2, 4), math.inf))
    layer = carousel.measure(model, lambda: model(x, start)[0][-1].sum())["l0"]
    assert layer.horizon().kind == "nonfinite"
