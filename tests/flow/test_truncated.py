"""The truncated gradient of 1997 beside the full one, against layers that really train by it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.lstm_family import LSTM
from tests.tolerances import assert_close
from tests.trace.own_layers import Own, flow_of, rich
from tests.trace.test_calls import detached_leaf, run_chunks
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import Gradient1997, LayerFlow

FLOAT64 = torch.float64


def short(name: str) -> str:
    """weight_ih_l0_reverse -> weight_ih."""
    return name.removesuffix("_reverse").removesuffix("_l0")


def gradients(module: nn.Module, *, reverse: bool = False) -> dict[str, torch.Tensor]:
    """The parameters' .grad of one direction of a layer."""
    return {
        short(name): parameter.grad
        for name, parameter in module.named_parameters()
        if name.endswith("_reverse") == reverse
    }


def pair(case: Case, dtype: torch.dtype = FLOAT64) -> tuple[Own, Own]:
    """The same layer, with the full gradient and with the one of 1997."""
    full, cut = Own(case, dtype), Own(case, dtype, options={"gradient": "1997"})
    cut.module.load_state_dict(full.module.state_dict())
    return full, cut


def assert_pair(
    layer: LayerFlow,
    other: LayerFlow,
    full: dict[str, torch.Tensor],
    cut: dict[str, torch.Tensor],
) -> None:
    """Compare with what two layers of the same weights computed for themselves."""
    found = layer.gradient_1997()
    assert_close(found.d_h, other.d_h, layer.steps, FLOAT64, "d_h")
    assert_close(found.d_c, other.d_c, layer.steps, FLOAT64, "d_c")
    assert (
        sorted(found.differences) == sorted(found.parameters) == sorted(found.full) == sorted(full)
    )
    for name, wanted in full.items():
        assert_close(found.full[name], wanted, layer.steps, FLOAT64, f"full {name}")
        assert_close(found.parameters[name], cut[name], layer.steps, FLOAT64, f"truncated {name}")
        error = found.differences[name]
        relative = float((cut[name] - wanted).norm() / wanted.norm())
        cosine = float((cut[name] * wanted).sum() / (cut[name].norm() * wanted.norm()))
        assert error.relative == pytest.approx(relative, rel=1e-8)
        assert error.cosine == pytest.approx(cosine, rel=1e-8)
        assert name == "weight_hr" or error.relative > 1e-3, f"nothing was cut from {name}"


@pytest.mark.parametrize("cell", LSTM)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ragged": "unsorted", "bidirectional": True},
        {"projected": True, "ragged": "sorted"},
        {"batch": 1, "bias": False, "steps": 9},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_against_a_layer_that_is_truncated(cell: str, more: dict[str, object]) -> None:
    full, cut = pair(replace(Case(cell=cell, state="given", steps=6), **more))
    flows = [flow_of(p.module, lambda p=p: p.loss("all")) for p in (full, cut)]
    for name in full.case.layer_names:
        found = [gradients(p.module, reverse="reverse" in name) for p in (full, cut)]
        assert_pair(flows[0][name], flows[1][name], *found)
        # From the one that was truncated, the full gradient is found as well.
        again = flows[1][name].gradient_1997()
        for key, value in found[0].items():
            assert_close(again.full[key], value, 9, FLOAT64, f"full {key}")
            assert_close(again.parameters[key], found[1][key], 9, FLOAT64, f"truncated {key}")


@pytest.mark.parametrize("projected", [False, True])
def test_of_torch(projected: bool) -> None:
    case = Case(cell="lstm", state="given", steps=7, projected=projected)
    full, cut = pair(case)
    twin = full.twin
    layer = flow_of(twin, lambda: full.loss("all", twin))["l0"]
    other = flow_of(cut.module, lambda: cut.loss("all"))["l0"]
    assert_pair(layer, other, gradients(twin), gradients(cut.module))


def test_without_w_hh_and_peepholes_nothing_is_cut() -> None:
    problem = Own(Case(cell="lstm", state="given", steps=6))
    with torch.no_grad():
        problem.module.weight_hh_l0.zero_()
    found = flow_of(problem.module, lambda: problem.loss("all"))["l0"].gradient_1997()
    for name, error in found.differences.items():
        assert error.relative <= 1e-14, name
        assert error.cosine == pytest.approx(1.0, abs=1e-14), name


@pytest.mark.parametrize("cell", ["lstm_1997", "lstm_1997_squashed", "lstm_nfg"])
def test_the_error_is_constant_without_a_forget_gate(cell: str) -> None:
    """Over 500 steps to the last bit, while the full one is something else."""
    problem = Own(Case(cell=cell, steps=500))
    layer = flow_of(problem.module, lambda: (problem.w_c_n * problem.call()[2]).sum())["l0"]
    found = layer.gradient_1997()
    assert torch.equal(found.d_c, problem.w_c_n.expand_as(found.d_c))
    assert not found.d_h.any()
    assert not torch.equal(layer.d_c, found.d_c)


