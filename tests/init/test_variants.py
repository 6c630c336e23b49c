"""The initialisations on Carousel's own layers: every row of the table of variants."""

from __future__ import annotations

import math

import pytest
import torch
from tests.init.modules import others, parameters
from tests.tolerances import assert_identical
from torch import nn

from carousel import CarouselError
from carousel.cells.lstm import VARIANTS
from carousel.init import chrono_, forget_bias_, identity_, orthogonal_
from carousel.layers import GRU, LSTM, RNN

INPUTS, H = 3, 5
NAMES = tuple(name for name in VARIANTS if name != "1997 squashed")
NO_FORGETTING = ("1997", "nfg")
FORGETTING = tuple(name for name in NAMES if name not in NO_FORGETTING)


def lstm_of(variant: str) -> LSTM:
    return LSTM(INPUTS, H, num_layers=2, bidirectional=True, variant=variant).double()


def first_c(lstm: LSTM, c_0: float, g_bias: float) -> torch.Tensor:
    """Return c_1 of each unit [H] in a forward in which only the biases act."""
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if "weight" in name:
                parameter.zero_()
        k = lstm.cell.gates.index("g")
        lstm.bias_ih_l0[k * H : (k + 1) * H] = g_bias
        lstm.bias_hh_l0[k * H : (k + 1) * H] = 0.0
        state = (torch.zeros(4, 1, H).double(), torch.full((4, 1, H), c_0).double())
        return lstm(torch.zeros(1, 1, INPUTS).double(), state)[1][1][0, 0]


@pytest.mark.parametrize("variant", FORGETTING)
def test_the_forget_gate_is_the_sigmoid_of_the_value(variant: str) -> None:
    lstm = lstm_of(variant)
    kept = others(lstm, "bias")
    assert forget_bias_(lstm, 2.0) is lstm
    assert_identical(others(lstm, "bias"), kept)
    f = first_c(lstm, 1.0, 0.0)
    torch.testing.assert_close(f, torch.full_like(f, 1 / (1 + math.exp(-2.0))))


@pytest.mark.parametrize("variant", FORGETTING)
def test_chrono_takes_in_what_it_forgets(variant: str) -> None:
    """f = u / (1 + u) and, where there is an input gate, i = 1 - f."""
    lstm = lstm_of(variant)
    kept = others(lstm, "bias")
    assert chrono_(lstm, 30, torch.Generator().manual_seed(5)) is lstm
    assert_identical(others(lstm, "bias"), kept)
    biases = [b.clone() for b in parameters(lstm, "bias_ih")]
    f = first_c(lstm, 1.0, 0.0)
    u = f / (1 - f)
    assert float(u.min()) >= 1.0 - 1e-9
    assert float(u.max()) <= 29.0 + 1e-9
    assert len(u.unique()) == H
    g = VARIANTS[variant].cell_input
    written = first_c(lstm, 0.0, 0.7) / (0.7 if g == "identity" else math.tanh(0.7))
    expected = 1 - f if "i" in lstm.cell.gates else torch.ones_like(f)
    torch.testing.assert_close(written, expected)
    assert not any(bool(bias.any()) for bias in parameters(lstm, "bias_hh"))
    for bias in biases:
        for gate, rows in zip(lstm.cell.gates, bias.chunk(len(lstm.cell.gates)), strict=True):
            assert bool(rows.any()) == (gate in "if"), gate


@pytest.mark.parametrize(
    ("variant", "squashers"), [("1997", "tanh"), ("1997", "1997"), ("nfg", "tanh")]
)
def test_a_variant_that_never_forgets_is_refused(variant: str, squashers: str) -> None:
    lstm = LSTM(INPUTS, H, variant=variant, squashers=squashers)
    kept = others(lstm)
    for initialise in (forget_bias_, lambda module: chrono_(module, 10)):
        with pytest.raises(CarouselError, match=rf"'LSTM {variant}.*no forget gate.*\(f = 1\)"):
            initialise(lstm)
    assert_identical(others(lstm), kept)


@pytest.mark.parametrize("variant", NAMES)
def test_every_block_is_orthogonal(variant: str) -> None:
    lstm = lstm_of(variant)
    kept = others(lstm, "weight_hh")
    assert orthogonal_(lstm, 0.8) is lstm
    assert_identical(others(lstm, "weight_hh"), kept)
    for w_hh in parameters(lstm, "weight_hh"):
        for block in w_hh.chunk(len(lstm.cell.gates)):
            assert block.shape == (H, H)
            values = torch.linalg.svdvals(block)
            torch.testing.assert_close(values, torch.full_like(values, 0.8))


@pytest.mark.parametrize("variant", NAMES)
def test_the_identity_is_not_for_an_lstm(variant: str) -> None:
    with pytest.raises(CarouselError, match="this LSTM has the gates"):
        identity_(lstm_of(variant))


@pytest.mark.parametrize("nonlinearity", ["relu", "identity"])
def test_the_identity_keeps_a_state(nonlinearity: str) -> None:
    rnn = identity_(RNN(INPUTS, H, nonlinearity=nonlinearity))
    h_0 = torch.rand(1, 1, H)
    assert torch.equal(rnn(torch.zeros(20, 1, INPUTS), h_0)[1], h_0)


def test_chrono_of_a_gru_of_ours_is_that_of_torchs() -> None:
    ours, torchs = GRU(INPUTS, H), nn.GRU(INPUTS, H)
    for module in (ours, torchs):
        chrono_(module, 100, torch.Generator().manual_seed(0))
    assert_identical(others(ours, "weight"), others(torchs, "weight"))
