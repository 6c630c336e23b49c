"""``carousel.verify``: two trainings from the same seed, a verdict, and the model as it was."""

from __future__ import annotations

import copy
import itertools
import math
import random
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from tests.diagnosis.remedied import snapshot
from tests.diagnosis.remedies.test_apply_and_undo import assert_same
from tests.diagnosis.training import (
    Adder,
    H,
    T,
    adder,
    batch,
    loss_fn,
    train_step,
    without_optimizer,
)
from torch import Tensor, nn

import carousel
from carousel import CarouselError
from carousel.diagnosis import Proof
from carousel.diagnosis.remedies import (
    Chrono,
    Clipping,
    ForgetBias,
    Orthogonal,
    PascanuOmega,
    StateDtype,
    SwapToLSTM,
    TruncationLength,
)

LAG = 20


def test_a_cure_is_kept_and_is_in_the_model() -> None:
    model = adder()
    before = snapshot(model)
    outcome = carousel.verify(model, Chrono("rnn.l0", LAG), train_step, steps=150, lag=LAG)
    assert outcome.kept
    first, last = outcome.before.last, outcome.after.last
    assert outcome.before.first.log10_at_lag("rnn.l0", LAG) < -3
    assert last.log10_at_lag("rnn.l0", LAG) > first.log10_at_lag("rnn.l0", LAG) + 1
    by_hand = adder()
    Chrono("rnn.l0", LAG).apply(by_hand)
    for one, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)  # the weights from before, with the remedy, untrained
    assert outcome.applied is not None
    outcome.applied.undo()
    assert_same(before, snapshot(model))


def test_what_does_not_help_is_reverted() -> None:
    model = adder()
    before = snapshot(model)
    outcome = carousel.verify(model, ForgetBias("rnn.l0", -6.0), train_step, steps=40, lag=LAG)
    assert not outcome.kept
    assert outcome.applied is None
    assert_same(before, snapshot(model))


def test_both_trainings_are_what_a_user_would_have_run() -> None:
    model = adder()
    outcome = carousel.verify(model, ForgetBias("rnn.l0", 2.0), train_step, steps=6, seed=5)
    for trial, prepare in (
        (outcome.before, lambda net: net),
        (outcome.after, lambda net: ForgetBias("rnn.l0", 2.0).apply(net)),
    ):
        net = adder()
        prepare(net)
        step = train_step(net)
        assert trial.losses == tuple(step().item() for _ in range(6))
    assert outcome.before.first.step == 0
    assert outcome.before.last.step == 5
    assert outcome.before.first.loss == outcome.before.losses[0]
    assert len(outcome.before.gradient_norms) == 6


def test_the_readings_are_the_flows_of_the_first_and_the_last_step() -> None:
    outcome = carousel.verify(adder(), ForgetBias("rnn.l0", 2.0), train_step, steps=3)
    net = adder()
    step = train_step(net)
    generator = torch.Generator().manual_seed(1)
    for number in range(3):
        x, y = batch(generator)
        flow = carousel.measure(net, (x, y), loss_fn)
        if number in (0, 2):
            reading = outcome.before.first if number == 0 else outcome.before.last
            torch.testing.assert_close(reading.flow["rnn.l0"].d_h, flow["rnn.l0"].d_h)
        step()


def test_the_outcome_is_frozen_and_reads_as_a_table() -> None:
    outcome = carousel.verify(adder(), ForgetBias("rnn.l0", 2.0), train_step, steps=12, lag=LAG)
    lines = str(outcome).splitlines()
    assert lines[0].startswith("forget-bias: Set the forget gate's bias of rnn.l0 to 2")
    assert "horizon" in lines[1]
    assert f"gradient at lag {LAG}" in lines[1]
    assert [line.split()[0] for line in lines[2:6]] == ["without", "without", "with", "with"]
    assert lines[6].startswith(("kept: ", "reverted: "))
    with pytest.raises(FrozenInstanceError):
        outcome.kept = False  # type: ignore[misc]


def test_a_reading_of_a_module_is_that_of_its_slowest_layer() -> None:
    torch.manual_seed(0)
    model = Adder(nn.LSTM(2, H, num_layers=2))
    outcome = carousel.verify(model, ForgetBias("rnn", 2.0), train_step, steps=2)
    reading = outcome.after.last
    assert reading.layer("rnn") is reading.flow.slowest
    assert reading.layer("rnn.l1") is reading.flow["rnn.l1"]
    with pytest.raises(CarouselError, match=r"There is no layer 'head'"):
        reading.layer("head")