class TestCalls:
    """Several calls on one timeline."""

    @staticmethod
    def flows(between: object, **more: object) -> tuple[list[LayerFlow], list[dict]]:
        problems = pair(Case(cell="lstm_peephole", state="requires_grad", steps=5, **more))
        found = [flow_of(p.module, lambda p=p: run_chunks(p, (2, 1, 2), between)) for p in problems]
        return [flow["l0"] for flow in found], [gradients(p.module) for p in problems]

    @pytest.mark.parametrize("between", [lambda state: state, detached_leaf])
    def test_as_the_truncated_layer(self, between: object) -> None:
        (layer, other), found = self.flows(between)
        assert layer.boundaries == (2, 3)
        assert_pair(layer, other, *found)
        again = other.gradient_1997()
        for key, value in found[0].items():
            assert_close(again.full[key], value, 5, FLOAT64, f"full {key}")

    def test_it_ends_where_the_state_was_changed(self) -> None:
        (layer, _), found = self.flows(lambda state: torch.tanh(state))
        (alone, _), _ = self.flows(detached_leaf)
        cut = layer.gradient_1997()
        assert_close(cut.d_h, layer.d_h_injected, 5, FLOAT64, "d_h")
        for key, value in found[0].items():
            assert_close(cut.full[key], value, 5, FLOAT64, f"full {key}")
        f, injected = layer.gates["f"], layer.d_c_injected
        assert injected[[1, 2, 4]].any(-1).all()
        read = cut.d_c[[1, 2, 4]] - injected[[1, 2, 4]]  # through h of the same step alone
        assert read.any()
        assert_close(cut.d_c[3] - f[4] * cut.d_c[4], self.at_c(layer, 3), 5, FLOAT64, "d_c")
        assert_close(cut.d_c[2], self.at_c(layer, 2) + injected[2], 5, FLOAT64, "d_c at the end")
        assert alone.boundaries == layer.boundaries

    @staticmethod
    def at_c(layer: LayerFlow, step: int) -> torch.Tensor:
        """o (1 - tanh(c)^2) * what was injected at h."""
        slope = 1 - layer.c[step].tanh().square()
        return layer.gates["o"][step] * slope * layer.d_h_injected[step]


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_in_float32_at_any_size(size: float) -> None:
    """Squares of 1e-30 and of 1e30 are out of the range of float32, their ratio is not."""
    case = Case(cell="lstm_peephole", state="given", steps=8)
    exact = Own(case)
    expected = flow_of(exact.module, lambda: exact.loss("all"))["l0"].gradient_1997()
    problem = Own(case, dtype=torch.float32)
    layer = flow_of(problem.module, lambda: size * problem.loss("all"))["l0"]
    for name, error in layer.gradient_1997().differences.items():
        assert error.relative == pytest.approx(expected.differences[name].relative, rel=1e-4)
        assert error.cosine == pytest.approx(expected.differences[name].cosine, rel=1e-4)


def test_what_has_vanished_has_a_size() -> None:
    """f = sigmoid(-8) over 40 steps, in float32: 3e-4 a step, far below its range at the first."""
    lstm = nn.LSTM(1, 3)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0[3:6] = -8.0
    x = torch.ones(40, 2, 1)
    found: Gradient1997 = flow_of(lstm, lambda: lstm(x)[1][1].sum())["l0"].gradient_1997()
    assert not found.d_c[0].any()
    expected = -39 * math.log2(1 + math.exp(8.0)) + math.log2(3) / 2
    log2 = found.scaled_d_c.log2_norm()[0]
    torch.testing.assert_close(log2, torch.full_like(log2, expected), rtol=1e-6, atol=0)


def test_a_zero_gradient_has_no_error() -> None:
    problem = Problem(Case(cell="lstm"))
    layer = flow_of(problem.module, lambda: 0.0 * problem.loss("all"))["l0"]
    for error in layer.gradient_1997().differences.values():
        assert math.isnan(error.relative)
        assert math.isnan(error.cosine)


def test_a_stack_is_cut_layer_by_layer() -> None:
    """What arrives at the lower layer is what it was: the upper one's cut is not in it."""
    problem = Own(rich("lstm"))
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        assert_close(layer.gradient_1997().d_h, layer.d_h_injected, 5, FLOAT64, layer.name)


@pytest.mark.parametrize("cell", ["gru", "rnn_tanh"])
def test_a_cell_without_c_has_none(cell: str) -> None:
    problem = Problem(Case(cell=cell))
    layer = carousel.measure(problem.module, lambda: problem.loss("all"))["l0"]
    with pytest.raises(CarouselError, match=r"is a (GRU|RNN tanh): the truncated gradient of 1997"):
        layer.gradient_1997()
