"""What may not matter to the native core and does not: threads, company, memory, processor."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.cells.native_runs import (
    LAYOUTS,
    Shape,
    all_needed,
    arriving,
    assert_same_bits,
    drawn,
    native_only,
)
from tests.cells.setting import FLOAT64, KINDS, kind_id

from carousel.cells import CELLS, _kernels, _native, native_replay
from carousel.cells._kernels import native_backward, native_forward
from carousel.cells._plain import plain_backward, plain_forward
from carousel.cells._run import Arriving, Gradients, Passed, Run, norms_of

pytestmark = native_only
ROOT = Path(__file__).parents[2]
DTYPES = (FLOAT64, torch.float32)
FAMILIES = [("RNN tanh", False), ("GRU", False), ("LSTM", False), ("LSTM peephole", False)]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_family = pytest.mark.parametrize("kind", FAMILIES, ids=kind_id)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=kind_id)


def direct(run: Run) -> Run:
    """The same with W_ih = 1 and no biases, so that x is what the core adds to.

    No product of torch, which may round otherwise for other sizes, then stands before the core.
    """
    rows = len(run.weights.w_ih)
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(*run.x.shape[:-1], rows, generator=generator, dtype=FLOAT64).to(run.x.dtype)
    weights = replace(run.weights, w_ih=torch.eye(rows, dtype=x.dtype), b_ih=None, b_hh=None)
    return replace(run, weights=weights, x=x)


def both_ways(run: Run, up: Arriving | None = None) -> tuple[Passed, Gradients, Gradients]:
    """The run forward, and backward as far as the core computes it: all totals, and their norms."""
    passed = native_forward(run, keep=True)
    up = arriving(run, passed) if up is None else up
    back = [native_backward(run, passed, up, [False] * 9, totals) for totals in ("full", "norms")]
    return passed, *back


def assert_same_three(found: tuple[object, ...], expected: tuple[object, ...], what: str) -> None:
    for one, other, part in zip(found, expected, ("forward", "backward", "norms"), strict=True):
        assert_same_bits(one, other, f"{part}, {what}")


@pytest.fixture
def use_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Tell the core how many threads it may use; torch goes on with its own."""
    return lambda threads: monkeypatch.setattr(_native, "threads", lambda: threads)


# Threads.

# One size, or two, for each way of sharing the work in native/split.hpp.
SHARED = {
    "by sequences": [Shape(steps=6, batch=13, hidden=24)],
    "by units": [Shape(steps=6, batch=3, hidden=120), Shape(steps=3, batch=13, hidden=420)],
    "not at all": [Shape(steps=6, batch=2, hidden=9)],
}


