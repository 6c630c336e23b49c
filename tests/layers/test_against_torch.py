"""Every option that torch.nn has, against torch.nn: results, gradients, parameters, curves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.cases import Case, Problem, few, grid, long, sizes
from tests.tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import PackedSequence

import carousel

WIDTHS = [1, 7, 16, 33, 64, 130]
KINDS = {"rnn_tanh": carousel.RNN, "rnn_relu": carousel.RNN, "gru": carousel.GRU}
KINDS["lstm"] = carousel.LSTM


def ours_for(problem: Problem) -> nn.Module:
    """Our layer with the options and the weights of a problem's module, built from nothing."""
    module, case = problem.module, problem.case
    options = {
        name: getattr(module, name)
        for name in ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
    }
    if case.projected:
        options["proj_size"] = module.proj_size
    if case.cell.startswith("rnn"):
        options["nonlinearity"] = module.nonlinearity
    ours = KINDS[case.cell](case.inputs, case.hidden, **options, dtype=problem.dtype)
    ours.load_state_dict(module.state_dict())
    return ours


def results(problem: Problem, module: nn.Module, loss: str) -> dict[str, torch.Tensor]:
    """What a call gives, and the gradient of everything that can have one."""
    problem.x.requires_grad_()
    output, h_n, c_n = problem.call(module)
    found = {"h_n": h_n} | ({} if c_n is None else {"c_n": c_n})
    found["output"] = output.data if isinstance(output, PackedSequence) else output
    leaves = {"x": problem.x, **dict(module.named_parameters())}
    states = {"h0": problem.h0, "c0": problem.c0}
    leaves |= {name: s for name, s in states.items() if s is not None and s.requires_grad}
    value = problem.loss_of(loss, output, h_n, c_n)
    gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return found | {f"d_{name}": d for name, d in zip(leaves, gradients, strict=True)}


def check(case: Case, dtype: torch.dtype = torch.float64) -> None:
    problem = Problem(case, dtype)
    ours = ours_for(problem)
    for loss in case.losses:
        expected = results(problem, problem.module, loss)
        for name, value in results(problem, ours, loss).items():
            assert_close(value, expected[name], case.steps, dtype, f"{name} of {loss}")
        torch.manual_seed(case.seed)


