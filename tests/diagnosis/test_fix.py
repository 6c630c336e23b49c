"""``carousel.fix``: from a sick model to the remedy that was proved to help it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.diagnosis.remedied import snapshot
from tests.diagnosis.remedies.test_apply_and_undo import assert_same
from tests.diagnosis.training import T, adder, batch, loss_fn, train_step
from torch import Tensor, nn

import carousel
from carousel import CarouselError
from carousel.diagnosis import Cure, Finding
from carousel.diagnosis._choice import candidates, folds_over, promises
from carousel.diagnosis.remedies import Chrono, ForgetBias, Orthogonal, Remedy
from carousel.flow import Flow

LAG = 20


def data() -> tuple[Tensor, Tensor]:
    return batch(torch.Generator().manual_seed(2))


def cure(model: nn.Module, **options: Any) -> Cure:
    return carousel.fix(model, data(), loss_fn, **{"lag": LAG, "steps": 40, **options})


@pytest.mark.parametrize(
    ("kind", "names"), [(nn.LSTM, {"chrono", "forget-bias"}), (nn.GRU, {"chrono", "flossing"})]
)
def test_a_fading_gate_is_cured(kind: type[nn.Module], names: set[str]) -> None:
    model = adder(kind)
    before = snapshot(model)
    found = cure(model, train_step=train_step)
    assert found.findings[0].rule == "vanishing"
    assert found.findings[0].severity == "error"
    told = [each for each in carousel.diagnose(found.flow, LAG) if each.severity != "info"]
    assert list(map(str, found.findings)) == list(map(str, told))
    assert not found.healthy
    assert found.cured
    assert found.best is not None
    assert found.best.remedy.name in names
    if not found.best.remedy.in_model:  # its code is for the training loop
        assert_same(before, snapshot(model))
        return
    by_hand = adder(kind)
    exec(found.code, {"model": by_hand})  # noqa: S102 - this is what its user does
    for one, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)  # the model has it now, untrained
    assert found.applied is not None
    found.applied.undo()
    assert_same(before, snapshot(model))


def test_a_tanh_rnn_is_cured() -> None:
    found = cure(adder(nn.RNN), most=6)
    assert found.best is not None
    assert found.best.reason
    assert found.lag_given
    assert str(found).count("without") >= 2
    assert found.code in str(found)


def test_a_healthy_model_is_left_alone_and_not_trained() -> None:
    model = adder()
    Chrono("", 500).apply(model)
    before = snapshot(model)

    def never(_: nn.Module) -> Tensor:
        raise AssertionError

    found = carousel.fix(model, data(), loss_fn, never, lag=LAG)
    assert found.healthy
    assert not found.outcomes
    assert found.summary == f"Nothing to cure: the gradient reaches back over {LAG} steps."
    assert_same(before, snapshot(model))


def test_without_a_lag_it_is_the_longest_of_the_batch_and_said_so() -> None:
    found = cure(adder(), lag=None, steps=8, most=1)
    assert found.lag_steps == T - 1
    assert not found.lag_given
    assert "(the longest lag of the batch, for none was named)" in found.summary


def test_trained_weights_are_kept() -> None:
    found = cure(adder(), trained=True, steps=8)
    tried = [outcome.remedy for outcome in found.outcomes]
    assert {remedy.name for remedy in tried} == {"flossing", "omega"}
    assert all(remedy.keeps_weights for remedy in tried)


def test_the_training_of_the_user_is_taken() -> None:
    found = cure(adder(), train_step=train_step, steps=4, most=1)
    assert found.training == "4 steps of the training step that was given"
    net = adder()
    step = train_step(net)
    assert found.outcomes[0].before.losses == tuple(step().item() for _ in range(4))


def test_adam_on_the_batch_is_what_it_says() -> None:
    found = cure(adder(), steps=3, most=1)
    assert "Adam (learning rate 0.003) on the one batch" in found.training
    net = adder()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    x, y = data()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = loss_fn(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert found.outcomes[0].before.losses == tuple(losses)


def test_a_remedy_that_the_training_cannot_take_is_named_and_the_next_is_tried() -> None:
    begun = adder(nn.RNN).rnn.weight_hh_l0

    def only_this(model: nn.Module) -> Any:
        if not torch.equal(model.rnn.weight_hh_l0, begun):
            raise TypeError("not this one")
        return train_step(model)

    found = cure(adder(nn.RNN), train_step=only_this, steps=4, most=4)
    assert {refused.remedy.name for refused in found.refused} == {"lstm", "identity", "orthogonal"}
    assert all("TypeError: not this one" in refused.reason for refused in found.refused)
    assert [outcome.remedy.name for outcome in found.outcomes] == ["flossing"]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (f"lag from 1 to {T - 1}, for the longest sequence of the batch has {T} steps", {"lag": T}),
        ("got 0", {"lag": 0}),
        ("most to be a whole number from 1 on, got 0", {"most": 0}),
        ("steps to be a whole number from 1 on, got 0", {"steps": 0}),
    ],
)
def test_wrong_arguments(words: str, options: dict[str, Any]) -> None:
    model = adder()
    before = snapshot(model)
    with pytest.raises(CarouselError, match=words):
        cure(model, **options)
    assert_same(before, snapshot(model))


def test_an_interrupt_leaves_the_model_as_it_was() -> None:
    calls = 0

    def interrupted(model: nn.Module) -> Any:
        inner = train_step(model)

        def step() -> Tensor:
            nonlocal calls
            calls += 1
            if calls == 9:
                raise KeyboardInterrupt
            return inner()

        return step

    model = adder()
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        cure(model, train_step=interrupted, steps=4)
    assert_same(before, snapshot(model))


def wrong(flow: Flow) -> list[Finding]:
    return [each for each in carousel.diagnose(flow, LAG) if each.severity != "info"]


def chosen(flow: Flow, **options: bool) -> tuple[Remedy, ...]:
    return candidates(wrong(flow), flow, **options)


def test_what_promises_most_comes_first_and_the_loop_last() -> None:
    model = adder()
    remedies = chosen(carousel.measure(model, data(), loss_fn))
    weak = ForgetBias("rnn.l0", 0.5)
    found = promises(model, data(), loss_fn, (weak, *remedies), LAG)
    assert [remedy.in_model for remedy in found] == [True, True, True, True, False, False]
    assert {remedy.name for remedy in found[4:]} == {"flossing", "omega"}
    rates = []
    for remedy in found[:4]:
        net = adder()
        remedy.apply(net)
        rates.append(abs(carousel.measure(net, data(), loss_fn)["rnn.l0"].horizon().rate))
    assert rates == sorted(rates)
    assert weak in found[2:4]


def test_the_candidates_are_those_of_the_findings_in_their_order_each_once() -> None:
    flow = carousel.measure(adder(), data(), loss_fn)
    told = [remedy for finding in wrong(flow) for remedy in finding.remedies]
    assert len(wrong(flow)) > 1
    assert len(set(told)) < len(told)
    assert chosen(flow) == tuple(dict.fromkeys(told))
    assert chosen(flow, trained=True) == tuple(r for r in chosen(flow) if r.keeps_weights)
    assert {remedy.name for remedy in chosen(flow, trained=True)} == {"flossing", "omega"}


def test_layers_of_one_module_are_cured_together() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 8, num_layers=2)
    x = data()[0]
    flow = carousel.measure(lstm, lambda: lstm(x)[0][-1].sum())
    assert {each.layer for each in chosen(flow)} == {""}
    net = nn.ModuleDict({"a": lstm})
    flow = carousel.measure(net, lambda: net["a"](x)[0][-1].sum())
    assert {each.layer for each in chosen(flow)} == {"a"}
    names = [each.name for each in chosen(flow)]
    assert len(names) == len(set(names))


def test_remarks_are_no_reason_to_train() -> None:
    model = adder(lambda *sizes: nn.LSTM(*sizes, num_layers=2))
    Chrono("rnn.l0", 500).apply(model)  # reaches the lag, so that l1 need not
    found = cure(model, steps=4, most=1)
    told = carousel.diagnose(found.flow, LAG)
    assert ("vanishing", "info") in {(each.rule, each.severity) for each in told}
    assert "vanishing" not in {each.rule for each in found.findings}
    assert all(each.severity != "info" for each in found.findings)


def test_modules_that_are_all_ill_are_cured_together_and_healthy_layers_left_alone() -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({"a": nn.GRU(2, 8), "b": nn.GRU(8, 8)})
    x = data()[0]

    def measured() -> Flow:
        return carousel.measure(net, lambda: net["b"](net["a"](x)[0])[0][-1].sum())

    assert {each.layer for each in chosen(measured())} == {""}
    flow = measured()
    only_a = [each for each in wrong(flow) if each.layer == "a.l0"]
    assert {each.layer for each in candidates(only_a, flow)} == {"a.l0"}
    stack = nn.LSTM(2, 8, num_layers=2)
    flow = carousel.measure(stack, lambda: stack(x)[0][-1].sum())
    only_l1 = [each for each in wrong(flow) if each.layer == "l1"]
    assert only_l1
    assert {each.layer for each in candidates(only_l1, flow)} == {"l1"}


def test_unrelated_calls_of_a_module_have_one_remedy() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 8)
    x = data()[0]
    flow = carousel.measure(lstm, lambda: lstm(x)[0][-1].sum() + lstm(x.flip(0))[0][-1].sum())
    assert set(flow) == {"l0#1", "l0#2"}
    assert {each.layer for each in chosen(flow)} == {"l0"}


class Loop(nn.Module):
    """A cell in a loop, at ``model.cell``."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return looped(self.cell, x)


