"""The share of a step's own loss in its gradient, against autograd in float64."""

from __future__ import annotations

import math

import pytest
import torch

from carousel.learn import MatrixRequest, Network, Settings, matrix
from carousel.learn._settings import network, signal

RNN, LSTM = Network("rnn-tanh", hidden=6, gain=2.0), Network("lstm", hidden=6)
RELU = Network("rnn-relu", hidden=1)
CELLS = {"rnn-tanh": torch.nn.RNNCell, "rnn-relu": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell}


def shares(one: Network, settings: Settings) -> list[float]:
    """By step, <h_t, dL/dh_t> / <dL/dh_t, dL/dh_t>: the loss ||h_t||^2 / 2 itself sends h_t."""
    module = network(one, settings.steps, settings.seed)
    options = {"nonlinearity": "relu"} if one.cell == "rnn-relu" else {}
    cell = CELLS[one.cell](4, one.hidden, **options)  # type: ignore[arg-type]
    cell.load_state_dict({n.removesuffix("_l0"): p for n, p in module.state_dict().items()})
    cell.double()
    state, h = None, []
    for x in signal(settings).double():
        state = cell(x, state)
        h.append(state[0] if one.cell == "lstm" else state)
    total = torch.autograd.grad(torch.stack(h).square().sum() / 2, h)
    return [
        float((a.detach() * g).sum() / g.square().sum()) if bool(g.any()) else math.nan
        for a, g in zip(h, total, strict=True)
    ]


@pytest.mark.parametrize(
    ("one", "steps", "every"),
    [(RNN, 41, 1), (LSTM, 41, 1), (LSTM, 403, 3), (RELU, 61, 1)],
    ids=["rnn", "lstm", "every third step", "steps without a gradient"],
)
def test_own_is_the_median_of_the_steps_shares(one: Network, steps: int, every: int) -> None:
    settings = Settings(one, one, steps=steps, loss="every", seed=1)
    found = shares(one, settings)[::every]
    some = sorted(share for share in found if not math.isnan(share))
    middle = some[(len(some) - 1) // 2]
    told = matrix(MatrixRequest(settings)).own
    assert told == pytest.approx(middle, rel=1e-4)
    assert told != pytest.approx(sum(some) / len(some), rel=5e-4)  # a mean is another number
    assert (len(some) < len(found)) == (one is RELU)


def test_the_second_network_is_the_other_one() -> None:
    settings = Settings(RNN, LSTM, steps=41, loss="every", seed=1)
    first, second = (sorted(shares(one, settings))[20] for one in (settings.first, settings.second))
    assert first != pytest.approx(second, rel=1e-2)
    assert matrix(MatrixRequest(settings, "first")).own == pytest.approx(first, rel=1e-4)
    assert matrix(MatrixRequest(settings, "second")).own == pytest.approx(second, rel=1e-4)
