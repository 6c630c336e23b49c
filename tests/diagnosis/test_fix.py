"""``carousel.fix``: from a sick model to the remedy that was proved to help it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.diagnosis.remedied import snapshot
from tests.diagnosis.remedies.test_apply_and_undo import assert_same
from tests.diagnosis.training import T, adder, batch, loss_fn, train_step
from torch import Tensor, nn

import carousel
from carousel import CarouselError
from carousel.diagnosis import Cure
from carousel.diagnosis._choice import TABLE, promises, remedies_for, troubles
from carousel.diagnosis.remedies import Chrono, ForgetBias, Orthogonal, Remedy

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
    assert [trouble.kind for trouble in found.troubles] == ["fading"]
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


def test_what_promises_most_comes_first_and_the_loop_last() -> None:
    model = adder()
    remedies: tuple[Remedy, ...] = remedies_for(
        troubles(carousel.measure(model, data(), loss_fn), LAG), LAG
    )
    weak = ForgetBias("rnn.l0", 0.5)
    found = promises(model, data(), loss_fn, (weak, *remedies), LAG)
    assert [remedy.in_model for remedy in found] == [True, True, True, False, False]
    rates = []
    for remedy in found[:3]:
        net = adder()
        remedy.apply(net)
        rates.append(abs(carousel.measure(net, data(), loss_fn)["rnn.l0"].horizon().rate))
    assert rates == sorted(rates)
    assert found[2] == weak


def test_layers_of_one_module_are_cured_together() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 8, num_layers=2)
    x = data()[0]
    flow = carousel.measure(lstm, lambda: lstm(x)[0][-1].sum())
    assert {each.layer for each in remedies_for(troubles(flow, LAG), LAG)} == {""}
    net = nn.ModuleDict({"a": lstm})
    flow = carousel.measure(net, lambda: net["a"](x)[0][-1].sum())
    assert {each.layer for each in remedies_for(troubles(flow, LAG), LAG)} == {"a"}


def test_growing_and_narrow() -> None:
    rnn = nn.RNN(2, 8, nonlinearity="relu")
    Orthogonal("", 1.5).apply(rnn)
    with torch.no_grad():
        rnn.bias_ih_l0.fill_(3.0)
    x = data()[0]
    found = troubles(carousel.measure(rnn, lambda: rnn(x)[0][-1].sum()), LAG)
    assert [each.kind for each in found] == ["growing"]
    assert "clipping" in {each.name for each in remedies_for(found, LAG)}
    lstm = nn.LSTM(2, 8).bfloat16()
    found = troubles(carousel.measure(lstm, lambda: lstm(x.bfloat16())[0][-1].sum()), LAG)
    assert [each.kind for each in found] == ["fading", "narrow"]
    assert remedies_for(found, LAG)[0].name == "state-dtype"


def test_every_row_of_the_table_makes_remedies() -> None:
    for makers in TABLE.values():
        for make in makers:
            remedy = make("rnn.l0", 2)
            assert remedy.sentence()
            assert remedy.code()
