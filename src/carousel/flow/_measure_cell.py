"""``carousel.measure_cell``: from any function ``(x_t, state) -> state`` to a Flow.

The cell runs once over all steps without a graph; the loss gives what is injected at each state;
then the gradient goes back step by step, each step run once more under autograd. So there is never
a graph of more than one step, and a gradient of 1e-400 is a number as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.cells import Cell, Scaled, State, Trajectory, Weights, adjoint_through, opaque_cell
from carousel.flow._autograd import CellSteps, StepGraph
from carousel.flow._flow import Flow
from carousel.flow._layer_flow import LayerFlow
from carousel.flow._watch import Buffers, described, refuse_inference_mode
from carousel.trace import Trace

__all__ = ["measure_cell"]

NAME = "cell"
ROUNDINGS = 32  # of the state's dtype, by which two runs of the same step may differ


def measure_cell(
    cell: Callable[[Tensor, Any], Any],
    x: Tensor,
    state: Tensor | tuple[Tensor, Tensor],
    loss_fn: Callable[[Any], Tensor],
) -> Flow:
    """Measure any recurrence of the form ``state = cell(x_t, state)``, through autograd.

    Example: the doubling chain, with the loss on the last of three steps.

        >>> import carousel, torch
        >>> flow = carousel.measure_cell(
        ...     lambda x, h: 2 * h, torch.zeros(3, 1, 1), torch.ones(1, 1), lambda h: h[-1].sum()
        ... )
        >>> flow["cell"].d_h.flatten().tolist()
        [4.0, 2.0, 1.0]

    The layer is called "cell" and has everything that a layer of torch's has, but what lies inside
    a step: gates, pre-activations and paths, which are refused by name. ``d_c`` holds what c_t
    receives through h_t where the cell computes h_t from the very c_t that it returns. Each
    sequence has to go its own way: its new state depends on its own old state alone, which is
    looked at in the first step, one in the middle and the last.

    Args:
        cell: one step, ``cell(x_t [B, ..], state) -> state``; a function or a module.
        x: inputs [T, B, ..], what a step sees of it is ``x[t]``.
        state: the initial state: h_0 [B, P], or (h_0 [B, P], c_0 [B, H]).
        loss_fn: takes all states, h [T, B, P] or (h [T, B, P], c [T, B, H]), returns a scalar.

    Raises:
        CarouselError: the arguments do not fit together, the state changes its shape or does not
            depend on the one before, the sequences mix, or the loss is not a scalar that depends on
            the states.
    """
    refuse_inference_mode("measure_cell")
    start = _start(x, state)
    x = x.detach().clone()  # a cell may change in place what it is given
    known = opaque_cell(_name_of(cell), _as_step(cell, len(start)), has_c=len(start) == 2)
    devices = sorted({part.device.index for part in start if part.device.type == "cuda"})
    buffers = Buffers(cell if isinstance(cell, nn.Module) else nn.Module())
    with torch.random.fork_rng(devices=devices), buffers:
        trajectory = _run(known, x, start)
        injected = _injected(loss_fn, trajectory)
        with torch.autocast(x.device.type, enabled=False):
            trace = _traced(known, x, trajectory, start, injected)
    layer = LayerFlow(trace)
    return Flow({layer.name: layer})


@dataclass(frozen=True)
class _Injected:
    h: Tensor  # [T, B, P]
    c: Tensor | None  # [T, B, H]


def _start(x: Any, state: Any) -> State:
    if not isinstance(x, Tensor) or x.dim() < 2 or 0 in x.shape[:2]:
        raise CarouselError(
            f"Expected x as a tensor [T, B, ..] with at least one step and one sequence, got "
            f"{described(x)}. For a cell without input pass torch.zeros(T, B, 1)."
        )
    parts = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    fits = len(parts) in (1, 2) and all(
        isinstance(part, Tensor)
        and part.dim() == 2
        and part.shape[0] == x.shape[1]
        and part.shape[1] > 0
        and part.is_floating_point()
        and part.dtype == parts[0].dtype
        and part.device == x.device
        for part in parts
    )
    if not fits:
        raise CarouselError(
            f"Expected the state as a floating-point tensor h_0 [{x.shape[1]}, P], or a pair "
            f"(h_0 [{x.shape[1]}, P], c_0 [{x.shape[1]}, H]) of one dtype, on the device of x "
            f"({x.device}), got {described(state)}."
        )
    return tuple(part.detach() for part in parts)


def _name_of(cell: Any) -> str:
    if not callable(cell):
        raise CarouselError(
            f"Expected the cell to be callable as cell(x_t, state), got {described(cell)}."
        )
    name: str = getattr(cell, "__name__", type(cell).__name__)
    return "cell" if name == "<lambda>" else f"cell {name}"


def _as_step(cell: Callable[[Tensor, Any], Any], parts: int) -> Callable[[Tensor, State], State]:
    """The cell with its state as a tuple, and what it returns checked."""

    def step(x: Tensor, state: State) -> State:
        after = cell(x, state if parts == 2 else state[0])
        found = tuple(after) if isinstance(after, (tuple, list)) else (after,)
        fits = len(found) == parts and all(
            isinstance(new, Tensor) and new.shape == old.shape and new.dtype == old.dtype
            for new, old in zip(found, state, strict=False)
        )
        if not fits:
            expected = described(state if parts == 2 else state[0])
            raise CarouselError(
                f"Expected cell(x_t, state) to return a state like the one it was given, "
                f"{expected}, got {described(after)}. A cell that also returns an output has to be "
                "wrapped so that it returns the state alone."
            )
        return found

    return step


def _run(cell: Cell, x: Tensor, start: State) -> Trajectory:
    """All states, without a graph."""
    states = [start]
    weights = _no_weights(start)
    with torch.no_grad():
        for x_t in x:
            after = cell.step(x_t, tuple(part.clone() for part in states[-1]), weights)
            states.append(tuple(part.clone() for part in after))
    h, *c = (torch.stack(parts) for parts in zip(*states, strict=True))
    return Trajectory(
        h_prev=h[:-1],
        c_prev=c[0][:-1] if c else None,
        h=h[1:],
        c=c[0][1:] if c else None,
        gates={},
    )


def _injected(loss_fn: Callable[[Any], Tensor], trajectory: Trajectory) -> _Injected:
    """What the loss sends to each state directly."""
    leaves = [
        part.detach().clone().requires_grad_()
        for part in (trajectory.h, trajectory.c)
        if part is not None
    ]
    with torch.enable_grad():
        loss: Any = loss_fn(leaves[0] if len(leaves) == 1 else tuple(leaves))
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise CarouselError(
            f"Expected the loss to be a scalar tensor, got {described(loss)}. "
            "Reduce it, for example with .mean()."
        )
    found: tuple[Tensor | None, ...] = (None,)
    if loss.requires_grad:
        found = torch.autograd.grad(loss.reshape(()), leaves, allow_unused=True)
    if all(part is None for part in found):
        raise CarouselError(
            "The loss does not depend on the states that loss_fn was given. Compute it from them, "
            "and do not detach them."
        )
    parts = [
        (torch.zeros_like(leaf) if part is None else part).to(_precise(leaf.dtype))
        for part, leaf in zip(found, leaves, strict=True)
    ]
    return _Injected(parts[0], parts[1] if len(parts) == 2 else None)


def _traced(
    cell: Cell, x: Tensor, trajectory: Trajectory, start: State, injected: _Injected
) -> Trace:
    steps, batch = x.shape[:2]
    nothing = Scaled(injected.h[:1])
    trace = Trace(
        name=NAME,
        cell=cell,
        direction="forward",
        gradient="full",
        dtype=start[0].dtype,
        x=x,
        lengths=torch.full((batch,), steps, dtype=torch.int64, device=x.device),
        weights=_no_weights(start),
        trajectory=trajectory,
        d_h=nothing,
        d_c=None,
        d_h_injected=Scaled(injected.h),
        d_c_injected=None if injected.c is None else Scaled(injected.c),
        d_h_start=nothing,
        d_c_start=None,
        certificate=0.0,
        certificate_limit=_rounding(trajectory),
        boundaries=(),
        handed_over=torch.ones(0, batch),
        cut_states={},
        notes=("measured by autograd, one step at a time; what lies inside a step is not known",),
    )
    _check_memory(StepGraph(trace, 0))
    for t in sorted({0, steps // 2, steps - 1}):
        _check_sequences(trace, t)
    through = CellSteps(trace)
    with torch.no_grad():
        total = adjoint_through(through, trace.weights, trace.d_h_injected, trace.d_c_injected)
    as_precise = trajectory.map(lambda tensor: tensor.to(_precise(tensor.dtype)))
    return replace(
        trace,
        trajectory=as_precise,
        d_h=total.d_h,
        d_c=total.d_c,
        d_h_start=total.d_h_start,
        d_c_start=total.d_c_start,
        certificate=through.gap,
    )


def _check_memory(graph: StepGraph) -> None:
    """Refuse a step without memory."""
    if not any(part.requires_grad for part in graph.after):
        raise CarouselError(
            "The state that the cell returns does not depend on the state that it was given: "
            "nothing can be followed through time. Do not detach it, and do not compute it under "
            "torch.no_grad() or from .data."
        )


def _check_sequences(trace: Trace, t: int) -> None:
    """Refuse a step that mixes the sequences.

    Random vectors at half of the sequences have to come back as zero at the other half, for the
    halves by each binary digit of a sequence's number, so that any two are once apart. One step
    would not tell: from a state of zero a product of two states has no derivative.
    """
    batch, device = trace.x.shape[1], trace.x.device
    if batch == 1:
        return
    graph = StepGraph(trace, t)
    digits = torch.arange((batch - 1).bit_length(), device=device)
    half = torch.arange(batch, device=device).unsqueeze(1) >> digits & 1 == 1
    asked = torch.cat([half, ~half], dim=1).unsqueeze(-1)  # [B, rows, 1]
    generator = torch.Generator().manual_seed(t)
    vector = torch.randn(batch, 1, sum(graph.sizes), generator=generator).to(device)
    pulled = graph.pull(torch.where(asked, vector, 0.0))
    # 0 times infinity, in a sequence that is not finite itself, is no sign of mixing.
    if bool((~asked & pulled.isfinite() & (pulled != 0)).any()):
        raise CarouselError(
            f"At step {t} the new state of a sequence depends on the old state of another "
            "sequence (as with batch normalisation). Jacobians are taken sequence by sequence: "
            "measure such a cell with a batch of one, or with its normalisation in eval mode."
        )


def _no_weights(start: State) -> Weights:
    """The weights of a cell of which none are known: without any row."""
    empty = start[0].new_empty(0, start[0].shape[-1])
    return Weights(w_ih=empty, w_hh=empty)


def _precise(dtype: torch.dtype) -> torch.dtype:
    """float64 stays; everything else is followed in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _rounding(trajectory: Trajectory) -> float:
    """How far two runs of the same step may differ, times the largest state (at least 1)."""
    states = [part for part in (trajectory.h, trajectory.c) if part is not None]
    finite = [float(part.abs().nan_to_num(0.0, 0.0, 0.0).max()) for part in states]
    return ROUNDINGS * torch.finfo(trajectory.h.dtype).eps * max(1.0, *finite)
