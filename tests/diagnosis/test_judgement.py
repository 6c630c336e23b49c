"""The verdict, on trainings whose losses and flows are made up so that it is known."""

from __future__ import annotations

import math

import pytest
import torch

import carousel
from carousel.diagnosis import Reading, Trial
from carousel.diagnosis._judgement import judged, power

LAG = 10


def flow_of(w: float) -> carousel.Flow:
    """Return the flow of one linear unit, whose gradient is w to the power of the lag."""
    rnn = carousel.RNN(1, 1, nonlinearity="identity", bias=False).double()
    with torch.no_grad():
        rnn.weight_hh_l0.fill_(w)
    return carousel.measure(rnn, lambda: rnn(torch.ones(40, 3, 1).double())[0][-1].sum())


def trial(losses: list[float], w: float = 0.5, ended: str = "steps") -> Trial:
    reading = Reading(0, losses[0], flow_of(w))
    return Trial(None, tuple(losses), (), reading, reading, ended, 0.0)


def noisy(level: float, seed: int, spread: float = 0.01) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return [level + spread * float(torch.randn((), generator=generator)) for _ in range(80)]


def falling(level: float, seed: int) -> list[float]:
    """From 2 down to the level, and noise."""
    steps = noisy(level, seed)
    return [loss + (2.0 - level) * max(0.0, 1 - k / 40) for k, loss in enumerate(steps)]


def test_a_lower_loss_is_kept() -> None:
    found = judged(trial(falling(1.0, 1)), trial(falling(0.9, 2)), "l0", LAG)
    assert found.kept
    assert "the loss at the end is lower by 0.0" in found.reason or "lower by 0.1" in found.reason


def test_a_difference_that_no_training_made_is_no_gain() -> None:
    """Lower from the first step on, and neither of both comes down."""
    found = judged(trial(noisy(1.0, 1)), trial(noisy(0.9, 2)), "l0", LAG)
    assert not found.kept
    assert "from step 0 on" in found.reason
    assert judged(trial(falling(1.0, 1)), trial(noisy(0.9, 2)), "l0", None).kept is False
    # A start so good that training cannot widen it is lower all the same, where training goes on.
    better = [0.5 * loss for loss in falling(1.0, 2)]
    assert judged(trial(falling(1.0, 1)), trial(better), "l0", LAG).kept


def test_a_higher_loss_is_not_kept_whatever_the_gradient_does() -> None:
    found = judged(trial(noisy(1.0, 1)), trial(noisy(1.1, 2), w=1.0), "l0", LAG)
    assert not found.kept
    assert "higher by" in found.reason


@pytest.mark.parametrize(("factor", "kept"), [(9.9, False), (10.1, True)])
def test_the_same_loss_is_kept_for_its_gradient_from_a_factor_of_ten_on(
    factor: float, *, kept: bool
) -> None:
    before = trial(noisy(1.0, 1), w=0.7)
    found = judged(before, trial(noisy(1.0, 2), w=0.7 * factor ** (1 / LAG)), "l0", LAG)
    assert found.kept is kept, found.reason
    assert "the same within its interval" in found.reason


@pytest.mark.parametrize(("left", "kept"), [(0.95e-3, False), (1.05e-3, True)])
def test_what_is_still_gone_at_the_lag_is_no_gain(left: float, *, kept: bool) -> None:
    before = trial(noisy(1.0, 1), w=0.1)
    found = judged(before, trial(noisy(1.0, 2), w=left ** (1 / LAG)), "l0", LAG)
    assert found.kept is kept, found.reason


def test_nearer_to_one_is_better_from_above_too() -> None:
    before = trial(noisy(1.0, 1), w=2.0)
    assert judged(before, trial(noisy(1.0, 2), w=1.0), "l0", LAG).kept
    assert not judged(before, trial(noisy(1.0, 2), w=3.0), "l0", LAG).kept
    assert not judged(trial(noisy(1.0, 1), w=0.9), trial(noisy(1.0, 2), w=3.0), "l0", LAG).kept


def test_without_a_lag_the_rates_are_compared() -> None:
    before = trial(noisy(1.0, 1))
    assert judged(before, trial(noisy(1.0, 2), w=0.9), "l0", None).kept
    assert not judged(before, trial(noisy(1.0, 2), w=0.4), "l0", None).kept
    assert not judged(before, trial(noisy(1.0, 2), w=0.5), "l0", None).kept


def test_so_few_steps_tell_nothing_of_the_loss() -> None:
    found = judged(trial([1.0] * 7), trial([0.5] * 7), "l0", LAG)
    assert not found.kept
    assert "as far as so few steps can tell" in found.reason


def test_noise_does_not_hide_a_worse_training() -> None:
    """Higher by 0.3 in the mean, but so unsteadily that the interval holds zero."""
    before = trial([1.0] * 80)
    spikes = [1.0 + (6.0 if step == 70 else 0.0) for step in range(80)]
    found = judged(before, trial(spikes, w=1.0), "l0", LAG)
    assert not found.kept
    assert "cannot be told in so few steps: the loss at the end is the same" in found.reason


def test_spikes_do_not_hide_a_difference_that_is_always_there() -> None:
    """As where the loss without the remedy explodes now and then."""
    calm = falling(1.0, 1)
    spiky = [loss + 2.0 + (1000.0 if step == 70 else 0.0) for step, loss in enumerate(calm)]
    assert judged(trial(spiky, w=2.0), trial(calm, w=1.0), "l0", LAG).kept
    assert not judged(trial(calm), trial(spiky, w=1.0), "l0", LAG).kept
    at_times = [loss + (3.0 if step % 7 == 0 else -0.4) for step, loss in enumerate(calm)]
    found = judged(trial(at_times), trial(calm), "l0", LAG)
    assert "the same within its interval" in found.reason


def test_the_data_is_paired_so_common_noise_does_not_hide_a_gain() -> None:
    shared = noisy(1.0, 1, spread=1.0)
    lower = [loss - 0.001 for loss in shared]
    begun = [2.0, *shared[1:]], [2.0, *lower[1:]]
    assert judged(trial(begun[0]), trial(begun[1]), "l0", LAG).kept
    assert not judged(trial(begun[1]), trial(begun[0]), "l0", LAG).kept


def test_breaking_off() -> None:
    whole, broken = trial(noisy(1.0, 1)), trial([1.0, 1.0], ended="not finite")
    assert not judged(whole, broken, "l0", LAG).kept
    assert judged(broken, whole, "l0", LAG).kept
    late = trial(noisy(0.1, 3)[:79], ended="not finite")
    assert not judged(late, whole, "l0", LAG).kept  # for 79 steps it was the better one
    assert not judged(broken, broken, "l0", LAG).kept


def test_an_exact_zero_and_what_becomes_of_it() -> None:
    before, zero = trial(noisy(1.0, 1)), trial(noisy(1.0, 2), w=0.0)
    assert not judged(before, zero, "l0", LAG).kept
    found = judged(zero, trial(noisy(1.0, 1), w=0.9), "l0", LAG)
    assert found.kept
    assert "instead of exactly zero" in found.reason


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (0.0, "1"),
        (math.log(0.031), "0.031"),
        (-400 * math.log(10) + math.log(2.4), "2.4e-400"),
        (math.log(2.5e7), "2.5e+7"),
        (-math.inf, "exactly zero"),
        (math.nan, "NaN"),
    ],
)
def test_factors_of_any_size_in_words(log: float, words: str) -> None:
    assert power(log) == words