def looped(cell: nn.Module, x: Tensor) -> Tensor:
    state = None
    for x_t in x:
        state = cell(x_t, state)
    return state[0].square().sum()


def test_a_cell_that_is_the_model_and_one_inside_are_told_apart() -> None:
    torch.manual_seed(0)
    cell, x = nn.LSTMCell(2, 8), data()[0]
    for net, place in ((cell, "(model, "), (Loop(cell), "(model.cell, ")):
        flow = carousel.measure(net, lambda net=net: looped(cell, x) if net is cell else net(x))
        assert set(flow) == {"cell"}
        remedy = chosen(flow)[0]
        assert remedy.name == "chrono"
        assert f"chrono_{place}" in remedy.code()
        begun = {name: value.clone() for name, value in cell.state_dict().items()}
        exec(remedy.code(), {"model": net})  # noqa: S102 - this is what its user does
        pasted = [value.clone() for value in cell.state_dict().values()]
        cell.load_state_dict(begun)
        remedy.apply(net)
        assert all(map(torch.equal, pasted, cell.state_dict().values()))
        assert not all(map(torch.equal, pasted, begun.values()))
        cell.load_state_dict(begun)


def test_a_cell_is_not_swapped_for_another() -> None:
    cell, x = nn.RNNCell(2, 8), data()[0]

    def loss() -> Tensor:
        h = None
        for x_t in x:
            h = cell(x_t, h)
        return h.sum()

    names = {each.name for each in chosen(carousel.measure(cell, loss))}
    assert "identity" in names
    assert "lstm" not in names


