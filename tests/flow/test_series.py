"""Quantities by step over the sequences: quantiles, shares of categories, and joined steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.report import flows

from carousel.flow import Category
from carousel.flow._series import Piece, series_of

INF = math.inf


def made(rows: list[list[float]], kinds: list[list[Category]], most_bins: int = 100):
    return series_of(
        torch.tensor(rows, dtype=torch.float64), torch.tensor(kinds, dtype=torch.int8), most_bins
    )


def test_median_and_band_of_numbers() -> None:
    series = made([[float(k) for k in range(11)]], [[Category.VALUE] * 11])
    assert (series.median[0], series.low[0], series.high[0]) == (5.0, 1.0, 9.0)
    assert series.met == ()


def test_what_is_no_number_is_counted_and_not_averaged() -> None:
    kinds = [Category.NAN, Category.PADDING, Category.VALUE, Category.ZERO, Category.UNDERFLOW]
    series = made([[math.nan, -INF, -1.0, -INF, -50.0]], [kinds])
    assert series.median[0] == -50.0
    shares = {kind: float(series.share(kind)[0]) for kind in Category}
    assert shares[Category.PADDING] == 1 / 5
    assert {shares[kind] for kind in kinds if kind != Category.PADDING} == {1 / 4}
    assert series.met == tuple(sorted(set(kinds) - {Category.VALUE}))


def test_nothing_but_nan_and_padding() -> None:
    series = made([[math.nan, -INF]], [[Category.NAN, Category.PADDING]])
    assert math.isnan(series.median[0])
    assert series.share(Category.NAN)[0] == 1
    assert series.share(Category.INFINITE)[0] == 0


def test_steps_are_joined_and_none_is_lost() -> None:
    """7 steps in at most 3 bins: widths 3, 3 and 1."""
    log10 = torch.arange(7, dtype=torch.float64).unsqueeze(1)
    kinds = torch.zeros(7, 1, dtype=torch.int8)
    kinds[6] = Category.UNDERFLOW
    series = series_of(log10, kinds, 3)
    assert series.median.tolist() == [1.0, 4.0, 6.0]
    assert series.centre.tolist() == [1.0, 4.0, 6.0]
    assert series.edges.tolist() == [-0.5, 2.5, 5.5, 6.5]
    assert series.counts.sum() == 7
    assert series.pieces(Category.UNDERFLOW) == [Piece(5.5, 6.5, every=True)]


def test_pieces_break_where_all_becomes_some() -> None:
    zero, value = Category.ZERO, Category.VALUE
    kinds = [[zero, zero], [zero, zero], [zero, value], [value, value], [zero, zero]]
    series = made([[0.0, 0.0]] * 5, kinds)
    assert series.pieces(zero) == [
        Piece(-0.5, 1.5, every=True),
        Piece(1.5, 2.5, every=False),
        Piece(3.5, 4.5, every=True),
    ]


@pytest.mark.parametrize("kind", [kind for kind in Category if kind])
def test_shares_of_a_flow_with_every_category(kind: Category) -> None:
    """At step 0 each of six sequences is of another category, and the sixth ends early."""
    layer = flows.categories()["rnn.l0"]
    series = series_of(layer.log10_norm("d_h"), layer.category("d_h"), 1000)
    expected = (layer.category("d_h") == kind).sum(dim=1).numpy()
    np.testing.assert_array_equal(series.counts[:, kind], expected)
    at, share = (0, 1 / 6) if kind != Category.PADDING else (flows.STEPS - 1, 1 / 6)
    assert series.share(kind)[at] == pytest.approx(share)
