"""The recurrent weights: singular values of each gate's block, and states that stay."""

from __future__ import annotations

import math

import pytest
import torch
from tests.init.modules import INPUTS, H, P, grus, lstms, others, parameters, rnns
from tests.tolerances import assert_identical
from torch import nn

from carousel import CarouselError
from carousel.init import identity_, orthogonal_

LSTMS, GRUS, RNNS = lstms(), grus(), rnns()
ALL = LSTMS | GRUS | RNNS


def fresh(name: str) -> nn.Module:
    return (lstms() | grus() | rnns())[name]


def gates(module: nn.Module) -> int:
    return next(parameters(module, "weight_ih")).shape[0] // H


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_every_block_has_all_singular_values_at_the_gain(name: str, gain: float) -> None:
    module = fresh(name).double()
    kept = others(module, "weight_hh")
    assert orthogonal_(module, gain, torch.Generator().manual_seed(2)) is module
    blocks = [block for w in parameters(module, "weight_hh") for block in w.chunk(gates(module))]
    for block in blocks:
        assert block.shape == (H, P if "projected" in name else H)
        values = torch.linalg.svdvals(block)
        torch.testing.assert_close(values, torch.full_like(values, gain), rtol=1e-12, atol=0)
    assert len({float(block[0, 0]) for block in blocks}) == len(blocks)  # each drawn anew
    assert_identical(others(module, "weight_hh"), kept)


def test_the_stack_as_a_whole_would_not_do() -> None:
    """What this is for: torch's own function leaves blocks with rms singular value 1/2."""
    lstm = nn.LSTM(8, 64)
    nn.init.orthogonal_(lstm.weight_hh_l0)
    for block in lstm.weight_hh_l0.detach().chunk(4):
        values = torch.linalg.svdvals(block)
        assert float(values.square().mean().sqrt()) == pytest.approx(0.5, abs=0.05)
        assert float(values.max() - values.min()) > 0.5


def test_an_orthogonal_linear_state_keeps_its_length() -> None:
    """Scaled orthogonal linear RNN: the length changes by the gain at every step."""
    rnn = orthogonal_(nn.RNN(1, 6, nonlinearity="relu", bias=False).double(), 0.5)
    state = torch.randn(6).double()
    moved = rnn.weight_hh_l0.detach() @ state
    assert float(moved.norm() / state.norm()) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_orthogonal_in_half_precision(dtype: torch.dtype) -> None:
    wanted = orthogonal_(nn.GRU(2, 7).double(), 1.5, torch.Generator().manual_seed(0))
    module = orthogonal_(nn.GRU(2, 7).to(dtype), 1.5, torch.Generator().manual_seed(0))
    assert torch.equal(module.weight_hh_l0, wanted.weight_hh_l0.to(dtype))


def test_the_generator_decides_what_is_drawn() -> None:
    def drawn(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return orthogonal_(nn.LSTM(1, 4), 1.0, generator).weight_hh_l0.detach()

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    module = nn.LSTM(1, 4)
    before = torch.get_rng_state()
    orthogonal_(module, 1.0, torch.Generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", RNNS)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_identity(name: str, scale: float) -> None:
    module = fresh(name)
    kept = others(module, "weight_hh", "bias")
    assert identity_(module, scale) is module
    for w_hh in parameters(module, "weight_hh"):
        assert torch.equal(w_hh, scale * torch.eye(H))
    assert not any(bool(bias.any()) for bias in parameters(module, "bias"))
    assert_identical(others(module, "weight_hh", "bias"), kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_relu_network_keeps_its_state_where_no_input_arrives(dtype: torch.dtype) -> None:
    rnn = identity_(nn.RNN(INPUTS, H, nonlinearity="relu").to(dtype))
    h_0 = torch.rand(1, 1, H).to(dtype)
    output, h_n = rnn(torch.zeros(50, 1, INPUTS, dtype=dtype), h_0)
    assert torch.equal(h_n, h_0)
    assert torch.equal(output[0], h_0[0])


def test_identity_without_biases() -> None:
    rnn = identity_(nn.RNN(INPUTS, H, bias=False))
    assert torch.equal(rnn.weight_hh_l0, torch.eye(H))


@pytest.mark.parametrize("name", [*LSTMS, *GRUS])
def test_a_gated_module_is_refused_by_name(name: str) -> None:
    module = fresh(name)
    kept = others(module)
    with pytest.raises(CarouselError, match=f"this {type(module).__name__} has the gates"):
        identity_(module)
    assert_identical(others(module), kept)


@pytest.mark.parametrize("gain", [math.nan, math.inf, -1.0, "1"])
def test_a_gain_is_a_singular_value(gain: object) -> None:
    with pytest.raises(CarouselError, match="Expected gain to be a finite number of at least 0"):
        orthogonal_(nn.LSTM(1, 1), gain)


@pytest.mark.parametrize("scale", [math.nan, None])
def test_a_scale_is_a_number(scale: object) -> None:
    with pytest.raises(CarouselError, match="Expected scale to be a finite number, got"):
        identity_(nn.RNN(1, 1), scale)
