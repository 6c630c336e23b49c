"""The native core: described as its header has it, and what happens where it cannot load."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

import carousel.cells
from carousel.cells import _codes, _native
from carousel.cells._native import Product, Run, _Loading

FOLDER = Path(carousel.cells.__path__[0]) / "native"
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
HEADER = re.sub(
    r"/\*.*?\*/", "", (FOLDER / "carousel.h").read_text(encoding="utf-8"), flags=re.DOTALL
)
C_TYPES = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "double": ctypes.c_double}


STRUCTS = {"carousel_run": Run, "carousel_product": Product}
each_struct = pytest.mark.parametrize("name", STRUCTS)


def struct_fields(name: str) -> list[tuple[str, type]]:
    """Return the fields of a struct: their names, and their types as ctypes has them."""
    found = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", HEADER, flags=re.DOTALL)
    assert found is not None
    fields = []
    for declaration in filter(None, map(str.strip, found[1].split(";"))):
        parsed = re.fullmatch(r"(?:const )?(\w+) (\*?)(\w+(?:, \w+)*)", declaration)
        assert parsed is not None, declaration
        kind = ctypes.c_void_p if parsed[2] else C_TYPES[parsed[1]]
        fields += [(field, kind) for field in parsed[3].split(", ")]
    return fields


def argument_type(declaration: str) -> type:
    """Return how ctypes passes the argument of this declaration."""
    for name, structure in STRUCTS.items():
        if f"{name} *" in declaration:
            return ctypes.POINTER(structure)
    return C_TYPES[declaration.split(maxsplit=1)[0]]


def functions() -> dict[str, tuple[type, tuple[type, ...]]]:
    """Return the result and the arguments of every function of the header."""
    found = {}
    for result, name, arguments in re.findall(r"([\w ]+[ *])(carousel_\w+)\(([^)]*)\);", HEADER):
        kind = ctypes.c_char_p if "char *" in result else C_TYPES[result.split()[0]]
        given = () if arguments == "void" else tuple(map(argument_type, arguments.split(",")))
        found[name] = (kind, given)
    return found


@each_struct
def test_a_struct_has_the_fields_of_the_header_in_their_order(name: str) -> None:
    described = [field for field, _ in STRUCTS[name]._fields_]
    assert described == [field for field, _ in struct_fields(name)]


@each_struct
def test_the_fields_have_the_types_and_the_places_of_the_header(name: str) -> None:
    structure, offset = STRUCTS[name], 0
    for (field, described), (_, declared) in zip(
        structure._fields_, struct_fields(name), strict=True
    ):
        assert described is declared, field
        offset += -offset % ctypes.alignment(declared)
        assert getattr(structure, field).offset == offset, field
        assert getattr(structure, field).size == ctypes.sizeof(declared), field
        offset += ctypes.sizeof(declared)
    assert ctypes.sizeof(structure) == offset + -offset % 8


def test_the_signatures_are_those_of_the_header() -> None:
    assert functions() == _native.SIGNATURES


def test_the_interface_has_the_number_of_the_header() -> None:
    found = re.search(r"#define CAROUSEL_ABI (\d+)", HEADER)
    assert found is not None
    assert int(found[1]) == _native.ABI


def test_the_codes_of_the_cells_are_those_of_the_header() -> None:
    declared = {
        name: int(number) << int(shift or 0)
        for name, number, shift in re.findall(r"CAROUSEL_(\w+) = (\d+)(?: << (\d+))?", HEADER)
        if not name.endswith("_MASK")
    }
    assert declared == {name: getattr(_codes, name) for name in _codes.__all__}


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own, in which nothing is loaded yet."""
    chosen = {"CAROUSEL_NATIVE", "CAROUSEL_TARGET"}
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    kept |= {"OMP_NUM_THREADS": "2"}
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler, so that there is no library")
def test_the_library_that_was_built_loads() -> None:
    done = run(
        "from carousel.cells._native import library, status\n"
        "assert library() is library() is not None\n"
        "print(status().path, status().target, status().reason, status().forced_off)"
    )
    path, target, *rest = done.stdout.split()
    assert Path(path).is_file(), done.stderr
    assert target in {"avx512", "avx2", "baseline"}
    assert rest == ["None", "False"]


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler, so that there is no library")
def test_a_lesser_instruction_set_can_be_asked_for() -> None:
    done = run(
        "from carousel.cells._native import status; print(status().target)",
        CAROUSEL_TARGET="baseline",
    )
    assert done.stdout == "baseline\n", done.stderr


