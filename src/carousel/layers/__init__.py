"""Drop-in layers for ``torch.nn.RNN``, ``LSTM`` and ``GRU``, and a way to put them in place."""

from carousel.layers._accelerate import accelerate
from carousel.layers._gru import GRU
from carousel.layers._lstm import LSTM
from carousel.layers._recurrent import Recurrent
from carousel.layers._rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "Recurrent", "accelerate"]
