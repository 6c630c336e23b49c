"""The long short-term memory with a forget gate, in torch's gate order i, f, g, o."""

from carousel.cells.lstm._equations import LSTM

__all__ = ["LSTM"]
