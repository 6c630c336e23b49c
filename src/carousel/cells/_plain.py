"""A run in plain PyTorch: the cell's step in a loop, and its linearisation followed back.

This runs everywhere, and is what the native kernels are measured against. The loop forward is made
of differentiable operations only, so autograd can go through it any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from carousel.cells._cell import Linearisation, State, Trajectory
from carousel.cells._run import (
    INPUTS,
    Arriving,
    Gradients,
    Passed,
    Run,
    Totalling,
    norms_of,
    with_first,
)

__all__ = ["d_peephole", "plain_backward", "plain_forward", "trajectory_of"]


def plain_forward(run: Run, keep: bool) -> Passed:
    """The run forward, step by step; ``keep``: with all that the run backward needs.

    Differentiable as long as nothing is to be kept.
    """
    cell, xs = run.cell, run.split(run.x)
    state: State = (run.h_0,) if run.c_0 is None else (run.h_0, run.c_0)
    batch = len(run.h_0)
    rows: list[list[Tensor]] = [[run.h_0] * run.steps for _ in state]
    for t in run.order:
        running = batch if run.sizes is None else run.sizes[t]
        if running == batch:
            state = after = cell.step(xs[t], state, run.weights)
        else:
            after = cell.step(xs[t], tuple(part[:running] for part in state), run.weights)
            # The others have ended, or begin later: their state stands.
            state = tuple(with_first(old, part) for old, part in zip(state, after, strict=True))
        for kept, part in zip(rows, after, strict=True):
            kept[t] = part
    output = run.join(rows[0])
    passed = Passed(output, *state)
    if not keep:
        return passed
    if cell.gates == ("h",):  # the one activation is the output
        return passed
    c = run.join(rows[1]) if cell.has_c else None
    trajectory = _at_once(run, output, c)
    gates = torch.stack([trajectory.gates[gate] for gate in cell.gates], dim=-2)
    q = trajectory.recurrent_n
    return replace(
        passed,
        c=c,
        gates=gates.view(*output.shape[:-1], *gates.shape[-2:]),
        q=None if q is None else q.reshape(*output.shape[:-1], q.shape[-1]),
    )


def _at_once(run: Run, output: Tensor, c: Tensor | None) -> Trajectory:
    """All steps side by side, as if each were a sequence of one step: rows [1, R, ..]."""
    h_prev = _flat(run.before(output, run.h_0))
    start: State = (h_prev,)
    if c is not None and run.c_0 is not None:
        start = (h_prev, _flat(run.before(c, run.c_0)))
    return run.cell.replay(_flat(run.x).unsqueeze(0), h_prev.unsqueeze(0), start, run.weights)


def _flat(rows: Tensor) -> Tensor:
    return rows.reshape(-1, rows.shape[-1])


def plain_backward(
    run: Run, passed: Passed, arriving: Arriving, needs: Sequence[bool], totals: Totalling
) -> Gradients:
    """The run backward.

    Args:
        run: as it ran forward.
        passed: what it gave, everything kept.
        arriving: the gradients from outside.
        needs: which of ``INPUTS`` need a gradient.
        totals: what of the gradient at every step is asked for too.
    """
    needed = {name for name, need in zip(INPUTS, needs, strict=True) if need}
    trajectory = trajectory_of(run, passed)
    lin = run.cell.linearise(trajectory, run.weights, run.truncated)
    sweep = _sweep(run, lin, arriving)
    d_q = sweep.d_a
    d_a = d_q
    if lin.n_from_h is not None:
        d_a = d_q.clone()
        d_a[..., -1, :] = lin.n_from_h * sweep.v_m
    found: dict[str, Tensor | None] = {
        "x": d_a.flatten(-2) @ run.weights.w_ih if "x" in needed else None,
        "h_0": sweep.d_h_0 if totals == "full" or "h_0" in needed else None,
        "c_0": sweep.d_c_0 if totals == "full" or "c_0" in needed else None,
    }
    of_weights: dict[str, Callable[[], Tensor]] = {
        "w_ih": lambda: _flat(d_a.flatten(-2)).T @ _flat(run.x),
        "w_hh": lambda: _flat(d_q.flatten(-2)).T @ _flat(trajectory.h_prev),
        "b_ih": lambda: _flat(d_a.flatten(-2)).sum(0),
        "b_hh": lambda: _flat(d_q.flatten(-2)).sum(0),
        "w_hr": lambda: _flat(sweep.d_h).T @ _flat(run.cell.unprojected(trajectory)),
        "peephole": lambda: d_peephole(run, trajectory, d_a),
    }
    found |= {name: of() for name, of in of_weights.items() if name in needed}
    if totals == "norms":
        return Gradients(**found, norms=norms_of(sweep.d_h, sweep.d_c))
    if not totals:
        return Gradients(**found)
    return Gradients(**found, d_h=sweep.d_h, d_c=sweep.d_c, d_a=d_a)


def trajectory_of(run: Run, passed: Passed) -> Trajectory:
    """What a run forward kept, as the trajectory that the cell's derivative is taken along."""
    c_prev = None
    if passed.c is not None and run.c_0 is not None:
        c_prev = run.before(passed.c, run.c_0)
    gates = {"h": passed.output}
    if passed.gates is not None:
        gates = dict(zip(run.cell.gates, passed.gates.unbind(-2), strict=True))
    return Trajectory(
        h_prev=run.before(passed.output, run.h_0),
        c_prev=c_prev,
        h=passed.output,
        c=passed.c,
        gates=gates,
        recurrent_n=passed.q,
    )


