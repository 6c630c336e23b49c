"""The lesson's numbers, and that what its prose says of them is so."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from statistics import median
from typing import Any

import pytest
import torch

from carousel import measure, theory
from carousel.learn import Lesson, LessonRequest, Settings, explore, lesson
from carousel.learn._lesson import KEPT
from carousel.learn._lesson_networks import measured
from carousel.learn._settings import Network, loss_of, network, signal
from carousel.serve._api import answer


@pytest.fixture(scope="module")
def numbers() -> Lesson:
    return lesson(LessonRequest())


def test_the_seeds_numbers(numbers: Lesson) -> None:
    powers, slopes = numbers.powers, numbers.slopes
    assert powers.below.exact == 0.5**20
    assert powers.above.exact == 1_048_576
    assert powers.one.exact == 1
    assert powers.below.after == pytest.approx(20 * math.log10(0.5), abs=1e-5)
    assert (round(slopes.weight, 4), round(slopes.factor, 3)) == (1.5434, 0.224)
    assert (slopes.sigmoid, slopes.tanh, slopes.must_vanish_below) == (0.25, 1, 4)
    assert round(numbers.gates.ten.f, 5) == 0.99995


def test_float32_ends_where_the_lesson_says(numbers: Lesson) -> None:
    number = torch.finfo(torch.float32)
    powers = numbers.powers
    assert 0.5 ** (powers.lost_steps - 1) == number.tiny > 0.5**powers.lost_steps
    assert 2.0 ** (powers.overflow_steps - 1) <= number.max < 2.0**powers.overflow_steps


def test_a_unit_with_tanh_loses_what_it_gains_without(numbers: Lesson) -> None:
    slopes = numbers.slopes
    h, product = slopes.start, 1.0
    for _ in range(numbers.powers.steps):
        h = math.tanh(slopes.large_weight * h)
        product *= slopes.large_weight * (1 - h * h)
    assert slopes.squashed_after == pytest.approx(math.log10(product), abs=1e-4)
    assert slopes.rests_at == pytest.approx(h)


def test_forget_gates(numbers: Lesson) -> None:
    gates = numbers.gates
    assert gates.nine.f == pytest.approx(0.9)
    assert gates.nine.after == pytest.approx(50 * math.log10(0.9), abs=1e-5)
    assert round(gates.unit.horizon_steps, 2) == 3.19
    assert round(gates.chrono_100.horizon_steps, 2) == 99.50
    assert gates.ten.slope == pytest.approx(gates.ten.f * (1 - gates.ten.f))
    assert len(gates.biases) == len(gates.horizons)
    found = theory.forget_gate(gates.bias_for_100).horizon_steps
    assert found == pytest.approx(100)


def test_total_and_injected(numbers: Lesson) -> None:
    both = numbers.doubling
    assert both.total == (4, 2, 1)
    assert both.injected == (0, 0, 1)
    assert set(both.real_injected[:-1]) == {"zero"}
    assert all(isinstance(level, float) for level in both.real_total)
    assert len(both.real_total) == both.steps


def test_the_carousel_of_1997_is_constant_and_its_state_grows(numbers: Lesson) -> None:
    constant = numbers.constant
    assert (constant.smallest, constant.largest) == (1, 1)
    assert isinstance(constant.full, float)
    assert constant.full > 0  # the full gradient grows on the way back, as the prose says
    assert constant.size > 20 * constant.size_forget


def test_one_step_is_the_sum_of_its_terms(numbers: Lesson) -> None:
    flow, _, _ = measured(Network(forget_bias=3.0), numbers.one_step.seed)
    terms = {term.name: term.bias_3 for term in numbers.one_step.terms}
    assert list(terms) == ["direct", "i", "f", "g", "total"]
    total = torch.linalg.matrix_norm(flow.step_terms(numbers.one_step.step).total[0].double(), 2)
    assert terms["total"] == pytest.approx(float(total))
    # The largest of diag(f) is the largest gate; both are of the same step.
    assert terms["direct"] == pytest.approx(numbers.one_step.largest_forget)
    assert max(terms[gate] for gate in "ifg") < terms["direct"] / 2


def test_a_reach_recomputed_with_nothing_but_autograd(numbers: Lesson) -> None:
    """The tanh RNN with the first seed: within what was found for all of them."""
    steps = numbers.steps
    layer = network(Network("rnn-tanh"), steps, 0)
    cell = torch.nn.RNNCell(numbers.inputs, numbers.hidden)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: layer.get_parameter(f"{name}_l0").detach() for name in names})
    states = [torch.zeros(1, numbers.hidden, requires_grad=True)]
    for x_t in signal(Settings(steps=steps, seed=0)):
        states.append(cell(x_t, states[-1]))
    gradients = torch.autograd.grad(loss_of(torch.stack(states[1:]), "last"), states[1:])
    norms = [float(one.double().norm()) for one in gradients][::-1]
    reach = next(lag for lag, norm in enumerate(norms) if norm < 1e-3 * norms[0])
    assert numbers.reach.rnn.least_steps <= reach <= numbers.reach.rnn.most_steps


def test_what_the_prose_claims_of_the_networks(numbers: Lesson) -> None:
    reach = numbers.reach
    for found in vars(reach).values():
        assert found.least_steps <= found.reach_steps <= found.most_steps
    # "barely further than the RNN", "several times", "to the first step of every sequence"
    assert reach.rnn.most_steps < reach.lstm.least_steps < 2 * reach.rnn.most_steps
    assert reach.lstm_bias_1.least_steps > 2 * reach.lstm.most_steps
    assert reach.rnn_orthogonal.least_steps > 3 * reach.rnn.most_steps
    assert reach.lstm_bias_3.everywhere
    assert reach.lstm_chrono.everywhere
    # "further than the gate alone would carry"; with a bias of 3 the product does not decay
    assert reach.lstm_bias_1.horizon_steps is not None
    assert reach.lstm_bias_1.horizon_steps > numbers.gates.unit.horizon_steps
    assert reach.lstm_bias_3.horizon_steps is None
    assert abs(reach.lstm_bias_3.rate) < 0.05
    # "the whole network keeps more of it at each step than its gate alone"
    assert numbers.gates.unit.f < reach.lstm_bias_1.each_step < 1


def test_what_the_prose_claims_of_clipping(numbers: Lesson) -> None:
    clipping = numbers.clipping
    assert clipping.norm * clipping.factor == pytest.approx(clipping.limit, rel=1e-4)
    assert isinstance(clipping.growth, float)
    assert isinstance(clipping.vanished, float)
    assert clipping.growth > 1
    assert clipping.vanished < -20
    # Over 100 steps, almost all of it comes from the last few.
    assert clipping.window_steps < 10


def test_the_carousel_fades_more_than_the_whole(numbers: Lesson) -> None:
    """||dL/dc|| by lag is what the figure beside it draws; the whole is the larger one."""
    step = numbers.one_step
    drawn = [
        explore(replace(numbers.presets.bias_3, seed=seed)).second for seed in range(numbers.seeds)
    ]
    for share in step.shares:
        for found, name in ((share.carousel, "carousel"), (share.full, "d_c")):
            curves: list[Any] = [getattr(one, name) for one in drawn]
            falls = [curve[-1 - share.lag] - curve[-1] for curve in curves]
            assert found == pytest.approx(median(falls), abs=2e-5)
        assert isinstance(share.carousel, float)
        assert isinstance(share.full, float)
        assert share.carousel < share.full < 0
    carousel = [10.0 ** float(share.carousel) for share in step.shares]
    assert carousel[0] == pytest.approx(0.95, abs=0.01)  # a product of gates near sigma(3)
    assert step.lag == 100
    assert carousel[-1] < 0.02
    assert step.gain == pytest.approx(float(step.shares[-1].full) - float(step.shares[-1].carousel))


def test_both_as_torch_draws_them_are_lost_in_float32(numbers: Lesson) -> None:
    step = numbers.one_step
    found = explore(numbers.presets.torch)
    left = [float(one[0]) - float(one[-1]) for one in (found.first.d_h, found.second.d_c)]
    assert [step.rnn_left, step.torch_left] == pytest.approx(left, abs=2e-5)
    assert step.torch_gain == pytest.approx(left[1] - left[0], abs=2e-5)
    assert max(left) < numbers.doubling.smallest_log10


def test_the_presets_are_settings_that_the_explorer_takes(numbers: Lesson) -> None:
    for preset in vars(numbers.presets).values():
        answer("explore", asdict(preset))


def test_measured_once_and_not_kept_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carousel.learn._lesson.KEPT", [])

    def leave() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        lesson(LessonRequest(), leave)
    monkeypatch.setattr("carousel.learn._lesson.KEPT", KEPT)
    first = lesson(LessonRequest())
    assert lesson(LessonRequest(), leave) is first  # nothing is left to be measured


def test_measuring_leaves_no_trace_in_the_generator() -> None:
    before = torch.get_rng_state()
    measured(Network(), 0, 20)
    assert torch.equal(before, torch.get_rng_state())
    layer = network(Network(), 20, 0)
    measure(layer, lambda: loss_of(layer(signal(Settings(steps=20)))[0], "last"))
    assert all(p.grad is None for p in layer.parameters())
