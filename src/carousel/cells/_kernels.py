"""A run on the native core: the loop over time in C++, the products over all steps in torch.

Same contract as ``_plain.py``: ``native_forward(run, keep)`` and ``native_backward(..)``. The core
knows no projection. With h_t = W_hr m_t the recurrence is one of m alone,

    a_t = W_ih x_t + b + (W_hh W_hr) m_{t-1},    and W_hh h_0 in the place of the product at first,

so the core runs m, and h and its gradients follow from products over all steps.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from carousel.cells import _native
from carousel.cells._cell import Cell, State, Trajectory, Weights, never_truncated
from carousel.cells._codes import ROWS_BY_TRANSPOSED, ROWS_BY_WEIGHTS, SUM_OF_ROWS, TRUNCATED
from carousel.cells._plain import d_peephole, trajectory_of
from carousel.cells._run import INPUTS, Arriving, Gradients, Passed, Run, Totalling, norms_of

__all__ = ["NativeSteps", "native_backward", "native_forward", "native_replay", "runs_natively"]

DTYPES = {torch.float32: "f32", torch.float64: "f64"}
SCRATCH_ALIGNMENT = 64  # bytes
# How large each array of a call is; all others have a row of H numbers for each of the run.
SIZES = {
    "w_hh": "weights",
    "w_ih": "input weights",
    "b_ih": "biases",
    "b_hh": "biases",
    "peephole": "peepholes",
    "x": "input",
    "d_x": "input",
    "d_w_ih": "input weights",
    "d_w_hh": "weights",
    "d_b_ih": "biases",
    "d_b_hh": "biases",
    "norms": "norms",
    **dict.fromkeys(("gates", "d_a", "d_q"), "gates"),
    **dict.fromkeys(("h_start", "c_start", "h_end", "c_end"), "batch"),
    **dict.fromkeys(("d_h_start", "d_c_start", "d_h_end", "d_c_end"), "batch"),
}
PRODUCTS = {"x", "w_ih", "w_hh", "b_ih", "b_hh"}  # gradients that the core makes of all steps
KEPT_BYTES = 64 * 2**20  # the most that is kept under one name


def runs_natively(run: Run) -> bool:
    """Whether the core can take this run: on the CPU, in a dtype it knows, and it is loaded."""
    return len(run.h_0) > 0 and _takes(run.x)


def _takes(x: Tensor) -> bool:
    return x.is_cpu and x.dtype in DTYPES and _native.library() is not None


def native_forward(run: Run, keep: bool) -> Passed:
    """The run forward; ``keep``: with all that the run backward needs."""
    weights, cell, h_0 = run.weights, run.cell, run.h_0
    units = weights.w_ih.shape[0] // len(cell.gates)
    rows, batch, empty = run.x.shape[:-1], len(h_0), run.x.new_empty
    gates, given, w_hh = None, {}, weights.w_hh
    if weights.w_hr is not None:
        gates = _with_first_product(run, _input_part(run))
        w_hh, h_0 = by_weights(w_hh, weights.w_hr), h_0.new_zeros(batch, units)
    else:
        given = {"x": run.x, "w_ih": weights.w_ih, "b_ih": weights.b_ih}
        if keep and len(cell.gates) > 1:
            gates = empty(*rows, len(cell.gates) * units)
    h, h_n = empty(*rows, units), empty(batch, units)
    q = empty(*rows, units) if _has_q(run) and (keep or not given) else None
    c = empty(*rows, units) if cell.has_c and (keep or not given) else None
    c_n = None if run.c_0 is None else run.c_0.new_empty(run.c_0.shape)
    _call(
        run, "forward", units, **given,
        w_hh=w_hh, peephole=weights.peephole, b_hh=weights.b_hh, h_start=h_0, c_start=run.c_0,
        gates=gates, q=q, h=h, c=c, h_end=h_n, c_end=c_n,
    )  # fmt: skip
    if weights.w_hr is not None:
        h, h_n = by_transposed(h, weights.w_hr), by_transposed(h_n, weights.w_hr)
    if not keep:
        return Passed(h, h_n, c_n)
    kept = None if cell.gates == ("h",) else gates
    if kept is not None:
        kept = kept.view(*rows, len(cell.gates), units)
    return Passed(h, h_n, c_n, gates=kept, q=q, c=c)


def native_backward(
    run: Run, passed: Passed, arriving: Arriving, needs: Sequence[bool], totals: Totalling
) -> Gradients:
    """The run backward; the arguments are those of ``plain_backward``."""
    if not run.cell.has_c:
        never_truncated(run.cell.name, run.truncated)
    needed = {name for name, need in zip(INPUTS, needs, strict=True) if need}
    if totals == "full":
        needed |= {"h_0", "c_0"}
    projected = None if run.weights.w_hr is None else _Projected.of(run, passed, arriving)
    back = _followed_back(run, passed, arriving, projected, needed, totals)
    found, d_h, d_h_0 = dict(back.products), back.d_h, back.d_h_0
    if projected is not None:
        d_h, d_h_0, of_weights = projected.rest(run, passed, arriving, back.d_a.flatten(-2), needed)
        found |= of_weights
    if "peephole" in needed:
        found["peephole"] = d_peephole(run, trajectory_of(run, passed), back.d_a, added_up)
    if "h_0" in needed:
        found["h_0"] = d_h_0
    if "c_0" in needed and back.d_c_0 is not None:
        found["c_0"] = back.d_c_0
    if totals == "full":
        return Gradients(**found, d_h=d_h, d_c=back.d_c, d_a=back.d_a)
    if totals == "norms":
        return Gradients(**found, norms=back.norms if d_h is None else norms_of(d_h, back.d_c))
    return Gradients(**found)


@dataclass(frozen=True)
class _Back:
    """What the core's run backward wrote."""

    d_a: Tensor  # [.., G, H]  borrowed, unless the totals were asked for
    d_q: Tensor | None  # [.., G, H]  borrowed
    d_h_0: Tensor  # [B, H]
    d_c_0: Tensor | None  # [B, H]
    d_h: Tensor | None  # [.., H]
    d_c: Tensor | None  # [.., H]
    norms: Tensor | None  # [.., 2]
    products: dict[str, Tensor]  # of INPUTS, by name


