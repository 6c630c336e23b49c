"""How the native core calls each cell, and each product: the numbers in native/carousel.h.

The first are the bits of ``carousel_run.cell``, the last the values of ``carousel_product.kind``.
"""

from __future__ import annotations

__all__ = [
    "COUPLED",
    "GRU",
    "G_IDENTITY",
    "G_LOGISTIC",
    "G_TANH",
    "H_IDENTITY",
    "H_LOGISTIC",
    "H_TANH",
    "IDENTITY",
    "LSTM",
    "NO_F",
    "NO_I",
    "NO_O",
    "PEEPHOLE",
    "RELU",
    "RNN",
    "ROWS_BY_TRANSPOSED",
    "ROWS_BY_WEIGHTS",
    "SIGMOID",
    "SUM_OF_ROWS",
    "TANH",
    "TRUNCATED",
]

# The family.
RNN = 0
GRU = 1
LSTM = 2

# The nonlinearity of the RNN.
TANH = 0 << 4
RELU = 1 << 4
SIGMOID = 2 << 4
IDENTITY = 3 << 4

# What a variant of the LSTM lacks or has.
NO_I = 1 << 8  # i = 1
NO_F = 1 << 9  # f = 1, or 1 - i where coupled
NO_O = 1 << 10  # o = 1
COUPLED = 1 << 11
PEEPHOLE = 1 << 12

# Squashing of the cell's input.
G_TANH = 0 << 16
G_LOGISTIC = 1 << 16  # 4 sigmoid - 2
G_IDENTITY = 2 << 16

# Squashing of the cell's output.
H_TANH = 0 << 18
H_LOGISTIC = 1 << 18  # 2 sigmoid - 1
H_IDENTITY = 2 << 18

# Of a call, not of a cell: backward lets nothing return through W_hh or the peepholes.
TRUNCATED = 1 << 24

# Products over all rows.
ROWS_BY_WEIGHTS = 0
ROWS_BY_TRANSPOSED = 1
SUM_OF_ROWS = 2
