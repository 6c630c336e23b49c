"""The long-range tasks: what is in a batch, what can be had without memory, and how far back."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from torch import Tensor

from carousel import CarouselError
from carousel.tasks import TASKS, LongRangeTask, TaskBatch, long_range

MANY = 20_000
LAGS = (8, 9, 10, 17, 50, 100)  # temporal order has none shorter than 8


def batch_of(task: LongRangeTask, size: int = 64, seed: int = 0) -> TaskBatch:
    return task.batch(size, torch.Generator().manual_seed(seed))


def symbols(batch: TaskBatch) -> Tensor:
    """The symbol of every step, [B, T]."""
    assert bool((batch.inputs.sum(dim=-1) == 1).all())
    assert set(batch.inputs.unique().tolist()) == {0.0, 1.0}
    return batch.inputs.argmax(dim=-1)


def answer(task: LongRangeTask, inputs: Tensor) -> Tensor:
    """The targets, read off the inputs by the words of the description, sequence by sequence."""
    found = []
    for sequence in inputs.tolist():
        if task.name == "adding":
            found.append([sum(number for number, marker in sequence if marker == 1)])
            continue
        shown = [step.index(1.0) for step in sequence]
        if task.name == "delayed-recall":
            found.append(shown[0])
        else:
            first, second = (symbol for symbol in shown if symbol < 2)
            found.append({(0, 0): 0, (0, 1): 1, (1, 0): 2, (1, 1): 3}[first, second])
    return torch.tensor(found)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_says_what_it_is(name: str) -> None:
    kind = TASKS[name]
    assert kind.name == name
    assert kind.description.endswith(".")
    assert kind.source
    assert kind.criterion
    assert kind.baseline_description


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("lag", LAGS)
def test_shapes_and_types(name: str, lag: int) -> None:
    task = long_range(name, lag)
    for size in (1, 5):
        batch = batch_of(task, size)
        assert batch.inputs.shape == (size, task.steps, task.input_size)
        assert batch.inputs.dtype == torch.float32
        assert batch.lag_steps.shape == (size,)
        assert batch.lag_steps.dtype == torch.int64
        outputs = torch.zeros(size, task.output_size)
        assert task.loss(outputs, batch.targets).shape == ()
        assert task.wrong(outputs, batch.targets).shape == (size,)


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("lag", LAGS)
def test_targets_are_what_the_description_says(name: str, lag: int) -> None:
    task = long_range(name, lag)
    batch = batch_of(task)
    torch.testing.assert_close(batch.targets, answer(task, batch.inputs))


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("lag", LAGS)
def test_the_longest_and_the_shortest_lag_are_met_and_never_passed(name: str, lag: int) -> None:
    task = long_range(name, lag)
    batch = batch_of(task, MANY)
    assert task.lag_steps == lag
    assert batch.lag_steps.max() == task.lag_steps
    assert batch.lag_steps.min() == task.shortest_lag_steps


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("steps", [10, 11, 30, 101])
def test_nothing_older_than_the_lag_counts_and_the_step_at_it_does(name: str, steps: int) -> None:
    """The lag of each sequence, from the inputs alone: whose value changes the answer."""
    task = TASKS[name](steps)
    batch = batch_of(task, 200)
    for inputs, lag in zip(batch.inputs, batch.lag_steps.tolist(), strict=True):
        at = task.steps - 1 - lag
        if name == "adding":
            telling = inputs[:, 1] == 1
        else:
            telling = inputs[:, : 4 if name == "delayed-recall" else 2].sum(dim=1) == 1
        assert int(telling.int().argmax()) == at
        assert int(telling.sum()) == (1 if name == "delayed-recall" else 2)


@pytest.mark.parametrize("steps", [2, 3, 10, 11])
def test_adding_has_a_marker_in_each_half(steps: int) -> None:
    inputs = batch_of(TASKS["adding"](steps), MANY).inputs
    numbers, markers = inputs.unbind(-1)
    half = steps // 2
    for part in (markers[:, :half], markers[:, half:]):
        assert bool((part.sum(dim=1) == 1).all())
        shares = part.mean(dim=0)  # each place as often as any other
        assert (shares - 1 / part.shape[1]).abs().max() < 0.015
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() <= 1


def test_temporal_order_has_its_symbols_where_the_papers_put_them() -> None:
    shown = symbols(batch_of(TASKS["temporal-order"](100), MANY))
    telling = shown < 2
    places = telling.any(dim=0).nonzero().squeeze(1).tolist()
    assert places == [*range(10, 20), *range(50, 60)]
    assert bool((telling.sum(dim=1) == 2).all())
    others = torch.bincount(shown[~telling], minlength=6)[2:] / (~telling).sum()
    assert (others - 0.25).abs().max() < 0.01


@pytest.mark.parametrize("name", ["delayed-recall", "temporal-order"])
def test_classes_are_equally_frequent(name: str) -> None:
    targets = batch_of(long_range(name, 20), MANY).targets
    shares = torch.bincount(targets) / MANY
    assert len(shares) == 4
    assert (shares - 0.25).abs().max() < 0.015


@pytest.mark.parametrize(
    ("name", "loss", "wrong", "output"),
    [
        ("adding", 1 / 6, 0.9216, [1.0]),
        ("delayed-recall", math.log(4), 0.75, [0.0] * 4),
        ("temporal-order", math.log(4), 0.75, [0.0] * 4),
    ],
)
def test_baselines_by_simulation(name: str, loss: float, wrong: float, output: list[float]) -> None:
    task = long_range(name, 30)
    targets = batch_of(task, MANY).targets
    outputs = torch.tensor([output]).expand(MANY, -1)
    assert task.baseline_loss == pytest.approx(loss)
    assert task.baseline_wrong == pytest.approx(wrong)
    # Standard error of the mean squared error: sqrt(Var (s - 1)^2 / 20 000) = 0.0014.
    assert task.loss(outputs, targets).item() == pytest.approx(loss, abs=0.005)
    assert task.wrong(outputs, targets).float().mean().item() == pytest.approx(wrong, abs=0.012)


def test_the_constant_1_is_the_best_that_knows_no_input_of_adding() -> None:
    task = long_range("adding", 30)
    targets = batch_of(task, MANY).targets
    assert targets.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_right_answers_solve_it_and_the_baseline_does_not(name: str) -> None:
    task = long_range(name, 20)
    targets = batch_of(task, 1000).targets
    right = targets if name == "adding" else torch.nn.functional.one_hot(targets, 4).float()
    assert task.solved(right, targets)
    assert not task.solved(torch.ones_like(right), targets)


@pytest.mark.parametrize(("mistakes", "solved"), [(9, True), (10, False)])
@pytest.mark.parametrize("name", sorted(TASKS))
def test_one_wrong_in_a_hundred_is_too_much(name: str, mistakes: int, solved: bool) -> None:
    task = long_range(name, 20)
    targets = batch_of(task, 1000).targets
    outputs = targets.clone() if name == "adding" else torch.eye(4)[targets]
    outputs[:mistakes] = outputs[:mistakes] + 0.041 if name == "adding" else torch.nan
    assert int(task.wrong(outputs, targets).sum()) == mistakes
    assert task.solved(outputs, targets) is solved


def test_a_sum_that_is_nan_is_wrong() -> None:
    task = long_range("adding", 20)
    targets = batch_of(task, 3).targets
    assert bool(task.wrong(torch.full_like(targets, math.nan), targets).all())


@pytest.mark.parametrize("name", sorted(TASKS))
def test_same_seed_same_batches_and_another_seed_others(name: str) -> None:
    task = long_range(name, 20)
    once, again, other = (
        [batch.inputs for batch in islice(task.batches(8, seed), 3)] for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(once, other, strict=True))
    assert not torch.equal(once[0], once[1])


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_global_random_state_is_left_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    next(long_range(name, 20).batches(8, seed=3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_name_lists_the_known_ones() -> None:
    known = "adding, delayed-recall, temporal-order"
    with pytest.raises(CarouselError, match=f"'copy'; choose one of: {known}"):
        long_range("copy", 20)


@pytest.mark.parametrize(("name", "least"), [("adding", 1), ("temporal-order", 8)])
def test_a_lag_that_is_too_short_is_refused(name: str, least: int) -> None:
    assert long_range(name, least).lag_steps == least
    for lag in (least - 1, -3, 20.0):
        with pytest.raises(CarouselError, match=f"lags of {least} steps or more.*{lag}"):
            long_range(name, lag)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "least"), [("delayed-recall", 2), ("temporal-order", 10)])
def test_sequences_that_are_too_short_are_refused(name: str, least: int) -> None:
    with pytest.raises(CarouselError, match=f"at least {least} steps.*steps is {least - 1}"):
        TASKS[name](least - 1)
