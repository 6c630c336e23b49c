"""The native core: found, loaded, and described to ctypes. Its interface is native/carousel.h.

The core is one shared library of plain C functions. Where it cannot be loaded, everything runs on
the plain equations instead, which a warning says once. What the environment decides:

    CAROUSEL_NATIVE=0           the plain equations, without a warning
    CAROUSEL_LIBRARY=/x/y.so    this library and no other
    CAROUSEL_TARGET=avx2        a lesser instruction set than the best: avx512, avx2 or baseline
"""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch  # first: the library then finds torch's libgomp loaded, and they share their threads

__all__ = ["ABI", "Product", "Run", "Status", "field_named", "library", "status", "threads"]

ABI = 2  # CAROUSEL_ABI of the header that this module was written for
NAME = "libcarousel_core.so"


class Run(ctypes.Structure):
    """``carousel_run``, field by field; the header says what each is and who owns it.

    Pointers are addresses, as ``Tensor.data_ptr()`` gives them, or None. Whoever fills them in
    keeps the tensors alive until the call returns.
    """

    _fields_ = (
        ("steps", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("hidden", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("first_row", ctypes.c_void_p),
        ("sequences", ctypes.c_void_p),
        ("reverse", ctypes.c_int32),
        ("cell", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("w_hh", ctypes.c_void_p),
        ("w_ih", ctypes.c_void_p),
        ("peephole", ctypes.c_void_p),
        ("b_ih", ctypes.c_void_p),
        ("b_hh", ctypes.c_void_p),
        ("h_start", ctypes.c_void_p),
        ("c_start", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("gates", ctypes.c_void_p),
        ("q", ctypes.c_void_p),
        ("h", ctypes.c_void_p),
        ("c", ctypes.c_void_p),
        ("h_in", ctypes.c_void_p),
        ("h_end", ctypes.c_void_p),
        ("c_end", ctypes.c_void_p),
        ("d_output", ctypes.c_void_p),
        ("d_cell", ctypes.c_void_p),
        ("d_h_end", ctypes.c_void_p),
        ("d_c_end", ctypes.c_void_p),
        ("d_a", ctypes.c_void_p),
        ("d_q", ctypes.c_void_p),
        ("d_h_start", ctypes.c_void_p),
        ("d_c_start", ctypes.c_void_p),
        ("d_h", ctypes.c_void_p),
        ("d_c", ctypes.c_void_p),
        ("norms", ctypes.c_void_p),
        ("d_x", ctypes.c_void_p),
        ("d_w_ih", ctypes.c_void_p),
        ("d_w_hh", ctypes.c_void_p),
        ("d_b_ih", ctypes.c_void_p),
        ("d_b_hh", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
    )


class Product(ctypes.Structure):
    """``carousel_product``, field by field, likewise."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("left", ctypes.c_int64),
        ("right", ctypes.c_int64),
        ("a", ctypes.c_void_p),
        ("b", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("kind", ctypes.c_int32),
        ("accumulate", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("scratch", ctypes.c_void_p),
    )


_RUN = ctypes.POINTER(Run)
_PRODUCT = ctypes.POINTER(Product)
SIGNATURES = {  # name: (result, arguments)
    "carousel_scratch_bytes": (ctypes.c_int64, (_RUN, ctypes.c_int32, ctypes.c_int32)),
    "carousel_forward_f32": (ctypes.c_int32, (_RUN,)),
    "carousel_forward_f64": (ctypes.c_int32, (_RUN,)),
    "carousel_backward_f32": (ctypes.c_int32, (_RUN,)),
    "carousel_backward_f64": (ctypes.c_int32, (_RUN,)),
    "carousel_product_bytes": (ctypes.c_int64, (_PRODUCT, ctypes.c_int32)),
    "carousel_product_f32": (ctypes.c_int32, (_PRODUCT,)),
    "carousel_product_f64": (ctypes.c_int32, (_PRODUCT,)),
    "carousel_abi": (ctypes.c_int32, ()),
    "carousel_target": (ctypes.c_char_p, ()),
    "carousel_openmp": (ctypes.c_int32, ()),
    "carousel_fma_peak_f32": (ctypes.c_double, (ctypes.c_int32,)),
    "carousel_fma_peak_f64": (ctypes.c_double, (ctypes.c_int32,)),
}


@dataclass(frozen=True)
class Status:
    """What became of the native core in this process."""

    path: Path | None  # of the library, also of one that did not load; None: there is none
    target: str | None  # the instruction set that runs: "avx512", "avx2" or "baseline"
    openmp: bool  # whether it can use more than one thread
    reason: str | None  # why it was not loaded; None: it was
    forced_off: bool  # by CAROUSEL_NATIVE=0

    @property
    def loaded(self) -> bool:
        """Whether the native core runs; otherwise the plain equations do."""
        return self.reason is None


def library() -> ctypes.CDLL | None:
    """The native core, loaded at the first call; None where it cannot be, or is not wanted.

    Warns:
        UserWarning: once a process, if the plain equations run although nobody asked for them. It
            names the cause and what to do.
    """
    return _loading.library()


def status() -> Status:
    """What became of the native core, which is loaded if it was not; never a warning."""
    return _loading.status()


def field_named(structure: type[ctypes.Structure], code: int) -> str:
    """The field that a function of the core means by a result that is not 0."""
    names = (field[0] for field in structure._fields_)
    return next(name for name in names if getattr(structure, name).offset == code - 1)


def threads() -> int:
    """How many threads a run may use: as many as torch, but one in a forked process.

    A fork copies the calling thread alone, and libgomp then waits for ever for the others of its
    pool. Whether torch had started that pool before the fork cannot be asked, so every fork counts.
    """
    return 1 if _loading.forked else torch.get_num_threads()


class _Loading:
    """One process's attempt to load the library, made once, by whichever thread comes first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: tuple[ctypes.CDLL | None, Status] | None = None
        self.warned = False
        self.forked = False

    def library(self) -> ctypes.CDLL | None:
        handle, known = self.found or self.load()
        if handle is None and not known.forced_off and not self.warned:
            self.warn(known)
        return handle

    def status(self) -> Status:
        return (self.found or self.load())[1]

    def load(self) -> tuple[ctypes.CDLL | None, Status]:
        with self.lock:
            if self.found is None:
                self.found = _load()
            return self.found

    def warn(self, known: Status) -> None:
        with self.lock:
            first, self.warned = not self.warned, True
        if first:
            warnings.warn(
                f"carousel runs its plain equations, many times slower than its native core: "
                f"{known.reason} CAROUSEL_NATIVE=0 chooses the plain equations without this "
                f"warning.",
                UserWarning,
                stacklevel=4,
            )

    def after_fork(self) -> None:
        self.lock = threading.Lock()  # another thread may have held it, and is not here to let go
        self.forked = True


_loading = _Loading()
if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_loading.after_fork)


def _load() -> tuple[ctypes.CDLL | None, Status]:
    """Find the library, load it, and check that it is the one this module knows."""
    if os.environ.get("CAROUSEL_NATIVE") == "0":
        reason = "It was switched off by CAROUSEL_NATIVE=0."
        return None, Status(None, None, openmp=False, reason=reason, forced_off=True)
    path = _path()
    try:
        handle = _open(path)
    except _UnusableError as error:
        reason = f"The native core was not loaded: {error}"
        return None, Status(path, None, openmp=False, reason=reason, forced_off=False)
    target = handle.carousel_target().decode("ascii")
    openmp = bool(handle.carousel_openmp())
    return handle, Status(path, target, openmp=openmp, reason=None, forced_off=False)


class _UnusableError(Exception):
    """There is no library, or not one that can be used; the message says why and what to do."""


def _path() -> Path | None:
    """Where the library is: as CAROUSEL_LIBRARY says, otherwise in a folder of this package."""
    if named := os.environ.get("CAROUSEL_LIBRARY"):
        return Path(named).absolute()
    folders = import_module(__name__.rpartition(".")[0]).__path__  # several, in some installs
    candidates = (Path(folder) / "native" / NAME for folder in folders)
    return next((path for path in candidates if path.is_file()), None)


def _open(path: Path | None) -> ctypes.CDLL:
    """Load the library at ``path`` and declare its functions."""
    if path is None:
        raise _UnusableError(
            "it was not built. Install a C++ compiler (g++ or clang++) and then carousel-rnn "
            "again, or, in a checkout, run `make native`."
        )
    again = "Install carousel-rnn again, or, in a checkout, run `make native`."
    try:
        handle = ctypes.CDLL(str(path))
    except OSError as error:
        raise _UnusableError(f"{error}. {again}") from error
    try:
        if (abi := handle.carousel_abi()) != ABI:
            raise _UnusableError(f"{path} has interface {abi}, and {ABI} is expected. {again}")
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(handle, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise _UnusableError(f"{path} is another library: {error}. {again}") from error
    return handle