def test_without_a_lag_there_is_no_column_for_it() -> None:
    outcome = carousel.verify(adder(), ForgetBias("", 2.0), train_step, steps=4)
    assert "lag" not in str(outcome)


def test_all_generators_go_on_as_if_nothing_had_been_drawn() -> None:
    def noisy(model: nn.Module) -> Callable[[], Tensor]:
        inner = train_step(model)

        def step() -> Tensor:
            torch.rand(1)
            random.random()  # noqa: S311
            np.random.rand()  # noqa: NPY002
            return inner()

        return step

    model = adder()
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())  # noqa: NPY002
    carousel.verify(model, ForgetBias("", 1.0), noisy, steps=2)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_data_drawn_from_the_global_generators_is_the_same_for_both() -> None:
    def drawing(model: nn.Module) -> Callable[[], Tensor]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0001)

        def step() -> Tensor:
            x, y = batch()
            optimizer.zero_grad()
            loss = loss_fn(model(x), y) * (1 + 0 * random.random())  # noqa: S311
            loss.backward()
            optimizer.step()
            return loss

        return step

    outcome = carousel.verify(adder(), Clipping(max_norm=1e9), drawing, steps=4, seed=3)
    assert outcome.before.losses == outcome.after.losses
    assert not outcome.kept
    assert "no gain" in outcome.reason


@pytest.mark.parametrize("direct", [without_optimizer, lambda model: without_optimizer(model)])
def test_a_step_without_an_optimizer_is_taken_as_it_is(direct: Callable[..., Tensor]) -> None:
    outcome = carousel.verify(adder(), ForgetBias("", 2.0), direct, steps=3)
    net = adder()
    assert outcome.before.losses == tuple(without_optimizer(net).item() for _ in range(3))
    assert outcome.before.gradient_norms == ()


def test_the_number_of_the_step_is_told_to_whom_it_asks() -> None:
    seen: list[int] = []

    def direct(model: nn.Module, number: int) -> Tensor:
        seen.append(number)
        return without_optimizer(model)

    def factory(model: nn.Module) -> Callable[[int], Tensor]:
        return lambda number: direct(model, number)

    for step in (direct, factory):
        seen.clear()
        carousel.verify(adder(), ForgetBias("", 2.0), step, steps=2)
        assert seen == [0, 1, 0, 1, 0, 1]  # without, once more for the data, with


def test_clipping_is_measured_in_the_training_without_it() -> None:
    outcome = carousel.verify(adder(), Clipping(percentile=50), train_step, steps=9)
    norms = torch.tensor(outcome.before.gradient_norms, dtype=torch.float64)
    assert outcome.remedy.max_norm == pytest.approx(float(norms.quantile(0.5)))
    assert max(outcome.after.gradient_norms) <= outcome.remedy.max_norm * (1 + 1e-5)
    assert f"{outcome.remedy.max_norm:.6g}" in outcome.remedy.code()


def test_a_remedy_of_the_loop_leaves_no_hook_behind() -> None:
    from torch.nn.modules.module import _global_forward_hooks
    from torch.optim.optimizer import _global_optimizer_pre_hooks

    before = len(_global_forward_hooks), len(_global_optimizer_pre_hooks)
    model = adder()
    outcome = carousel.verify(model, PascanuOmega("rnn.l0", 1.0), train_step, steps=3, lag=LAG)
    assert (len(_global_forward_hooks), len(_global_optimizer_pre_hooks)) == before
    assert outcome.applied is None
    assert type(model.rnn) is nn.LSTM


def test_an_lstm_in_the_place_of_a_tanh_rnn_learns_with_an_optimizer_of_its_own() -> None:
    model = adder(nn.RNN)
    outcome = carousel.verify(model, SwapToLSTM("rnn.l0", LAG), train_step, steps=150, lag=LAG)
    assert outcome.kept
    assert isinstance(model.rnn, nn.LSTM)
    assert outcome.after.last.layer("rnn.l0").kind == "LSTM"
    assert outcome.applied is not None
    outcome.applied.undo()
    assert type(model.rnn) is nn.RNN


