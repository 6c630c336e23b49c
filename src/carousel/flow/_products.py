"""The product of Jacobians between two steps by its singular values, and the eigenvalues of one.

    P = ds_stop/ds_start = J_stop .. J_{start+1} = X diag(sigma) Y^T

A change of s_start along the column y_i arrives at s_stop as sigma_i x_i. P itself is never written
down: orthonormal directions are pulled back once, so that they come in the order of P's right
singular vectors, then pushed forward, and the triangles that they leave are multiplied on scales of
their own (``_frame.py``, ``_graded.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow._frame import Frame, random_frame
from carousel.flow._graded import identity, singular, times
from carousel.flow._shown import Shown, counted, middle, number
from carousel.flow._tangent import Tangent, tangent_of
from carousel.trace import Trace

__all__ = ["JacobianProduct", "eigenvalues", "jacobian_product"]

SPARE = 8  # directions that go along with the leading ones, so that these settle sooner
MOST_ROUNDS = 20  # back and forth; what has not settled then is found from the whole product
SETTLED = 1e-8  # change of ln sigma from one round to the next


@dataclass(frozen=True, eq=False, repr=False)
class JacobianProduct(Shown):
    """ds_stop/ds_start of each sequence: its k largest singular values and their directions.

    A layer of direction "reverse" runs from high steps to low ones, so there it is
    ds_start/ds_stop, the way in which the state went. NaN throughout for a sequence that does not
    reach ``stop``, whose states are not finite, or whose state was changed on the way by operations
    outside the module.
    """

    start: int
    stop: int
    log10_singular_values: Tensor  # [B, k] float64, the largest first; -inf is zero
    left: Tensor  # [B, S, k] float64, where the directions arrive
    right: Tensor  # [B, S, k] float64, where they come from
    resolved: Tensor  # [B, k] bool; False where float64 cannot give six digits of the value

    def __str__(self) -> str:
        largest, smallest = (
            number(middle(self.log10_singular_values[:, place])) for place in (0, -1)
        )
        batch, count = self.log10_singular_values.shape
        several = f", the smallest of the {count} here {smallest}" if count > 1 else ""
        return (
            f"The derivative between steps {self.start} and {self.stop} of "
            f"{counted(batch, 'sequence')}: its largest singular value is {largest}{several} "
            "(medians)."
        )

    @property
    def log10_norm(self) -> Tensor:
        """log10 of the spectral norm [B], on a scale without under- or overflow."""
        return self.log10_singular_values[:, 0]


def jacobian_product(trace: Trace, start: int, stop: int, k: int | None = None) -> JacobianProduct:
    """The product between two steps; see ``LayerFlow.jacobian_product``."""
    steps, batch = trace.x.shape[:2]
    _check_step(trace, "start", start, steps)
    _check_step(trace, "stop", stop, steps)
    if start >= stop:
        raise CarouselError(
            f"Expected start < stop, got start={start} and stop={stop}: the product leads from one "
            "step to a later one of the input."
        )
    forward = trace.direction == "forward"
    order = range(start + 1, stop + 1) if forward else range(stop - 1, start - 1, -1)
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        factor = _handed(trace, order)
        counts = (trace.lengths > stop) & _finite(trace, order) & (factor == 1)
        keep = counts.nonzero().flatten()
        tangent = tangent_of(_only(trace, keep), torch.float64)
        if k is not None and (isinstance(k, bool) or not isinstance(k, int)):
            raise CarouselError(f"Expected k to be a whole number or None, got {k!r}.")
        count = tangent.size if k is None else k
        if not 1 <= count <= tangent.size:
            raise CarouselError(
                f"Expected k from 1 to {tangent.size}, the numbers in the state of {trace.name}, "
                f"got {k}. Leave k out for all singular values."
            )
        empty = torch.full((batch, tangent.size, count), math.nan, dtype=torch.float64)
        empty = empty.to(trace.x.device)
        logs, left, right = empty[:, 0].clone(), empty.clone(), empty.clone()
        resolved = torch.zeros_like(logs, dtype=torch.bool)
        if len(keep):
            logs[keep], left[keep], right[keep], resolved[keep] = _decomposed(tangent, order, count)
        gone = (factor == 0) & (trace.lengths > stop)
        logs[gone], resolved[gone] = -math.inf, True
    return JacobianProduct(start, stop, logs / math.log(10), left, right, resolved)


def eigenvalues(trace: Trace, step: int) -> Tensor:
    """Of J_step for each sequence, [B, S] complex128; see ``LayerFlow.eigenvalues``."""
    _check_step(trace, "step", step, trace.x.shape[0])
    with torch.no_grad(), torch.autocast(trace.x.device.type, enabled=False):
        jacobian = tangent_of(trace, torch.float64).jacobian(step)
        there = jacobian.isfinite().all(-1).all(-1) & (trace.lengths > step)
        found: Tensor = torch.linalg.eigvals(torch.where(there[:, None, None], jacobian, 0.0))
        order = found.abs().argsort(dim=-1, descending=True, stable=True)
        nowhere = torch.complex(torch.tensor(math.nan).double(), torch.tensor(math.nan).double())
        return torch.where(there.unsqueeze(-1), found.gather(-1, order), nowhere.to(found.device))


def _check_step(trace: Trace, name: str, step: int, steps: int) -> None:
    if isinstance(step, bool) or not isinstance(step, int):
        raise CarouselError(f"Expected {name} to be a step, a whole number, got {step!r}.")
    if not 0 <= step < steps:
        raise CarouselError(
            f"Expected {name} from 0 to {steps - 1}, the steps of {trace.name}, got {step}."
        )


def _handed(trace: Trace, order: range) -> Tensor:
    """What became of the state [B] at the boundaries on the way: 1, 0 or NaN."""
    factor = torch.ones(trace.x.shape[1], dtype=torch.float64)
    for boundary, handed in zip(trace.boundaries, trace.handed_over, strict=True):
        if boundary in order:
            factor = factor * handed.cpu().double()
    return factor.to(trace.x.device)


def _finite(trace: Trace, order: Sequence[int]) -> Tensor:
    """Which sequences [B] have finite states at all of these steps."""
    first, last = min(order), max(order)
    finite = torch.ones_like(trace.lengths, dtype=torch.bool)
    trajectory = trace.trajectory
    for state in (trajectory.h_prev, trajectory.c_prev, trajectory.h, trajectory.c):
        if state is not None:
            finite = finite & state[first : last + 1].isfinite().all(-1).all(0)
    return finite


def _only(trace: Trace, keep: Tensor) -> Trace:
    """Some of the sequences, without boundaries."""
    keep = keep if len(keep) else torch.zeros(1, dtype=torch.int64, device=trace.x.device)

    def pick(tensor: Tensor) -> Tensor:
        return tensor[:, keep]

    return replace(
        trace,
        x=pick(trace.x),
        lengths=trace.lengths[keep],
        trajectory=trace.trajectory.map(pick),
        boundaries=(),
        handed_over=torch.ones(0, len(keep)),
    )


def _decomposed(
    tangent: Tangent, order: Sequence[int], count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ln sigma [B, k], left and right [B, S, k], resolved [B, k]."""
    wide = min(tangent.size, count + SPARE)
    known: Tensor | None = None
    if 2 * wide < tangent.size:
        directions = random_frame(tangent.batch, tangent.size, wide, tangent.device)
        for _ in range(MOST_ROUNDS):
            found = _round(tangent, order, directions)
            logs, directions = found[0][:, :count], found[1]  # where they arrive: from there back
            if known is not None and bool(((logs - known).abs() <= SETTLED).all()):
                return logs, directions[..., :count], found[2][..., :count], found[3][:, :count]
            known = logs
    directions = random_frame(tangent.batch, tangent.size, tangent.size, tangent.device)
    logs, left, right, resolved = _round(tangent, order, directions)
    return logs[:, :count], left[..., :count], right[..., :count], resolved[:, :count]


def _round(
    tangent: Tangent, order: Sequence[int], directions: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pull the directions back, push what that gave forward, and decompose what is left.

    The product restricted to these directions; exact where they are as many as the state is wide.
    """
    back = Frame(lambda t, q: tangent.pull(t, q.mT).mT, directions)
    for _ in back.along(order[::-1]):
        pass
    forward = Frame(tangent.push, back.directions)
    product = identity(tangent.batch, directions.shape[-1], tangent.device)
    for link in forward.along(order):
        product = times(link.triangle, product)
    logs, x, y, resolved = singular(product)
    return logs, forward.directions @ x, back.directions @ y, resolved