def way_of_sharing(run: Run, threads: int) -> str:
    """How two or more threads share a run, by the rules of native/split.hpp."""
    weights, size = run.weights.w_hh.numel(), run.x.element_size()
    units = run.weights.w_hh.shape[1]
    if len(run.h_0) >= 4 * threads and weights * size <= 640 * 1024:
        return "by sequences"
    if -(-units // (64 // size)) >= threads and len(run.h_0) * weights >= 40_000:
        return "by units"
    return "not at all"


@pytest.mark.parametrize(
    ("way", "shape"), [(way, shape) for way in SHARED for shape in SHARED[way]], ids=str
)
@each_dtype
@each_family
def test_any_number_of_threads(
    kind: tuple[str, bool],
    dtype: torch.dtype,
    way: str,
    shape: Shape,
    use_threads: Callable[[int], None],
) -> None:
    for layout in LAYOUTS:
        run = drawn(kind, replace(shape, layout=layout, reverse=layout != "time first"), dtype)
        use_threads(1)
        alone = both_ways(run)
        for threads in (2, 3):
            assert way_of_sharing(run, threads) == way
            use_threads(threads)
            assert_same_three(both_ways(run), alone, f"{threads} threads, {layout}")


@pytest.mark.parametrize("layout", LAYOUTS)
@each_kind
def test_any_number_of_threads_in_all_gradients(
    kind: tuple[str, bool], layout: str, use_threads: Callable[[int], None]
) -> None:
    """Those of the weights, which are sums over all rows, of more rows than are taken at once."""
    run = drawn(kind, Shape(steps=40, batch=14, hidden=21, layout=layout), torch.float32)
    found = []
    for threads in (1, 2, 3):
        use_threads(threads)
        passed = native_forward(run, keep=True)
        up = arriving(run, passed)
        found.append(native_backward(run, passed, up, all_needed(run), totals=""))
    assert {name for name, tensor in vars(found[0]).items() if tensor is not None} >= {
        "x", "w_ih", "w_hh", "b_ih", "b_hh", "h_0",
    }  # fmt: skip
    assert_same_bits(found[1], found[0], "2 threads")
    assert_same_bits(found[2], found[0], "3 threads")


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (("LSTM", True), Shape(steps=30, batch=60, hidden=300)),
        (("LSTM peephole", False), Shape(steps=100, batch=1000, hidden=1)),
    ],
    ids=str,
)
def test_any_number_of_threads_where_torch_would_split_a_product(
    kind: tuple[str, bool], shape: Shape
) -> None:
    """Sizes at which torch's own products and sums depend on its number of threads."""
    run, before, found = drawn(kind, shape, torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            passed = native_forward(run, keep=True)
            up = arriving(run, passed)
            back = native_backward(run, passed, up, all_needed(run), totals="full")
            found.append((passed, back))
    finally:
        torch.set_num_threads(before)
    for passed, back in found[1:]:
        assert_same_bits(passed, found[0][0], "forward")
        assert_same_bits(back, found[0][1], "backward")


@pytest.mark.parametrize(
    "shape", [shape for shapes in SHARED.values() for shape in shapes], ids=str
)
@each_family
def test_any_number_of_threads_in_a_replay(
    kind: tuple[str, bool], shape: Shape, use_threads: Callable[[int], None]
) -> None:
    run = drawn(kind, shape)
    h_prev = run.before(native_forward(run, keep=False).output, run.h_0)
    start = (run.h_0,) if run.c_0 is None else (run.h_0, run.c_0)
    found = []
    for threads in (1, 2, 3):
        use_threads(threads)
        trajectory = native_replay(run.cell, run.x, h_prev, start, run.weights)
        assert trajectory is not None
        found.append(Passed(trajectory.h, trajectory.stacked, trajectory.c))
    assert_same_bits(found[1], found[0], "2 threads")
    assert_same_bits(found[2], found[0], "3 threads")


def test_as_many_threads_as_torch_has() -> None:
    """The way from torch's own setting to the core, and that it is the same run."""
    run = direct(drawn(("LSTM", False), SHARED["by units"][0]))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert _native.threads() == threads
            found.append(both_ways(run))
    finally:
        torch.set_num_threads(before)
    assert_same_three(found[1], found[0], "2 threads")
    assert_same_three(found[2], found[0], "3 threads")


# Company.


def part_of(rows: torch.Tensor | None, run: Run, b: int) -> torch.Tensor | None:
    """The rows of one sequence, time first."""
    if rows is None:
        return None
    return torch.stack([step[b : b + 1] for step in run.split(rows) if b < len(step)])


@pytest.mark.parametrize("layout", LAYOUTS)
@each_dtype
@each_family
def test_a_batch_is_its_sequences(kind: tuple[str, bool], dtype: torch.dtype, layout: str) -> None:
    """Which sequences are computed together does not change a bit of any."""
    shape = Shape(steps=5, batch=53, hidden=70, layout=layout, reverse=layout == "packed")
    run = direct(drawn(kind, shape, dtype))
    passed = native_forward(run, keep=True)
    up = arriving(run, passed)
    together = both_ways(run, up)
    for b in (0, 1, 7, 30, 52):
        one = slice(b, b + 1)
        alone = replace(
            run,
            x=part_of(run.x, run, b),
            h_0=run.h_0[one],
            c_0=None if run.c_0 is None else run.c_0[one],
            batch_sizes=None,
            batch_first=False,
        )
        ends = None if up.c_n is None else up.c_n[one]
        own = Arriving(part_of(up.output, run, b), up.h_n[one], ends)
        its_own = [
            type(whole)(
                **{
                    name: value[one]
                    if name in {"h_n", "c_n", "h_0", "c_0"}
                    else part_of(value, run, b)
                    for name, value in vars(whole).items()
                    if value is not None
                }
            )
            for whole in together
        ]
        assert_same_three(both_ways(alone, own), tuple(its_own), f"sequence {b}")


# Memory.

GUARD = 4096  # bytes after what is borrowed, which nobody may write to


@each_dtype
@each_kind
def test_what_memory_held_before(
    kind: tuple[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scratch and outputs that start as NaN, or as zeros; the scratch is large enough."""
    taken: list[tuple[torch.Tensor, int]] = []
    fill = 0

    def borrowed(_: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        size = math.prod(shape) * dtype.itemsize
        memory = torch.full((size + GUARD,), fill, dtype=torch.uint8)
        taken.append((memory, fill))
        return memory[:size].view(dtype).view(shape)

    monkeypatch.setattr(_kernels, "_borrowed", borrowed)
    for layout in LAYOUTS:
        run = drawn(kind, Shape(batch=5, hidden=21, layout=layout, reverse=True), dtype)
        found = []
        for fill in (0, 255):  # 255 in every byte is a NaN
            monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", fill == 255)
            found.append(both_ways(run))
        assert_same_three(found[1], found[0], layout)
    assert len(taken) >= 6 * len(LAYOUTS)
    assert all((memory[-GUARD:] == filled).all() for memory, filled in taken)
    assert all((memory != filled).any() for memory, filled in taken), "other memory was used"


@each_kind
def test_memory_that_is_used_again_is_in_no_result(kind: tuple[str, bool]) -> None:
    """A run leaves the results of those before it as they were, however small they are."""
    run = drawn(kind, Shape(steps=1, batch=1, hidden=9))
    passed = native_forward(run, keep=True)
    up, needs = arriving(run, passed), all_needed(run)
    other = replace(up, output=-2.0 * up.output)
    for totals in ("", "norms", "full"):
        first = native_backward(run, passed, up, needs, totals)
        copies = {name: value.clone() for name, value, _ in fields(first, first)}
        native_backward(run, passed, other, needs, totals)
        assert_same_bits(first, Gradients(**copies), totals)


@each_dtype
@each_kind
def test_norms(kind: tuple[str, bool], dtype: torch.dtype) -> None:
    """They are those of the totals, in float64 whatever the dtype."""
    for layout in LAYOUTS:
        run = drawn(kind, Shape(batch=5, hidden=21, layout=layout), dtype)
        _, full, norms = both_ways(run)
        assert {name for name, value in vars(norms).items() if value is not None} == {"norms"}
        expected = norms_of(full.d_h, full.d_c)
        torch.testing.assert_close(norms.norms, expected, rtol=1e-14, atol=0.0)


@each_dtype
@each_family
def test_norms_of_what_has_exploded(kind: tuple[str, bool], dtype: torch.dtype) -> None:
    """Infinity where d_h has it: what stands beside the last unit in its vector does not count."""
    run = drawn(kind, Shape(batch=5, hidden=21), dtype)
    run = replace(run, weights=run.weights.map(torch.abs))
    up = arriving(run, native_forward(run, keep=True))
    up.output[-1, 2] = torch.inf
    _, full, norms = both_ways(run, up)
    torch.testing.assert_close(
        norms.norms, norms_of(full.d_h, full.d_c), rtol=1e-14, atol=0.0, equal_nan=True
    )
    assert norms.norms[:, 2].isinf().any()


# Numbers that are none, and those near zero.


PLACES = [
    (kind, place)
    for kind in KINDS
    for place in ("x", "h_0", "c_0", "w_hh", "arriving")
    if place != "c_0" or CELLS[kind[0]].has_c
]


@pytest.mark.parametrize(("kind", "place"), PLACES, ids=kind_id)
def test_what_is_not_finite(kind: tuple[str, bool], place: str) -> None:
    """It reaches what it reaches in the plain equations, and no more; NaN stays NaN."""
    layout = LAYOUTS[KINDS.index(kind) % 3]
    run = drawn(kind, Shape(steps=6, batch=4, hidden=9, layout=layout))
    up, needs = arriving(run, plain_forward(run, keep=True)), all_needed(run)
    places = {"x": run.x, "h_0": run.h_0, "c_0": run.c_0}
    spoilt = (places | {"arriving": up.output, "w_hh": run.weights.w_hh})[place].view(-1)
    values = [torch.nan, torch.inf, -torch.inf]
    if place == "w_hh" and kind[1]:  # the core's one product W_hh W_hr has a row of infinities
        values = [torch.nan]
    for value in values:
        spoilt[len(spoilt) // 2] = value
        passed, expected = native_forward(run, keep=True), plain_forward(run, keep=True)
        back = native_backward(run, passed, up, needs, totals="full")
        wanted = plain_backward(run, expected, up, needs, totals="full")
        reached = 0
        for name, tensor, other in [*fields(expected, passed), *fields(wanted, back)]:
            assert torch.equal(other.isfinite(), tensor.isfinite()), (name, value)
            if math.isnan(value):  # inf - inf is NaN in one order of a sum and inf in another
                assert torch.equal(other.isnan(), tensor.isnan()), name
            reached += int((~tensor.isfinite()).sum())
        assert reached or math.isinf(value), "NaN reached nothing"


def fields(one: object, other: object) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """What both hold, by name."""
    there = {name: value for name, value in vars(one).items() if value is not None}
    return [(name, value, getattr(other, name)) for name, value in there.items()]


@pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64", "aarch64", "arm64"},
    reason="only the processors that the core knows flush",
)
@pytest.mark.parametrize("threads", [1, 3])
@each_dtype
def test_denormals_are_zero_inside(
    dtype: torch.dtype, threads: int, use_threads: Callable[[int], None]
) -> None:
    """A state and a gradient that halve at every step, through the end of the range."""
    use_threads(threads)
    units, steps, small = 9, 60, 1e-300 if dtype == FLOAT64 else 1e-30
    batch = 4 * threads
    run = drawn(("RNN identity", False), Shape(steps, batch, units, bias=False), dtype)
    half = 0.5 * torch.eye(units, dtype=dtype)
    run = replace(
        run,
        weights=replace(run.weights, w_hh=half),
        x=torch.zeros_like(run.x),
        h_0=torch.full_like(run.h_0, small),
    )
    passed = native_forward(run, keep=True)
    up = Arriving(None, torch.full_like(passed.h_n, small), None)
    gradients = native_backward(run, passed, up, [False] * 9, totals="full")
    tiny = torch.finfo(dtype).tiny
    exact = small * 0.5 ** torch.arange(1, steps + 1, dtype=FLOAT64)
    assert 0 < float(exact[-1]) < tiny, "no step is denormal"
    for rows in (passed.output, gradients.d_h.flip(0)):
        wanted = exact if rows is passed.output else 2 * exact
        kept = wanted >= tiny
        assert not rows[~kept].any()
        assert torch.allclose(rows[kept].double(), wanted[kept, None, None], rtol=1e-5, atol=0.0)
    assert float(torch.full((), tiny, dtype=dtype) * 0.5) != 0.0, "it still flushes afterwards"


# Processors.

BATTERY = """
import sys
import torch
from tests.cells.native_runs import LAYOUTS, Shape, assert_same_as_plain, drawn
from tests.cells.setting import KINDS, LSTMS
from carousel.cells import _native

if _native.status().target != sys.argv[1]:
    sys.exit(3)
torch.set_num_threads(2)
for k, kind in enumerate(KINDS):
    for dtype in (torch.float32, torch.float64):
        layout = LAYOUTS[k % 3]
        shape = Shape(5, 10, (11, 70)[k % 2], layout, reverse=layout == "packed")
        cuts = (False, True) if kind[0] in LSTMS else (False,)
        assert_same_as_plain(drawn(kind, shape, dtype), truncated=cuts)
print("same")
"""


@pytest.mark.parametrize("target", ["avx512", "avx2", "baseline"])
def test_every_instruction_set(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BATTERY, target],
        cwd=ROOT,
        env={**os.environ, "CAROUSEL_TARGET": target, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode == 3:
        pytest.skip(f"this library, or this processor, has no {target}")
    assert done.stdout == "same\n", done.stderr