def _followed_back(
    run: Run,
    passed: Passed,
    arriving: Arriving,
    projected: _Projected | None,
    needed: set[str],
    totals: Totalling,
) -> _Back:
    """Call the core for the loop over time, and the products over all steps that follow from it."""
    cell, weights = run.cell, run.weights
    h, w_hh, h_0 = passed.output, weights.w_hh, run.h_0
    if projected is not None:
        h, w_hh, h_0 = projected.m, projected.w_hh, projected.m_0
        arriving = projected.arriving
    rows, units, empty = h.shape[:-1], h.shape[-1], h.new_empty
    shape = (*rows, len(cell.gates), units)
    in_core = projected is None
    keeps_c = cell.has_c and (totals == "full" or (totals == "norms" and not in_core))
    norms = empty((*rows, 2), dtype=torch.float64) if totals == "norms" and in_core else None
    products = {
        name: torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for name, tensor in (("x", run.x), *vars(weights).items())
        if name in needed and name in (PRODUCTS if in_core else PRODUCTS - {"w_hh"})
    }
    back = _Back(
        d_a=empty(shape) if totals == "full" else _borrowed("d_a", shape, h.dtype),
        d_q=_borrowed("d_q", shape, h.dtype) if _has_q(run) else None,
        d_h_0=empty(h_0.shape),
        d_c_0=None if run.c_0 is None else empty(run.c_0.shape),
        d_h=empty(h.shape) if totals == "full" and in_core else None,
        d_c=empty(h.shape) if keeps_c else None,
        norms=norms,
        products=products,
    )
    _call(
        run, "backward", units, **{f"d_{name}": tensor for name, tensor in products.items()},
        x=run.x, w_ih=weights.w_ih, w_hh=w_hh, peephole=weights.peephole,
        h_start=h_0, c_start=run.c_0,
        gates=passed.gates, q=passed.q, h=h, c=passed.c,
        d_output=arriving.output, d_h_end=arriving.h_n, d_c_end=arriving.c_n,
        d_a=back.d_a, d_q=back.d_q, d_h_start=back.d_h_0, d_c_start=back.d_c_0,
        d_h=back.d_h, d_c=back.d_c, norms=norms,
    )  # fmt: skip
    if norms is not None:
        norms.sqrt_()  # the core sums squares
    return back