def test_several_remedies_share_the_training_without_any() -> None:
    proof = Proof(adder(), train_step, 3)
    one, other = proof.of(ForgetBias("", 1.0), apply=False), proof.of(Orthogonal(""), apply=False)
    assert one.before is other.before


# What cannot be used.


def refused(words: str, train: Any, remedy: Any = None, **options: Any) -> None:
    model = adder()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before, grad = snapshot(model), model.head.weight.grad
    with pytest.raises(CarouselError, match=words):
        carousel.verify(
            model,
            ForgetBias("rnn.l0") if remedy is None else remedy,
            train,
            **{"steps": 3} | options,
        )
    assert_same(before, snapshot(model))
    assert model.head.weight.grad is grad
    assert bool((grad == 1).all())


def test_a_loss_that_is_not_a_scalar() -> None:
    refused(
        r"return its loss as a scalar, got a tensor of float32 \[16\]",
        lambda model: lambda: model(batch()[0]),
    )


def test_a_step_that_returns_nothing() -> None:
    refused("return its loss as a scalar, got None", lambda _: None)


def test_a_step_that_changes_shapes() -> None:
    def growing(model: nn.Module) -> Callable[[], Tensor]:
        step = train_step(model)

        def grown() -> Tensor:
            loss = step()
            model.head = nn.Linear(H, 2)
            return loss

        return grown

    refused(
        r"changes the shapes of the model's parameters \(head\.weight: \(1, 12\) -> \(2, 12\)",
        growing,
    )


def test_a_step_that_trains_the_model_itself() -> None:
    model = adder()
    before = snapshot(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def outside(_: nn.Module) -> Tensor:
        x, y = batch(torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(CarouselError, match="trained the model itself and not the copy"):
        carousel.verify(model, ForgetBias("rnn.l0"), outside, steps=2)
    assert_same(before, snapshot(model))


def test_a_step_that_runs_another_model() -> None:
    other = adder()
    refused("ran no backward pass through a recurrent module", lambda _: without_optimizer(other))


def test_an_optimizer_of_another_model_changes_nothing() -> None:
    other = torch.optim.SGD(adder().parameters(), lr=0.1)

    def step(model: nn.Module) -> Tensor:
        x, y = batch(torch.Generator().manual_seed(1))
        loss = loss_fn(model(x), y)
        loss.backward()
        other.step()
        return loss

    refused("changed no parameter of the model that it was given, in 3 steps", step)


def test_data_that_do_not_begin_anew() -> None:
    generator = torch.Generator().manual_seed(1)

    def drawing(model: nn.Module) -> Callable[[], Tensor]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step() -> Tensor:
            x, y = batch(generator)
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    refused("Two trainings from the same seed are shown other data", drawing)


def trained_on(draw: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[nn.Module], Any]:
    """A training whose data come from outside of it."""

    def train_step(model: nn.Module) -> Callable[[], Tensor]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step() -> Tensor:
            x, y = draw()
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    return train_step


def test_data_that_go_round_and_are_back_where_they_began() -> None:
    """Four batches in a circle, and 40 steps: the second training starts at the first again."""
    circle = itertools.cycle([batch(torch.Generator().manual_seed(k)) for k in range(4)])
    with pytest.raises(CarouselError, match="are shown other data"):
        carousel.verify(adder(), ForgetBias("", 2.0), trained_on(lambda: next(circle)), steps=40)


def test_data_that_are_the_same_at_first_only() -> None:
    drawn, generator = itertools.count(), torch.Generator().manual_seed(1)

    def draw() -> tuple[Tensor, Tensor]:
        first = next(drawn) in (0, 5, 8)  # of the training, of the check, and of the next training
        return batch(torch.Generator().manual_seed(0) if first else generator)

    with pytest.raises(CarouselError, match="are shown other data"):
        carousel.verify(adder(), ForgetBias("", 2.0), trained_on(draw), steps=5)


def test_other_data_with_the_same_losses() -> None:
    """A head of zeros says the same of everything."""
    generator = torch.Generator().manual_seed(1)
    model = adder()
    nn.init.zeros_(model.head.weight)

    def draw() -> tuple[Tensor, Tensor]:
        x, _ = batch(generator)
        return x, torch.ones(x.shape[1])

    with pytest.raises(CarouselError, match="are shown other data"):
        carousel.verify(model, ForgetBias("", 2.0), trained_on(draw), steps=5)


@pytest.mark.parametrize("idle", [1, 3])
def test_a_training_that_begins_with_idle_steps(idle: int) -> None:
    """As gradient accumulation, a warm-up from 0 and a scaler that skips its first step do."""

    def train_step(model: nn.Module) -> Callable[[int], Tensor]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(1)

        def step(number: int) -> Tensor:
            x, y = batch(generator)
            loss = loss_fn(model(x), y)
            loss.backward()
            if number % (idle + 1) == idle:
                optimizer.step()
                optimizer.zero_grad()
            return loss

        return step

    outcome = carousel.verify(adder(), ForgetBias("", 2.0), train_step, steps=12)
    assert outcome.before.ended == outcome.after.ended == "steps"


def test_nothing_crosses_a_state_that_is_detached() -> None:
    """Whatever the weights; in the table, in the verdict, and in what is called a cure."""

    class Cut(Adder):
        def forward(self, x: Tensor) -> Tensor:
            state, sums = None, 0.0
            for chunk in x.split(6):
                output, state = self.rnn(chunk, state)
                state = tuple(part.detach() for part in state)
                sums = sums + self.head(output[-1]).squeeze(-1)
            return sums

    torch.manual_seed(0)
    model = Cut(nn.LSTM(2, H))
    outcome = carousel.verify(model, ForgetBias("rnn.l0", 4.0), train_step, steps=8, lag=LAG)
    assert [row.at_lag for row in outcome.rows] == ["exactly zero"] * 4
    short = carousel.verify(model, ForgetBias("rnn.l0", 4.0), train_step, steps=8, lag=5)
    assert "exactly zero" not in [row.at_lag for row in short.rows]
    found = carousel.fix(model, batch(torch.Generator()), loss_fn, lag=LAG, steps=8)
    assert not found.cured
    assert "truncation" in {finding.rule for finding in found.findings}


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "a", None, True])
def test_seeds(seed: object) -> None:
    with pytest.raises(CarouselError, match="Expected seed to be a whole number from 0"):
        carousel.verify(adder(), ForgetBias("", 2.0), train_step, steps=2, seed=seed)


