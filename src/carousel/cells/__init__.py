"""The recurrences: equations in plain PyTorch and, beside them, their derivatives by hand."""

from carousel.cells._adjoint import (
    Adjoint,
    PullBack,
    Steps,
    Totals,
    adjoint,
    adjoint_along,
    adjoint_through,
    pull_back,
)
from carousel.cells._cell import Cell, Linearisation, State, Trajectory, Weights
from carousel.cells._kernels import native_replay
from carousel.cells._opaque import opaque_cell
from carousel.cells._ops import recurrence
from carousel.cells._push import StepMatrices, push_forward, step_matrices
from carousel.cells._recording import (
    LayerSink,
    NormToken,
    Passage,
    Saved,
    Sink,
    Token,
    offer,
    offered_to,
    recording,
    sink_here,
    withdraw,
)
from carousel.cells._run import Passed, Run
from carousel.cells._scaled import (
    Scaled,
    binary_exponent,
    largest,
    power_of_two,
    times_power_of_two,
)
from carousel.cells._table import CELLS, cell_named

__all__ = [
    "CELLS",
    "Adjoint",
    "Cell",
    "LayerSink",
    "Linearisation",
    "NormToken",
    "Passage",
    "Passed",
    "PullBack",
    "Run",
    "Saved",
    "Scaled",
    "Sink",
    "State",
    "StepMatrices",
    "Steps",
    "Token",
    "Totals",
    "Trajectory",
    "Weights",
    "adjoint",
    "adjoint_along",
    "adjoint_through",
    "binary_exponent",
    "cell_named",
    "largest",
    "native_replay",
    "offer",
    "offered_to",
    "opaque_cell",
    "power_of_two",
    "pull_back",
    "push_forward",
    "recording",
    "recurrence",
    "sink_here",
    "step_matrices",
    "times_power_of_two",
    "withdraw",
]
