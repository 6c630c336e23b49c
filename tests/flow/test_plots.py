"""Pictures: the lines are the measured numbers, and what is no number has a mark of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from statistics import median_high, median_low

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from tests.cases import Case, Problem, few
from tests.report import flows
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import Category, LayerFlow
from carousel.flow._plots import _lag_categories
from carousel.flow._strips import HATCHES

mpl.use("agg")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def line(ax: Axes, label: str) -> np.ndarray:
    """The y of the line with this label."""
    (found,) = [line for line in ax.lines if str(line.get_label()).startswith(label)]
    return np.asarray(found.get_ydata(), dtype=float)


def strips(ax: Axes) -> dict[str, list[tuple[float, float, str]]]:
    """Where each category is marked: (begin, end, hatch) in steps, by the name of the strip."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for area in ax.collections:
        name = str(area.get_label())
        if area.get_hatch():
            xs = area.get_paths()[0].vertices[:, 0]
            found.setdefault(name.lstrip("_"), []).append((xs.min(), xs.max(), area.get_hatch()))
    return found


def median(layer: LayerFlow, name: str) -> list[float]:
    """Of the numbers and zeros at each step; between a zero and a number, the number."""
    found = []
    for row, there in zip(layer.log10_norm(name), layer.trace.valid, strict=True):
        low, high = (of(row[there].tolist()) for of in (median_low, median_high))
        found.append(high if math.isinf(low) else (low + high) / 2)
    return found


@pytest.mark.parametrize("case", few()[::3], ids=lambda case: case.id)
def test_the_lines_are_the_medians_over_the_sequences(case: Case) -> None:
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        for state in "hc" if layer.c is not None else "h":
            ax = layer.plot.gradient(state)
            for label, name in (("total", f"d_{state}"), ("injected", f"d_{state}_injected")):
                expected = [math.nan if math.isinf(x) else x for x in median(layer, name)]
                np.testing.assert_allclose(line(ax, label), expected, rtol=1e-12)
            assert layer.name in ax.get_title(loc="left")
            assert ax.get_xlabel() == "step t"
            assert "loss per unit" in ax.get_ylabel()
            plt.close(ax.figure)


def test_total_and_injected_are_two_lines() -> None:
    """Loss on the last step: the total reaches back, the injected part is zero before it."""
    ax = flows.tenth()["rnn.l0"].plot.gradient()
    np.testing.assert_allclose(line(ax, "total"), np.arange(-19, 1), atol=1e-6)
    injected = line(ax, "injected")
    assert np.isnan(injected[:-1]).all()
    assert injected[-1] == 0
    assert strips(ax) == {"injected: zero": [(-0.5, 18.5, HATCHES[Category.ZERO])]}


def test_five_categories_have_five_marks() -> None:
    layer = flows.categories()["rnn.l0"]
    found = strips(layer.plot.gradient())
    for kind in Category:
        if kind is Category.VALUE:
            continue
        name = {"NAN": "NaN"}.get(kind.name, kind.name.lower())
        label = name if kind is Category.PADDING else f"total: {name}"
        steps = np.flatnonzero((layer.category("d_h") == kind).any(dim=1).numpy())
        marked = found[label]
        assert (marked[0][0], marked[-1][1]) == (steps[0] - 0.5, steps[-1] + 0.5)
        assert {hatch for _, _, hatch in marked} == {HATCHES[kind]}
    assert len(set(HATCHES.values())) == len(HATCHES) == 5


def test_all_and_some_of_the_sequences_differ_in_height() -> None:
    layer = flows.categories()["rnn.l0"]
    heights = {}
    for area in layer.plot.gradient().collections:
        if area.get_hatch():
            ys = area.get_paths()[0].vertices[:, 1]
            heights.setdefault(str(area.get_label()), set()).add(round(float(np.ptp(ys)), 6))
    assert len(heights["_injected: zero"]) == 2
    assert heights["_total: infinite"] == {min(heights["_injected: zero"])}