def test_a_lag_longer_than_the_sequences() -> None:
    refused(f"Expected a lag below {T}, the steps of the longest sequence", train_step, lag=T)


def test_a_step_that_raises_says_with_which_remedy() -> None:
    def needs_an_rnn(model: nn.Module) -> Callable[[], Tensor]:
        inner = train_step(model)

        def step() -> Tensor:
            if isinstance(model.rnn, nn.LSTM):
                raise TypeError("no LSTM here")
            return inner()

        return step

    model = adder(nn.RNN)
    before = snapshot(model)
    with pytest.raises(
        CarouselError, match="raised with the remedy 'lstm' applied: TypeError: no LSTM here"
    ):
        carousel.verify(model, SwapToLSTM(""), needs_an_rnn, steps=2)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize(
    ("words", "remedy", "options"),
    [
        ("There is no layer 'rnn.l3'", ForgetBias("rnn.l3"), {}),
        ("is no tanh RNN", SwapToLSTM("rnn.l0"), {}),
        ("Expected a Remedy, got str", "chrono", {}),
        ("overwrites weights, and those of this model are said", Chrono("", 9), {"trained": True}),
        ("Expected steps to be a whole number from 1 on, got 0", None, {"steps": 0}),
        ("Expected lag to be a whole number from 1 on, got 2.5", None, {"lag": 2.5}),
    ],
)
def test_wrong_arguments(words: str, remedy: Any, options: dict[str, Any]) -> None:
    refused(words, train_step, remedy, **options)


def test_a_train_step_that_is_no_function() -> None:
    refused("Expected train_step to be a function, got an int", 3)


def test_trained_weights_may_have_what_keeps_them() -> None:
    model = adder()
    outcome = carousel.verify(model, StateDtype("", "float64"), train_step, steps=2, trained=True)
    assert outcome.before.losses[0] == pytest.approx(outcome.after.losses[0], rel=1e-5)


def test_a_remedy_that_never_came_to_act() -> None:
    refused(
        "'clipping' never came to act.*optimizer of torch.optim",
        without_optimizer,
        Clipping(max_norm=1.0),
    )


def test_a_first_loss_that_is_not_finite() -> None:
    def broken(model: nn.Module) -> Tensor:
        return without_optimizer(model) * math.nan

    refused("loss of the first step is nan, before anything was learnt", broken)


