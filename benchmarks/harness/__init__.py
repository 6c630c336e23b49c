"""What the benchmarks share: fair timing, checks that run first, peers, tables and a plot.

A folder and no script: ``make bench`` runs every file that stands beside it.
"""

from harness._checks import Mismatch, agree, same
from harness._costs import memory_group, recording_group, watch_group
from harness._grid import Shape, grid
from harness._groups import Case, Comparison, Group, Options, Row, Target, run_group
from harness._machine import described, fma_peak
from harness._peers import CellLoop, VariantLoop, gemms
from harness._plot import plot
from harness._report import Figure, exit_code, print_summary, save
from harness._steps import Inference, Training, example, layer, ragged
from harness._timing import Ratio, Timing, interleaved

__all__ = [
    "Case",
    "CellLoop",
    "Comparison",
    "Figure",
    "Group",
    "Inference",
    "Mismatch",
    "Options",
    "Ratio",
    "Row",
    "Shape",
    "Target",
    "Timing",
    "Training",
    "VariantLoop",
    "agree",
    "described",
    "example",
    "exit_code",
    "fma_peak",
    "gemms",
    "grid",
    "interleaved",
    "layer",
    "memory_group",
    "plot",
    "print_summary",
    "ragged",
    "recording_group",
    "run_group",
    "same",
    "save",
    "watch_group",
]
