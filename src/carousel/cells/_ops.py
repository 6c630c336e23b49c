"""The recurrence as operators of torch, with all rules that torch asks of its own.

    torch.ops.carousel.recurrence           one layer, one direction, forward
    torch.ops.carousel.recurrence_backward  its gradients

Autograd, torch.compile and the dispatcher see these two; what computes them stands in ``ENGINE``.
Half precision is computed in float32 and rounded once at the end. A gradient that is itself to be
differentiated is taken by autograd through the plain equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from carousel._errors import CarouselError
from carousel.cells._batched import batched, one_by_one
from carousel.cells._cell import Weights
from carousel.cells._engine import run_backward, run_forward
from carousel.cells._plain import plain_forward
from carousel.cells._recording import NormToken, Passage, Saved, place_here, sink_here
from carousel.cells._run import INPUTS, Arriving, Passed, Run, Totalling
from carousel.cells._segments import segments_backward, segments_forward
from carousel.cells._table import cell_named

__all__ = ["recurrence"]

ENGINE = (run_forward, run_backward)
HALF = (torch.bfloat16, torch.float16)
TOTALS: dict[str, tuple[str, ...]] = {
    "": (),
    "full": ("d_h", "d_c", "d_a", "h_0", "c_0"),
    "norms": ("norms",),
}

RUN = (
    "Tensor x, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor? w_hr, "
    "Tensor? peephole, Tensor h_0, Tensor? c_0, Tensor? batch_sizes, "
    "str cell, bool reverse, bool batch_first, bool truncated, int keep_every"
)
LIBRARY = torch.library.Library("carousel", "DEF")
LIBRARY.define(
    f"recurrence({RUN}) -> "
    "(Tensor output, Tensor h_n, Tensor c_n, Tensor gates, Tensor q, Tensor c, Tensor starts)"
)
LIBRARY.define(
    "recurrence_backward(Tensor? d_output, Tensor? d_h_n, Tensor? d_c_n, "
    f"Tensor output, Tensor gates, Tensor q, Tensor c, Tensor starts, {RUN}, "
    "bool[] needs, str totals) -> Tensor[]"
)


def recurrence(run: Run, keep_every: int = 1) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run one layer in one direction; differentiable in every input.

    Args:
        run: what is computed, and on what.
        keep_every: what is kept for backward: 1: everything of every step; n > 1: the states of
            every n-th step, from which backward computes the rest again.

    Returns:
        The output [.., P] in the layout of x, h_n [B, P], and c_n [B, H], which is None for cells
        without c.
    """
    w = run.weights
    inputs = (run.x, w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.w_hr, w.peephole, run.h_0, run.c_0)
    # A graph of torch.jit.trace, made without gradients, may later run with them.
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if not tracing and not _differentiated(inputs):
        keep_every = 0
    options = (run.cell.name, run.reverse, run.batch_first, run.truncated, keep_every)
    output, h_n, c_n, *_ = torch.ops.carousel.recurrence.default(*inputs, run.batch_sizes, *options)
    return output, h_n, c_n if run.cell.has_c else None


def _run_of(arguments: Sequence[Any]) -> tuple[Run, int]:
    """The arguments of the schema ``RUN`` as a Run, and keep_every."""
    x, *weights, h_0, c_0, batch_sizes, cell, reverse, batch_first, truncated, keep = arguments
    run = Run(
        cell=cell_named(cell),
        weights=Weights(*weights),
        x=x,
        h_0=h_0,
        c_0=c_0,
        batch_sizes=batch_sizes,
        reverse=reverse,
        batch_first=batch_first,
        truncated=truncated,
    )
    return run, keep