def _input_part(run: Run) -> Tensor:
    """W_ih x + biases for all steps, [.., G*H]: where the core adds the rest."""
    weights = run.weights
    bias = weights.b_ih
    if bias is not None and weights.b_hh is not None:
        bias = bias + weights.b_hh
        if _has_q(run):  # r multiplies the candidate's own
            units = len(bias) // 3
            assert weights.b_ih is not None
            bias[2 * units :] = weights.b_ih[2 * units :]
    return by_transposed(run.x, weights.w_ih, bias)


def _has_q(run: Run) -> bool:
    return run.cell.name == "GRU"


def _flat(rows: Tensor) -> Tensor:
    return rows.reshape(-1, rows.shape[-1])


# Projection.


def _with_first_product(run: Run, gates: Tensor) -> Tensor:
    """Add W_hh h_0 to each sequence's first step."""
    first = by_transposed(run.h_0, run.weights.w_hh)
    flat = _flat(gates)
    flat.index_add_(0, _first_rows(run), first)
    return gates


def _first_rows(run: Run) -> Tensor:
    """The row of each sequence's first step in the order of the run, [B]."""
    batch = torch.arange(len(run.h_0))
    first_row, sequences, stride = _layout(run)
    if not run.reverse:
        return first_row[0] + batch * stride
    lengths = (sequences.unsqueeze(1) > batch).sum(0)
    return first_row[lengths - 1] + batch * stride


