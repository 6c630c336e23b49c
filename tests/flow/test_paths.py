"""The ways that a gradient came: they add up, and each is what autograd finds along it alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.flow.one_step import Single, singles
from tests.lstm_family import LSTM
from tests.tolerances import assert_close
from tests.trace.own_layers import CELLS, Own, cut_oracle, flow_of, rich
from tests.trace.test_calls import detached_leaf, run_chunks
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import LayerFlow, Paths

FLOAT32, FLOAT64 = torch.float32, torch.float64
VARIED = [
    Own(case, options=options)
    for cell in CELLS
    for case in (
        rich(cell),
        rich(cell, ragged="unsorted"),
        Case(cell=cell, steps=1, state="given"),
        Case(cell=cell, batch=1, hidden=7, steps=6),
        *([rich(cell, projected=True, ragged="sorted")] if cell in LSTM else []),
    )
    for options in ([{}, {"gradient": "1997"}] if cell in LSTM else [{}])
]
TORCH = [
    Problem(Case(cell=cell, projected=projected, layers=2, bidirectional=True, ragged="unsorted"))
    for cell, projected in [
        ("rnn_tanh", False),
        ("rnn_relu", False),
        ("gru", False),
        ("lstm", False),
        ("lstm", True),
    ]
]


def name_of(problem: Problem) -> str:
    return "-".join([problem.case.id, *getattr(problem, "options", {}).values()])


def total_of(layer: LayerFlow) -> torch.Tensor:
    return layer.d_h if layer.d_c is None else layer.d_c


def assert_whole(layer: LayerFlow, found: Paths, dtype: torch.dtype = FLOAT64) -> None:
    """The parts add up to the total, and the shares to 1."""
    expected = total_of(layer)
    assert torch.equal(found.total, expected)
    assert found.state == ("h" if layer.d_c is None else "c")
    assert tuple(found.parts) == found.names
    for part in found.parts.values():
        assert part.shape == expected.shape
        assert not part[~layer.trace.valid].any()
    assert_close(sum(found.parts.values()), expected, layer.steps, dtype, "the sum of the parts")
    shares = sum(found.shares().values())
    there = layer.trace.valid & (expected != 0).any(-1)
    assert shares[~there].isnan().all()
    assert_close(shares[there], torch.ones(int(there.sum())), layer.steps, dtype, "shares")


@pytest.mark.parametrize("problem", [*VARIED, *TORCH], ids=name_of)
def test_the_parts_add_up(problem: Problem) -> None:
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        assert_whole(layer, layer.paths())


def assert_each(layer: LayerFlow, single: Single) -> None:
    """Each part is what comes along its way alone, by autograd of the oracle's equations."""
    found = layer.paths()
    expected = {name: torch.zeros_like(found.total) for name in found.names}
    for b, length in enumerate(layer.lengths.tolist()):
        for t in range(length):
            before = single.before(b, t)
            if before is None:
                continue
            direct = single.sent(b, t, live="")
            if "direct" in found.names:
                expected["direct"][before, b] = direct
            else:
                assert not direct.any()
            for gate in single.gates:
                expected[gate][before, b] = single.sent(b, t, live=gate) - direct
    expected["injected"] = total_of(layer) - sum(expected.values())
    for name, part in found.parts.items():
        assert_close(part, expected[name], layer.steps, FLOAT64, name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("projected", [False, True])
def test_each_part_against_autograd(cell: str, projected: bool) -> None:
    if projected and cell not in LSTM:
        return
    case = Case(cell=cell, bidirectional=True, ragged="unsorted", state="given", steps=5)
    problem = Own(replace(case, projected=projected))
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    for name, single in singles(problem, "all").items():
        assert_each(flow[name], single)


@pytest.mark.parametrize("problem", TORCH, ids=name_of)
def test_each_part_of_torch_against_autograd(problem: Problem) -> None:
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    for name, single in singles(problem, "all").items():
        assert_each(flow[name], single)


@pytest.mark.parametrize("cell", LSTM)
def test_the_truncated_gradient_comes_directly_or_not_at_all(cell: str) -> None:
    problem = Own(Case(cell=cell, state="given", steps=6), options={"gradient": "1997"})
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    layer = flow["l0"]
    found = layer.paths()
    for gate in layer.gates:
        assert not found.parts[gate].any(), gate
    assert_close(found.carousel, layer.d_c, 6, FLOAT64, "carousel")
    with cut_oracle():
        expected = singles(problem, "all")["l0"].reference.d_c
    assert_close(found.carousel, expected, 6, FLOAT64, "carousel")


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell in LSTM or cell == "gru"])
def test_the_carousel_is_what_the_direct_way_leaves(cell: str) -> None:
    """carousel[t] = keep[t+1] * carousel[t+1] + injected[t], step by step in plain numbers."""
    problem = Own(Case(cell=cell, bidirectional=True, ragged="unsorted", state="given", steps=6))
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        gates = layer.gates
        one = torch.ones_like(layer.h)
        keep = gates["z"] if cell == "gru" else gates.get("f", one)
        if cell == "lstm_cifg":
            keep = one - gates["i"]
        found = layer.paths()
        injected = found.parts["injected"]
        expected = torch.zeros_like(injected)
        for b, length in enumerate(layer.lengths.tolist()):
            order = list(range(length))
            order = order if layer.direction == "reverse" else order[::-1]
            v = torch.zeros_like(injected[0, 0])
            for t in order:
                v = expected[t, b] = v + injected[t, b]
                v = keep[t, b] * v
        assert_close(found.carousel, expected, layer.steps, FLOAT64, "carousel")
        log10 = found.log10_norm("carousel")[layer.trace.valid]
        norms = expected.norm(dim=-1)[layer.trace.valid]
        torch.testing.assert_close(log10, norms.log10(), rtol=1e-9, atol=1e-9)


