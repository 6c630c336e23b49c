"""A run on the native core against the plain equations, autograd and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.cells.native_runs import (
    LAYOUTS,
    Shape,
    all_needed,
    arriving,
    assert_near,
    assert_same_as_plain,
    assert_same_bits,
    drawn,
    native_only,
)
from tests.cells.setting import FLOAT64, KINDS, LSTMS, Setting, kind_id
from tests.oracles import step_of
from tests.tolerances import assert_close
from torch import nn

from carousel import CarouselError
from carousel.cells import Cell, Scaled, State, Trajectory, adjoint, adjoint_along, native_replay
from carousel.cells._kernels import native_backward, native_forward, runs_natively
from carousel.cells._plain import plain_backward
from carousel.cells._run import INPUTS, Arriving, Gradients, Passed, Run

pytestmark = native_only

every_kind = pytest.mark.parametrize("kind", KINDS, ids=kind_id)
DTYPES = (FLOAT64, torch.float32)
# Hidden sizes around the widths of vectors and panels; batches around the sizes of blocks of rows.
HIDDEN = (1, 7, 16, 33, 64, 130)
BATCHES = (1, 2, 5, 9, 50, 12)
STEPS = (7, 3, 4, 1, 2, 6)
PLACES = [(layout, reverse) for layout in LAYOUTS for reverse in (False, True)]


def shapes(kind: tuple[str, bool]) -> list[Shape]:
    """Every layout in both directions; the sizes go around, so that all meet over the cells."""
    turn = KINDS.index(kind)
    return [
        Shape(
            steps=STEPS[(k + turn // 3) % 6],
            batch=BATCHES[(5 * k + turn) % 6],
            hidden=HIDDEN[(k + turn) % 6],
            layout=layout,
            reverse=reverse,
        )
        for k, (layout, reverse) in enumerate(PLACES)
    ]


FAMILIES = ("RNN tanh", "GRU", "LSTM", "LSTM peephole", "LSTM cifg")


def cuts(kind: tuple[str, bool]) -> tuple[bool, ...]:
    return (False, True) if kind[0] in LSTMS else (False,)


each_gradient = pytest.mark.parametrize(
    ("kind", "truncated"), [(kind, cut) for kind in KINDS for cut in cuts(kind)], ids=kind_id
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("kind", "shape"), [(kind, shape) for kind in KINDS for shape in shapes(kind)], ids=kind_id
)
def test_as_the_plain_equations(kind: tuple[str, bool], shape: Shape, dtype: torch.dtype) -> None:
    assert_same_as_plain(drawn(kind, shape, dtype), truncated=cuts(kind))


@every_kind
def test_one_step_of_one_sequence(kind: tuple[str, bool]) -> None:
    for k, (layout, reverse) in enumerate(PLACES):
        hidden = (1, 7)[k % 2]
        shape = Shape(steps=1, batch=1, hidden=hidden, layout=layout, reverse=reverse)
        assert_same_as_plain(drawn(kind, shape), truncated=cuts(kind))


@every_kind
def test_without_biases(kind: tuple[str, bool]) -> None:
    assert_same_as_plain(drawn(kind, Shape(bias=False, hidden=9)), truncated=cuts(kind))


# Where the part of the input is computed for many steps at once, for one, for a part of one; and
# where a gate of all steps is more than caches hold.
INPUTS_COME = {
    "in pieces of many steps": Shape(steps=45, batch=4, hidden=9),
    "step by step": Shape(steps=3, batch=61, hidden=21),
    "group by group": Shape(steps=3, batch=150, hidden=9),
    "ragged": Shape(steps=25, batch=140, hidden=9, layout="packed", reverse=True),
    "with large weights": Shape(steps=9, batch=70, hidden=264),
    "past the caches": Shape(steps=40, batch=64, hidden=224, layout="batch first"),
}


@pytest.mark.parametrize("shape", INPUTS_COME.values(), ids=INPUTS_COME)
@pytest.mark.parametrize("kind", [(name, False) for name in FAMILIES], ids=kind_id)
def test_however_the_input_comes(kind: tuple[str, bool], shape: Shape) -> None:
    run = drawn(kind, shape)
    assert_same_as_plain(run)
    kept, short = (native_forward(run, keep) for keep in (True, False))
    assert_same_bits(short, Passed(kept.output, kept.h_n, kept.c_n), "without keeping")


def test_a_large_gate_goes_past_the_caches() -> None:
    """The size from which the core does so stands in run.hpp; the case above must be beyond it."""
    shape = INPUTS_COME["past the caches"]
    assert shape.steps * shape.batch * shape.hidden * 8 > 4 << 20


@pytest.mark.parametrize("missing", ["output", "h_n", "c_n", "all"])
@every_kind
def test_where_nothing_arrives(kind: tuple[str, bool], missing: str) -> None:
    """None is zero: of each of the gradients from outside, and of all."""
    layout, reverse = PLACES[(KINDS.index(kind) + len(missing)) % 6]
    run = drawn(kind, Shape(hidden=9, layout=layout, reverse=reverse))
    passed = native_forward(run, keep=True)
    parts = dict.fromkeys(("output", "h_n", "c_n") if missing == "all" else (missing,))
    up, needs = replace(arriving(run, passed), **parts), all_needed(run)
    found = native_backward(run, passed, up, needs, totals="full")
    assert_near(found, plain_backward(run, passed, up, needs, totals="full"), run)
    if missing == "all":
        assert not found.d_h.any()
        assert not found.w_hh.any()


@every_kind
def test_what_is_asked_for_does_not_change_it(kind: tuple[str, bool]) -> None:
    """Keeping nothing, one gradient at a time and no totals: the same bits."""
    run = drawn(kind, Shape(hidden=9, layout=LAYOUTS[KINDS.index(kind) % 3]))
    passed, needs = native_forward(run, keep=True), all_needed(run)
    short = native_forward(run, keep=False)
    assert short == Passed(short.output, short.h_n, short.c_n)
    assert_same_bits(short, Passed(passed.output, passed.h_n, passed.c_n), "without keeping")
    up = arriving(run, passed)
    whole = native_backward(run, passed, up, needs, totals="full")
    for k, name in enumerate(INPUTS):
        only = [needed and j == k for j, needed in enumerate(needs)]
        found = native_backward(run, passed, up, only, totals="")
        given = {field for field, value in vars(found).items() if value is not None}
        assert given == ({name} if needs[k] else set())
        if given:
            assert_same_bits(found, Gradients(**{name: getattr(whole, name)}), name)


@every_kind
def test_any_strides(kind: tuple[str, bool]) -> None:
    """As torch hands them over: a transposed input, the expanded gradient of a sum."""
    dense = drawn(kind, Shape(batch=6, hidden=9))

    def turned(tensor: torch.Tensor) -> torch.Tensor:
        return tensor if tensor.dim() < 2 else tensor.transpose(0, 1).contiguous().transpose(0, 1)

    run = replace(
        dense,
        weights=dense.weights.map(turned),
        x=turned(dense.x),
        h_0=turned(dense.h_0),
        c_0=None if dense.c_0 is None else turned(dense.c_0),
    )
    assert not run.x.is_contiguous()
    assert not run.h_0.is_contiguous()
    passed, expected = native_forward(run, keep=True), native_forward(dense, keep=True)
    assert_near(passed, expected, run)
    one = torch.ones((), dtype=FLOAT64)
    ends = None if passed.c_n is None else one.expand_as(passed.c_n)
    up = Arriving(one.expand_as(passed.output), one.expand_as(passed.h_n), ends)
    solid = Arriving(*(None if part is None else part.contiguous() for part in vars(up).values()))
    needs = all_needed(run)
    assert_near(
        native_backward(run, passed, up, needs, totals="full"),
        native_backward(dense, expected, solid, needs, totals="full"),
        run,
    )


@every_kind
def test_the_inputs_stay_as_they_are(kind: tuple[str, bool]) -> None:
    run = drawn(kind, Shape(hidden=9))
    passed = native_forward(run, keep=True)
    up = arriving(run, passed)
    given = [run.x, run.h_0, run.c_0, *run.weights.tensors(), *vars(up).values()]
    given += [part for part in vars(passed).values() if part is not None]
    tensors = [tensor for tensor in given if tensor is not None]
    before = [tensor.clone() for tensor in tensors]
    native_forward(run, keep=True)
    native_backward(run, passed, up, all_needed(run), totals="full")
    assert all(torch.equal(*pair) for pair in zip(tensors, before, strict=True))


# Against others.


@each_gradient
def test_against_a_loop_through_autograd(kind: tuple[str, bool], *, truncated: bool) -> None:
    """Every number of the run back, by the oracle that is written from the literature."""
    run = replace(drawn(kind, Shape(steps=5, hidden=19)), truncated=truncated)
    passed = native_forward(run, keep=True)
    up = arriving(run, passed)
    names = ("x", "h_0", "c_0", *vars(run.weights))
    leaves = {
        name: tensor.clone().requires_grad_()
        for name in names
        if (tensor := getattr(run, name, None)) is not None
        or (tensor := getattr(run.weights, name, None)) is not None
    }
    h_steps, c_steps = looped(kind, run, leaves)
    loss = (up.output * torch.stack(h_steps)).sum() + (up.h_n * h_steps[-1]).sum()
    if run.cell.has_c:
        loss = loss + (up.c_n * c_steps[-1]).sum()
    inside = [*h_steps, *(c_steps if run.cell.has_c else [])]
    wanted = torch.autograd.grad(
        loss, [*leaves.values(), *inside], materialize_grads=True, allow_unused=True
    )
    of_leaves = dict(zip(leaves, wanted, strict=False))
    found = native_backward(run, passed, up, all_needed(run), totals="full")
    assert_close(passed.output, torch.stack(h_steps), 5, FLOAT64, "output")
    for name, gradient in of_leaves.items():
        assert_close(getattr(found, name), gradient, 5, FLOAT64, f"d_{name}")
    states = wanted[len(leaves) :]
    assert_close(found.d_h, torch.stack(states[:5]), 5, FLOAT64, "d_h")
    if run.cell.has_c:
        assert_close(found.d_c, torch.stack(states[5:]), 5, FLOAT64, "d_c")


def looped(
    kind: tuple[str, bool], run: Run, leaves: dict[str, torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """h_t and c_t of a run, time first, by the oracle's step."""
    names = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
    names |= {"w_hr": "weight_hr", "peephole": "weight_peephole"}
    weights = {names[name]: leaf for name, leaf in leaves.items() if name in names}
    h, c = leaves["h_0"], leaves.get("c_0")
    h_steps, c_steps = [], []
    for x in leaves["x"]:
        oracle = Setting(kind[0]).oracle
        step = step_of(oracle, weights, x, h, c, truncated=run.truncated)
        h, c = step.h, step.c
        h_steps.append(h)
        c_steps.append(c)
    return h_steps, c_steps


