"""The two small models that the studies train, around one unmodified recurrent layer of torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.tasks import SequenceData

__all__ = ["CELLS", "NextCharacter", "SequenceClassifier", "model_for", "sequence_loss"]

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class SequenceClassifier(nn.Module):
    """One class for a whole sequence, from the hidden state after its last step.

        h_1 .. h_T = recurrent(x_1 .. x_T);   logits = W h_T + b

    Args:
        cell: "rnn" (tanh), "lstm" or "gru".
        input_size: I, the numbers at each step.
        hidden_size: H, the units of the recurrent layer.
        classes: C, the number of classes.

    Raises:
        CarouselError: there is no such cell.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, classes: int) -> None:
        super().__init__()
        self.recurrent = recurrent_layer(cell, input_size, hidden_size)
        self.head = nn.Linear(hidden_size, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C] of the inputs [B, T, I]."""
        output, _ = self.recurrent(inputs)
        logits: Tensor = self.head(output[:, -1])
        return logits


class NextCharacter(nn.Module):
    """The next character, predicted at every step from the hidden state there.

        h_1 .. h_T = recurrent(E[s_1] .. E[s_T]);   logits_t = W h_t + b

    Args:
        cell: "rnn" (tanh), "lstm" or "gru".
        characters: C, the number of different characters.
        hidden_size: H, the units of the recurrent layer.
        embedding_size: the numbers that stand for one character at the layer's input.

    Raises:
        CarouselError: there is no such cell.
    """

    def __init__(
        self, cell: str, characters: int, hidden_size: int, embedding_size: int = 32
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding_size)
        self.recurrent = recurrent_layer(cell, embedding_size, hidden_size)
        self.head = nn.Linear(hidden_size, characters)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits [B, T, C] of the symbols int64 [B, T]."""
        output, _ = self.recurrent(self.embedding(symbols))
        logits: Tensor = self.head(output)
        return logits


def model_for(
    data: SequenceData, cell: str, *, hidden_size: int = 64, seed: int = 0
) -> SequenceClassifier | NextCharacter:
    """The model that fits a data set, with parameters drawn by torch's defaults from ``seed``.

    The global random state is left as it was.

    Raises:
        CarouselError: there is no such cell.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if data.symbolic:
            return NextCharacter(cell, data.classes, hidden_size)
        return SequenceClassifier(cell, data.train_inputs.shape[-1], hidden_size, data.classes)


def sequence_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy in nats, over sequences or over all steps of all sequences.

    Args:
        logits: [B, C] with targets [B], or [B, T, C] with targets [B, T].
        targets: classes, int64.
    """
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def recurrent_layer(cell: str, input_size: int, hidden_size: int) -> nn.RNNBase:
    """One batch-first layer of torch's own recurrent module for ``cell``."""
    if cell not in CELLS:
        raise CarouselError(f"there is no cell named {cell!r}; choose one of: {', '.join(CELLS)}")
    return CELLS[cell](input_size, hidden_size, batch_first=True)
