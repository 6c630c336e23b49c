"""What computes a run: the native core where it can, the plain equations everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

from carousel.cells._kernels import native_backward, native_forward, runs_natively
from carousel.cells._plain import plain_backward, plain_forward
from carousel.cells._run import Arriving, Gradients, Passed, Run, Totalling

__all__ = ["run_backward", "run_forward"]


def run_forward(run: Run, keep: bool) -> Passed:
    """The run forward; ``keep``: with all that the run backward needs."""
    return (native_forward if runs_natively(run) else plain_forward)(run, keep)


def run_backward(
    run: Run, passed: Passed, arriving: Arriving, needs: Sequence[bool], totals: Totalling
) -> Gradients:
    """The run backward, from what it gave forward with everything kept.

    Args:
        run: as it ran forward.
        passed: what it gave.
        arriving: the gradients from outside.
        needs: which of ``INPUTS`` need a gradient.
        totals: what of the gradient at every step is asked for too.
    """
    backward = native_backward if runs_natively(run) else plain_backward
    return backward(run, passed, arriving, needs, totals)
