"""What is left of a gradient after a lag: how much one step's loss sends so far back."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.flow._horizon import leading_rows
from carousel.flow._jacobian import log_norms_by_lag, spectral
from carousel.trace import Trace

__all__ = ["reach"]


def reach(trace: Trace, lag_steps: int) -> Tensor:
    """log10 of ||V ds_T/ds_{T-lag}||_2 [B], V as for the horizon; see ``LayerFlow.reach``."""
    longest = int(trace.lengths.max()) - 1
    if longest < 1:
        raise CarouselError(
            f"{trace.name} was shown one step, which has no lag. Measure longer sequences."
        )
    if type(lag_steps) is not int or not 1 <= lag_steps <= longest:
        raise CarouselError(
            f"Expected a lag from 1 to {longest} steps, for {trace.name} was shown {longest + 1} "
            f"steps at most; got {lag_steps!r}. Measure longer sequences, or ask for a shorter lag."
        )
    unchanged = torch.where(trace.handed_over == 1, 1.0, torch.nan)
    trace = replace(trace, handed_over=unchanged)
    log = log_norms_by_lag(trace, leading_rows(trace), spectral, lag_steps + 1)
    return log[lag_steps] / math.log(10)