def test_importing_warns_of_nothing() -> None:
    done = run("import carousel.cells._native", CAROUSEL_LIBRARY="/nowhere.so")
    assert done.returncode == 0, done.stderr


def test_switched_off_it_is_not_loaded_and_nothing_warns() -> None:
    done = run(
        "from carousel.cells._native import library, status\n"
        "assert library() is None and status().forced_off and not status().loaded\n"
        "print(status().reason)",
        CAROUSEL_NATIVE="0",
    )
    assert done.stdout == "It was switched off by CAROUSEL_NATIVE=0.\n", done.stderr


def test_a_library_that_is_not_there_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAROUSEL_NATIVE", raising=False)
    monkeypatch.setenv("CAROUSEL_LIBRARY", "/nowhere/lib.so")
    loading = _Loading()
    with pytest.warns(UserWarning, match=r"plain equations.*/nowhere/lib\.so.*make native"):
        assert loading.library() is None
    assert loading.library() is None  # a second warning would be an error
    assert loading.status().path == Path("/nowhere/lib.so")
    assert not loading.status().loaded


def test_a_package_without_a_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CAROUSEL_NATIVE", "CAROUSEL_LIBRARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(carousel.cells, "__path__", [str(tmp_path)])
    loading = _Loading()
    with pytest.warns(UserWarning, match=r"it was not built\. Install a C\+\+ compiler"):
        assert loading.library() is None
    assert loading.status().path is None


def test_the_library_may_be_in_any_folder_of_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CAROUSEL_LIBRARY", raising=False)
    (tmp_path / "second" / "native").mkdir(parents=True)
    library = tmp_path / "second" / "native" / _native.NAME
    library.write_bytes(b"")
    monkeypatch.setattr(carousel.cells, "__path__", [str(tmp_path), str(library.parents[1])])
    assert _native._path() == library


def test_what_is_no_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torn = tmp_path / "torn.so"
    torn.write_bytes(b"\x7fELF and no more")
    monkeypatch.delenv("CAROUSEL_NATIVE", raising=False)
    monkeypatch.setenv("CAROUSEL_LIBRARY", str(torn))
    with pytest.warns(UserWarning, match=r"torn\.so"):
        assert _Loading().library() is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("int carousel_abi(void) { return 77; }", "has interface 77, and 2 is expected"),
        ("int carousel_abi(void) { return 2; }", "is another library: .*carousel_scratch_bytes"),
        ("int something(void) { return 1; }", "is another library: .*carousel_abi"),
    ],
)
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to make another library with")
def test_another_library_is_refused(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert COMPILER is not None
    (tmp_path / "other.cpp").write_text(f'extern "C" {source}\n', encoding="utf-8")
    other = tmp_path / "other.so"
    compiling = [COMPILER, "-shared", "-fPIC", str(tmp_path / "other.cpp"), "-o", str(other)]
    subprocess.run(compiling, check=True)
    monkeypatch.delenv("CAROUSEL_NATIVE", raising=False)
    monkeypatch.setenv("CAROUSEL_LIBRARY", str(other))
    with pytest.warns(UserWarning, match=words):
        assert _Loading().library() is None


def test_threads_that_come_together_load_and_warn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAROUSEL_NATIVE", raising=False)
    monkeypatch.setenv("CAROUSEL_LIBRARY", "/nowhere/lib.so")
    loading, ready = _Loading(), threading.Barrier(8)
    found = []

    def load() -> None:
        ready.wait()
        loading.library()
        found.append(loading.found)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        workers = [threading.Thread(target=load) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(caught) == 1
    assert len(found) == 8
    assert all(entry is found[0] for entry in found)


def test_as_many_threads_as_torch() -> None:
    assert _native.threads() == torch.get_num_threads()


FORKED = """
import os
import signal
import torch
from carousel.cells._native import library, threads
torch.set_num_threads(2)
core = library()
assert threads() == 2
if core:
    core.carousel_fma_peak_f32(threads())  # starts the pool, which the child does not get
child = os.fork()
if child == 0:
    signal.alarm(30)  # what waits for threads that are not there waits for ever
    if core:
        core.carousel_fma_peak_f32(threads())
    os._exit(10 + threads())
assert threads() == 2
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_one_thread_after_a_fork() -> None:
    done = run(FORKED, CAROUSEL_NATIVE="0" if COMPILER is None else "1")
    assert done.stdout == "11\n", done.stderr