def test_strips_stay_below_the_lines() -> None:
    ax = flows.categories()["rnn.l0"].plot.gradient()
    low, high = ax.get_ylim()
    lowest = min(np.nanmin(line(ax, label)) for label in ("total", "injected"))
    top = max(
        area.get_paths()[0].vertices[:, 1].max() for area in ax.collections if area.get_hatch()
    )
    assert (lowest - low) / (high - low) > top


def test_a_gradient_far_beyond_float64_is_drawn_where_it_is() -> None:
    layer = flows.tenth(500)["rnn.l0"]
    ax = layer.plot.gradient()
    np.testing.assert_allclose(line(ax, "total"), np.arange(-499, 1), atol=1e-4)
    notes = {text.get_text() for text in ax.texts}
    assert "smallest normal float32" in notes
    assert strips(ax)["total: underflow"][0][:2] == (-0.5, 461.5)


def test_the_band_holds_most_sequences() -> None:
    layer = flows.lstm()["l0"]
    ax = layer.plot.gradient()
    band = ax.collections[0].get_paths()[0].vertices
    expected = np.quantile(layer.log10_norm("d_h").numpy(), [0.1, 0.9], axis=1)
    for step in (0, 17, 39):
        ys = band[band[:, 0] == step, 1]
        np.testing.assert_allclose([ys.min(), ys.max()], expected[:, step], rtol=1e-12)


def test_the_jacobian_plot_shows_the_norms_by_lag() -> None:
    layer = flows.lstm()["l0"]
    ax = layer.plot.jacobian()
    expected = np.median(layer.jacobian_norms().log10.numpy(), axis=1)
    np.testing.assert_allclose(line(ax, "product"), expected, rtol=1e-12)
    assert "(h, c)" in ax.get_ylabel()
    rate = np.diff(line(ax, "horizon: halves")) * math.log(10)
    np.testing.assert_allclose(rate, layer.horizon().rate)
    assert f"horizon: halves every {layer.horizon().half_life:.3g} steps" in [
        t.get_text() for t in ax.texts
    ]
    other = line(layer.plot.jacobian("frobenius"), "product")
    assert (other >= expected).all()
    assert (other > expected + 0.01).any()


def test_a_growing_and_a_level_product_say_so() -> None:
    grows = flows.decaying(weight=2.0, steps=40, loss=lambda output, _: output[-1].sum())
    level = flows.decaying(weight=1.0, steps=40, loss=lambda output, _: output[-1].sum())
    assert "horizon: doubles every 1 steps" in labels(grows["rnn.l0"].plot.jacobian())
    assert "horizon: no measurable decay" in labels(level["rnn.l0"].plot.jacobian())


