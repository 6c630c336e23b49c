"""The recurrences: equations in plain PyTorch and, beside them, their derivatives by hand."""

from carousel.cells._adjoint import Adjoint, adjoint, pull_back
from carousel.cells._cell import Cell, Linearisation, State, Trajectory, Weights
from carousel.cells._scaled import Scaled, binary_exponent, largest, times_power_of_two
from carousel.cells._table import CELLS, cell_named

__all__ = [
    "CELLS",
    "Adjoint",
    "Cell",
    "Linearisation",
    "Scaled",
    "State",
    "Trajectory",
    "Weights",
    "adjoint",
    "binary_exponent",
    "cell_named",
    "largest",
    "pull_back",
    "times_power_of_two",
]