@pytest.mark.parametrize("case", grid(), ids=lambda case: case.id)
def test_every_option(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", [*sizes(), *long()], ids=lambda case: case.id)
def test_sizes(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("hidden", WIDTHS)
@pytest.mark.parametrize("cell", KINDS)
def test_widths(cell: str, hidden: int) -> None:
    for steps, batch in ((1, 1), (3, 5)):
        check(
            Case(cell, hidden=hidden, steps=steps, batch=batch, state="given", losses=("all",)),
        )
        if cell == "lstm" and hidden > 2:
            check(Case(cell, hidden=hidden, steps=steps, projected=True, losses=("all",)))


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_float32(case: Case) -> None:
    check(case, torch.float32)


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_deterministic(case: Case) -> None:
    problem = Problem(case)
    ours = ours_for(problem)
    once, again = (results(problem, ours, "all") for _ in range(2))
    assert all(torch.equal(once[name], again[name]) for name in once)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dropout", [0.5, 1.0])
@pytest.mark.parametrize("cell", KINDS)
def test_dropout(cell: str, dropout: float, *, batch_first: bool) -> None:
    """The same random numbers fall on the same units; in eval mode none do."""
    case = Case(cell, layers=3, bidirectional=True, dropout=dropout, batch_first=batch_first)
    check(case)
    problem = Problem(case)
    ours, theirs = ours_for(problem).eval(), problem.module.eval()
    assert_close(
        problem.call(ours)[0], problem.call(theirs)[0], case.steps, torch.float64, "in eval mode"
    )


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_the_state_dict_goes_both_ways(case: Case) -> None:
    problem = Problem(case)
    ours = ours_for(problem)
    names = list(problem.module.state_dict())
    assert list(ours.state_dict()) == names
    assert [name for name, _ in ours.named_parameters()] == names
    other = Problem(case, salt=1).module
    assert other.load_state_dict(ours.state_dict(), strict=True).missing_keys == []
    for name, value in problem.module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert [[p.shape for p in layer] for layer in ours.all_weights] == [
        [p.shape for p in layer] for layer in problem.module.all_weights
    ]


@pytest.mark.parametrize("cell", KINDS)
def test_the_same_seed_draws_the_same_weights(cell: str) -> None:
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}.get(cell, nn.RNN)
    arguments = (4, 6, 2) if cell != "rnn_relu" else (4, 6, 2, "relu", False, True, 0.25, True)
    torch.manual_seed(7)
    theirs = kind(*arguments)
    after = torch.get_rng_state()
    torch.manual_seed(7)
    ours = KINDS[cell](*arguments)
    assert torch.equal(torch.get_rng_state(), after)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    torch.manual_seed(8)
    theirs.reset_parameters()
    torch.manual_seed(8)
    ours.reset_parameters()
    assert torch.equal(ours.weight_hh_l1, theirs.weight_hh_l1)
    options = ("mode", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size")
    assert all(getattr(ours, name) == getattr(theirs, name) for name in options)


@pytest.mark.parametrize("swap", ["to ours", "to torch's"])
@pytest.mark.parametrize("cell", KINDS)
def test_swapping_in_the_middle_of_training_continues_the_curve(cell: str, swap: str) -> None:
    """The optimizer, its moments and the random numbers of dropout go on as if nothing happened."""
    case = Case(cell, layers=2, bidirectional=True, batch_first=True, dropout=0.3, hidden=8)

    def curve(change: Callable[[nn.Module], object] | None) -> list[float]:
        problem = Problem(case)
        model = problem.module if swap == "to ours" else ours_for(problem)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses = []
        torch.manual_seed(0)
        for step in range(12):
            if step == 6 and change is not None:
                change(model)
            optimizer.zero_grad()
            output, _ = model(problem.x.transpose(0, 1))
            loss = (output * problem.w_output.transpose(0, 1)).sum()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    def to_torch(model: nn.Module) -> None:
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}.get(cell, nn.RNN)
        model.__class__ = kind

    swapped = curve(carousel.accelerate if swap == "to ours" else to_torch)
    straight = curve(None)
    assert straight[-1] < straight[0] - 0.1
    assert swapped == pytest.approx(straight, rel=1e-11)


def test_chunks_of_a_long_sequence() -> None:
    """Truncated backpropagation through time, with the states detached in place between."""
    problem = Problem(Case("lstm", steps=12, batch=2))
    curves = []
    for module in (problem.module, ours_for(problem)):
        state, losses = None, []
        for chunk in problem.x.detach().split(4):
            output, state = module(chunk, state)
            loss = output.sum()
            loss.backward()
            losses.append(loss.detach())
            for part in state:
                part.detach_()
        curves.append(torch.stack([*losses, module.weight_hh_l0.grad.norm()]))
    assert_close(curves[1], curves[0], 12, torch.float64, "the curve")


@pytest.mark.parametrize("case", few(), ids=lambda case: case.id)
def test_without_gradients(case: Case) -> None:
    problem = Problem(replace(case, state="given"))
    ours = ours_for(problem)
    with torch.no_grad():
        found, expected = problem.call(ours), problem.call(problem.module)
    with torch.inference_mode():
        inferred = problem.call(ours)
    for parts in zip(found, inferred, expected, strict=True):
        if parts[0] is None:
            assert parts[2] is None
            continue
        one, two, wanted = (p.data if isinstance(p, PackedSequence) else p for p in parts)
        assert not one.requires_grad
        assert torch.equal(one, two)
        assert_close(one, wanted, case.steps, torch.float64, "without gradients")


def test_a_copy_is_a_module_of_its_own() -> None:
    problem = Problem(few()[0])
    ours = ours_for(problem)
    other = copy.deepcopy(ours)
    with torch.no_grad():
        other.weight_hh_l0.zero_()
    assert not torch.equal(problem.call(ours)[1], problem.call(other)[1])