def labels(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_lags_that_are_not_there_are_padding() -> None:
    layer = flows.categories()["rnn.l0"]
    kinds = _lag_categories(layer, layer.jacobian_norms().log10)
    lags = torch.arange(flows.STEPS).unsqueeze(1)
    assert torch.equal(kinds == Category.PADDING, lags >= layer.lengths)
    assert set(strips(layer.plot.jacobian())) == {"infinite", "padding"}


def test_lags_across_a_changed_state_are_padding_and_a_nan_is_not() -> None:
    """Calls of 4 steps, between which the state of the second sequence is rescaled."""
    rnn = nn.RNN(2, 3)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rnn

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, h = self.rnn(x)
            h = h * torch.tensor([1.0, 0.5]).unsqueeze(1)
            return self.rnn(x, h)[0].sum()

    model = Model()
    layer = carousel.measure(model, lambda: model(torch.randn(4, 2, 2)))["rnn.l0"]
    assert layer.boundaries == (4,)
    log10 = layer.jacobian_norms().log10
    assert log10.isnan().any(), "the test needs a product that cannot be followed"
    kinds = _lag_categories(layer, log10)
    assert torch.equal(kinds == Category.PADDING, log10.isnan())
    log10[0, 0] = math.nan
    assert _lag_categories(layer, log10)[0, 0] == Category.NAN


def test_a_product_that_is_zero_has_a_strip() -> None:
    layer = flows.one_nan_in(30)["rnn.l0"]
    ax = layer.plot.jacobian()
    assert strips(ax)["zero"] == [(0.5, 29.5, HATCHES[Category.ZERO])]


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("shape", [{"steps": 1}, {"batch": 1}, {"steps": 1, "batch": 1}])
def test_one_step_and_one_sequence(cell: str, shape: dict[str, int]) -> None:
    problem = Problem(Case(cell=cell, **shape))
    layer = carousel.measure(problem.module, lambda: problem.loss("output"))["l0"]
    for ax in (layer.plot.gradient(), layer.plot.jacobian()):
        ax.figure.draw_without_rendering()
        assert ax.lines


@pytest.mark.parametrize("gradient", ["full", "1997"])
@pytest.mark.parametrize("variant", ["1997", "peephole", "cifg", "niaf"])
def test_layers_of_our_own_in_both_directions(variant: str, gradient: str) -> None:
    torch.manual_seed(0)
    lstm = carousel.LSTM(3, 5, variant=variant, gradient=gradient, bidirectional=True)
    flow = carousel.measure(lstm, lambda: lstm(torch.randn(12, 4, 3))[0].square().sum())
    for layer in flow.layers.values():
        for state in "hc":
            ax = layer.plot.gradient(state)
            np.testing.assert_allclose(line(ax, "total"), median(layer, f"d_{state}"), rtol=1e-12)
        assert ("last step to the first" in ax.get_title(loc="left")) == (
            layer.direction == "reverse"
        )


def test_nothing_but_nan_can_be_drawn() -> None:
    rnn = nn.RNN(2, 3)
    layer = carousel.measure(rnn, lambda: float("nan") * rnn(torch.randn(5, 2, 2))[0].sum())["l0"]
    ax = layer.plot.gradient()
    assert "no number to draw" in labels(ax)
    assert set(strips(ax)) == {"total: NaN", "injected: NaN"}
    ax.figure.draw_without_rendering()


def test_calls_are_separated_and_long_sequences_joined() -> None:
    called = flows.called(3)["l0"].plot.gradient()
    assert [x for line in called.lines for x in {*line.get_xdata()}].count(1.5) == 1
    long = flows.one_nan_in(3000)["rnn.l0"].plot.gradient()
    assert len(line(long, "total")) == 1000
    assert strips(long)["total: NaN"][0][:2] == (-0.5, 2.5)


def test_the_axes_given_are_used_and_settings_left_alone() -> None:
    layer = flows.lstm()["l0"]
    before = dict(mpl.rcParams)
    figure, (left, right) = plt.subplots(1, 2)
    assert layer.plot.gradient(ax=left) is left
    assert layer.plot.jacobian(ax=right) is right
    figure.draw_without_rendering()
    assert dict(mpl.rcParams) == before
    assert len(plt.get_fignums()) == 1


def test_a_dollar_in_a_name_is_no_mathematics() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("a$b$_^", nn.RNN(2, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return next(self.children())(x)[0].sum()

    model = Odd()
    (layer,) = carousel.measure(model, lambda: model(torch.randn(4, 2, 2))).layers.values()
    layer.plot.gradient().figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flows.lstm()["l0"].plot.gradient("x"), "h or c for l0.*got 'x'"),
        (lambda: flows.tenth()["rnn.l0"].plot.gradient("c"), "h for rnn.l0.*got 'c'"),
        (lambda: flows.lstm()["l0"].plot.gradient(ax=plt.figure()), "axes.*got Figure"),
        (lambda: flows.lstm()["l0"].plot.jacobian("nuclear"), "no norm 'nuclear'"),
    ],
)
def test_what_is_refused(call: object, message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        call()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(CarouselError, match=r"pip install 'carousel-rnn\[plots\]'"):
        flows.lstm()["l0"].plot.gradient()
