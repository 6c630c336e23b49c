"""A layer run again: with its own weights as it was, with others as it would be."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, made, measured
from torch import nn

import carousel
from carousel.diagnosis._foreseen import chrono_weights, few_sequences, horizon_with

FLOAT64 = torch.float64


@pytest.mark.parametrize("variant", ["forget", "peephole", "cifg", "1997", "nog"])
@pytest.mark.parametrize("both", [False, True])
def test_the_same_weights_give_the_same_horizon(variant: str, *, both: bool) -> None:
    module = made(carousel.LSTM, variant=variant, bidirectional=both, proj_size=4).double()
    flow = measured(module, data().to(FLOAT64), every)
    for layer in flow.layers.values():
        again = horizon_with(layer, layer.trace.weights)
        assert again is not None
        assert again.rate == pytest.approx(layer.horizon().rate, rel=1e-9)


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_ragged_and_reverse(kind: type[nn.Module]) -> None:
    module = made(kind, bidirectional=True).double()
    packed = nn.utils.rnn.pack_padded_sequence(data().to(FLOAT64), torch.tensor([80, 71, 64, 33]))
    flow = carousel.measure(module, lambda: module(packed)[0].data.square().sum())
    for layer in flow.layers.values():
        again = horizon_with(layer, layer.trace.weights)
        assert again is not None
        assert again.rate == pytest.approx(layer.horizon().rate, rel=1e-9)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_chrono_as_it_is_then_applied(kind: type[nn.Module]) -> None:
    """The very biases: what was foreseen is what is measured."""
    module = made(kind).double()
    x = data(200).to(FLOAT64)
    layer = measured(module, x)["l0"]
    weights = chrono_weights(layer, 100)
    assert weights is not None
    foreseen = horizon_with(layer, weights)
    with torch.no_grad():
        module.bias_ih_l0.copy_(weights.b_ih)
        module.bias_hh_l0.copy_(weights.b_hh)
    assert foreseen is not None
    assert measured(module, x)["l0"].horizon().rate == pytest.approx(foreseen.rate, rel=1e-9)


def test_chrono_biases_are_those_of_the_paper() -> None:
    layer = measured(made(nn.LSTM))["l0"]
    weights = chrono_weights(layer, 100)
    assert weights is not None
    i, f, g, o = weights.b_ih.chunk(4)
    assert torch.equal(i, -f)
    assert not g.any()
    assert not o.any()
    assert not weights.b_hh.any()
    u = f.exp()
    assert 1 < float(u.min()) < float(u.max()) < 99
    assert float(u.mean()) == pytest.approx(50.0, rel=1e-4)


def test_chunks_cannot_be_run_again() -> None:
    module, x = made(nn.LSTM), data(40)

    def run() -> torch.Tensor:
        output, state = module(x[:20])
        return output.sum() + module(x[20:], state)[0].sum()

    layer = carousel.measure(module, run)["l0"]
    assert horizon_with(layer, layer.trace.weights) is None


def test_few_sequences_are_the_longest() -> None:
    module = made(nn.LSTM)
    packed = nn.utils.rnn.pack_padded_sequence(
        data(), torch.tensor([10, 80, 33, 80]), enforce_sorted=False
    )
    layer = carousel.measure(module, lambda: module(packed)[0].data.sum())["l0"]
    few = few_sequences(layer, 2)
    assert few.lengths.tolist() == [80, 80]
    assert torch.equal(few.d_h, layer.d_h[:, [1, 3]])