def _forward(*arguments: Any) -> tuple[Tensor, ...]:
    """The kernel of ``recurrence``, for any device."""
    run, keep_every = _run_of(arguments)
    dtype = run.x.dtype
    if dtype in HALF:
        run = run.to(torch.float32)
    starts = None
    with _no_autocast(run.x):
        if keep_every > 1:
            passed, starts = segments_forward(ENGINE[0], run, keep_every)
        else:
            passed = ENGINE[0](run, keep_every == 1)
    kept = (passed.output, passed.h_n, passed.c_n, passed.gates, passed.q, passed.c, starts)
    return tuple(_as(part, run.x, dtype) for part in kept)


def _forward_fake(*arguments: Any) -> tuple[Tensor, ...]:
    """The shapes of ``recurrence``."""
    run, keep_every = _run_of(arguments)
    x, cell, weights = run.x, run.cell, run.weights
    rows, batch = x.shape[:-1], run.h_0.shape[0]
    gates, outputs = len(cell.gates), weights.w_hh.shape[1]
    units = weights.w_ih.shape[0] // gates
    shapes: dict[str, tuple[Any, ...]] = {
        "output": (*rows, outputs),
        "h_n": (batch, outputs),
    }
    if cell.has_c:
        shapes["c_n"] = (batch, units)
    if keep_every > 1:
        steps = run.x.shape[run.time] if run.batch_sizes is None else run.batch_sizes.shape[0]
        segments = (steps + keep_every - 1) // keep_every
        shapes["starts"] = (segments, batch, outputs + (units if cell.has_c else 0))
    if keep_every == 1:
        if cell.gates != ("h",):
            shapes["gates"] = (*rows, gates, units)
        if cell.name == "GRU":
            shapes["q"] = (*rows, units)
        if cell.has_c:
            shapes["c"] = (*rows, units)
    names = ("output", "h_n", "c_n", "gates", "q", "c", "starts")
    return tuple(x.new_empty(shapes.get(name, (0,))) for name in names)


def _backward(*arguments: Any) -> list[Tensor]:
    """The kernel of ``recurrence_backward``: the gradients that are needed, then the totals."""
    d_output, d_h_n, d_c_n, output, gates, q, c, starts, *rest, needs, totals = arguments
    run, keep_every = _run_of(rest)
    # A cell without c puts out an empty c_n, which autograd may hand a gradient of its own.
    arriving = Arriving(d_output, d_h_n, d_c_n if run.cell.has_c else None)
    passed = Passed(output, run.h_0, run.c_0, _there(gates), _there(q), _there(c))
    dtype = run.x.dtype
    if dtype in HALF:
        run, arriving = run.to(torch.float32), arriving.to(torch.float32)
        passed = passed.to(torch.float32)
    with _no_autocast(run.x):
        if keep_every > 1:
            found = segments_backward(
                ENGINE, run, starts.to(run.x.dtype), arriving, needs, totals, keep_every
            )
        else:
            found = ENGINE[1](run, passed, arriving, needs, totals)
    names = [name for name, need in zip(INPUTS, needs, strict=True) if need]
    results = [_as(getattr(found, name), run.x, dtype) for name in names]
    for name in TOTALS[totals]:
        total = _as(getattr(found, name), run.x, torch.float64 if name == "norms" else dtype)
        results.append(total.clone() if name in names else total)  # no two results share memory
    return results


def _backward_fake(*arguments: Any) -> list[Tensor]:
    """The shapes of ``recurrence_backward``."""
    *rest, needs, totals = arguments[8:]
    run, _ = _run_of(rest)
    found = [tensor for tensor, need in zip(rest[: len(INPUTS)], needs, strict=True) if need]
    shapes = [tensor.shape for tensor in found]
    results = [run.x.new_empty(shape) for shape in shapes]
    if totals == "norms":
        results.append(run.x.new_empty((*run.x.shape[:-1], 2), dtype=torch.float64))
    elif totals:
        gates = len(run.cell.gates)
        units = run.weights.w_ih.shape[0] // gates
        rows = run.x.shape[:-1]
        d_c = (*rows, units) if run.cell.has_c else (0,)
        d_c_0 = run.c_0.shape if run.c_0 is not None else (0,)
        d_h = (*rows, run.weights.w_hh.shape[1])
        shapes = [d_h, d_c, (*rows, gates, units), run.h_0.shape, d_c_0]
        results += [run.x.new_empty(shape) for shape in shapes]
    return results


