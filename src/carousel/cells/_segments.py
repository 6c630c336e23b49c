"""A run in segments of steps: only the states between them are kept, the rest is computed again.

Backward takes the segments from the last of the run to the first; each runs forward once more from
the state that it started from, so that at any time the gates of one segment are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from carousel.cells._run import INPUTS, Arriving, Gradients, Passed, Run, Totalling, with_first

__all__ = ["Backward", "Forward", "segments_backward", "segments_forward"]

Forward = Callable[[Run, bool], Passed]
Backward = Callable[[Run, Passed, Arriving, Sequence[bool], Totalling], Gradients]

STATES = tuple(name in ("h_0", "c_0") for name in INPUTS)


def segments_forward(forward: Forward, run: Run, length: int) -> tuple[Passed, Tensor]:
    """The run forward, and (h, c) side by side before each segment [segments, B, P (+ H)].

    Args:
        forward: computes one segment.
        run: the whole run.
        length: the steps of a segment; the last in time may be shorter.
    """
    bounds = _bounds(run, length)
    outputs: list[Tensor] = [run.h_0] * len(bounds)
    starts: list[Tensor] = [run.h_0] * len(bounds)
    h, c = run.h_0, run.c_0
    for place in _order(run, bounds):
        starts[place] = h if c is None else torch.cat([h, c], dim=-1)
        passed = forward(run.part(*bounds[place], h, c), False)
        outputs[place] = passed.output
        h = with_first(h, passed.h_n)
        c = None if c is None or passed.c_n is None else with_first(c, passed.c_n)
    return Passed(run.join_parts(outputs), h, c), torch.stack(starts)


def segments_backward(
    engine: tuple[Forward, Backward],
    run: Run,
    starts: Tensor,
    arriving: Arriving,
    needs: Sequence[bool],
    totals: Totalling,
    length: int,
) -> Gradients:
    """The run backward from what ``segments_forward`` kept; the arguments are those of a run.

    Args:
        engine: computes one segment, forward and backward.
        run: the whole run.
        starts: as ``segments_forward`` gave it.
        arriving: the gradients from outside.
        needs: which inputs need a gradient.
        totals: what of the gradient at every step is asked for too.
        length: the steps of a segment, as forward.
    """
    forward, backward = engine
    bounds = _bounds(run, length)
    needs_inside = [need or state for need, state in zip(needs, STATES, strict=True)]
    v = Arriving(None, arriving.h_n, arriving.c_n)
    rows: dict[str, list[Tensor]] = {}
    sums: dict[str, Tensor] = {}
    for place in reversed(_order(run, bounds)):
        h, c = starts[place].split([run.h_0.shape[-1], starts.shape[-1] - run.h_0.shape[-1]], -1)
        part = run.part(*bounds[place], h.contiguous(), c.contiguous() if run.cell.has_c else None)
        found = backward(
            part,
            forward(part, True),
            _arriving(run, arriving, v, bounds[place]),
            needs_inside,
            totals,
        )
        for name, value in vars(found).items():
            if value is None or name in ("h_0", "c_0"):
                continue
            if name in ("x", "d_h", "d_c", "d_a", "norms"):
                rows.setdefault(name, [value] * len(bounds))[place] = value
            else:
                sums[name] = sums[name].add_(value) if name in sums else value
        assert found.h_0 is not None
        v = replace(v, h_n=_over_or_zero(v.h_n, found.h_0, run.h_0))
        if found.c_0 is not None and run.c_0 is not None:
            v = replace(v, c_n=_over_or_zero(v.c_n, found.c_0, run.c_0))
    ends = {"h_0": v.h_n, "c_0": v.c_n}
    wanted = dict(zip(INPUTS, needs, strict=True))
    return Gradients(
        **sums,
        **{name: run.join_parts(parts) for name, parts in rows.items()},
        **{
            name: value if totals == "full" or wanted[name] else None
            for name, value in ends.items()
        },
    )


def _bounds(run: Run, length: int) -> list[tuple[int, int]]:
    return [(start, min(start + length, run.steps)) for start in range(0, run.steps, length)]


def _order(run: Run, bounds: list[tuple[int, int]]) -> range:
    """The segments in the order in which the run takes them."""
    return range(len(bounds) - 1, -1, -1) if run.reverse else range(len(bounds))


def _arriving(run: Run, arriving: Arriving, v: Arriving, bounds: tuple[int, int]) -> Arriving:
    """What arrives at a segment: from above at its steps, through time at its end."""
    running = None if run.sizes is None else run.sizes[bounds[0]]
    return Arriving(
        None if arriving.output is None else run.rows(arriving.output, *bounds),
        None if v.h_n is None else v.h_n[:running],
        None if v.c_n is None else v.c_n[:running],
    )


def _over_or_zero(states: Tensor | None, first: Tensor, like: Tensor) -> Tensor:
    return with_first(torch.zeros_like(like) if states is None else states, first)
