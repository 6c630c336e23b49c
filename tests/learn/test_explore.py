"""The explorer's numbers are those of the package's own API on the same networks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

import carousel
from carousel.learn import PRESETS, Network, Settings, explore
from carousel.learn._explore import carousel_alone, measured
from carousel.learn._settings import CELLS, applied, network, unused
from carousel.report import level
from carousel.serve._api import ENDPOINTS, answer
from carousel.serve._json import encoded

SMALL = Settings(Network(hidden=7), Network(hidden=7), steps=40)
CHOICES = {
    "init": ("default", "orthogonal", "identity", "chrono"),
    "forget_bias": (2.0,),
    "gradient": ("full", "1997"),
}


def settings_of(one: Network, **shared: Any) -> Settings:
    return replace(SMALL, first=one, **shared)


@pytest.mark.parametrize("cell", CELLS)
def test_the_curves_are_those_of_measure(cell: Any) -> None:
    one = Network(cell, hidden=7, gain=1.5)
    torch.manual_seed(SMALL.seed)
    options = dict(CELLS[one.cell].options)
    layer: Any = CELLS[one.cell].layer(4, 7, **options)
    with torch.no_grad():
        layer.weight_hh_l0 *= 1.5
    x = torch.randn(40, 1, 4, generator=torch.Generator().manual_seed(1))
    flow = carousel.measure(layer, lambda: layer(x)[0][-1].square().sum() / 2)["l0"]
    found = explore(settings_of(one)).first
    assert found.d_h == tuple(map(level, flow.log10_norm("d_h")[:, 0].tolist()))
    if flow.c is None:
        assert found.d_c == ()
    else:
        assert found.d_c == tuple(map(level, flow.log10_norm("d_c")[:, 0].tolist()))


@pytest.mark.parametrize("loss", ["last", "middle", "every"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_carousel_alone_is_that_of_paths(cell: Any, loss: Any) -> None:
    for one in (
        Network(cell, 7),
        Network(cell, 7, forget_bias=-10, gain=3),
        Network(cell, 7, init="chrono", gradient="1997"),
    ):
        layer = measured(one, settings_of(one, loss=loss))
        ways = layer.paths()
        found = carousel_alone(layer)
        assert (found is None) == (ways.carousel is None)
        if found is not None:
            expected = ways.log10_norm("carousel")
            assert torch.equal(found.isinf(), expected.isinf())
            there = expected.isfinite()
            torch.testing.assert_close(found[there], expected[there], rtol=1e-6, atol=1e-5)


def test_far_below_every_float_the_carousel_is_still_a_number() -> None:
    one = Network(hidden=4, forget_bias=-10)
    found = explore(settings_of(one, steps=500)).first.carousel[0]
    assert isinstance(found, float)
    assert found < -1000


@pytest.mark.parametrize("cell", CELLS)
def test_what_does_not_apply_changes_nothing_and_is_said(cell: Any) -> None:
    usual = Network(cell, hidden=5)
    foreign = {(each.field, each.choice) for each in unused(usual)}
    plain = explore(settings_of(usual)).first
    assert plain.ignored == ()
    for field, values in CHOICES.items():
        for value in values:
            one = replace(usual, **{field: value})
            found = explore(settings_of(one)).first
            if (field, value) in foreign or (field, "") in foreign:
                assert (found.d_h, found.d_c) == (plain.d_h, plain.d_c)
                assert len(found.ignored) == 1
                assert applied(one) == usual
            else:
                assert found.ignored == ()
                if one != usual:
                    assert found.d_h != plain.d_h
                    assert found.name != plain.name


def test_chrono_sets_the_forget_bias_itself() -> None:
    one = Network(hidden=5, init="chrono", forget_bias=3.0)
    found = explore(settings_of(one)).first
    assert found.ignored
    assert "Chrono sets this bias" in found.ignored[0]
    assert found.d_h == explore(settings_of(replace(one, forget_bias=None))).first.d_h


def test_the_forget_bias_is_the_total_of_both() -> None:
    layer = network(Network(hidden=5, forget_bias=2.5), 10, 0)
    total = layer.bias_ih_l0 + layer.bias_hh_l0
    assert total[5:10].tolist() == [2.5] * 5


@pytest.mark.parametrize("cell", CELLS)
def test_one_step_and_one_unit(cell: Any) -> None:
    found = explore(settings_of(Network(cell, hidden=1), steps=1)).first
    assert len(found.d_h) == 1
    # the only unit of the relu RNN is off here
    assert found.d_h == ("zero",) if cell == "rnn-relu" else isinstance(found.d_h[0], float)


def test_nothing_after_the_loss_has_a_gradient() -> None:
    found = explore(settings_of(Network(hidden=5), steps=9, loss="middle"))
    assert found.loss_step == 4
    for curve in (found.first.d_h, found.first.d_c, found.first.carousel):
        assert [value == "zero" for value in curve] == [False] * 5 + [True] * 4


def test_the_identity_without_input_is_exactly_zero() -> None:
    one = Network("rnn-relu", hidden=5, init="identity")
    quiet = explore(settings_of(one, signal="zeros")).first
    assert set(quiet.d_h) == {"zero"}  # h stays at zero, and so does half its square
    pulse = explore(settings_of(one, signal="pulse")).first
    assert len(set(pulse.d_h)) == 1
    assert isinstance(pulse.d_h[0], float)


def test_beyond_float32_a_number_is_still_a_number() -> None:
    preset = next(one for one in PRESETS if one.name == "Beyond float32")
    found = explore(preset.settings).first
    assert isinstance(found.d_h[0], float)
    assert found.d_h[0] > found.largest_log10


def test_a_state_that_is_not_finite_is_said_so() -> None:
    one = Network("rnn-relu", hidden=64, gain=4)
    found = explore(settings_of(one, steps=500)).first
    assert {"nan", "infinite"} & set(found.d_h)


def test_the_carousel_of_1997_is_constant() -> None:
    one = Network("lstm-1997", hidden=7, gradient="1997")
    found = explore(settings_of(one)).first
    assert len(set(found.carousel)) == 1
    assert found.d_c == pytest.approx(found.carousel, abs=1e-5)  # type: ignore[comparison-overlap]


def test_a_network_is_the_same_at_either_place_and_another_with_other_settings() -> None:
    one, other = Network(hidden=5), Network("gru", hidden=5)
    found = explore(replace(SMALL, first=one, second=other))
    turned = explore(replace(SMALL, first=other, second=one))
    assert (found.first, found.second) == (turned.second, turned.first)
    for changed in ({"seed": 1}, {"signal": "wave"}, {"loss": "every"}, {"steps": 39}):
        assert explore(settings_of(one, **changed)).first.d_h != found.first.d_h


def test_torchs_own_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    explore(SMALL)
    assert torch.equal(before, torch.get_rng_state())


def test_work_between_the_networks_can_be_stopped() -> None:
    class GoneError(Exception):
        pass

    def gone() -> None:
        raise GoneError

    for name in ENDPOINTS:
        if name in {"explore", "horizons", "products", "spectra", "matrix", "code", "power"}:
            with pytest.raises(GoneError):
                answer(name, {}, gone)


ODD = {
    "small": {"steps": 30, "first": {"hidden": 8}, "second": {"cell": "gru", "hidden": 8}},
    "one step": {"steps": 1, "first": {"hidden": 1}, "second": {"cell": "lstm", "hidden": 1}},
    "not finite": {
        "steps": 300,
        "first": {"cell": "rnn-relu", "hidden": 16, "gain": 4, "init": "orthogonal"},
        "second": {"hidden": 2},
    },
    "all zero": {
        "steps": 30,
        "signal": "zeros",
        "first": {"cell": "rnn-relu", "init": "identity", "hidden": 8},
        "second": {"hidden": 8},
    },
    "two steps": {"steps": 2, "loss": "middle", "first": {"hidden": 2}, "second": {"hidden": 3}},
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["explore", "horizons", "products", "spectra", "matrix", "code"])
def test_every_answer_is_plain_json(name: str, odd: str) -> None:
    body: Any = ODD[odd]
    wrapped = {"settings": body} if name in {"matrix", "code"} else body
    found = answer(name, wrapped)
    assert isinstance(json.loads(encoded(found)), dict)  # which refuses what is not finite


def test_the_limits_are_where_float32_ends() -> None:
    found = explore(SMALL).first
    assert 10**found.smallest_log10 == pytest.approx(torch.finfo(torch.float32).tiny)
    assert 10**found.largest_log10 == pytest.approx(torch.finfo(torch.float32).max)
    assert math.isfinite(found.largest_log10)