@dataclass(frozen=True)
class _Projected:
    """A run of m instead of h = W_hr m."""

    m: Tensor  # [.., H]
    m_0: Tensor  # [B, H] zero: what h_0 gives stands in the first step's input
    w_hh: Tensor  # [G*H, H]
    arriving: Arriving

    @staticmethod
    def of(run: Run, passed: Passed, arriving: Arriving) -> _Projected:
        w_hr = run.weights.w_hr
        assert w_hr is not None
        m = run.cell.unprojected(trajectory_of(run, passed))
        inside = replace(
            arriving,
            output=None if arriving.output is None else by_weights(arriving.output, w_hr),
            h_n=None if arriving.h_n is None else by_weights(arriving.h_n, w_hr),
        )
        return _Projected(
            m, m.new_zeros(len(run.h_0), m.shape[-1]), by_weights(run.weights.w_hh, w_hr), inside
        )

    def rest(
        self, run: Run, passed: Passed, arriving: Arriving, d_a: Tensor, needed: set[str]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """What the core, which knows m alone, leaves: dL/dh_t, dL/dh_0, and two of the weights."""
        d_h, d_h_0 = self.totals(run, arriving, d_a)
        found = {}
        if "w_hh" in needed:
            found["w_hh"] = sum_of_rows(d_a, run.before(passed.output, run.h_0))
        if "w_hr" in needed:
            found["w_hr"] = sum_of_rows(d_h, self.m)
        return d_h, d_h_0, found

    def totals(self, run: Run, arriving: Arriving, d_a: Tensor) -> tuple[Tensor, Tensor]:
        """dL/dh_t in total [.., P] and dL/dh_0 [B, P]: what arrives, and d_a_{t+1} W_hh."""
        back = by_weights(d_a, run.weights.w_hh)
        if run.truncated:
            back = torch.zeros_like(back)
        d_h_n = torch.zeros_like(run.h_0) if arriving.h_n is None else arriving.h_n
        later = replace(run, reverse=not run.reverse).before(back, d_h_n)
        d_h = later if arriving.output is None else later + arriving.output
        return d_h, _flat(back)[_first_rows(run)]


# Along a trajectory that is known.


def native_replay(
    cell: Cell, x: Tensor, h_prev: Tensor, start: State, weights: Weights
) -> Trajectory | None:
    """``cell.replay`` by the core, where every h_{t-1} is known; None where it cannot."""
    if not _takes(x):
        return None
    run = Run(cell, weights, x, start[0], start[1] if cell.has_c else None)
    steps, batch = x.shape[:2]
    units = weights.w_ih.shape[0] // len(cell.gates)
    h_prev = h_prev.contiguous()
    if _has_q(run):
        gates = torch.nn.functional.linear(x, weights.w_ih, weights.b_ih).contiguous()
        back = torch.nn.functional.linear(h_prev, weights.w_hh, weights.b_hh)
        gates[..., : 2 * units] += back[..., : 2 * units]
        q = back[..., 2 * units :].contiguous()
    else:
        gates, q = _input_part(run), None
        _flat(gates).addmm_(_flat(h_prev), weights.w_hh.T)
    h = gates.new_empty(steps, batch, units)
    c = gates.new_empty(steps + 1, batch, units) if cell.has_c else None
    if c is not None:
        c[0] = start[1]
    _call(
        run, "forward", units,
        peephole=weights.peephole, c_start=None if c is None else c[0],
        # With a projection these have other sizes; an LSTM without products does not read them.
        h_start=h_prev[0] if weights.w_hr is None else h[0],
        gates=gates, q=q, h=h, c=None if c is None else c[1:],
        h_in=h_prev[1:] if weights.w_hr is None and steps > 1 else h,
    )  # fmt: skip
    stacked = gates.unflatten(-1, (len(cell.gates), units))
    if cell.gates == ("h",):
        stacked = h.unsqueeze(-2)
    return Trajectory(
        h_prev=h_prev,
        c_prev=None if c is None else c[:-1],
        h=h if weights.w_hr is None else h @ weights.w_hr.T,
        c=None if c is None else c[1:],
        gates=dict(zip(cell.gates, stacked.unbind(-2), strict=True)),
        recurrent_n=q,
        stacked=stacked,
    )


class NativeSteps:
    """The way back along a trajectory through the core; see ``Steps`` in _adjoint.py."""

    block = 512

    def __init__(
        self, cell: Cell, trajectory: Trajectory, weights: Weights, truncated: bool
    ) -> None:
        if not cell.has_c:
            never_truncated(cell.name, truncated)
        self.has_c, self.truncated = cell.has_c, truncated
        self.trajectory, self.cell, self.weights = trajectory, cell, weights
        stacked = trajectory.stacked
        assert stacked is not None
        self.gates = stacked.contiguous()
        self.units = self.outputs = stacked.shape[-1]
        self.found = torch.empty_like(self.gates)  # d_a
        self.at_state = torch.empty_like(self.gates) if trajectory.recurrent_n is not None else None

    @staticmethod
    def can_take(trajectory: Trajectory, weights: Weights) -> bool:
        """Whether the core knows this trajectory: it made it, and there is no projection."""
        return trajectory.stacked is not None and weights.w_hr is None and _takes(trajectory.h)

    def advance(
        self,
        start: int,
        stop: int,
        v: tuple[Tensor, Tensor | None],
        into: tuple[Tensor, Tensor | None],
        d_h: Tensor,
        d_c: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """From the gradient at step stop-1 to the one before step start; see ``Steps``."""
        along, place = self.trajectory, slice(start, stop)
        c_0 = None if along.c_prev is None else along.c_prev[start]
        run = Run(
            self.cell, self.weights, along.h[place], along.h_prev[start], c_0,
            truncated=self.truncated,
        )  # fmt: skip
        d_h_start = torch.empty_like(d_h[0])
        d_c_start = None if d_c is None else torch.empty_like(d_c[0])
        q = along.recurrent_n
        _call(
            run, "backward", self.units,
            w_hh=self.weights.w_hh, peephole=self.weights.peephole,
            h_start=along.h_prev[start], c_start=c_0,
            gates=self.gates[place], q=None if q is None else q[place],
            h=along.h[place], c=None if along.c is None else along.c[place],
            d_output=_with_nothing_last(into[0]),
            d_cell=None if into[1] is None else _with_nothing_last(into[1]),
            d_h_end=v[0], d_c_end=v[1], d_a=self.found[place],
            d_q=None if self.at_state is None else self.at_state[place],
            d_h_start=d_h_start, d_c_start=d_c_start, d_h=d_h, d_c=d_c,
        )  # fmt: skip
        return d_h_start, d_c_start

    def d_a(self, d_h: Tensor, d_c: Tensor | None) -> Tensor:  # noqa: ARG002 (another way needs them)
        """The gradient on the pre-activations, where the input meets them, [T, B, G, H]."""
        return self.found


def _with_nothing_last(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])])


