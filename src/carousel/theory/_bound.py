"""When a simple RNN must vanish, from the largest singular value of its recurrent weights.

    ||dh_n/dh_t|| = ||prod diag(s'(a_k)) W|| <= (gamma sigma_1(W))^(n - t),   gamma = max s'

Below 1 that falls to zero whatever the inputs are. Above 1 it says nothing: the condition is
sufficient and not necessary.

Source: Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks*, 2013,
section 2.1 (gamma = 1/4 for the sigmoid, 1 for tanh).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.theory._checks import whole_steps
from carousel.theory._nonlinearities import nonlinearity_named

__all__ = ["NormBound", "vanishes"]


@dataclass(frozen=True)
class NormBound:
    """An upper bound of ``||dh_n/dh_t||``, and whether it makes the gradient vanish.

    True as a condition exactly where the gradient must vanish.
    """

    vanishes: bool  # True: whatever the inputs are. False: the bound says nothing
    largest_singular_value: float  # sigma_1 of W_hh
    largest_slope: float  # gamma, of the nonlinearity
    reason: str

    @property
    def factor(self) -> float:
        """gamma sigma_1: no step lets more through."""
        return self.largest_slope * self.largest_singular_value

    def log10_after(self, steps: int) -> float:
        """log10 of the bound after n steps; -inf for W = 0."""
        if whole_steps("steps", steps) == 0:
            return 0.0
        return -math.inf if self.factor == 0 else steps * math.log10(self.factor)

    def __bool__(self) -> bool:
        return self.vanishes

    def __str__(self) -> str:
        return self.reason


def vanishes(
    w_hh: Tensor | float | Sequence[Sequence[float]], nonlinearity: str = "tanh"
) -> NormBound:
    """Whether the gradient of a simple RNN must vanish: sigma_1(W_hh) < 1 / gamma.

    For one unit and the sigmoid that is |w| < 4. In float64, with room for the rounding of the
    singular value, so that a "must" is one.

    Args:
        w_hh: recurrent weights [H, H], or the weight of one unit.
        nonlinearity: "sigmoid" (gamma = 1/4), "tanh", "relu" or "identity" (gamma = 1).

    Returns:
        The bound, with its reason in a sentence.

    Raises:
        CarouselError: the weights are not square or not finite: those of an LSTM or a GRU hold
            several matrices, and this bound is not theirs.

    >>> bool(vanishes(3.9, "sigmoid")), bool(vanishes(4.0, "sigmoid"))
    (True, False)
    """
    gamma = nonlinearity_named(nonlinearity).largest_slope
    w = w_hh if isinstance(w_hh, Tensor) else torch.tensor(w_hh, dtype=torch.float64)
    w = w.detach().to("cpu", torch.float64)
    w = w.reshape(1, 1) if w.ndim == 0 else w
    if w.ndim != 2 or w.shape[0] != w.shape[1] or w.numel() == 0:
        raise CarouselError(
            f"Expected the recurrent weights of a simple RNN, [H, H]; got {list(w.shape)}. "
            "This bound does not hold for an LSTM or a GRU, whose weights are stacked by gate."
        )
    if not bool(w.isfinite().all()):
        raise CarouselError("Expected finite recurrent weights; got NaN or infinity among them.")
    sigma = float(w.abs()) if w.numel() == 1 else float(torch.linalg.svdvals(w)[0])
    rounding = 0.0 if w.numel() == 1 else len(w) * torch.finfo(torch.float64).eps * sigma
    below = sigma + rounding < 1 / gamma
    return NormBound(below, sigma, gamma, _reason(below, sigma, gamma, nonlinearity))


def _reason(below: bool, sigma: float, gamma: float, nonlinearity: str) -> str:
    slope = f"the slope of {nonlinearity} is at most {gamma:g}"
    if below:
        return (
            f"The gradient must vanish: sigma_1(W_hh) = {sigma:.4g} is below {1 / gamma:g}, and "
            f"{slope}, so no step lets more than {gamma * sigma:.4g} of it through."
        )
    return (
        f"Nothing follows: sigma_1(W_hh) = {sigma:.4g} is not below {1 / gamma:g}, and {slope}. "
        "The condition is sufficient and not necessary: the gradient may vanish all the same."
    )
