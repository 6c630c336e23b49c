"""The pictures show the numbers of the closed forms, and leave the user's settings alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from carousel import CarouselError, theory

mpl.use("agg")
PLOTS: dict[str, Callable[[Axes | None], Axes]] = {
    "power": lambda ax: theory.plot_power(ax=ax),
    "product": lambda ax: theory.plot_product(ax=ax),
    "largest factor": lambda ax: theory.plot_largest_factor(ax=ax),
    "forget gate": lambda ax: theory.plot_forget_gate(ax=ax),
    "bound": lambda ax: theory.plot_bound(theory.vanishes(3.0, "sigmoid"), ax=ax),
}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_draws_named_axes_and_returns_them(name: str) -> None:
    before = dict(mpl.rcParams)
    _, ax = plt.subplots()
    assert PLOTS[name](ax) is ax
    made = PLOTS[name](None)
    assert made is not ax
    for drawn in (ax, made):
        assert drawn.get_xlabel()
        assert drawn.get_ylabel()
        assert drawn.get_title(loc="left")
        assert len(drawn.lines) >= 1
    made.figure.draw_without_rendering()
    assert dict(mpl.rcParams) == before


def test_the_power_plot_shows_the_powers() -> None:
    ax = theory.plot_power((0.5, 2.0), steps=20)
    falling, growing = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(falling, [theory.log10_power(0.5, k) for k in range(21)])
    np.testing.assert_allclose(growing, -np.array(falling))
    labels = [text.get_text() for text in ax.texts]
    assert labels == [r"0.5: 9.5$\times10^{-7}$ after 20", "2: 1,048,576 after 20"]


def test_the_product_plot_goes_back_in_time_beyond_float64() -> None:
    ax = theory.plot_product((0.01,), steps=300, initial=0.2)
    product = theory.scalar_product(0.01, 300, initial=0.2)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), product.log10_to_end.flip(0))
    assert ax.lines[0].get_ydata()[-1] < -700
    assert any("10^{-" in tick.get_text() for tick in ax.get_yticklabels())


def test_the_largest_factor_is_marked() -> None:
    ax = theory.plot_largest_factor()
    assert "0.224 at w = 1.5434" in [text.get_text() for text in ax.texts]
    curve = ax.lines[0].get_ydata()
    assert max(curve) == pytest.approx(theory.largest_factor().factor, abs=1e-5)


def test_the_forget_gates_that_people_set_are_marked() -> None:
    words = " ".join(text.get_text() for text in theory.plot_forget_gate().texts)
    for known in ("b = 1: f = 0.7311, 3.192 steps", "f = 0.9, 9.491 steps", "999.5 steps"):
        assert known in words


def test_the_bound_lies_over_other_lines_without_moving_them() -> None:
    ax = theory.plot_product((3.0,), steps=30)
    limits = (ax.get_xlim(), ax.get_ylim(), ax.get_title(loc="left"))
    theory.plot_bound(theory.vanishes(3.0, "sigmoid"), steps=30, ax=ax)
    assert (ax.get_xlim(), ax.get_ylim(), ax.get_title(loc="left")) == limits
    below, bound = (np.array(line.get_ydata()) for line in ax.lines)
    assert (below <= bound).all()


def test_labels_stay_inside_the_axes() -> None:
    ax = theory.plot_power((0.5, 0.9, 0.99, 1.0, 1.1), steps=100)
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert frame.x0 - 1 <= box.x0
        assert box.x1 <= frame.x1 + 1


def test_dark_grounds_have_light_lines() -> None:
    with plt.style.context("dark_background"):
        dark = theory.plot_power()
    light = theory.plot_power()
    assert to_hex(light.lines[0].get_color()) == "#1d5fa6"
    assert to_hex(dark.lines[0].get_color()) == "#7ab8ff"


def test_no_number_to_draw() -> None:
    ax = theory.plot_product((0.0,), steps=0)
    assert ax.lines[0].get_ydata().tolist() == [0.0]
    empty = theory.plot_bound(theory.vanishes(0.0), steps=3)
    assert empty.lines[0].get_ydata()[0] == 0.0
    assert math.isnan(empty.lines[0].get_ydata()[1])


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(CarouselError, match=r"pip install 'carousel-rnn\[plots\]'"):
        theory.plot_power()


def test_something_else_than_axes_is_refused() -> None:
    with pytest.raises(CarouselError, match=r"axes of matplotlib.*got Figure"):
        theory.plot_power(ax=plt.figure())


@pytest.mark.parametrize("bound", [0.5, None, "tanh"])
def test_a_bound_that_is_none_is_refused(bound: object) -> None:
    with pytest.raises(CarouselError, match=r"theory\.vanishes.*plot_bound\(vanishes\(0\.5\)\)"):
        theory.plot_bound(bound)  # type: ignore[arg-type]