def _as(part: Tensor | None, like: Tensor, dtype: torch.dtype) -> Tensor:
    """A result as the schema has it; what is not there is an empty vector."""
    return like.new_empty(0, dtype=dtype) if part is None else part.to(dtype).contiguous()


def _there(kept: Tensor) -> Tensor | None:
    """Undo ``_as``."""
    return None if kept.dim() == 1 else kept


def _no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A run has one dtype throughout, whatever autocast makes of what is around it."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


class _Recurrence(torch.autograd.Function):
    """The autograd rule of ``recurrence``."""

    # torch.library.register_autograd would do the same, and a setup_context apart from forward is
    # the newer form, but each takes longer than a short run.

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        """The op itself; keep what backward needs, and tell a sink."""
        output = _below_autograd(*inputs)
        *tensors, cell, reverse, batch_first, truncated, keep_every = inputs
        out, h_n, c_n, *kept = output
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*kept)
        # A run in segments is computed again from its starts alone.
        ctx.save_for_backward(*tensors, out if keep_every == 1 else kept[0], *kept)
        ctx.options = (cell, reverse, batch_first, truncated, keep_every)
        ctx.token = None
        sink = sink_here()
        if sink is not None and not torch.compiler.is_compiling():
            # Without their graphs, which whoever listens would keep alive.
            run, _ = _run_of([_detached(argument) for argument in inputs])
            ends = (out.detach(), h_n.detach(), c_n.detach() if run.cell.has_c else None)
            passed = Passed(*ends, *map(_there, kept[:3]))
            ctx.token = sink.forward(Saved(run, passed, keep_every, place_here()))
        return output

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradient on each argument."""
        needs = list(ctx.needs_input_grad[: len(INPUTS)])
        beyond = (None,) * (1 + len(ctx.options))  # batch_sizes and the options
        d_ends = arriving[:3]
        if all(gradient is None for gradient in d_ends):
            return (*(None for _ in needs), *beyond)
        saved = ctx.saved_tensors
        tensors, kept = saved[: len(INPUTS) + 1], saved[len(INPUTS) + 1 :]
        if any(batched(gradient) for gradient in d_ends):
            with torch.enable_grad():
                return (*_differentiable(tensors, ctx.options, d_ends, needs), *beyond)
        if not torch.is_grad_enabled():
            return (*_gradients(ctx, tensors, kept, d_ends, needs), *beyond)
        if ctx.token is not None:
            with torch.no_grad():
                _gradients(ctx, tensors, kept, d_ends, [False] * len(needs))
        return (*_differentiable(tensors, ctx.options, d_ends, needs), *beyond)


def _gradients(
    ctx: Any,
    tensors: Sequence[Tensor | None],
    kept: Sequence[Tensor],
    arriving: Sequence[Tensor | None],
    needs: list[bool],
) -> list[Tensor | None]:
    """The gradient on each of ``INPUTS`` that needs one; the token hears of the totals."""
    totals: Totalling = ""
    if ctx.token is not None:
        totals = "norms" if isinstance(ctx.token, NormToken) else "full"
    # Without this the dispatcher would look at each argument for a rule that there is not.
    with torch._C._AutoDispatchBelowAutograd():  # noqa: SLF001
        found = torch.ops.carousel.recurrence_backward.default(
            *arriving, *kept, *tensors, *ctx.options, needs, totals
        )
    if totals == "norms":
        ctx.token.norms(found[-1])
    elif totals == "full":
        d_h, d_c, d_a, d_h_0, d_c_0 = found[sum(needs) :]
        ctx.token.backward(
            Passage(Arriving(*arriving), d_h, _there(d_c), d_a, d_h_0, _there(d_c_0))
        )
    gradients = iter(found)
    return [next(gradients) if need else None for need in needs]


def _detached(argument: Any) -> Any:
    return argument.detach() if isinstance(argument, Tensor) else argument


def _differentiable(
    tensors: Sequence[Tensor | None],
    options: tuple[Any, ...],
    arriving: Sequence[Tensor | None],
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients as differentiable functions of all that they depend on."""
    # Aliases, so that the way back ends here: one input may itself depend on another.
    tensors = [
        tensor.view_as(tensor) if tensor is not None and tensor.requires_grad else tensor
        for tensor in tensors
    ]
    output, h_n, c_n, *_ = _by_plain_equations(*tensors, *options)
    pairs = [
        (out, d_out)
        for out, d_out in zip((output, h_n, c_n), arriving, strict=True)
        if d_out is not None
    ]
    wanted = [tensor for tensor, need in zip(tensors, needs, strict=False) if need]
    found = iter(
        torch.autograd.grad(
            [out for out, _ in pairs],
            [tensor for tensor in wanted if tensor is not None],
            [d_out for _, d_out in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return [next(found) if need else None for need in needs]


def _by_plain_equations(*arguments: Any) -> tuple[Tensor, ...]:
    """The op made of differentiable operations: anything can be done to it, slowly."""
    run, _ = _run_of(arguments)
    if run.truncated:
        raise CarouselError(
            "The truncated gradient of 1997 is not the gradient of a function: it has no "
            "derivative of its own, and no function transform can take it. Use gradient='full' "
            "where create_graph=True, is_grads_batched=True or torch.func is needed."
        )
    dtype = run.x.dtype
    with _no_autocast(run.x):
        passed = plain_forward(run.to(torch.float32) if dtype in HALF else run, False)
    ends = (passed.output, passed.h_n, passed.c_n)
    return tuple(_as(part, run.x, dtype) for part in (*ends, None, None, None, None))


def _below_autograd(*arguments: Any) -> tuple[Tensor, ...]:
    with torch._C._AutoDispatchBelowAutograd():  # noqa: SLF001 - as torch.library does it
        found: tuple[Tensor, ...] = torch.ops.carousel.recurrence.default(*arguments)
    return found


def _with_autograd(*arguments: Any) -> tuple[Tensor, ...]:
    """The kernel of ``recurrence`` for autograd."""
    if _transformed():
        return _by_plain_equations(*arguments)
    if not _differentiated(arguments[: len(INPUTS)]):
        return _below_autograd(*arguments)
    if arguments[-1] == 0:
        raise CarouselError(
            "keep_every=0 keeps nothing for backward, but an input requires a gradient. "
            "Pass keep_every=1, or run under torch.no_grad()."
        )
    found: tuple[Tensor, ...] = _Recurrence.apply(*arguments)  # type: ignore[no-untyped-call]
    return found


def _transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work; autograd alone is not."""
    # torch has no public way to ask.
    return (
        torch._C._are_functorch_transforms_active()  # noqa: SLF001
        or forward_ad._current_level >= 0  # noqa: SLF001
    )


def _differentiated(inputs: Iterable[Tensor | None]) -> bool:
    return torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in inputs
    )


LIBRARY.impl("recurrence", _forward, "CompositeExplicitAutograd")
LIBRARY.impl("recurrence", _with_autograd, "Autograd")
LIBRARY.impl("recurrence_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("carousel::recurrence", _forward_fake, lib=LIBRARY)
torch.library.register_fake("carousel::recurrence_backward", _backward_fake, lib=LIBRARY)
for _name in ("recurrence", "recurrence_backward"):
    _rule = one_by_one(getattr(torch.ops.carousel, _name).default)
    torch.library.register_vmap(f"carousel::{_name}", _rule, lib=LIBRARY)
