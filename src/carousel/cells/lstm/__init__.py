"""The long short-term memory and its variants, in torch's gate order i, f, g, o."""

from carousel.cells.lstm._equations import LSTM, cell_of
from carousel.cells.lstm._variants import VARIANTS, Variant

__all__ = ["LSTM", "VARIANTS", "Variant", "cell_of"]
