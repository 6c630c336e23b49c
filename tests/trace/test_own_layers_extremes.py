"""Own layers, heard: numbers near the ends of the range, NaN, low precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem
from tests.oracles import assert_flow, references
from tests.trace.own_layers import (
    CELLS,
    TORCH,
    Own,
    assert_equal_flows,
    flow_of,
    heard,
    replayed,
    rich,
)
from torch import nn

import carousel
from carousel.flow import Category, Flow

FLOAT32, FLOAT64 = torch.float32, torch.float64
FEW = ("lstm", "lstm_peephole", "lstm_cifg", "gru", "rnn_tanh", "rnn_identity")


def long(cell: str, layers: int, gain: float, steps: int = 2000, **more: object) -> Own:
    """Many steps, recurrent weights scaled, and zeros in: the states stay small."""
    case = Case(cell=cell, layers=layers, steps=steps, batch=2, hidden=6, inputs=2, **more)
    problem = Own(case, dtype=FLOAT32)
    with torch.no_grad():
        for name, parameter in problem.module.named_parameters():
            if "weight_hh" in name:
                parameter.mul_(gain)
    return problem


def last_only(module: nn.Module, x: torch.Tensor) -> Flow:
    return flow_of(module, lambda: module(x)[0][-1].square().sum())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", TORCH)
def test_vanishing_over_2000_steps_as_in_torch(cell: str, layers: int) -> None:
    """log10 |dL/dh_t| far below what float32 can hold, in each layer of a stack."""
    problem = long(cell, layers, gain=0.3)
    if cell == "rnn_relu":
        problem.module.bias_ih_l0.data.add_(1.0)  # alive
    twin = problem.twin
    own, plain = last_only(problem.module, problem.x), last_only(twin, problem.x)
    assert list(own) == list(plain)
    for name in own:
        for quantity in ("d_h", "d_c") if "lstm" in cell else ("d_h",):
            found = own[name].log10_norm(quantity)
            expected = plain[name].log10_norm(quantity)
            if cell != "rnn_relu":  # where a unit that died sends exactly nothing
                assert expected.isfinite().all()
                assert expected[0].max() < -100
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        assert torch.equal(own[name].category("d_h"), plain[name].category("d_h"))


@pytest.mark.parametrize("cell", CELLS)
def test_vanishing_heard_as_replayed(cell: str) -> None:
    """Of cells that torch does not have: what was heard equals the replay."""
    problem = long(cell, 1, gain=0.3, steps=600)
    if cell == "rnn_relu":
        problem.module.bias_ih_l0.data.add_(1.0)
    with heard():
        flow = last_only(problem.module, problem.x)
    with replayed():
        again = last_only(problem.module, problem.x)
    found, expected = flow["l0"].log10_norm("d_h"), again["l0"].log10_norm("d_h")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    if cell.startswith("rnn"):
        assert found[0].max() < -38


@pytest.mark.parametrize("cell", ["rnn_identity", "rnn_relu", "rnn_tanh", "gru", "lstm"])
def test_exploding_beyond_infinity(cell: str) -> None:
    """From states of zero the gradient is larger than float32 can hold: infinite, yet a number."""
    problem = long(cell, 1, gain=1.0, steps=300, bias=False)
    with torch.no_grad():
        weight = problem.module.weight_hh_l0
        weight.zero_()
        for block in weight.chunk(weight.shape[0] // 6):
            block.copy_(4.0 * torch.eye(6))
    start = torch.full((1, 2, 6), 1e-30)
    x = torch.zeros_like(problem.x)
    if cell != "rnn_relu":
        start.zero_()

    def flow(module: nn.Module) -> Flow:
        hx = (start, start) if cell == "lstm" else start
        return flow_of(module, lambda: module(x[:60] if cell == "rnn_relu" else x, hx)[0][-1].sum())

    with heard():
        own = flow(problem.module)["l0"]
    with replayed():
        again = flow(problem.module)["l0"]
    torch.testing.assert_close(own.log10_norm("d_h"), again.log10_norm("d_h"), rtol=0, atol=1e-3)
    if cell in TORCH:
        plain = flow(problem.twin)["l0"]
        torch.testing.assert_close(
            own.log10_norm("d_h"), plain.log10_norm("d_h"), rtol=0, atol=1e-3
        )
    if cell in ("rnn_identity", "rnn_tanh"):
        log10 = own.log10_norm("d_h")
        assert log10[0, 0] == pytest.approx(299 * torch.tensor(4.0).log10().item(), abs=1.0)
        assert own.norm("d_h")[0].isinf().all()
        assert (own.category("d_h")[0] == Category.INFINITE).all()


@pytest.mark.parametrize("place", ["input", "gradient"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", TORCH)
def test_nan_as_in_torch(cell: str, layers: int, place: str) -> None:
    problem = Own(Case(cell=cell, layers=layers, bidirectional=True, steps=8, state="given"))
    if place == "input":
        problem.x[3, 1, 0] = float("nan")
    else:
        problem.w_output[5, 0, 2] = float("nan")
    twin = problem.twin
    own = flow_of(problem.module, lambda: problem.loss("all"))
    plain = flow_of(twin, lambda: problem.loss("all", twin))
    assert_equal_flows(own, plain)
    assert own.nonfinite == plain.nonfinite
    assert own.nonfinite


@pytest.mark.parametrize("cell", CELLS)
def test_nan_heard_as_replayed(cell: str) -> None:
    problem = Own(Case(cell=cell, ragged="unsorted", steps=8, state="given"))
    problem.x[2, 1, 0] = float("nan")
    with heard():
        flow = flow_of(problem.module, lambda: problem.loss("all"))
    with replayed():
        assert_equal_flows(flow, flow_of(problem.module, lambda: problem.loss("all")))


@pytest.mark.parametrize("cell", CELLS)
def test_float32(cell: str) -> None:
    for case in (rich(cell), rich(cell, ragged="unsorted", dropout=0.4)):
        problem = Own(case, dtype=FLOAT32)
        expected, _ = references(problem, "all")
        with heard():
            flow = flow_of(problem.module, lambda p=problem: p.loss("all"))
        assert_flow(flow, expected, FLOAT32)
        assert all(layer.certificate <= layer.certificate_limit for layer in flow.layers.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn_relu"])
def test_half_precision(cell: str, dtype: torch.dtype) -> None:
    """The tolerance is bfloat16's. The units of relu may fall on either side of the kink."""
    problem = Own(rich(cell), dtype=dtype)
    expected, _ = references(problem, "all")
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    assert_flow(flow, expected, torch.bfloat16)
    name = str(dtype).removeprefix("torch.")
    for layer in flow.layers.values():
        assert layer.certificate <= layer.certificate_limit
        assert layer.d_h.dtype == layer.h.dtype == FLOAT32
        assert any(f"computed in {name}" in note for note in layer.notes)


