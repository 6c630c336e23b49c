"""Errors planted in the C++ sources must turn the comparison with the plain equations red."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.cells.native_runs import Shape, assert_same_as_plain, drawn

import carousel.cells
from carousel.cells import _native

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to plant errors with")
SOURCES = Path(carousel.cells.__file__).parent
# The smallest instruction set alone, unoptimised: the same arithmetic, in a fraction of the time.
FLAGS = ("-std=c++17", "-O0", "-w", "-fPIC", "-shared", "-fvisibility=hidden")


class Plant(NamedTuple):
    """One place in the sources, and the cell that passes through it."""

    file: str
    right: str
    wrong: str
    cell: str
    projected: bool = False

    def __str__(self) -> str:
        return f"{self.cell}, {self.file}: {self.wrong}"


PLANTS = [
    # forward
    Plant("native/gemm.hpp", "+= state * weights[n]", "-= state * weights[n]", "RNN identity"),
    Plant("lstm/kernel.hpp", "o * tanh<T>(c), lanes", "-o * tanh<T>(c), lanes", "LSTM"),
    Plant("lstm/kernel.hpp", "f = coupled_ ? one - i", "f = coupled_ ? one + i", "LSTM cifg"),
    Plant("lstm/kernel.hpp", "? a + load", "? a - load", "LSTM peephole"),
    Plant("native/run.hpp", "sum = sum + load", "sum = sum - load", "LSTM nfg"),
    Plant("gru/kernel.hpp", "run_.b_ih ? load", "run_.b_ih ? -load", "GRU"),
    Plant("native/forward.hpp", "ahead_[s - ahead_from_] + first", "ahead_[0] + first", "RNN relu"),
    Plant("native/simd.hpp", "? L + lane - S : lane", "? L + lane : lane", "RNN tanh"),
    Plant("gru/kernel.hpp", "+ z * h_prev", "- z * h_prev", "GRU"),
    # backward
    Plant("native/backward.hpp", "recurrent.add_bias(", "to_input.add_bias(", "GRU"),
    Plant("native/product.hpp", "bias[m] += sum[k]", "bias[m] -= sum[k]", "RNN tanh"),
    Plant("native/product.hpp", "b_ + k * columns_", "b_ + (inner - 1 - k) * columns_", "RNN relu"),
    Plant("native/backward.hpp", "b < run.continued(s));", "false);", "LSTM"),
    Plant("native/backward.hpp", "load(sum) + get(", "load(sum) - get(", "GRU"),
    Plant("native/backward.hpp", "v = v + get(", "v = v - get(", "RNN sigmoid"),
    Plant("native/simd.hpp", "(1) - tanh_output *", "(1) + tanh_output *", "RNN tanh"),
    Plant("rnn/kernel.hpp", "? all<T>(0) : all<T>(1)", "? all<T>(0) : all<T>(-1)", "RNN relu"),
    Plant("lstm/kernel.hpp", "d_c = d_c + v_h * o", "d_c = d_c - v_h * o", "LSTM", projected=True),
    Plant("lstm/kernel.hpp", "back_to_c = d_c * f", "back_to_c = -d_c * f", "LSTM noaf"),
    Plant("lstm/kernel.hpp", "g - c_prev : g", "g + c_prev : g", "LSTM cifg"),
    Plant("gru/kernel.hpp", "v_h * (h_prev - n)", "v_h * (h_prev + n)", "GRU"),
    Plant("gru/kernel.hpp", "d_a_r = d_a_n * q", "d_a_r = -d_a_n * q", "GRU"),
]
KINDS = sorted({(plant.cell, plant.projected) for plant in PLANTS})


def built(folder: Path, plant: Plant | None) -> Path:
    """Compile a copy of the sources with one error in it; the library."""
    for source in SOURCES.glob("*/*.[hc]*"):
        if source.suffix in {".h", ".hpp", ".cpp"}:
            (folder / source.parent.name).mkdir(exist_ok=True)
            shutil.copy(source, folder / source.parent.name)
    if plant is not None:
        place = folder / plant.file
        text = place.read_text(encoding="utf-8")
        assert text.count(plant.right) == 1, f"{plant.right!r} must be there once, and in one place"
        place.write_text(text.replace(plant.right, plant.wrong), encoding="utf-8")
    library = folder / "planted.so"
    parts = [str(folder / "native" / name) for name in ("kernels.cpp", "dispatch.cpp")]
    assert COMPILER is not None
    command = [COMPILER, *FLAGS, "-DCAROUSEL_TARGET=baseline", *parts, "-o", str(library)]
    subprocess.run(command, check=True, timeout=120)
    return library


def use(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process load another library from here on, as if it had not loaded any."""
    monkeypatch.delenv("CAROUSEL_NATIVE", raising=False)
    monkeypatch.setenv("CAROUSEL_LIBRARY", str(library))
    monkeypatch.setattr(_native, "_loading", _native._Loading())
    assert _native.status().path == library
    assert _native.library() is not None


def check(kind: tuple[str, bool]) -> None:
    """The comparison that all tests of the core make, on one small run."""
    for layout in ("time first", "packed"):
        assert_same_as_plain(drawn(kind, Shape(steps=4, batch=3, hidden=7, layout=layout)))


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_a_wrong_sign_is_noticed(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(built(tmp_path, plant), monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check((plant.cell, plant.projected))


def test_the_way_of_building_is_not_what_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(built(tmp_path, None), monkeypatch)
    for kind in KINDS:
        check(kind)
