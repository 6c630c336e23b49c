"""Your model: the gates of a ragged batch, counted entry by entry.

Without recurrent weights a gate is a function of its step's input alone, so a calculator knows it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import carousel
from carousel.diagnosis import diagnose
from carousel.learn import ModelView
from carousel.report import Report, tally
from carousel.serve._api import answer
from carousel.serve._json import encoded

# Four sequences, three of them shorter than the longest; batch first.
SEQUENCES = (
    (-9.0, 0.5, 9.0, -0.25, 6.0),
    (9.0, -7.0, 0.125),
    (-6.0, 8.0, -8.0),
    (1.0,),
)
# By gate: what the input is multiplied by in either unit.
LSTM_WEIGHTS = {"i": (1.0, 0.0), "f": (2.0, -1.0), "g": (1.0, 0.5), "o": (0.25, 0.25)}
GRU_WEIGHTS = {"r": (1.0, -2.0), "z": (-1.0, 0.0), "n": (1.0, -1.0)}


class Ragged(nn.Module):
    """A layer that reads packed sequences, in both directions."""

    def __init__(self, layer: type[nn.LSTM | nn.GRU], weights: dict[str, tuple[float, ...]]):
        super().__init__()
        self.layer = layer(1, 2, bidirectional=True)
        self.lengths = torch.tensor([len(one) for one in SEQUENCES])
        column = torch.tensor([w for rows in weights.values() for w in rows])[:, None]
        with torch.no_grad():
            for name, p in self.layer.named_parameters():
                p.zero_()
                if name.startswith("weight_ih"):
                    p.copy_(column)

    def forward(self, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, self.lengths, enforce_sorted=False)
        output: Tensor = pad_packed_sequence(self.layer(packed)[0])[0]
        return output


def told(layer: type[nn.LSTM | nn.GRU], weights: dict[str, tuple[float, ...]]) -> dict[str, Any]:
    """By layer and gate, what the page is told."""
    # What stands in the padding is never read, and must not be counted: here, the upper end.
    x = torch.full((max(map(len, SEQUENCES)), len(SEQUENCES), 1), 50.0)
    for at, sequence in enumerate(SEQUENCES):
        x[: len(sequence), at, 0] = torch.tensor(sequence)
    flow = carousel.measure(Ragged(layer, weights), (x, None), lambda y, _: y.square().sum())
    findings = diagnose(flow, None)
    view = ModelView(
        "nets:make", flow, Report(flow, summary=tally(findings, None), findings=findings), None
    )
    found = {}
    for key in list(view.keys()):
        made = json.loads(encoded(answer("model_layer", {"layer": key}, model=view)))
        found |= {(key, gate["name"]): gate for gate in made["gates"]}
    return found


def activation(gate: str, x: float) -> float:
    return math.tanh(x) if gate in "gn" else 1 / (1 + math.exp(-x))


CASES = [(nn.LSTM, LSTM_WEIGHTS), (nn.GRU, GRU_WEIGHTS)]


@pytest.mark.parametrize(("layer", "weights"), CASES, ids=["lstm", "gru"])
def test_saturated_is_within_a_hundredth_of_either_end(
    layer: type[nn.LSTM | nn.GRU], weights: dict[str, tuple[float, ...]]
) -> None:
    gates = told(layer, weights)
    assert gates.keys() == {
        (key, gate) for key in ("layer.l0", "layer.l0_reverse") for gate in weights
    }
    for (_, name), gate in gates.items():
        lowest = -1.0 if name in "gn" else 0.0
        numbers = [activation(name, w * x) for w in weights[name] for one in SEQUENCES for x in one]
        low = sum(number < lowest + 0.01 for number in numbers)
        high = sum(number > 0.99 for number in numbers)
        assert len(numbers) == 2 * 12
        assert gate["saturated"] == pytest.approx((low + high) / len(numbers), abs=1e-9), name
        assert (gate["lowest"], gate["highest"]) == (lowest, 1.0)


def test_the_case_has_gates_at_both_ends() -> None:
    """Else the test above could not tell them apart: by hand, sigma(w x) of gate f."""
    # 2 x: below -4.6 are -9, -7, -6 and -8; above 4.6 are 9, 6, 9 and 8. Of -x the same, mirrored.
    assert told(nn.LSTM, LSTM_WEIGHTS)["layer.l0", "f"]["saturated"] == pytest.approx(16 / 24)
    # x at both ends for unit 0, and 1/2 in unit 1.
    assert told(nn.LSTM, LSTM_WEIGHTS)["layer.l0", "i"]["saturated"] == pytest.approx(8 / 24)
    assert told(nn.LSTM, LSTM_WEIGHTS)["layer.l0", "o"]["saturated"] == 0


@pytest.mark.parametrize(("layer", "weights"), CASES, ids=["lstm", "gru"])
def test_each_step_is_of_the_sequences_that_are_there(
    layer: type[nn.LSTM | nn.GRU], weights: dict[str, tuple[float, ...]]
) -> None:
    for (_, name), gate in told(layer, weights).items():
        for t in range(5):
            there = [one[t] for one in SEQUENCES if len(one) > t]
            numbers = [activation(name, w * x) for w in weights[name] for x in there]
            assert gate["mean"][t] == pytest.approx(sum(numbers) / len(numbers), abs=2e-6)
            low, high = np.quantile(numbers, [0.1, 0.9])
            assert (gate["low"][t], gate["high"][t]) == pytest.approx((low, high), abs=2e-6)
