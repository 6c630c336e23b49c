"""The native core's C functions on their own: the activations, and calls that cannot be."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from decimal import Decimal, localcontext

import pytest
import torch
from tests.cells.native_runs import native_only
from tests.cells.setting import FLOAT64

from carousel.cells import _codes, _native

pytestmark = native_only
DTYPES = {torch.float32: "f32", FLOAT64: "f64"}
each_dtype = pytest.mark.parametrize("dtype", list(DTYPES), ids=str)


def call(direction: str, dtype: torch.dtype, **fields: object) -> int:
    """Call the core with these fields; tensors by their address. Returns the wrong field, or 0."""
    given = {
        name: value.data_ptr() if isinstance(value, torch.Tensor) else value
        for name, value in fields.items()
    }
    return getattr(_native.library(), f"carousel_{direction}_{DTYPES[dtype]}")(_native.Run(**given))


# The activations, by the distance from the exact result in units of the last place.

HIDDEN = 19  # whole vectors and a part of one, whatever their width
# The worst of 18 million random values is 2.41, 2.19, 2.50 and 2.56.
ULPS = {
    ("sigmoid", torch.float32): 2.5,
    ("sigmoid", FLOAT64): 2.25,
    ("tanh", torch.float32): 2.6,
    ("tanh", FLOAT64): 2.6,
}
CODES = {"sigmoid": _codes.SIGMOID, "tanh": _codes.TANH}


def activated(values: torch.Tensor, code: int) -> torch.Tensor:
    """phi of each value: an RNN of one step whose recurrent product is known, and zero."""
    padded = torch.cat([values, values.new_zeros(-len(values) % HIDDEN)]).view(-1, HIDDEN)
    gates, h, nothing = padded.clone(), torch.empty_like(padded), torch.zeros_like(padded)
    scratch = torch.empty(1 << 16, dtype=torch.uint8)
    wrong = call(
        "forward",
        values.dtype,
        steps=1,
        batch=len(padded),
        hidden=HIDDEN,
        row_stride=1,
        first_row=torch.zeros(1, dtype=torch.int64),
        sequences=torch.tensor([len(padded)]),
        cell=code,
        threads=1,
        h_start=nothing,
        gates=gates,
        h=h,
        h_in=nothing,
        scratch=scratch,
    )
    assert wrong == 0
    return h.view(-1)[: len(values)]


def exact(value: float, name: str) -> Decimal:
    """The result to 30 digits at least: 40, less those that cancel near zero."""
    x = Decimal(value)
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    if abs(x) < Decimal("1e-10"):  # the next term of the series is 1e-41 of this
        return x - x**3 / 3
    return ((2 * x).exp() - 1) / ((2 * x).exp() + 1)


@pytest.fixture
def many_digits() -> Iterator[None]:
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 40, -(10**9), 10**9
        yield


def sampled(dtype: torch.dtype) -> torch.Tensor:
    """Values of every size, both signs: dense where it bends, to both ends of the range."""
    end = 95.0 if dtype == torch.float32 else 750.0
    smallest = -37.0 if dtype == torch.float32 else -307.0
    generator = torch.Generator().manual_seed(0)
    halves = [
        torch.linspace(0.0, end, 701, dtype=FLOAT64),
        torch.linspace(0.0, 20.0, 1201, dtype=FLOAT64),
        torch.randn(1200, generator=generator, dtype=FLOAT64),
        10 ** torch.linspace(smallest, 2.0, 400, dtype=FLOAT64),
    ]
    half = torch.cat(halves).to(dtype)
    return torch.cat([half, -half])


@each_dtype
@pytest.mark.parametrize("name", list(CODES))
@pytest.mark.usefixtures("many_digits")
def test_activations_to_the_last_place(name: str, dtype: torch.dtype) -> None:
    values = sampled(dtype)
    found = activated(values, CODES[name])
    wanted = [exact(value, name) for value in values.tolist()]
    tiny, eps = torch.finfo(dtype).tiny, torch.finfo(dtype).eps
    worst = 0.0
    for value, result, right in zip(values.tolist(), found.tolist(), wanted, strict=True):
        if abs(right) < tiny:  # denormals are flushed
            assert result == 0.0, f"{name}({value}) is {result}"
            continue
        last_place = Decimal(eps) * Decimal(2) ** (math.frexp(right)[1] - 1)
        worst = max(worst, float(abs(Decimal(result) - right) / last_place))
    assert 0.5 < worst <= ULPS[name, dtype]


@each_dtype
def test_activations_at_the_ends(dtype: torch.dtype) -> None:
    large = torch.tensor([20.0, 100.0, 1e3, 1e30, torch.inf], dtype=dtype)
    ends = torch.cat([large, -large])
    for name, code in CODES.items():
        found, wanted = activated(ends, code), getattr(torch, name)(ends)
        ulps = (found - wanted).abs() / (torch.finfo(dtype).eps * wanted.abs())
        near = (ulps <= ULPS[name, dtype]) | (found == wanted)
        assert (near | (wanted < torch.finfo(dtype).tiny) & (found == 0)).all()
    assert activated(ends, _codes.SIGMOID)[4::5].tolist() == [1.0, 0.0]
    assert activated(ends, _codes.TANH)[4::5].tolist() == [1.0, -1.0]
    assert torch.equal(activated(ends, _codes.IDENTITY), ends)
    assert torch.equal(activated(ends, _codes.RELU), ends.relu())


@each_dtype
def test_activations_at_zero(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    smallest = torch.tensor([0.0, -0.0, info.tiny / 4, -info.tiny / 4], dtype=dtype)
    assert (smallest[2:] != 0).all(), "not denormal"
    assert (activated(smallest, _codes.SIGMOID) == 0.5).all()
    assert (activated(smallest, _codes.TANH).abs() <= smallest.abs()).all()
    assert (activated(smallest, _codes.RELU) >= 0).all()
    normal = torch.tensor([info.tiny, -info.tiny, 3 * info.tiny], dtype=dtype)
    assert torch.equal(activated(normal, _codes.TANH), normal)


@each_dtype
def test_activations_of_nan(dtype: torch.dtype) -> None:
    """Also beside numbers, in the same vector."""
    values = torch.tensor([0.0, torch.nan, 1.0] * 11, dtype=dtype)
    for code in (*CODES.values(), _codes.RELU, _codes.IDENTITY):
        assert torch.equal(activated(values, code).isnan(), values.isnan())


# Calls that cannot be.

STEPS, BATCH, UNITS = 3, 2, 5
GATES = {_codes.RNN: 1, _codes.GRU: 3, _codes.LSTM: 4}


def good_call(cell: int) -> dict[str, object]:
    """All fields of a run that is right in both directions."""
    gates, with_x, cell = GATES[cell & 3], cell & WITH_X, cell & ~WITH_X

    def rows(*shape: int) -> torch.Tensor:
        return torch.full((STEPS * BATCH, *shape, UNITS), 0.25, dtype=FLOAT64)

    def starts() -> torch.Tensor:
        return torch.full((BATCH, UNITS), 0.25, dtype=FLOAT64)

    fields: dict[str, object] = {
        "steps": STEPS,
        "batch": BATCH,
        "hidden": UNITS,
        "row_stride": 1,
        "first_row": torch.arange(0, STEPS * BATCH, BATCH),
        "sequences": torch.full((STEPS,), BATCH),
        "cell": cell,
        "threads": 1,
        "w_hh": torch.full((gates * UNITS, UNITS), 0.25, dtype=FLOAT64),
        "peephole": torch.full((3, UNITS), 0.25, dtype=FLOAT64),
        "h_start": starts(),
        "gates": rows(gates),
        "h": rows(),
        "d_a": rows(gates),
        "d_h_start": starts(),
        "scratch": torch.full((1 << 21,), 7, dtype=torch.uint8),
    }
    if cell & 3 == _codes.GRU:
        fields |= {"q": rows(), "d_q": rows(gates)}
    if cell & 3 == _codes.LSTM:
        fields |= {"c_start": starts(), "c": rows(), "d_c_start": starts()}
    if with_x:
        w_ih = torch.full((gates * UNITS, UNITS), 0.25, dtype=FLOAT64)
        fields |= {"inputs": UNITS, "x": rows(), "w_ih": w_ih}
        fields |= {"d_x": rows(), "d_w_ih": w_ih.clone()}
    return fields


LSTM, RNN, GRU = _codes.LSTM, _codes.RNN, _codes.GRU
PEEPHOLE = LSTM | _codes.PEEPHOLE
TWO_GATES_LESS = LSTM | _codes.NO_I | _codes.NO_F
WITH_X = 1 << 30  # not of the core: the call has the input, and asks for its gradients
# direction, cell, the field that is wrong, and its value
BAD = [
    *(("both", cell, name, bad) for cell in (RNN, GRU, LSTM)
      for name in ("steps", "batch", "hidden") for bad in (0, -1)),
    *(("both", cell, "first_row", None) for cell in (RNN, GRU, LSTM)),
    *(("both", LSTM, "sequences", torch.tensor(sizes))
      for sizes in ([2, 2, 0], [3, 2, 1], [1, 2, 2], [-1, -1, -1])),
    *(("both", RNN, "cell", bad) for bad in (3, TWO_GATES_LESS)),
    *(("both", LSTM, "threads", bad) for bad in (0, -2)),
    *(("both", cell, name, None) for cell in (RNN, GRU, LSTM)
      for name in ("w_hh", "h_start", "h", "scratch")),
    ("both", PEEPHOLE, "peephole", None),
    *(("both", LSTM, name, None) for name in ("c_start", "gates", "c")),
    *(("both", GRU, name, None) for name in ("gates", "q")),
    ("forward", RNN, "gates", None),
    *(("backward", cell, name, None) for cell in (RNN, GRU, LSTM) for name in ("d_a", "d_h_start")),
    ("backward", GRU, "d_q", None),
    ("backward", LSTM, "d_c_start", None),
    ("forward", RNN | WITH_X, "inputs", 0),
    *(("forward", cell | WITH_X, name, None) for cell in (RNN, LSTM) for name in ("w_ih", "w_hh")),
    ("forward", LSTM | WITH_X, "c", None),
    *(("backward", GRU | WITH_X, name, bad) for name, bad in (("inputs", 0), ("w_ih", None),
      ("x", None))),
]  # fmt: skip


@pytest.mark.parametrize("cell", [RNN, GRU, LSTM, PEEPHOLE, GRU | WITH_X, LSTM | WITH_X])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_call_that_is_right(direction: str, cell: int) -> None:
    fields = good_call(cell)
    before = fields["scratch"].clone()
    assert call(direction, FLOAT64, **fields) == 0
    assert not torch.equal(fields["scratch"], before)


@pytest.mark.parametrize(("direction", "cell", "name", "value"), BAD, ids=str)
@each_dtype
def test_a_call_that_cannot_be(
    direction: str, cell: int, name: str, value: object, dtype: torch.dtype
) -> None:
    """It returns the number of the field and has touched nothing."""
    for way in ("forward", "backward") if direction == "both" else (direction,):
        fields = good_call(cell) | {name: value}
        tensors = [part for part in fields.values() if isinstance(part, torch.Tensor)]
        before = [tensor.clone() for tensor in tensors]
        wrong = call(way, dtype, **fields)
        assert _native.field_named(_native.Run, wrong) == name
        assert all(torch.equal(*pair) for pair in zip(tensors, before, strict=True))


def test_scratch_for_a_run_with_norms_is_larger() -> None:
    core = _native.library()
    fields = good_call(LSTM)
    run = _native.Run(
        **{
            name: value.data_ptr() if isinstance(value, torch.Tensor) else value
            for name, value in fields.items()
        }
    )
    small = core.carousel_scratch_bytes(ctypes.byref(run), 1, 8)
    assert small >= 4 * UNITS * UNITS * 8
    run.norms = run.h
    assert core.carousel_scratch_bytes(ctypes.byref(run), 1, 8) > small
    assert core.carousel_scratch_bytes(ctypes.byref(run), 0, 8) == small
