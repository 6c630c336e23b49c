"""The words in which messages name a thing."""

from __future__ import annotations

import pytest
from torch import nn

from carousel._errors import kind_of


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (3, "an int"),
        ("a", "a str"),
        (None, "None"),
        (nn.LSTM(1, 1), "an LSTM"),
        (nn.RNN(1, 1), "an RNN"),
        (nn.GRU(1, 1), "a GRU"),
        (nn.Linear(1, 1), "a Linear"),
        (nn.Linear, "the class Linear"),
    ],
)
def test_kind_of(thing: object, said: str) -> None:
    assert kind_of(thing) == said
