"""Carousel's own layers hand out their gates and totals: exact for every cell and option."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.cases import Case
from tests.lstm_family import LSTM
from tests.oracles import assert_flow, references
from tests.trace.own_layers import (
    CELLS,
    TORCH,
    Own,
    assert_equal_flows,
    cut_oracle,
    flow_of,
    heard,
    options_of,
    replayed,
    rich,
)

import carousel

FLOAT64 = torch.float64


def losses_of(cell: str) -> tuple[str, ...]:
    return ("output", "h_n", "c_n", "all") if cell in LSTM else ("output", "h_n", "all")


def cases(cell: str) -> list[Case]:
    plain = Case(cell=cell, losses=losses_of(cell))
    found = [
        plain,
        replace(plain, layers=2, dropout=0.4, bidirectional=True, ragged="unsorted"),
        replace(plain, layers=2, dropout=0.4, batch_first=True, bias=False, state="given"),
        replace(plain, bidirectional=True, batch_first=True, ragged="unsorted", state="given"),
        replace(plain, layers=2, bidirectional=True, ragged="unbatched", state="requires_grad"),
        replace(plain, layers=3, ragged="sorted", state="requires_grad"),
        replace(plain, steps=1, batch=1, layers=2, bidirectional=True, state="given"),
        replace(plain, steps=1),
        replace(plain, steps=7, batch=1, hidden=13, bias=False, state="given"),
        replace(plain, steps=33, batch=2, hidden=3, layers=2),
    ]
    if cell in LSTM:
        found += [
            replace(plain, projected=True, bidirectional=True, ragged="unsorted", state="given"),
            replace(plain, projected=True, layers=2, dropout=0.4, batch_first=True),
            replace(plain, projected=True, layers=2, ragged="unbatched", state="requires_grad"),
        ]
    return found


ALL = [case for cell in CELLS for case in cases(cell)]
each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)


@each_case
def test_heard_and_replayed_flows_are_exact(case: Case) -> None:
    problem = Own(case)
    for loss in case.losses:
        expected, _ = references(problem, loss)
        with heard():
            flow = flow_of(problem.module, lambda loss=loss: problem.loss(loss))
        assert_flow(flow, expected, FLOAT64, f"{loss}, heard")
        with replayed():
            again = flow_of(problem.module, lambda loss=loss: problem.loss(loss))
        assert_flow(again, expected, FLOAT64, f"{loss}, replayed")
        for layer in (*flow.layers.values(), *again.layers.values()):
            assert layer.certificate <= min(layer.certificate_limit, 1e-13)
            assert layer.gradient == "full"
            assert layer.notes == ()


@pytest.mark.parametrize("case", [c for c in ALL if c.cell in TORCH], ids=lambda case: case.id)
def test_the_flow_of_torch_with_the_same_weights(case: Case) -> None:
    problem = Own(case)
    twin = problem.twin
    for loss in case.losses:
        with heard():
            flow = flow_of(problem.module, lambda loss=loss: problem.loss(loss))
        assert_equal_flows(flow, flow_of(twin, lambda loss=loss: problem.loss(loss, twin)))


@pytest.mark.parametrize("cell", CELLS)
def test_measure(cell: str) -> None:
    """It goes towards the outputs alone and never enters the layer: there all is replayed."""
    for case in (rich(cell), Case(cell=cell, ragged="unsorted", batch_first=True)):
        problem = Own(case)
        expected, _ = references(problem, "all")
        flow = carousel.measure(problem.module, lambda p=problem: p.loss("all"))
        assert_flow(flow, expected, FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
def test_eval_mode(cell: str) -> None:
    problem = Own(rich(cell, dropout=0.4))
    problem.module.eval()
    undropped = Own(rich(cell))
    undropped.module.load_state_dict(problem.module.state_dict())
    for name in ("x", "h0", "c0", "w_output", "w_h_n", "w_c_n"):
        setattr(undropped, name, getattr(problem, name))
    expected, _ = references(undropped, "all")
    with heard():
        assert_flow(flow_of(problem.module, lambda: problem.loss("all")), expected, FLOAT64)


@pytest.mark.parametrize("ragged", ["no", "unsorted", "unbatched"])
@pytest.mark.parametrize("projected", [False, True], ids=["", "projected"])
@pytest.mark.parametrize("cell", list(LSTM))
def test_the_truncated_gradient(cell: str, ragged: str, *, projected: bool) -> None:
    """The numbers of the oracle that cuts the ways of 1997, and a word that says so."""
    problem = Own(rich(cell, ragged=ragged, projected=projected), options={"gradient": "1997"})
    for loss in losses_of(cell):
        with cut_oracle():
            expected, _ = references(problem, loss)
        with heard():
            flow = flow_of(problem.module, lambda loss=loss: problem.loss(loss))
        assert_flow(flow, expected, FLOAT64, f"{loss}, heard")
        with replayed():
            again = flow_of(problem.module, lambda loss=loss: problem.loss(loss))
        assert_flow(again, expected, FLOAT64, f"{loss}, replayed")
        measured = carousel.measure(problem.module, lambda loss=loss: problem.loss(loss))
        assert_flow(measured, expected, FLOAT64, f"{loss}, measured")
        for layer in (*flow.layers.values(), *again.layers.values(), *measured.layers.values()):
            assert layer.gradient == "1997"
            (note,) = layer.notes
            assert note.startswith("The gradient is the truncated one of 1997")


@pytest.mark.parametrize("cell", list(LSTM))
def test_the_truncated_gradient_is_another(cell: str) -> None:
    problem = Own(rich(cell), options={"gradient": "1997"})
    expected, _ = references(problem, "all")
    with pytest.raises(AssertionError, match="off by"):
        assert_flow(flow_of(problem.module, lambda: problem.loss("all")), expected, FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("segment", [True, 2])
def test_a_layer_that_checkpoints_itself(cell: str, *, segment: bool | int) -> None:
    case = rich(cell, ragged="unsorted")
    problem = Own(case, options={"checkpoint": segment})
    expected, _ = references(problem, "all")
    plain = problem.everything("all")
    with carousel.watch(problem.module) as watcher:
        found = problem.everything("all")
    assert_flow(watcher.flow, expected, FLOAT64)
    for name, value in plain.items():  # the segments add the weights' gradients in another order
        if isinstance(value, torch.Tensor) and value.dtype == FLOAT64:
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_frozen_weights_and_a_plain_input(cell: str) -> None:
    """Nothing takes a gradient, so no run is handed out: what the loss needs is replayed."""
    problem = Own(replace(rich(cell, dropout=0.4), state="given"))
    expected, _ = references(problem, "all")
    problem.module.requires_grad_(requires_grad=False)
    assert_flow(flow_of(problem.module, lambda: problem.loss("all")), expected, FLOAT64)
    assert all(parameter.grad is None for parameter in problem.module.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_a_frozen_lower_layer(cell: str) -> None:
    """Only the upper runs are handed out: all of the call is replayed, with all weights."""
    problem = Own(replace(rich(cell), state="given"))
    expected, _ = references(problem, "all")
    for name, parameter in problem.module.named_parameters():
        parameter.requires_grad_("_l0" not in name)
    flow = flow_of(problem.module, lambda: problem.loss("all"))
    assert_flow(flow, expected, FLOAT64)
    for name, parameter in problem.module.named_parameters():
        assert (parameter.grad is None) == ("_l0" in name)


@pytest.mark.parametrize("cell", CELLS)
def test_an_input_that_takes_a_gradient(cell: str) -> None:
    problem = Own(rich(cell))
    expected, _ = references(problem, "all")
    problem.x.requires_grad_()
    problem.module.requires_grad_(requires_grad=False)
    with heard():
        assert_flow(flow_of(problem.module, lambda: problem.loss("all")), expected, FLOAT64)
    assert problem.x.grad.abs().max() > 0


@pytest.mark.parametrize("cell", CELLS)
def test_only_one_direction_is_reached(cell: str) -> None:
    problem = Own(rich(cell, layers=1))
    problem.w_output[..., 5:] = 0.0  # what the oracle's loss adds of the reverse direction
    expected, _ = references(problem, "output")
    w = problem.w_output[..., :5]
    with heard():
        flow = flow_of(problem.module, lambda: (w * problem.call()[0][..., :5]).sum())
    assert_flow(flow, expected, FLOAT64)
    assert not flow["l0_reverse"].d_h.any()


@pytest.mark.parametrize("cell", ["lstm_peephole", "gru", "rnn_sigmoid"])
def test_parts_of_a_larger_model(cell: str) -> None:
    """Two own layers and one of torch's, each on its own data, in one pass."""
    first, second = Own(rich(cell, ragged="unsorted")), Own(Case(cell="lstm_cifg", state="given"))
    plain = Own(Case(cell="gru", layers=2)).twin
    x = torch.randn(3, 2, 2, dtype=FLOAT64)
    model = torch.nn.ModuleDict({"a": first.module, "b": second.module, "c": plain})
    expected = {f"a.{name}": ref for name, ref in references(first, "all")[0].items()}
    expected |= {f"b.{name}": ref for name, ref in references(second, "all")[0].items()}

    def loss() -> torch.Tensor:
        return first.loss("all") + second.loss("all") + plain(x)[0].square().sum()

    flow = flow_of(model, loss)
    alone = flow_of(plain, lambda: plain(x)[0].square().sum())
    assert list(flow) == [*expected, "c.l0", "c.l1"]
    for name in ("l0", "l1"):
        assert torch.equal(flow[f"c.{name}"].d_h, alone[name].d_h)
    own = torch.nn.ModuleDict({"a": first.module, "b": second.module})
    with heard(2):
        found = flow_of(own, lambda: first.loss("all") + second.loss("all"))
    assert_flow(found, expected, FLOAT64)


def test_every_cell_of_the_layers_is_here() -> None:
    kinds = {options_of(cell)[0] for cell in CELLS}
    assert kinds == {carousel.RNN, carousel.LSTM, carousel.GRU}
    assert len({Own(Case(cell=cell)).module.cell.name for cell in CELLS}) == len(CELLS) == 15