TORCH: dict[tuple[str, bool], Callable[..., nn.RNNBase]] = {
    ("RNN tanh", False): nn.RNN,
    ("RNN relu", False): lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    ("LSTM", False): nn.LSTM,
    ("LSTM", True): lambda *sizes, **options: nn.LSTM(*sizes, proj_size=2, **options),
    ("GRU", False): nn.GRU,
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", list(TORCH), ids=kind_id)
def test_against_torch(kind: tuple[str, bool], dtype: torch.dtype) -> None:
    run = drawn(kind, Shape(steps=9, batch=13, hidden=37, layout="batch first"), dtype)
    module = TORCH[kind](run.x.shape[-1], 37, batch_first=True, dtype=dtype)
    names = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih"}
    names |= {"bias_hh_l0": "b_hh", "weight_hr_l0": "w_hr"}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(getattr(run.weights, names[name]))
    x, h_0 = run.x.clone().requires_grad_(), run.h_0.unsqueeze(0).requires_grad_()
    c_0 = None if run.c_0 is None else run.c_0.unsqueeze(0).requires_grad_()
    output, state = module(x, h_0 if c_0 is None else (h_0, c_0))
    h_n, c_n = (state, None) if c_0 is None else state
    passed = native_forward(run, keep=True)
    up = arriving(run, passed)
    loss = (output * up.output).sum() + (h_n[0] * up.h_n).sum()
    if c_n is not None:
        loss = loss + (c_n[0] * up.c_n).sum()
        assert_close(passed.c_n, c_n[0], 9, dtype, "c_n")
    loss.backward()
    assert_close(passed.output, output, 9, dtype, "output")
    assert_close(passed.h_n, h_n[0], 9, dtype, "h_n")
    found = native_backward(run, passed, up, all_needed(run), totals="")
    assert_close(found.x, x.grad, 9, dtype, "d_x")
    assert_close(found.h_0, h_0.grad[0], 9, dtype, "d_h_0")
    if c_0 is not None:
        assert_close(found.c_0, c_0.grad[0], 9, dtype, "d_c_0")
    for name, parameter in module.named_parameters():
        assert_close(getattr(found, names[name]), parameter.grad, 9, dtype, f"d_{name}")


@every_kind
def test_against_finite_differences(kind: tuple[str, bool]) -> None:
    """The run back is the derivative of the run forward, whatever that computes."""
    layout, reverse = PLACES[KINDS.index(kind) % 6]
    run = drawn(kind, Shape(steps=3, batch=2, hidden=3, layout=layout, reverse=reverse))
    passed = native_forward(run, keep=True)
    up = arriving(run, passed)

    def loss() -> float:
        after = native_forward(run, keep=False)
        pairs = [(after.output, up.output), (after.h_n, up.h_n), (after.c_n, up.c_n)]
        return sum(float((a * b).sum()) for a, b in pairs if a is not None)

    found = native_backward(run, passed, up, all_needed(run), totals="")
    size = 1e-5
    for name in INPUTS:
        tensor = getattr(run, name, None)
        tensor = getattr(run.weights, name, None) if tensor is None else tensor
        if tensor is None:
            continue
        flat, wanted = tensor.view(-1), torch.zeros(tensor.numel(), dtype=FLOAT64)
        for k in range(len(flat)):
            value = float(flat[k])
            flat[k] = value + size
            above = loss()
            flat[k] = value - size
            wanted[k] = (above - loss()) / (2 * size)
            flat[k] = value
        error = (getattr(found, name).reshape(-1) - wanted).abs().max()
        # The third derivative times size^2, and rounding of the loss by size.
        assert float(error) <= 1e-8 * max(1.0, float(wanted.abs().max())), name


# Along a trajectory that is known.


@pytest.mark.parametrize(("steps", "hidden"), [(1, 1), (6, 19)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_kind
def test_the_replay(kind: tuple[str, bool], dtype: torch.dtype, steps: int, hidden: int) -> None:
    run = drawn(kind, Shape(steps=steps, batch=5, hidden=hidden), dtype)
    h_prev, start = known(run)
    found = native_replay(run.cell, run.x, h_prev, start, run.weights)
    expected = run.cell.replay(run.x, h_prev, start, run.weights)
    assert found is not None
    for name in ("h_prev", "c_prev", "h", "c", "recurrent_n"):
        if getattr(expected, name) is None:
            assert getattr(found, name) is None
        else:
            assert_close(getattr(found, name), getattr(expected, name), steps, dtype, name)
    assert list(found.gates) == list(expected.gates) == list(run.cell.gates)
    for gate, activation in expected.gates.items():
        assert_close(found.gates[gate], activation, steps, dtype, gate)


def known(run: Run) -> tuple[torch.Tensor, State]:
    """The state that each step starts from, of a run time first, and those before the first."""
    h_prev = run.before(native_forward(run, keep=False).output, run.h_0)
    return h_prev, (run.h_0,) if run.c_0 is None else (run.h_0, run.c_0)


@each_gradient
def test_the_way_back_along_a_trajectory(kind: tuple[str, bool], *, truncated: bool) -> None:
    run = drawn(kind, Shape(steps=8, batch=5, hidden=19))
    trajectory = native_replay(run.cell, run.x, *known(run), run.weights)
    assert isinstance(trajectory, Trajectory)
    into_h = torch.randn_like(trajectory.h)
    into_h[3:6] = 0.0
    into_c = None if trajectory.c is None else Scaled(torch.randn_like(trajectory.c))
    found = adjoint_along(
        run.cell, trajectory, run.weights, Scaled(into_h), into_c, truncated=truncated
    )
    linearised = run.cell.linearise(trajectory, run.weights, truncated)
    expected = adjoint(linearised, Scaled(into_h), into_c)
    pairs = [(found.d_h, expected.d_h, "d_h"), (found.d_h_start, expected.d_h_start, "d_h_start")]
    pairs += [(found.d_a(), expected.d_a(), "d_a"), (found.d_x(), expected.d_x(), "d_x")]
    if run.cell.has_c:
        pairs += [(found.d_c, expected.d_c, "d_c"), (found.d_c_start, expected.d_c_start, "c")]
    for one, other, name in pairs:
        assert_close(one.value(), other.value(), 8, FLOAT64, name)


# What the core does not take.


@pytest.mark.parametrize("name", ["RNN tanh", "GRU"])
def test_no_truncated_gradient_without_c(name: str) -> None:
    """Refused as by the plain equations, which the core does not go through."""
    run = drawn((name, False), Shape())
    passed = native_forward(run, keep=True)
    up, needs, cut = arriving(run, passed), all_needed(run), replace(run, truncated=True)
    with pytest.raises(CarouselError, match="truncated gradient of 1997 follows the cell state"):
        native_backward(cut, passed, up, needs, totals="")
    trajectory = native_replay(run.cell, run.x, *known(run), run.weights)
    assert trajectory is not None
    into = Scaled(torch.ones_like(trajectory.h))
    with pytest.raises(CarouselError, match="truncated gradient of 1997 follows the cell state"):
        adjoint_along(run.cell, trajectory, run.weights, into, None, truncated=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_dtype_that_it_does_not_know(dtype: torch.dtype) -> None:
    run = drawn(("LSTM", False), Shape())
    assert runs_natively(run)
    assert not runs_natively(run.to(dtype))
    start = (run.h_0.to(dtype), run.c_0.to(dtype))
    h_prev = run.h_0.to(dtype).expand(4, -1, -1)
    weights = run.weights.map(lambda weight: weight.to(dtype))
    assert native_replay(run.cell, run.x.to(dtype), h_prev, start, weights) is None


def test_a_call_that_cannot_be_is_refused() -> None:
    run = drawn(("LSTM peephole", False), Shape())
    blind = replace(run, weights=replace(run.weights, peephole=None))
    with pytest.raises(AssertionError, match="cannot use the field 'peephole' of LSTM peephole"):
        native_forward(blind, keep=False)
    unknown: Cell = replace(run.cell, native_code=3)
    with pytest.raises(AssertionError, match="cannot use the field 'cell'"):
        native_forward(replace(run, cell=unknown), keep=False)
    with pytest.raises(AssertionError, match="cannot use the field 'sequences'"):
        native_forward(replace(run, batch_sizes=torch.tensor([1, 2]), x=run.x[0]), keep=False)
