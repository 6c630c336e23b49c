"""Pictures of paths, spectra, items, truncation, terms and Omega draw what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from tests.cases import Case, Problem, few
from tests.report import flows
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import Category, LayerFlow
from carousel.flow._plot_itemised import matrix_of
from carousel.flow._plot_paths import pooled_shares
from carousel.flow._strips import HATCHES

mpl.use("agg")

PICTURES: dict[str, Callable[..., Axes]] = {
    "paths": lambda layer, ax=None: layer.plot.paths(ax=ax),
    "spectrum": lambda layer, ax=None: layer.plot.spectrum(ax=ax),
    "itemised": lambda layer, ax=None: layer.plot.itemised(ax=ax),
    "truncation": lambda layer, ax=None: layer.plot.truncation(ax=ax),
    "terms": lambda layer, ax=None: layer.plot.parameter_terms("weight_hh", ax=ax),
    "omega": lambda layer, ax=None: layer.plot.omega(ax=ax),
}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def measured(
    module: nn.Module, steps: int = 30, batch: int = 4, dtype: torch.dtype = torch.float32
) -> LayerFlow:
    """The last layer, with a random loss at every step."""
    torch.manual_seed(0)
    module = module.to(dtype)
    x = torch.randn(steps, batch, 3, dtype=dtype)

    def loss() -> torch.Tensor:
        output, _ = module(x)
        return (output * torch.randn_like(output)).sum()

    flow = carousel.measure(module, loss)
    return list(flow.layers.values())[-1]


def line(ax: Axes, label: str) -> np.ndarray:
    (found,) = [line for line in ax.lines if str(line.get_label()).startswith(label)]
    return np.asarray(found.get_ydata(), dtype=float)


def hatched(ax: Axes) -> dict[str, str]:
    return {
        str(area.get_label()).lstrip("_"): area.get_hatch()
        for area in ax.collections
        if area.get_hatch()
    }


def words(ax: Axes) -> str:
    return "\n".join(text.get_text() for text in ax.texts)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("case", few()[::4], ids=lambda case: case.id)
def test_every_picture_of_every_kind_of_layer(case: Case, name: str) -> None:
    problem = Problem(case)
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    for layer in flow.layers.values():
        ax = PICTURES[name](layer)
        ax.figure.draw_without_rendering()
        assert layer.name in ax.get_title(loc="left")
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        plt.close(ax.figure)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("shape", [{"steps": 1}, {"batch": 1}, {"steps": 1, "batch": 1}])
def test_one_step_and_one_sequence(name: str, shape: dict[str, int]) -> None:
    PICTURES[name](measured(nn.LSTM(3, 5), **shape)).figure.draw_without_rendering()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("layer", [flows.categories, lambda: flows.one_nan_in(30), flows.tenth])
def test_what_is_no_number(name: str, layer: Callable[[], carousel.Flow]) -> None:
    PICTURES[name](layer()["rnn.l0"]).figure.draw_without_rendering()


@pytest.mark.parametrize("name", PICTURES)
def test_the_axes_given_are_used_and_settings_left_alone(name: str) -> None:
    layer = measured(nn.GRU(3, 4), steps=20)
    before = dict(mpl.rcParams)
    figure, panels = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    assert PICTURES[name](layer, panels[0, 1]) is panels[0, 1]
    figure.draw_without_rendering()  # a layout that collapses would warn
    assert dict(mpl.rcParams) == before
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 5),
        nn.LSTM(3, 5, proj_size=2, bidirectional=True),
        nn.GRU(3, 5),
        nn.RNN(3, 5),
        carousel.LSTM(3, 5, variant="peephole"),
        carousel.LSTM(3, 5, variant="cifg", bidirectional=True),
    ],
    ids=["lstm", "projected", "gru", "rnn", "peephole", "cifg"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shares_are_those_of_the_batch_as_one_vector(module: nn.Module, dtype: torch.dtype) -> None:
    found = measured(module, dtype=dtype).paths()
    shares = pooled_shares(found, 1000)
    assert tuple(shares) == found.names
    total = found.total.double()
    for name, share in shares.items():
        expected = (found.parts[name].double() * total).sum((1, 2)) / total.square().sum((1, 2))
        np.testing.assert_allclose(share, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(sum(shares.values()), 1.0, atol=1e-5)


def test_bins_of_shares_are_pooled_too() -> None:
    found = measured(nn.LSTM(3, 5), steps=31).paths()
    total, part = (t.double() for t in (found.total, found.parts["f"]))
    inner, square = ((one * total).sum((1, 2)) for one in (part, total))
    expected = [
        float(inner[at : at + 4].sum() / square[at : at + 4].sum()) for at in range(0, 31, 4)
    ]
    np.testing.assert_allclose(pooled_shares(found, 10)["f"], expected, atol=1e-6)


def test_paths_draw_the_total_the_carousel_and_areas_that_add_up() -> None:
    layer = measured(nn.LSTM(3, 5))
    ax = layer.plot.paths()
    for label, name in (("total", "total"), ("carousel", "carousel")):
        expected = layer.paths().log10_norm(name).quantile(0.5, dim=1)
        np.testing.assert_allclose(line(ax, label), expected, rtol=1e-9)
    shares = pooled_shares(layer.paths(), 1000)
    areas = {
        str(area.get_label()).removeprefix("_share "): area.get_paths()
        for area in ax.collections
        if str(area.get_label()).startswith("_share ")
    }
    assert set(areas) == set(shares)
    (zero,) = [text for text in ax.texts if text.get_text() == "0 %"]
    (whole,) = [text for text in ax.texts if text.get_text() == "100 %"]
    height = whole.get_position()[1] - zero.get_position()[1]
    direct = np.concatenate([path.vertices for path in areas["direct"]])
    for step in (3, 17):
        inside = direct[np.abs(direct[:, 0] - step) <= 0.5 + 1e-9]
        drawn = np.unique(np.abs(inside[:, 1] - zero.get_position()[1]).round(9)) / height
        assert np.isclose(drawn, abs(shares["direct"][step]), atol=1e-6).any()


def test_an_rnn_has_no_carousel_and_a_total_of_zero_no_share() -> None:
    layer = flows.tenth(30)["rnn.l0"]
    ax = layer.plot.paths()
    assert not [one for one in ax.lines if "carousel" in str(one.get_label())]
    assert "through the weights" in words(ax)
    rnn = nn.RNN(3, 4)
    zero = carousel.measure(rnn, lambda: rnn(torch.randn(8, 2, 3))[0][3].sum())["l0"]
    shares = pooled_shares(zero.paths(), 1000)["h"]
    assert np.isnan(shares[4:]).all()
    assert np.isfinite(shares[:4]).all()
    assert "zero" in hatched(zero.plot.paths())


def test_the_jacobian_has_the_carousel_beside_it() -> None:
    layer = measured(nn.LSTM(3, 5))
    expected = np.median(layer.carousel_share().log10_carousel.numpy(), axis=1)
    np.testing.assert_allclose(line(layer.plot.jacobian(), "carousel"), expected, rtol=1e-9)
    rnn = measured(nn.RNN(3, 5)).plot.jacobian()
    assert not [one for one in rnn.lines if "carousel" in str(one.get_label())]


def test_a_spectrum_shows_exponents_and_their_errors() -> None:
    layer = measured(nn.LSTM(3, 5), steps=80)
    found = layer.spectrum()
    ax = layer.plot.spectrum()
    (bars,) = ax.containers
    points, _, (errors,) = bars.lines
    np.testing.assert_array_equal(points.get_xdata(), np.arange(1, 11))
    np.testing.assert_allclose(points.get_ydata(), found.exponents)
    lengths = [np.ptp(segment[:, 1]) / 2 for segment in errors.get_segments()]
    np.testing.assert_allclose(lengths, found.standard_errors, atol=1e-12)
    assert f"Kaplan-Yorke dimension {found.kaplan_yorke:.3g} of 10" in words(ax)
    assert [one for one in ax.lines if set(one.get_ydata()) == {0.0}], "the zero line"
    assert len(layer.plot.spectrum(k=3).containers[0].lines[0].get_xdata()) == 3
    expanding = flows.categories()["rnn.l0"]  # whose dimension takes more than one exponent
    assert "1 of 6 exponents" in words(expanding.plot.spectrum(k=1))


def test_unresolved_exponents_have_a_strip_and_no_point() -> None:
    """Units that forget at once: two of six directions are mapped to zero."""
    layer = flows.categories()["rnn.l0"]
    exponents = layer.spectrum().exponents
    gone = int((exponents == -math.inf).sum())
    assert gone, "the test needs directions that are mapped to zero"
    ax = layer.plot.spectrum()
    assert hatched(ax) == {"-inf: unresolved": HATCHES[Category.ZERO]}
    (strip,) = [area for area in ax.collections if area.get_hatch()]
    xs = strip.get_paths()[0].vertices[:, 0]
    assert (xs.min(), xs.max()) == (6 - gone + 0.5, 6.5)
    assert len(ax.containers[0].lines[0].get_xdata()) == 6 - gone


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_matrix_holds_the_medians_where_a_loss_can_send(direction: str) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(3, 4, bidirectional=True)
    x = torch.nn.utils.rnn.pack_padded_sequence(
        torch.randn(12, 5, 3), torch.tensor([12, 12, 9, 7, 4])
    )
    flow = carousel.measure(gru, lambda: gru(x)[0].data.square().sum())
    layer = flow["l0" if direction == "forward" else "l0_reverse"]
    items = layer.itemised()
    matrix = matrix_of(layer, items, "h")
    for s in range(12):
        for t in range(12):
            there = (layer.lengths > s) & (layer.lengths > t)
            if s < t if direction == "forward" else s > t:
                assert matrix.kinds[s, t] == -1
                assert (items.log10_h[s, t] == -math.inf).all()
            else:
                expected = items.log10_h[s, t][there].quantile(0.5)
                np.testing.assert_allclose(matrix.log10[s, t], expected)
    ax = layer.plot.itemised()
    drawn = ax.collections[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(drawn, matrix.log10)


def test_categories_of_items_have_the_marks_of_the_strips() -> None:
    """From the last step alone 10^-lag comes back: zero for other losses, then underflow."""
    layer = flows.tenth(60)["rnn.l0"]
    ax = layer.plot.itemised()
    assert hatched(ax) == {"zero": HATCHES[Category.ZERO], "underflow": HATCHES[Category.UNDERFLOW]}
    matrix = matrix_of(layer, layer.itemised(), "h")
    np.testing.assert_allclose(matrix.log10[-1, 22:], np.arange(-37, 1), atol=1e-4)
    assert (matrix.kinds[-1, :21] == Category.UNDERFLOW).all()
    (under,) = [one for one in ax.collections if one.get_label() == "_underflow"]
    assert isinstance(under, PolyCollection)
    box = under.get_paths()[0].get_extents()
    assert (box.x0, box.y0, box.y1) == (-0.5, 58.5, 59.5)
    bar = ax.figure.axes[-1]
    assert bar.get_yticklabels()


def test_nan_infinity_and_padding_are_no_colours() -> None:
    layer = measured(nn.RNN(3, 4), steps=8)
    items = layer.itemised()
    items.log10_h[5, 2] = math.nan
    items.log10_h[6, 2] = 39.0
    matrix = matrix_of(layer, items, "h")
    assert matrix.kinds[5, 2] == Category.NAN
    assert matrix.kinds[6, 2] == Category.INFINITE
    assert np.isnan(matrix.log10[5:7, 2]).all()


def test_some_losses_have_rows_as_high_as_the_steps_between_them() -> None:
    layer = measured(nn.RNN(3, 4), steps=20)
    ax = layer.plot.itemised(losses=[19, 3, 9])
    assert ax.get_ylim() == (2.5, 19.5)
    mesh = ax.collections[0].get_coordinates()
    np.testing.assert_allclose(mesh[:, 0, 1], [2.5, 6.0, 14.0, 19.5])


def test_truncation_shows_the_curve_and_the_length() -> None:
    layer = measured(nn.LSTM(3, 5), dtype=torch.float64)
    ax = layer.plot.truncation()
    curve = layer.truncation_curve()
    bias = curve.relative.numpy()
    with np.errstate(divide="ignore"):
        expected = np.where(bias >= 1e-5, np.log10(bias), np.nan)
    drawn = line(ax, "all parameters")
    np.testing.assert_allclose(drawn[1:], expected, rtol=1e-9)
    assert math.isnan(drawn[0])
    np.testing.assert_allclose(
        line(ax, "weight_hh")[1], math.log10(curve.parameters["weight_hh"][0]), rtol=1e-9
    )
    assert f"at most 10 % from k = {layer.truncation_length(0.1)} on" in words(ax)


def test_terms_and_omega_are_drawn_as_measured() -> None:
    layer = measured(nn.GRU(3, 5))
    terms = layer.parameter_terms("weight_ih")
    ax = layer.plot.parameter_terms("weight_ih")
    np.testing.assert_allclose(line(ax, "term"), terms.log10_norms, rtol=1e-9)
    np.testing.assert_allclose(line(ax, "sum"), terms.log10_from_end, rtol=1e-9)
    ratio = layer.omega().log10_ratio.quantile(0.5, dim=1)
    np.testing.assert_allclose(line(layer.plot.omega(), "growth"), ratio, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda layer: layer.plot.itemised("c"), "h for l0.*got 'c'"),
        (lambda layer: layer.plot.spectrum(k=99), "k from 1 to 4"),
        (lambda layer: layer.plot.paths(ax=plt.figure()), "axes.*got Figure"),
    ],
)
def test_what_is_refused(call: Callable[[LayerFlow], Axes], message: str) -> None:
    with pytest.raises(CarouselError, match=message):
        call(measured(nn.RNN(3, 4), steps=6))


def broken(batch: int = 4, steps: int = 30) -> LayerFlow:
    """One sequence whose states are NaN from the middle on."""
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 5)
    x = torch.randn(steps, batch, 3)
    x[steps // 2, 0] = math.nan
    return carousel.measure(lstm, lambda: lstm(x)[0].square().sum())["l0"]


def test_nan_in_few_sequences_has_a_mark_over_the_number_of_the_others() -> None:
    layer = broken()
    ax = layer.plot.itemised()
    assert hatched(ax)["NaN in some"] == HATCHES[Category.NAN][:2]
    assert "NaN in some" in [text.get_text() for text in ax.get_legend().get_texts()]
    matrix = matrix_of(layer, layer.itemised(), "h")
    expected = layer.itemised().log10_h.isnan().any(-1).numpy() & (matrix.kinds >= 0)
    np.testing.assert_array_equal(matrix.some_nan, expected)
    assert np.isfinite(matrix.log10[expected]).all()
    assert expected.any()
    assert hatched(broken(batch=1).plot.itemised()) == {"NaN": HATCHES[Category.NAN]}


def test_a_spectrum_marks_sequences_that_are_not_finite() -> None:
    ax = broken().plot.spectrum()
    assert hatched(ax) == {"NaN: 1 of 4": HATCHES[Category.NAN]}
    assert "sequences not counted: 1" in words(ax)
    whole = measured(nn.LSTM(3, 5)).plot.spectrum()
    assert not hatched(whole)
    assert "not counted" not in words(whole)


def test_the_last_step_of_omega_is_no_padding() -> None:
    assert set(hatched(measured(nn.GRU(3, 4)).plot.omega())) == {"no step after"}
    both = nn.GRU(3, 4, bidirectional=True)
    assert set(hatched(measured(both).plot.omega())) == {"no step before"}
    ragged = flows.categories()["rnn.l0"].plot.omega()
    assert "no step after, padding" in hatched(ragged)


def test_lines_of_a_truncation_say_where_and_why_they_end() -> None:
    layer = measured(nn.LSTM(3, 5), steps=3, dtype=torch.float64)
    ax = layer.plot.truncation()
    bias = layer.truncation_curve().parameters["weight_hh"]
    assert int((bias > 1e-5).sum()) == 1, "the test needs a line of one point"
    (end,) = [one for one in ax.lines if one.get_label() == "_end weight_hh"]
    assert end.get_marker() == "v"
    np.testing.assert_allclose(end.get_xydata(), [[1, math.log10(bias[0])]])
    (end,) = [one for one in ax.lines if one.get_label() == "_end all parameters"]
    last = int((layer.truncation_curve().relative > 1e-5).nonzero()[-1]) + 1
    assert end.get_xdata() == [last]
    assert last > 1
    assert "triangle: below $10^{-5}$" in ax.get_xlabel()
    assert "weight_hh" in words(ax)


def test_a_truncation_with_nothing_to_draw_says_so_and_why() -> None:
    for layer, why in (
        (measured(nn.GRU(3, 5), steps=1), "no bias is above"),
        (broken(), "the gradient is not finite"),
    ):
        ax = layer.plot.truncation()
        assert "no number to draw" in words(ax)
        assert why in words(ax)
        assert "triangle" not in ax.get_xlabel()


@pytest.mark.parametrize("steps", [3, 12, 40, 200])
@pytest.mark.parametrize("module", [nn.LSTM(3, 5), nn.RNN(3, 5)], ids=["lstm", "rnn"])
def test_no_words_lie_on_the_line_of_ten_per_cent(module: nn.Module, steps: int) -> None:
    ax = measured(module, steps=steps, dtype=torch.float64).plot.truncation()
    ax.figure.draw_without_rendering()
    level = ax.transData.transform((1, -1))[1]
    (said,) = [text for text in ax.texts if text.get_text().startswith("at most")]
    box = said.get_window_extent()
    assert not box.y0 <= level <= box.y1
    for text in ax.texts:
        if text is not said:
            assert not text.get_window_extent().overlaps(box), text.get_text()
