"""The truncated gradient of 1997: between two steps, only the way from c straight to c."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.cells.setting import FLOAT64, KINDS, LSTMS, Setting, kind_id
from tests.tolerances import assert_close

from carousel import CarouselError
from carousel.cells import CELLS

LSTM_KINDS = [kind for kind in KINDS if kind[0] in LSTMS]


def check(setting: Setting, *, truncated: bool = True) -> None:
    """Compare with autograd through a loop that detaches h_{t-1} and what the peepholes see."""
    expected, d_x, d_parameters = setting.reference(truncated=True)
    trajectory = setting.replayed(expected)
    found = setting.followed(setting.linearised(trajectory, truncated=truncated))

    def same(actual: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
        assert_close(actual, wanted, setting.steps, FLOAT64, what)

    same(found.d_c.value(), expected.d_c, "d_c")
    same(found.d_c_start.value()[0], expected.d_c0, "d_c0")
    same(found.d_h.value(), expected.d_h, "d_h")
    same(found.d_h_start.value()[0], expected.d_h0, "d_h0")
    same(found.d_x().value(), d_x, "d_x")
    for name, gradient in setting.d_weights(trajectory, found).items():
        same(gradient, d_parameters[name], f"d_{name}")


@pytest.mark.parametrize("steps", [1, 2, 5, 65])
@pytest.mark.parametrize("kind", LSTM_KINDS, ids=kind_id)
def test_against_autograd_with_cut_paths(kind: tuple[str, bool], steps: int) -> None:
    check(Setting(kind[0], projected=kind[1], steps=steps))


@pytest.mark.parametrize("name", LSTMS)
def test_the_full_gradient_in_its_place_is_noticed(name: str) -> None:
    with pytest.raises(AssertionError, match="off by"):
        check(Setting(name, steps=5), truncated=False)


@pytest.mark.parametrize("name", [name for name in LSTMS if CELLS[name].peepholes])
def test_the_peepholes_count_among_what_is_cut(name: str) -> None:
    """Without W_hh the two gradients still differ, by what goes through the peepholes."""
    setting = Setting(name, steps=5)
    setting.tensors["weight_hh"].zero_()
    check(setting)
    with pytest.raises(AssertionError, match="off by"):
        check(setting, truncated=False)


@pytest.mark.parametrize("name", [name for name in LSTMS if not CELLS[name].peepholes])
def test_without_w_hh_and_peepholes_nothing_is_cut(name: str) -> None:
    setting = Setting(name, steps=5)
    setting.tensors["weight_hh"].zero_()
    check(setting, truncated=True)
    check(setting, truncated=False)


@pytest.mark.parametrize("kind", LSTM_KINDS, ids=kind_id)
def test_a_loss_on_the_last_step_returns_along_f_alone(kind: tuple[str, bool]) -> None:
    """d_c is the product of the f after it, bit by bit, and no h but the last gets anything."""
    setting = Setting(kind[0], projected=kind[1], steps=30)
    setting.up_h[:-1], setting.up_c[:] = 0.0, 0.0
    expected, _, _ = setting.reference()
    trajectory = setting.replayed(expected)
    found = setting.followed(setting.linearised(trajectory, truncated=True))
    one = torch.ones_like(trajectory.gates["g"])
    f = trajectory.gates.get("f", one)
    if kind[0] == "LSTM cifg":
        f = one - trajectory.gates["i"]
    d_c = found.d_c.value()
    assert found.d_c.exponent is None
    assert d_c[-1].any()
    for t in range(29, 0, -1):
        assert torch.equal(d_c[t - 1], d_c[t] * f[t])
    assert torch.equal(found.d_c_start.value()[0], d_c[0] * f[0])
    d_h = found.d_h.value()
    assert torch.equal(d_h[-1], setting.up_h[-1])
    assert not d_h[:-1].any()
    assert not found.d_h_start.value().any()


@pytest.mark.parametrize("name", ["LSTM 1997", "LSTM 1997 squashed", "LSTM nfg"])
def test_the_error_of_1997_is_constant(name: str) -> None:
    """With recurrent weights and peepholes, over 1 000 steps, to the last bit."""
    setting = Setting(name, steps=1000)
    setting.up_h[:] = 0.0
    setting.up_c[:-1] = 0.0
    expected, _, _ = setting.reference(truncated=True)
    found = setting.followed(setting.linearised(setting.replayed(expected), truncated=True))
    last = setting.up_c[-1]
    assert torch.equal(found.d_c.value(), last.expand_as(found.d_c.value()))
    assert torch.equal(found.d_c_start.value()[0], last)


@pytest.mark.parametrize("name", LSTMS)
def test_the_weights_stay_as_they_are(name: str) -> None:
    """Only the Linearisation's copy of W_hh is zero; the full derivative is not touched by it."""
    setting = Setting(name, steps=3)
    before = setting.tensors["weight_hh"].clone()
    expected, _, _ = setting.reference()
    trajectory = setting.replayed(expected)
    cut = setting.cell.linearise(trajectory, setting.weights, truncated=True)
    assert not cut.weights.w_hh.any()
    assert torch.equal(setting.tensors["weight_hh"], before)
    rest = replace(cut.weights, w_hh=setting.weights.w_hh)
    for own, other in zip(vars(rest).values(), vars(setting.weights).values(), strict=True):
        assert own is other


@pytest.mark.parametrize("name", [name for name in CELLS if name not in LSTMS])
def test_a_cell_without_c_has_none(name: str) -> None:
    setting = Setting(name, steps=2)
    expected, _, _ = setting.reference()
    trajectory = setting.replayed(expected)
    with pytest.raises(CarouselError, match=r"truncated gradient.*(RNN|GRU).*exists for the LSTM"):
        setting.cell.linearise(trajectory, setting.weights, truncated=True)