def test_a_model_that_cannot_be_copied() -> None:
    model = adder()
    model.carried = model(batch()[0])
    with pytest.raises(CarouselError, match=r"Adder cannot be copied .*Tensors with a graph"):
        carousel.verify(model, ForgetBias(""), train_step, steps=2)


def exploding(at: int, only: bool) -> Callable[[nn.Module], Callable[[], Tensor]]:
    """A training whose loss becomes infinite, always or only where a forget bias was set."""

    def factory(model: nn.Module) -> Callable[[], Tensor]:
        inner = train_step(model)
        biased = bool((model.rnn.bias_ih_l0[H : 2 * H] == 3.0).all())
        count = 0

        def step() -> Tensor:
            nonlocal count
            count += 1
            loss = inner()
            return loss * math.inf if count == at and biased == only else loss

        return step

    return factory


@pytest.mark.parametrize("only", [True, False])
def test_a_training_that_breaks_off(only: bool) -> None:
    outcome = carousel.verify(adder(), ForgetBias("", 3.0), exploding(3, only), steps=5)
    trial = outcome.after if only else outcome.before
    assert trial.ended == "not finite"
    assert len(trial.losses) == 2
    assert trial.final_loss == math.inf
    assert outcome.kept is not only
    assert "not finite any more after 2 steps" in outcome.reason
    assert "inf" in str(outcome)


@pytest.mark.parametrize("when", [1, 4, 5, 7])
def test_an_interrupt_leaves_everything_as_it_was(when: int) -> None:
    from torch.nn.modules.module import _global_forward_hooks
    from torch.optim.optimizer import _global_optimizer_pre_hooks

    calls = 0

    def interrupted(model: nn.Module) -> Callable[[], Tensor]:
        inner = train_step(model)

        def step() -> Tensor:
            nonlocal calls
            calls += 1
            if calls == when:  # 1 .. 3 without, 4 for the data, 5 .. 7 with
                raise KeyboardInterrupt
            return inner()

        return step

    model = adder()
    before = snapshot(model)
    hooks = len(_global_forward_hooks), len(_global_optimizer_pre_hooks)
    with pytest.raises(KeyboardInterrupt):
        carousel.verify(model, PascanuOmega("rnn.l0"), interrupted, steps=3)
    assert_same(before, snapshot(model))
    assert (len(_global_forward_hooks), len(_global_optimizer_pre_hooks)) == hooks


def test_truncation_and_its_flow_are_seen_in_the_training() -> None:
    outcome = carousel.verify(adder(), TruncationLength("rnn.l0", 6), train_step, steps=2, lag=LAG)
    assert outcome.after.last.layer("rnn.l0").cuts == (6, 12, 18)
    assert re.search(r"horizon", str(outcome))


def test_a_copy_of_the_model_is_trained_and_not_its_twin() -> None:
    model = adder()
    twin = copy.deepcopy(model)
    carousel.verify(model, ForgetBias("", -9.0), train_step, steps=2)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_gradients_and_mode_of_the_model_itself_are_put_back() -> None:
    """A step that holds the model as well as its copy may clear and fill gradients there."""
    model = adder()
    x, y = batch(torch.Generator().manual_seed(3))
    loss_fn(model(x), y).backward()
    gradients = [(parameter.grad, parameter.grad.clone()) for parameter in model.parameters()]

    def meddling(copy: nn.Module) -> Callable[[], Tensor]:
        step = train_step(copy)

        def meddle() -> Tensor:
            model.eval()
            for parameter in model.parameters():
                parameter.grad.zero_()
            model.head.weight.grad = torch.ones_like(model.head.weight)
            return step()

        return meddle

    carousel.verify(model, ForgetBias("", 2.0), meddling, steps=4)
    assert all(module.training for module in model.modules())
    for parameter, (gradient, numbers) in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is gradient
        assert torch.equal(parameter.grad, numbers)


def test_buffers_of_the_model_itself_are_put_back() -> None:
    model = adder()
    model.register_buffer("seen", torch.zeros(3))

    def counting(copy: nn.Module) -> Callable[[], Tensor]:
        step = train_step(copy)

        def count() -> Tensor:
            model.seen += 1
            return step()

        return count

    with pytest.raises(CarouselError, match="trained the model itself"):
        carousel.verify(model, ForgetBias("", 2.0), counting, steps=4)
    assert torch.equal(model.seen, torch.zeros(3))