def test_without_recurrent_weights_the_carousel_is_all() -> None:
    problem = Problem(Case(cell="lstm", steps=30, state="given"))
    with torch.no_grad():
        problem.module.weight_hh_l0.zero_()
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    found = layer.paths()
    assert_close(found.carousel, layer.d_c, 30, FLOAT64, "carousel")
    assert all(not found.parts[gate].any() for gate in "ifgo")
    shares = found.shares()
    assert_close(shares["direct"] + shares["injected"], torch.ones(30, 3), 30, FLOAT64, "shares")


def test_a_simple_rnn_has_no_carousel() -> None:
    problem = Problem(Case(cell="rnn_tanh"))
    found = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"].paths()
    assert found.names == ("h", "injected")
    assert found.carousel is None
    with pytest.raises(CarouselError, match=r"no path 'carousel'. Expected one of: h, injected"):
        found.log10_norm("carousel")


def test_a_share_against_the_total_is_negative() -> None:
    """h_t = -0.5 h_{t-1}, a loss of 1 on h_2 and of 1 on h_1: d_h[0] of -0.5 and 1."""
    rnn = nn.RNN(1, 1, bias=False).double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(-0.5)
    x = torch.zeros(2, 1, 1, dtype=FLOAT64)
    found = carousel.measure(rnn, lambda: rnn(x)[0].sum())["l0"].paths()
    assert found.parts["h"].flatten().tolist() == [-0.5, 0.0]
    assert found.shares()["h"].flatten().tolist() == [-1.0, 0.0]
    assert found.shares()["injected"].flatten().tolist() == [2.0, 1.0]