@dataclass(frozen=True)
class _Sweep:
    d_a: Tensor  # [.., G, H]  where the state meets the pre-activations
    v_m: Tensor  # [.., H]  dL/dm_t
    d_h: Tensor  # [.., P]
    d_c: Tensor | None  # [.., H]
    d_h_0: Tensor  # [B, P]
    d_c_0: Tensor | None  # [B, H]


def _sweep(run: Run, lin: Linearisation, arriving: Arriving) -> _Sweep:
    """Follow the gradient from the last step of the run to before its first."""
    w_hh, w_hr = lin.weights.w_hh, lin.weights.w_hr
    injected = None if arriving.output is None else run.split(arriving.output)
    from_h = run.split(lin.from_h)
    from_c = None if lin.from_c is None else run.split(lin.from_c)
    c_from_h = None if lin.c_from_h is None else run.split(lin.c_from_h)
    v_h = torch.zeros_like(run.h_0) if arriving.h_n is None else arriving.h_n
    v_c = None
    if run.c_0 is not None:
        v_c = torch.zeros_like(run.c_0) if arriving.c_n is None else arriving.c_n
    carried = lin.rows > lin.gates
    d_a, d_m, d_h, d_c = ([v_h] * run.steps for _ in range(4))
    for t in reversed(run.order):
        running = len(from_h[t])
        d_h[t] = v_h[:running] if injected is None else v_h[:running] + injected[t]
        d_m[t] = d_h[t] if w_hr is None else d_h[t] @ w_hr
        u = from_h[t] * d_m[t].unsqueeze(-2)
        if v_c is not None and from_c is not None and c_from_h is not None:
            d_c[t] = torch.addcmul(v_c[:running], c_from_h[t], d_m[t])
            u = torch.cat([from_c[t] * d_c[t].unsqueeze(-2), u], dim=-2)
        d_a[t] = u[:, lin.rows - lin.gates :]
        before = d_a[t].flatten(-2) @ w_hh
        if v_c is not None:
            v_c = with_first(v_c, u[:, 0])
        elif carried:
            before = before + u[:, 0]
        v_h = with_first(v_h, before)
    return _Sweep(
        d_a=run.join(d_a),
        v_m=run.join(d_m),
        d_h=run.join(d_h),
        d_c=None if v_c is None else run.join(d_c),
        d_h_0=v_h,
        d_c_0=v_c,
    )


def d_peephole(
    run: Run,
    trajectory: Trajectory,
    d_a: Tensor,
    added_up: Callable[[Tensor], Tensor] = lambda rows: rows.sum(0),
) -> Tensor:
    """What each gate saw of c times the gradient on its pre-activation, over all rows, [K, H]."""
    assert trajectory.c is not None
    assert trajectory.c_prev is not None
    rows = []
    for gate in run.cell.peepholes:
        seen = trajectory.c if gate == "o" else trajectory.c_prev
        rows.append(added_up(_flat(d_a[..., run.cell.gates.index(gate), :] * seen)))
    return torch.stack(rows)
