"""The training loop: it learns, it ends when told, it repeats, and it tells how far it is."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from carousel import CarouselError
from carousel.study import Progress, SequenceClassifier, evaluate, model_for, train
from carousel.tasks import SequenceData


def first_number_decides(count: int = 96, steps: int = 4) -> SequenceData:
    """Two classes: whether the first of some random numbers was positive."""
    inputs = torch.randn(2 * count, steps, 1, generator=torch.Generator().manual_seed(1))
    targets = (inputs[:, 0, 0] > 0).long()
    return SequenceData(
        name="first",
        description="Whether the first number was positive.",
        train_inputs=inputs[:count],
        train_targets=targets[:count],
        test_inputs=inputs[count:],
        test_targets=targets[count:],
        classes=2,
        metric="accuracy",
        baseline=0.5,
        baseline_description="a coin",
    )


def echo() -> SequenceData:
    """Every step's target is its own symbol, one of four."""
    symbols = torch.randint(0, 4, (40, 6), generator=torch.Generator().manual_seed(2))
    return dataclasses.replace(
        first_number_decides(),
        name="echo",
        train_inputs=symbols[:20],
        train_targets=symbols[:20],
        test_inputs=symbols[20:],
        test_targets=symbols[20:],
        classes=4,
        metric="bits per character",
        baseline=2.0,
        symbols="abcd",
    )


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_learns_a_class(cell: str) -> None:
    data = first_number_decides()
    model = model_for(data, cell, hidden_size=8)
    before = evaluate(model, data)
    record = train(model, data, epochs=25, batch_size=16, learning_rate=2e-2)
    assert record.final_metric > 0.9 > before
    assert record.final_metric == evaluate(model, data)
    assert record.losses[-1] < 0.5 * record.losses[0]


def test_it_learns_symbols_and_counts_in_bits() -> None:
    data = echo()
    model = model_for(data, "gru", hidden_size=8)
    assert evaluate(model, data) == pytest.approx(2.0, abs=0.5)
    record = train(model, data, epochs=40, batch_size=10, learning_rate=2e-2)
    assert record.metric == "bits per character"
    assert record.final_metric < 0.3


def test_bits_are_the_loss_divided_by_ln_2() -> None:
    class Certain(nn.Module):
        """Gives the right symbol half of the probability, and each of the others a sixth."""

        def __init__(self) -> None:
            super().__init__()
            self.anything = nn.Parameter(torch.zeros(()))

        def forward(self, symbols: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(symbols, 4) * math.log(3.0) + self.anything

    assert evaluate(Certain(), echo()) == pytest.approx(1.0)


def test_epochs_end_it_and_every_sequence_is_seen_once_in_each() -> None:
    data = first_number_decides(count=50)
    seen: list[torch.Tensor] = []
    model = model_for(data, "rnn", hidden_size=4)
    handle = model.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0]) if module.training else None
    )
    record = train(model, data, epochs=2, batch_size=16)
    handle.remove()
    assert record.ended == "epochs"
    assert [len(inputs) for inputs in seen] == [16, 16, 16, 2] * 2
    assert record.steps == len(record.losses) == len(record.gradient_norms) == 8
    assert len(record.metrics) == 2
    first, second = torch.cat(seen[:4]).flatten(1), torch.cat(seen[4:]).flatten(1)
    assert not torch.equal(first, second)
    everything = sorted(map(tuple, data.train_inputs.flatten(1).tolist()))
    assert sorted(map(tuple, first.tolist())) == everything
    assert sorted(map(tuple, second.tolist())) == everything


def test_parameters_are_those_of_adam_by_hand() -> None:
    data = first_number_decides(count=16)
    model, other = (model_for(data, "lstm", hidden_size=4) for _ in range(2))
    record = train(model, data, epochs=5, batch_size=16, learning_rate=0.1, clip_norm=0.05)

    optimizer = torch.optim.Adam(other.parameters(), lr=0.1)
    norms = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(other(data.train_inputs), data.train_targets)
        gradients = torch.autograd.grad(loss, list(other.parameters()))
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())
        for parameter, gradient in zip(other.parameters(), gradients, strict=True):
            parameter.grad = gradient * min(1.0, 0.05 / norms[-1])
        optimizer.step()
    assert record.gradient_norms == pytest.approx(norms, rel=1e-3)
    assert record.clipped_steps == sum(norm > 0.05 for norm in norms) > 0
    for found, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_budget_of_seconds_ends_it_within_an_epoch() -> None:
    data = first_number_decides()
    model = model_for(data, "rnn", hidden_size=4)
    record = train(model, data, seconds=1e-9, epochs=1000, batch_size=8)
    assert record.ended == "seconds"
    assert record.steps == 1
    assert len(record.metrics) == 1
    assert record.elapsed_seconds > 0


def test_progress_grows_to_one() -> None:
    told: list[Progress] = []
    data = first_number_decides(count=32)
    record = train(
        model_for(data, "rnn", hidden_size=4), data, epochs=3, batch_size=16, progress=told.append
    )
    assert [p.step for p in told] == [1, 2, 3, 4, 5, 6]
    assert [p.epoch for p in told] == [1, 1, 2, 2, 3, 3]
    assert [p.fraction for p in told] == pytest.approx([k / 6 for k in range(1, 7)])
    assert tuple(p.loss for p in told) == record.losses
    assert told[0].elapsed_seconds <= told[-1].elapsed_seconds <= record.elapsed_seconds


def test_same_seed_same_training_and_another_seed_another() -> None:
    data = first_number_decides()
    runs = [
        train(model_for(data, "lstm", hidden_size=4), data, epochs=2, batch_size=16, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert runs[0].losses == runs[1].losses
    assert runs[0].losses != runs[2].losses


def test_clipping_is_counted_and_bounds_the_step() -> None:
    data = first_number_decides(count=16)
    tight, free = (
        train(model_for(data, "rnn", hidden_size=4), data, epochs=3, batch_size=16, clip_norm=norm)
        for norm in (1e-3, math.inf)
    )
    assert tight.clipped_steps == tight.steps == 3
    assert free.clipped_steps == 0
    assert tight.gradient_norms[0] == pytest.approx(free.gradient_norms[0])  # before clipping


def test_a_loss_that_is_not_finite_ends_it_before_it_reaches_the_parameters() -> None:
    data = first_number_decides()
    data.train_inputs[5] = math.nan
    model = model_for(data, "rnn", hidden_size=4)
    record = train(model, data, epochs=5, batch_size=96)
    assert record.ended == "not finite"
    assert record.steps == 0
    assert len(record.metrics) == 1
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_evaluation_leaves_the_mode_as_it_was() -> None:
    data = first_number_decides()
    model = SequenceClassifier("rnn", 1, 4, 2)
    for training in (True, False):
        model.train(training)
        evaluate(model, data)
        assert model.training is training


def test_a_training_without_end_is_refused() -> None:
    data = first_number_decides()
    with pytest.raises(CarouselError, match=r"give epochs .* seconds .* neither was given"):
        train(model_for(data, "rnn", hidden_size=4), data)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"seconds": -1.0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"clip_norm": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_numbers_that_are_not_positive_are_refused(wrong: dict[str, float]) -> None:
    data = first_number_decides()
    name, value = next(iter(wrong.items()))
    with pytest.raises(CarouselError, match=f"{name} must be greater than 0, but is {value}"):
        train(model_for(data, "rnn", hidden_size=4), data, **{"epochs": 1, **wrong})