class TestCalls:
    """Several calls on one timeline."""

    @staticmethod
    def chunked(cell: str, **more: object) -> Own:
        return Own(Case(cell=cell, layers=2, state="requires_grad", steps=5, **more))

    @staticmethod
    def flow(problem: Own, between: Callable[[torch.Tensor], torch.Tensor]) -> carousel.Flow:
        return flow_of(problem.module, lambda: run_chunks(problem, (2, 1, 2), between))

    @pytest.mark.parametrize("cell", CELLS)
    def test_a_carried_state_is_no_boundary(self, cell: str) -> None:
        """The parts are those of the whole sequence in one call, with the same losses."""
        problem = self.chunked(cell)
        flow = self.flow(problem, lambda state: state)

        def whole() -> torch.Tensor:
            loss, state, outputs = 0.0, problem.state, []
            for x in problem.x.split(1):  # the layers in a loop of their own, for c
                output, state = problem.module(x, state)
                outputs.append(state)
                loss = loss + (problem.w_output[len(outputs) - 1] * output).sum()
                if len(outputs) in (2, 3, 5):
                    parts = state if isinstance(state, tuple) else (state,)
                    loss = loss + (problem.w_h_n * parts[0]).sum()
                    if len(parts) > 1:
                        loss = loss + (problem.w_c_n * parts[1]).sum()
            return loss

        again = flow_of(problem.module, whole)
        for name, layer in flow.layers.items():
            assert layer.boundaries == (2, 3)
            assert again[name].boundaries == (1, 2, 3, 4)
            found, expected = layer.paths(), again[name].paths()
            assert_whole(layer, found)
            assert "between calls" not in found.names
            assert found.names == expected.names
            for part, value in expected.parts.items():
                assert_close(found.parts[part], value, 5, FLOAT64, f"{part} of {name}")
            if expected.carousel is not None:
                assert_close(found.carousel, expected.carousel, 5, FLOAT64, "carousel")

    @pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "gru", "rnn_tanh"])
    def test_nothing_comes_over_a_cut(self, cell: str) -> None:
        problem = self.chunked(cell)
        for layer in self.flow(problem, detached_leaf).layers.values():
            found = layer.paths()
            assert_whole(layer, found)
            assert "between calls" not in found.names
            for part in (*layer.gates, "direct"):
                if part in found.names:
                    assert not found.parts[part][[1, 2]].any(), part
                    assert found.parts[part][[0, 3]].any(), part
            if found.carousel is not None:
                injected = found.parts["injected"]
                assert_close(found.carousel[1:3], injected[1:3], 5, FLOAT64, "carousel")

    @pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "gru", "rnn_tanh"])
    def test_what_comes_through_other_operations_is_a_path_of_its_own(self, cell: str) -> None:
        problem = self.chunked(cell)
        flow = self.flow(problem, lambda state: torch.tanh(-0.5 * state) + 0.1)
        for layer in flow.layers.values():
            found = layer.paths()
            assert_whole(layer, found)
            between = found.parts["between calls"]
            assert between[[1, 2]].any(-1).all()
            assert not between[[0, 3, 4]].any()

    @pytest.mark.parametrize("dtype", [FLOAT32, torch.bfloat16])
    @pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "gru", "rnn_tanh"])
    def test_a_carried_state_is_known_in_low_precision(self, cell: str, dtype: torch.dtype) -> None:
        """Rounding of the state's gradient on its way does not make it another one."""
        case = Case(cell=cell, state="given", steps=5, hidden=16)
        problem = Own(case, dtype=dtype)
        layer = self.flow(problem, lambda state: state)["l0"]
        found = layer.paths()
        assert "between calls" not in found.names
        assert_whole(layer, found, dtype)
        assert found.parts[next(iter(layer.gates))][[1, 2]].any(-1).all()

    @pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
    def test_a_cell_in_a_loop(self, kind: type[nn.Module]) -> None:
        torch.manual_seed(0)
        cell = kind(2, 5).double()
        x, w = torch.randn(6, 3, 2).double(), torch.randn(6, 3, 5).double()

        def loss() -> torch.Tensor:
            state, total = None, torch.zeros((), dtype=FLOAT64)
            for t in range(6):
                state = cell(x[t], state)
                total = total + (w[t] * (state[0] if kind is nn.LSTMCell else state)).sum()
            return total

        layer = flow_of(cell, loss)["cell"]
        assert layer.boundaries == (1, 2, 3, 4, 5)
        found = layer.paths()
        assert_whole(layer, found)
        assert "between calls" not in found.names
        assert found.parts[next(iter(layer.gates))][:5].any(-1).all()

    def test_half_a_state_carried(self) -> None:
        """c goes on and h is detached: the direct way crosses, what came by W_hh does not."""
        problem = Own(Case(cell="lstm_peephole", state="given", steps=4))

        def loss() -> torch.Tensor:
            first, (h, c) = problem.module(problem.x[:2], problem.state)
            second, _ = problem.module(problem.x[2:], (h.detach(), c))
            return (problem.w_output * torch.cat([first, second])).sum()

        layer = flow_of(problem.module, loss)["l0"]
        found = layer.paths()
        assert_whole(layer, found)
        assert "between calls" not in found.names
        assert_close(
            found.parts["direct"][1], layer.gates["f"][2] * layer.d_c[2], 4, FLOAT64, "direct"
        )
        assert not found.parts["g"][1].any()  # no peephole
        assert found.parts["i"][1].any()  # by its peephole


