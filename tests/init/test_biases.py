"""The biases of the gates, against the numbers that the papers and EVIDENCE give."""

from __future__ import annotations

import math

import pytest
import torch
from tests.init.modules import grus, lstms, others, parameters, rnns, total_biases
from tests.tolerances import assert_identical
from torch import nn

import carousel
from carousel import CarouselError
from carousel.init import chrono_, forget_bias_

LSTMS, GRUS, RNNS = lstms(), grus(), rnns()


def without_weights_(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "weight" in name:
                parameter.zero_()
    return module


@pytest.mark.parametrize("name", LSTMS)
def test_the_forget_bias_is_the_total_of_both_biases(name: str) -> None:
    module = lstms()[name]
    kept = others(module, "bias")
    before = list(total_biases(module, "ifgo"))
    assert forget_bias_(module, 1.5) is module
    after = list(total_biases(module, "ifgo"))
    for old, new in zip(before, after, strict=True):
        assert bool((new["f"] == 1.5).all())
        for gate in "igo":
            assert torch.equal(new[gate], old[gate]), gate
    assert_identical(others(module, "bias"), kept)


@pytest.mark.parametrize("longest", [10, 100, 1000])
def test_the_forget_gate_of_a_real_forward_stands_where_the_bias_puts_it(longest: int) -> None:
    """b_f = ln(T - 1) gives f = 1 - 1/T: a horizon of 9.49, 99.50 and 999.50 steps."""
    lstm = without_weights_(forget_bias_(nn.LSTM(2, 4).double(), math.log(longest - 1)))
    with torch.no_grad():
        lstm.bias_ih_l0[8:12].zero_()  # g = 0: nothing is written over what c_0 was
        lstm.bias_hh_l0[8:12].zero_()
    state = (torch.zeros(1, 1, 4).double(), torch.ones(1, 1, 4).double())
    _, (_, c_1) = lstm(torch.zeros(1, 1, 2).double(), state)
    f = c_1.detach().flatten()
    torch.testing.assert_close(f, torch.full_like(f, 1 - 1 / longest), rtol=1e-12, atol=0)
    horizon = -1 / f.log()
    expected = {10: 9.49, 100: 99.50, 1000: 999.50}[longest]
    assert horizon.tolist() == pytest.approx([expected] * 4, abs=0.005)


def test_the_forget_gate_is_the_sigmoid_of_the_value_as_a_flow_shows_it() -> None:
    lstm = without_weights_(forget_bias_(nn.LSTM(2, 4), 1.0))
    x = torch.randn(3, 1, 2)
    flow = carousel.measure(lstm, lambda: lstm(x)[0].square().sum())
    f = flow["l0"].gates["f"]
    assert f.flatten().tolist() == pytest.approx([1 / (1 + math.exp(-1))] * f.numel(), abs=1e-6)


@pytest.mark.parametrize("name", LSTMS)
def test_chrono_of_an_lstm(name: str) -> None:
    """Tallec & Ollivier 2018: b_f = ln U(1, T - 1), b_i = -b_f, all other biases zero."""
    module = lstms()[name]
    kept = others(module, "bias")
    assert chrono_(module, 50, torch.Generator().manual_seed(1)) is module
    drawn = []
    for total in total_biases(module, "ifgo"):
        assert torch.equal(total["i"], -total["f"])
        assert not total["g"].any()
        assert not total["o"].any()
        assert float(total["f"].min()) >= 0.0
        assert float(total["f"].max()) <= math.log(49)
        drawn.append(total["f"])
    assert len(torch.cat(drawn).unique()) == sum(bias.numel() for bias in drawn)
    assert not any(bool(bias.any()) for bias in parameters(module, "bias_hh"))
    assert_identical(others(module, "bias"), kept)


@pytest.mark.parametrize("name", GRUS)
def test_chrono_of_a_gru(name: str) -> None:
    """torch's z keeps the old state, so the sign is the forget gate's."""
    module = grus()[name]
    kept = others(module, "bias")
    assert chrono_(module, 50, torch.Generator().manual_seed(1)) is module
    for total in total_biases(module, "rzn"):
        assert float(total["z"].min()) >= 0.0
        assert float(total["z"].max()) <= math.log(49)
        assert len(total["z"].unique()) == total["z"].numel()
        assert not total["r"].any()
        assert not total["n"].any()
    assert not any(bool(bias.any()) for bias in parameters(module, "bias_hh"))
    assert_identical(others(module, "bias"), kept)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_chrono_spreads_the_memory_evenly_over_the_lags(kind: type[nn.Module]) -> None:
    """The gate that keeps the state is u / (1 + u) in a real forward, u from U(1, T - 1)."""
    longest, units = 100, 4000
    module = without_weights_(
        chrono_(kind(1, units, dtype=torch.float64), longest, torch.Generator().manual_seed(0))
    )
    ones, x = torch.ones(1, 1, units).double(), torch.zeros(1, 1, 1).double()
    _, state = module(x, (ones * 0, ones) if kind is nn.LSTM else ones)
    kept = (state[1] if kind is nn.LSTM else state).detach().flatten()
    u = kept / (1 - kept)
    assert float(u.min()) == pytest.approx(1.0, abs=0.2)
    assert float(u.max()) == pytest.approx(99.0, abs=0.2)
    # The quantiles of a uniform distribution, within five standard errors.
    share = torch.linspace(0.1, 0.9, 9).double()
    error = 98 * (share * (1 - share) / units).sqrt()
    assert bool(((u.quantile(share) - (1 + 98 * share)).abs() < 5 * error).all())


def test_chrono_for_the_shortest_lag_leaves_every_gate_half_open() -> None:
    (total,) = total_biases(chrono_(nn.LSTM(1, 3), 2), "ifgo")
    assert not torch.cat(list(total.values())).any()


def test_the_generator_decides_what_is_drawn() -> None:
    def drawn(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return chrono_(nn.LSTM(1, 8), 100, generator).bias_ih_l0.detach()

    before = torch.get_rng_state()
    module = nn.LSTM(1, 8)
    between = torch.get_rng_state()
    chrono_(module, 100, torch.Generator())
    assert torch.equal(torch.get_rng_state(), between)
    assert not torch.equal(before, between)
    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    torch.manual_seed(7)
    first = chrono_(module, 100).bias_ih_l0.detach().clone()
    torch.manual_seed(7)
    assert torch.equal(chrono_(module, 100).bias_ih_l0, first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_hold_the_same_numbers_to_their_rounding(dtype: torch.dtype) -> None:
    wanted = chrono_(nn.LSTM(1, 8).double(), 100, torch.Generator().manual_seed(0))
    module = chrono_(nn.LSTM(1, 8).to(dtype), 100, torch.Generator().manual_seed(0))
    assert module.bias_ih_l0.dtype == dtype
    assert torch.equal(module.bias_ih_l0, wanted.bias_ih_l0.to(dtype))
    forget_bias_(module, 2.0)
    assert (module.bias_ih_l0 + module.bias_hh_l0)[8:16].tolist() == [2.0] * 8


def test_parameters_stay_the_same_objects_and_keep_what_they_require() -> None:
    lstm = nn.LSTM(2, 3)
    lstm.bias_hh_l0.requires_grad_(False)
    before = {name: id(parameter) for name, parameter in lstm.named_parameters()}
    chrono_(forget_bias_(lstm), 10)
    assert {name: id(parameter) for name, parameter in lstm.named_parameters()} == before
    assert lstm.bias_ih_l0.requires_grad
    assert lstm.bias_ih_l0.grad_fn is None
    assert not lstm.bias_hh_l0.requires_grad


@pytest.mark.parametrize("name", [*GRUS, *RNNS])
def test_no_forget_gate_no_forget_bias(name: str) -> None:
    module = (GRUS | RNNS)[name]
    with pytest.raises(CarouselError, match=rf"This {type(module).__name__} .*no forget gate"):
        forget_bias_(module)


@pytest.mark.parametrize("name", RNNS)
def test_no_gates_no_chrono(name: str) -> None:
    with pytest.raises(CarouselError, match=rf"{type(RNNS[name]).__name__} .*has no gates at all"):
        chrono_(RNNS[name], 10)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None])
def test_a_forget_bias_is_a_number(value: object) -> None:
    with pytest.raises(CarouselError, match="Expected value to be a finite number, got"):
        forget_bias_(nn.LSTM(1, 1), value)


@pytest.mark.parametrize("lag", [math.nan, math.inf, 1.9, -3, "100"])
def test_a_lag_is_a_number_of_steps(lag: object) -> None:
    with pytest.raises(
        CarouselError, match="longest_lag_steps to be a finite number of at least 2"
    ):
        chrono_(nn.LSTM(1, 1), lag)