# Products over all rows.


def by_transposed(rows: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows [.., K] @ weights [N, K] transposed + bias [N], for each row: [.., N]."""
    out = rows.new_empty(*rows.shape[:-1], len(weights))
    _multiply(ROWS_BY_TRANSPOSED, rows, weights, out, bias)
    return out


def by_weights(rows: Tensor, weights: Tensor) -> Tensor:
    """rows [.., K] @ weights [K, N], for each row: [.., N]."""
    out = rows.new_empty(*rows.shape[:-1], weights.shape[-1])
    _multiply(ROWS_BY_WEIGHTS, rows, weights, out)
    return out


def added_up(rows: Tensor) -> Tensor:
    """The sum of all rows [.., N]: [N]."""
    return sum_of_rows(rows.new_ones(rows.numel() // rows.shape[-1], 1), rows).squeeze(0)


def sum_of_rows(left: Tensor, right: Tensor) -> Tensor:
    """The sum over all rows of left [.., M] times right [.., N]: [M, N]."""
    out = left.new_empty(left.shape[-1], right.shape[-1])
    _multiply(SUM_OF_ROWS, left, right, out)
    return out


def _multiply(kind: int, a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    core = _native.library()
    assert core is not None
    a, b = a.contiguous(), b.contiguous()
    bias = None if bias is None else bias.contiguous()
    fields = _native.Product(
        rows=a.numel() // a.shape[-1],
        left=a.shape[-1],
        right=out.shape[-1],
        a=a.data_ptr(),
        b=b.data_ptr(),
        bias=None if bias is None else bias.data_ptr(),
        out=out.data_ptr(),
        kind=kind,
        threads=_native.threads(),
    )
    scratch = _scratch(core.carousel_product_bytes(fields, a.element_size()))
    fields.scratch = _aligned(scratch)
    wrong = getattr(core, f"carousel_product_{DTYPES[a.dtype]}")(fields)
    if wrong:
        name = _native.field_named(_native.Product, wrong)
        raise AssertionError(f"the native core cannot use the field {name!r} of a product")


# The call.


@lru_cache(maxsize=64)
def _even_layout(steps: int, batch: int, batch_first: bool) -> tuple[Tensor, Tensor, int]:
    first_row = torch.arange(steps) * (1 if batch_first else batch)
    return first_row, torch.full((steps,), batch), steps if batch_first else 1


def _layout(run: Run) -> tuple[Tensor, Tensor, int]:
    """Where the rows are: of each step the first [T] and how many [T], and from one to the next."""
    if run.batch_sizes is None:
        return _even_layout(run.steps, len(run.h_0), run.batch_first)
    sizes = run.batch_sizes.contiguous()
    return sizes.cumsum(0) - sizes, sizes, 1


def _call(run: Run, direction: str, units: int, **arrays: Tensor | None) -> None:
    """Hand the arrays to the core. Those that it only reads are copied where they have gaps."""
    core = _native.library()
    assert core is not None
    first_row, sequences, row_stride = _layout(run)
    kept = {name: tensor.contiguous() for name, tensor in arrays.items() if tensor is not None}
    _check(run, units, sequences, kept)
    fields = _native.Run(
        steps=run.steps,
        batch=len(run.h_0),
        hidden=units,
        inputs=run.x.shape[-1],
        row_stride=row_stride,
        first_row=first_row.data_ptr(),
        sequences=sequences.data_ptr(),
        reverse=run.reverse,
        cell=run.cell.native_code | (TRUNCATED if run.truncated else 0),
        threads=_native.threads(),
        **{name: tensor.data_ptr() for name, tensor in kept.items()},
    )
    size = core.carousel_scratch_bytes(fields, direction == "backward", run.x.element_size())
    scratch = _scratch(size)
    fields.scratch = _aligned(scratch)
    wrong = getattr(core, f"carousel_{direction}_{DTYPES[run.x.dtype]}")(fields)
    if wrong:
        name = _native.field_named(_native.Run, wrong)
        raise AssertionError(f"the native core cannot use the field {name!r} of {run.cell.name}")


def _check(run: Run, units: int, sequences: Tensor, arrays: dict[str, Tensor]) -> None:
    """Refuse arrays that the core would read or write beyond their ends.

    Raises:
        RuntimeError: a size, dtype or device that does not fit the run.
    """
    rows = run.x.numel() // run.x.shape[-1]
    gates, batch, dtype = len(run.cell.gates), run.h_0.shape[0], run.x.dtype
    sizes = {
        "weights": gates * units * units,
        "input weights": gates * units * run.x.shape[-1],
        "biases": gates * units,
        "peepholes": len(run.cell.peepholes) * units,
        "input": run.x.numel(),
        "gates": gates * rows * units,
        "norms": 2 * rows,
        "batch": batch * units,
        "rows": rows * units,
    }
    shapes = {  # as many numbers in another order would do for the core
        "w_hh": (gates * units, units),
        "w_ih": (gates * units, run.x.shape[-1]),
        "peephole": (len(run.cell.peepholes), units),
    }
    if sequences.dtype != torch.int64:
        raise RuntimeError(f"Expected batch_sizes of int64, got {sequences.dtype}.")
    for name, tensor in arrays.items():
        if name == "h_in":
            continue  # one step shorter than the others
        expected = sizes[SIZES.get(name, "rows")]
        wanted = torch.float64 if name == "norms" else dtype
        fits = tensor.shape == shapes[name] if name in shapes else tensor.numel() == expected
        if not fits or tensor.dtype != wanted or not tensor.is_cpu:
            size = f"of size {list(shapes[name])}" if name in shapes else f"with {expected} numbers"
            raise RuntimeError(
                f"{run.cell.name}: expected {name} {size} of {wanted} on the CPU, "
                f"got {list(tensor.shape)} of {tensor.dtype} on {tensor.device}. All weights and "
                "states of a layer need the dtype and device of its input, and sizes that fit."
            )


def _scratch(size: int) -> Tensor:
    """Memory for the core, its content does not matter."""
    return _borrowed("scratch", (size + SCRATCH_ALIGNMENT,), torch.uint8)


def _aligned(scratch: Tensor) -> int:
    """The first address in scratch that is aligned."""
    return -(-scratch.data_ptr() // SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT


class _Lender(threading.local):
    """What this thread's runs use and nobody sees; kept, for fresh memory costs a fault a page."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}


_lender = _Lender()


def _borrowed(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor of any content, until the same name is borrowed again on this thread."""
    size = math.prod(shape) * dtype.itemsize
    if size > KEPT_BYTES:
        return torch.empty(shape, dtype=dtype)
    kept = _lender.kept.get(name)
    if kept is None or kept.numel() < size:
        kept = _lender.kept[name] = torch.empty(size, dtype=torch.uint8)
    return kept[:size].view(dtype).view(shape)