class TestExtremes:
    """Beyond the range of the dtype, and what is not a number."""

    @pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "lstm_cifg", "gru", "rnn_tanh"])
    @pytest.mark.parametrize("gain", [1e-30, 0.2])
    def test_vanished(self, cell: str, gain: float) -> None:
        """float32 and float64 agree on each path, far below what float32 can hold."""
        found: dict[torch.dtype, Paths] = {}
        for dtype in (FLOAT32, FLOAT64):
            problem = Own(Case(cell=cell, steps=300, hidden=4), dtype=FLOAT32)
            with torch.no_grad():
                for name, parameter in problem.module.named_parameters():
                    if "weight_hh" in name:
                        parameter.mul_(gain)
                    if "bias_ih" in name and cell != "rnn_tanh":
                        parameter[4:8] -= 2.0  # the second gate: f, z (or g): little is kept
            problem.module.to(dtype)
            x = problem.x.to(dtype)
            layer = flow_of(problem.module, lambda p=problem, x=x: p.module(x)[0][-1].sum())["l0"]
            found[dtype] = layer.paths()
            shares = sum(layer.paths().shares().values())
            there = layer.paths().log10_norm("total") > -math.inf
            assert there.all()
            limit = 1e-4 if dtype == FLOAT32 else 1e-10
            assert (shares - 1).abs().max() < limit
        wide, narrow = found[FLOAT64], found[FLOAT32]
        assert wide.log10_norm("total")[0].max() < -45
        for name in (*wide.names, "total"):
            a, b = wide.log10_norm(name), narrow.log10_norm(name)
            # Beside the total: gates may cancel, in (h - n) of the GRU for one.
            a, b = (torch.pow(10.0, part - wide.log10_norm("total")) for part in (a, b))
            assert_close(b, a, 300, FLOAT32, name)

    def test_the_carousel_never_underflows(self) -> None:
        """f = 0.5 over 3000 steps: 2^-2999 of what was injected at the end."""
        lstm = nn.LSTM(1, 2)
        with torch.no_grad():
            for parameter in lstm.parameters():
                parameter.zero_()
        x = torch.zeros(3000, 1, 1)
        layer = flow_of(lstm, lambda: lstm(x)[1][1].sum())["l0"]
        log10 = layer.paths().log10_norm("carousel")[:, 0]
        steps = torch.arange(2999, -1, -1, dtype=FLOAT64)
        expected = math.log10(math.sqrt(2)) - steps * math.log10(2)
        torch.testing.assert_close(log10, expected, rtol=1e-12, atol=1e-9)
        assert float(layer.paths().carousel[0].abs().max()) == 0.0
        share = layer.paths().shares()["direct"][0, 0]
        assert float(share) == 1.0

    @pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
    def test_nan_stays_in_its_sequence(self, cell: str) -> None:
        problem = Problem(Case(cell=cell, steps=6, state="given"))
        plain = flow_of(problem.module, lambda: problem.loss("output"))["l0"].paths()
        problem.w_output[3, 1, 0] = math.nan
        layer = flow_of(problem.module, lambda: problem.loss("output"))["l0"]
        found = layer.paths()
        for name, part in found.parts.items():
            assert torch.equal(part[:, [0, 2]], plain.parts[name][:, [0, 2]]), name
            assert torch.equal(part[4:], plain.parts[name][4:]), name
        assert found.parts["injected"][3, 1].isnan().any()
        assert found.shares()["injected"][:4, 1].isnan().all()

    def test_a_zero_gradient_has_no_shares(self) -> None:
        problem = Problem(Case(cell="gru", steps=4))
        layer = flow_of(problem.module, lambda: problem.call()[0][1].sum())["l0"]
        shares = layer.paths().shares()
        for share in shares.values():
            assert share[2:].isnan().all()
            assert not share[:2].isnan().any()
