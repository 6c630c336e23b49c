"""Every cell by its name."""

from __future__ import annotations

from carousel._errors import CarouselError
from carousel.cells._cell import Cell
from carousel.cells.gru import GRU
from carousel.cells.lstm import LSTM
from carousel.cells.rnn import RNN

__all__ = ["CELLS", "cell_named"]

CELLS: dict[str, Cell] = {cell.name: cell for cell in (*RNN.values(), *LSTM.values(), GRU)}


def cell_named(name: str) -> Cell:
    """The cell of that name; a miss lists the names that exist."""
    try:
        return CELLS[name]
    except KeyError:
        raise CarouselError(
            f"There is no cell {name!r}. The cells are: {', '.join(CELLS)}."
        ) from None