def test_small_gradients_in_float16() -> None:
    """float16 ends at 6e-8, and loses digits from 6e-5 on: what is heard there is not used."""
    problem = Own(Case(cell="rnn_tanh", steps=10), dtype=torch.float16)
    with torch.no_grad():
        problem.module.weight_hh_l0.mul_(0.05)
    own = flow_of(problem.module, lambda: problem.call()[0][-1].sum())["l0"]
    with replayed():
        again = flow_of(problem.module, lambda: problem.call()[0][-1].sum())["l0"]
    found, expected = own.log10_norm("d_h"), again.log10_norm("d_h")
    assert expected[0].max() < -9
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn_relu"])
def test_autocast(cell: str) -> None:
    rounded = Own(replace(rich(cell), state="given"), dtype=torch.bfloat16)
    problem = Own(rounded.case, dtype=FLOAT32)
    for name in ("x", "h0", "c0", "w_output", "w_h_n", "w_c_n"):
        value = getattr(rounded, name)
        setattr(problem, name, None if value is None else value.detach().float())
    problem.module.load_state_dict(rounded.module.state_dict())
    expected, _ = references(problem, "all")

    def run() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return problem.loss("all")

    with heard():
        flow = flow_of(problem.module, run)
    assert_flow(flow, expected, torch.bfloat16)
    with replayed():
        again = flow_of(problem.module, run)
    assert_equal_flows(flow, again, rtol=0.05)
    for layer in (*flow.layers.values(), *again.layers.values()):
        assert layer.certificate <= layer.certificate_limit


def test_the_gru_under_autocast_says_how_it_computed() -> None:
    """It computes in the dtype of its states, float32, and rounds nothing to bfloat16."""
    problem = Own(Case(cell="gru", layers=2, state="given"), dtype=FLOAT32)

    def run() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return problem.loss("all")

    expected, _ = references(problem, "all")
    flow = flow_of(problem.module, run)
    assert_flow(flow, expected, FLOAT32)
    with replayed():
        assert_flow(flow_of(problem.module, run), expected, FLOAT32)
    assert all(layer.dtype == FLOAT32 and not layer.notes for layer in flow.layers.values())


@pytest.mark.parametrize("cell", FEW)
def test_dead_weights_send_exactly_nothing(cell: str) -> None:
    """Zero recurrent weights: an exact zero stays one, and is not an underflow."""
    problem: Problem = Own(Case(cell=cell, steps=6), dtype=FLOAT32)
    with torch.no_grad():
        for name, parameter in problem.module.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()
    flow = flow_of(problem.module, lambda: problem.call()[0][-1].sum())
    with replayed():
        again = flow_of(problem.module, lambda: problem.call()[0][-1].sum())
    assert torch.equal(flow["l0"].category("d_h"), again["l0"].category("d_h"))
    if cell.startswith("rnn"):
        assert (flow["l0"].category("d_h")[:-1] == Category.ZERO).all()
        assert carousel.Report(flow).faults == carousel.Report(again).faults