def test_a_cell_that_is_the_model_is_cured() -> None:
    torch.manual_seed(0)
    model = nn.LSTMCell(2, 8)
    found = carousel.fix(
        model, data()[0], lambda model, x: looped(model, x), lag=LAG, steps=8, most=1
    )
    assert not found.refused
    (outcome,) = found.outcomes
    assert outcome.layer == "the model"
    assert outcome.after.first.layer("the model") is outcome.after.first.flow["cell"]
    assert " of the model " in outcome.remedy.sentence()


def test_growing_and_narrow() -> None:
    rnn = nn.RNN(2, 8, nonlinearity="relu")
    Orthogonal("", 1.5).apply(rnn)
    with torch.no_grad():
        rnn.bias_ih_l0.fill_(3.0)
    x = data()[0]
    flow = carousel.measure(rnn, lambda: rnn(x)[0][-1].sum())
    assert "growing" in {each.rule for each in wrong(flow)}
    assert {"clipping", "orthogonal", "identity"} <= {each.name for each in chosen(flow)}
    narrow = Orthogonal("", 0.5)
    own = carousel.RNN(2, 8, nonlinearity="identity")
    narrow.apply(own)
    own.half()
    flow = carousel.measure(own, lambda: own(x.half())[0][-1].sum())
    assert "underflow" in {each.rule for each in wrong(flow)}
    assert "state-dtype" in {each.name for each in chosen(flow)}
    assert "state-dtype" in {each.name for each in chosen(flow, trained=True)}


def test_what_does_not_bear_on_the_lag_is_shown_and_not_cured() -> None:
    flow = carousel.measure(adder(), data(), loss_fn)
    (one, *_) = wrong(flow)
    padding = replace(one, rule="padding", severity="warning", remedies=())
    beside = Cure(flow, LAG, lag_given=True, training="", findings=(padding,))
    assert beside.healthy
    assert str(padding) in str(beside)
    assert "Nothing to cure" in beside.summary
    assert not replace(beside, findings=(padding, one)).healthy


def test_it_is_cured_when_it_would_not_be_found_again() -> None:
    found = cure(adder(), train_step=train_step)
    assert found.best is not None
    left = folds_over(found.best.after.last.layer(found.best.layer), LAG)
    again = carousel.diagnose(found.best.after.last.flow, LAG)
    ill = {each.rule for each in again if each.severity != "info"}
    assert found.cured == (left >= math.log(0.1))
    assert found.cured == ("vanishing" not in ill)
