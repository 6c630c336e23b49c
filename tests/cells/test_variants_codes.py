"""The names that Python and the native core's header give to the cells are the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import carousel.cells
from carousel.cells import CELLS, _codes

HEADER = Path(carousel.cells.__file__).parent / "native" / "carousel.h"


def in_header() -> dict[str, int]:
    text = HEADER.read_text(encoding="utf-8")
    found = re.findall(r"^\s*CAROUSEL_(\w+) = (\d+)(?: << (\d+))?", text, re.MULTILINE)
    return {name: int(value) << int(shift or 0) for name, value, shift in found}


def test_codes_are_those_of_the_header() -> None:
    header = in_header()
    assert {name: getattr(_codes, name) for name in _codes.__all__} == {
        name: value for name, value in header.items() if name in _codes.__all__
    }
    others = set(header) - set(_codes.__all__)
    assert all(name.endswith("_MASK") for name in others), others


WANTED = {
    "RNN tanh": {"RNN", "TANH"},
    "RNN relu": {"RNN", "RELU"},
    "RNN sigmoid": {"RNN", "SIGMOID"},
    "RNN identity": {"RNN", "IDENTITY"},
    "GRU": {"GRU"},
    "LSTM": {"LSTM"},
    "LSTM 1997": {"LSTM", "NO_F"},
    "LSTM 1997 squashed": {"LSTM", "NO_F", "G_LOGISTIC", "H_LOGISTIC"},
    "LSTM peephole": {"LSTM", "PEEPHOLE"},
    "LSTM cifg": {"LSTM", "NO_F", "COUPLED"},
    "LSTM nig": {"LSTM", "PEEPHOLE", "NO_I"},
    "LSTM nfg": {"LSTM", "PEEPHOLE", "NO_F"},
    "LSTM nog": {"LSTM", "PEEPHOLE", "NO_O"},
    "LSTM niaf": {"LSTM", "PEEPHOLE", "G_IDENTITY"},
    "LSTM noaf": {"LSTM", "PEEPHOLE", "H_IDENTITY"},
}


@pytest.mark.parametrize("name", list(CELLS))
def test_code_of_a_cell(name: str) -> None:
    header = in_header()
    assert CELLS[name].native_code == sum(header[bit] for bit in WANTED[name])


def test_no_two_cells_have_one_code() -> None:
    assert len({cell.native_code for cell in CELLS.values()}) == len(CELLS)
