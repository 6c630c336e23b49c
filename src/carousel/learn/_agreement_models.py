"""The two networks that read the sentences of the agreement grammar, as they ship.

Both read a word at each step and predict the next one. They have the same word vectors and as many
parameters as can be made equal; what differs is the recurrent layer in between.

    h_1 .. h_T = recurrent(E[w_1] .. E[w_T]);    logits_t = W h_t + b     for the word w_{t+1}

`python -m carousel.learn._train_agreement` trains them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

import torch
from safetensors.torch import load
from torch import Tensor, nn

from carousel.layers import LSTM, RNN
from carousel.tasks import VOCABULARY

__all__ = ["CELLS", "Budget", "Cell", "Predictor", "encode", "file_name", "trained"]

Cell = Literal["rnn", "lstm"]
Budget = Literal["short", "long"]

CELLS: tuple[Cell, ...] = ("rnn", "lstm")

EMBEDDING_SIZE = 24
HIDDEN_SIZE: dict[Cell, int] = {"rnn": 71, "lstm": 40}  # 18 3xx parameters each

INDEX = {word: index for index, word in enumerate(VOCABULARY)}
FOLDER = files("carousel.learn") / "agreement"


class Predictor(nn.Module):
    """The next word, predicted at every step from the words up to there.

    Args:
        cell: "rnn" (tanh) or "lstm"; either is initialised as torch does by default.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        hidden = HIDDEN_SIZE[cell]
        self.embedding = nn.Embedding(len(VOCABULARY), EMBEDDING_SIZE)
        self.recurrent = (RNN if cell == "rnn" else LSTM)(EMBEDDING_SIZE, hidden)
        self.head = nn.Linear(hidden, len(VOCABULARY))

    def forward(self, words: Tensor) -> Tensor:
        """h_t [T, B, H] of words int64 [T, B]; ``head`` makes logits of it."""
        output: Tensor = self.recurrent(self.embedding(words))[0]
        return output

    @property
    def parameter_count(self) -> int:
        """How many numbers are learnt."""
        return sum(parameter.numel() for parameter in self.parameters())


def encode(words: Iterable[str]) -> Tensor:
    """The indices of words, int64 [T]."""
    return torch.tensor([INDEX[word] for word in words])


def file_name(cell: Cell, budget: Budget) -> str:
    """Where the parameters of one network are kept."""
    return f"{cell}-{budget}.safetensors"


@cache
def trained(cell: Cell, budget: Budget) -> Predictor:
    """One of the networks that ship, in float32; not to be changed."""
    with torch.random.fork_rng(devices=[]):
        model = Predictor(cell)
    model.load_state_dict(load((FOLDER / file_name(cell, budget)).read_bytes()))
    return model.eval()
