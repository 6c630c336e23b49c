"""Where NaN or infinity first arises: layer, step, gate, sequence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from carousel.flow._quantities import pre_activations
from carousel.flow._running import in_running_order
from carousel.trace import Trace

__all__ = ["NonFinite", "first_nonfinite"]


@dataclass(frozen=True)
class NonFinite:
    """The first value of a layer, in the order of computation, that is NaN or infinite."""

    layer: str
    phase: Literal["forward", "backward"]
    step: int  # in the order of the input
    sequence: int  # the first one in the batch
    quantity: str  # "x", "state before", "gate f", "c", "h", "d_h injected", "d_h", "d_a_f", ..
    value: Literal["nan", "inf"]

    def __str__(self) -> str:
        what = "NaN" if self.value == "nan" else "infinity"
        return (
            f"{self.layer}: {what} first arises in the {self.phase} pass at step {self.step}, "
            f"sequence {self.sequence}, in {self.quantity}."
        )


def first_nonfinite(trace: Trace) -> list[NonFinite]:
    """The first non-finite value of the forward and of the backward pass, where there is one."""
    running = in_running_order(trace)
    trajectory = running.trajectory
    forward: dict[str, Tensor | None] = {
        "x": running.x,
        "the state before": trajectory.h_prev,
        "the state before (c)": trajectory.c_prev,
        **{
            f"gate {gate}" if len(trace.cell.gates) > 1 else "the pre-activation": a
            for gate, a in (pre_activations(running) if trace.cell.derived else {}).items()
        },
        "c": trajectory.c,
        "h": trajectory.h,
    }
    backward: dict[str, Tensor | None] = {
        "d_h injected": running.d_h_injected.value(),
        "d_c injected": None if running.d_c_injected is None else running.d_c_injected.value(),
        "d_h": running.d_h.value(),
        "d_c": None if running.d_c is None else running.d_c.value(),
        **(_on_pre_activations(running) if trace.cell.derived else {}),
    }
    found = [
        _first(trace, "forward", forward, last_first=False),
        _first(trace, "backward", backward, last_first=True),
    ]
    return [finding for finding in found if finding is not None]


def _on_pre_activations(running: Trace) -> dict[str, Tensor]:
    """d_a of each gate [T, B, H], which follows from the totals of its own step."""
    with torch.no_grad(), torch.autocast(running.x.device.type, enabled=False):
        truncated = running.gradient == "1997"
        lin = running.cell.linearise(running.trajectory, running.weights, truncated)
        w_hr = lin.weights.w_hr
        d_m = running.d_h.linear(lambda d_h: d_h if w_hr is None else d_h @ w_hr)
        rows = []
        if running.d_c is not None and lin.from_c is not None:
            rows += [
                running.d_c.linear(partial(torch.mul, factor)) for factor in lin.from_c.unbind(-2)
            ]
        rows += [d_m.linear(partial(torch.mul, factor)) for factor in lin.from_h.unbind(-2)]
        rows = rows[lin.rows - lin.gates :]
        if lin.n_from_h is not None:
            rows[-1] = d_m.linear(partial(torch.mul, lin.n_from_h))
        gates = running.cell.gates
        names = ["d_a"] if len(gates) == 1 else [f"d_a_{gate}" for gate in gates]
        return {name: row.value() for name, row in zip(names, rows, strict=True)}


def _first(
    trace: Trace,
    phase: Literal["forward", "backward"],
    tensors: dict[str, Tensor | None],
    *,
    last_first: bool,
) -> NonFinite | None:
    best: tuple[int, str, Tensor] | None = None
    limit = torch.finfo(trace.dtype).max if phase == "backward" else torch.inf
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        bad = ~(tensor.abs() <= limit) | ~tensor.isfinite()
        bad = bad.any(-1) & in_running_order(trace).valid
        steps = bad.any(1).nonzero().flatten()
        if not len(steps):
            continue
        step = int(steps[-1] if last_first else steps[0])
        if best is None or (step > best[0] if last_first else step < best[0]):
            best = (step, name, tensor)
    if best is None:
        return None
    step, name, tensor = best
    rows = ~(tensor[step].abs() <= limit).all(-1) | ~tensor[step].isfinite().all(-1)
    sequence = int(rows.nonzero().flatten()[0])
    value: Literal["nan", "inf"] = "nan" if bool(tensor[step, sequence].isnan().any()) else "inf"
    if trace.direction == "reverse":
        step = int(trace.lengths[sequence]) - 1 - step
    return NonFinite(trace.name, phase, step, sequence, name, value)
