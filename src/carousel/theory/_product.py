"""One unit: the state iterated, and the product of its slopes, on a log scale.

    h_t = s(w h_{t-1} + u_t)
    dh_n/dh_t = w^(n-t) * prod over k = t+1 .. n of s'(w h_{k-1} + u_k)

Either factor alone may decide: the weight's power, or the slopes of the nonlinearity.

Source: Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013, eq. 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel._errors import CarouselError
from carousel.theory._checks import finite, whole_steps
from carousel.theory._nonlinearities import nonlinearity_named

__all__ = ["LargestFactor", "ScalarProduct", "largest_factor", "scalar_product"]


@dataclass(frozen=True, eq=False)
class ScalarProduct:
    """The states of one unit over n steps, and the derivatives of one by another."""

    weight: float
    nonlinearity: str
    states: Tensor  # [n + 1] float64  h_0 .. h_n
    log10_factors: Tensor  # [n] float64  log10 |w s'(a_t)|, t = 1 .. n; -inf is an exact zero

    @property
    def log10_from_start(self) -> Tensor:
        """log10 |dh_t/dh_0| for t = 0 .. n, [n + 1] float64: forward in time."""
        return _running_sum(self.log10_factors)

    @property
    def log10_to_end(self) -> Tensor:
        """log10 |dh_n/dh_t| for t = 0 .. n, [n + 1] float64: what a gradient at step n becomes."""
        return _running_sum(self.log10_factors.flip(0)).flip(0)

    @property
    def sign(self) -> int:
        """Of dh_n/dh_0: that of w^n, since no slope is negative; 0 where the product is zero."""
        if self.log10_from_start[-1] == -math.inf:
            return 0
        return -1 if self.weight < 0 and len(self.log10_factors) % 2 else 1

    @property
    def rate(self) -> float:
        """ln |dh_n/dh_0| / n, the mean over the steps; NaN for n = 0."""
        return float(self.log10_factors.mean()) * math.log(10)


def scalar_product(
    weight: float,
    steps: int,
    nonlinearity: str = "sigmoid",
    *,
    initial: float = 0.0,
    drive: float | Sequence[float] = 0.0,
) -> ScalarProduct:
    """Iterate one unit and multiply its slopes.

        h_t = s(w h_{t-1} + u_t),      dh_t/dh_{t-1} = w s'(w h_{t-1} + u_t)

    Args:
        weight: w.
        steps: n, 0 or more.
        nonlinearity: s: "sigmoid", "tanh", "relu" or "identity".
        initial: h_0.
        drive: u_t: input and bias together; one number, or one for each step.

    Raises:
        CarouselError: an argument is not finite, there is no such nonlinearity, or the drive has
            another length than ``steps``.

    >>> scalar_product(2.0, 20, "identity").log10_to_end[0].exp2().item() > 1
    True
    >>> round(10 ** scalar_product(0.5, 20, "identity").log10_to_end[0].item(), 10)
    9.537e-07
    """
    s = nonlinearity_named(nonlinearity)
    w = finite("weight", weight, "the recurrent weight w")
    h = finite("initial", initial, "the state h_0")
    steps = whole_steps("steps", steps)
    given = [drive] * steps if isinstance(drive, int | float) else list(drive)
    if len(given) != steps:
        raise CarouselError(
            f"Expected drive to be one number or {steps}, one for each step; got {len(given)}."
        )
    log_w = -math.inf if w == 0 else math.log(abs(w))
    states, factors = [h], []
    for u in given:
        a = w * h + finite("drive", u, "what is added before the nonlinearity")
        h = s.value(a)
        states.append(h)
        factors.append((log_w + s.log_slope(a)) / math.log(10))
    return ScalarProduct(
        weight=w,
        nonlinearity=nonlinearity,
        states=torch.tensor(states, dtype=torch.float64),
        log10_factors=torch.tensor(factors, dtype=torch.float64),
    )


@dataclass(frozen=True)
class LargestFactor:
    """The weight that lets most of a gradient through one step, the state being held."""

    weight: float  # w at the maximum
    factor: float  # max over w of |w s'(w h)|
    state: float  # h
    nonlinearity: str


def largest_factor(nonlinearity: str = "sigmoid", state: float = 1.0) -> LargestFactor:
    """The most that a step can let through, over all weights: max over w of |w s'(w h)|.

    With z = w h the factor is z s'(z) / h, so its largest value is where 1/z = -d/dz ln s'(z):

        sigmoid:  z tanh(z / 2) = 1        tanh:  z tanh z = 1/2

    For the sigmoid and h = 1 that is 0.224 at w = 1.5434. It holds for a state that is held at h:
    where h is small, more comes through, up to |w| / 4.

    Args:
        nonlinearity: "sigmoid" or "tanh"; the slopes of the others have no bound over w.
        state: h, not zero.

    Raises:
        CarouselError: the factor has no largest value.

    >>> best = largest_factor("sigmoid")
    >>> round(best.weight, 4), round(best.factor, 3)
    (1.5434, 0.224)
    """
    s = nonlinearity_named(nonlinearity)
    h = finite("state", state, "the state h that is held")
    if s.log_slope_falls is None or h == 0:
        why = (
            "with h = 0 the factor is |w| s'(0), which grows with |w|"
            if s.log_slope_falls is not None
            else f"the slope of {nonlinearity} does not fall as |w| grows"
        )
        raise CarouselError(
            f"There is no largest factor: {why}. Expected sigmoid or tanh, and a state other than "
            f"0; got {nonlinearity} and {state!r}."
        )
    low, high = 0.0, 4.0  # z s'(z) rises at 0, and has fallen again at 4
    while low < (middle := (low + high) / 2) < high:
        if middle * s.log_slope_falls(middle) < 1:
            low = middle
        else:
            high = middle
    factor = math.exp(math.log(high) + s.log_slope(high)) / abs(h)
    return LargestFactor(weight=high / h, factor=factor, state=h, nonlinearity=nonlinearity)


def _running_sum(log10: Tensor) -> Tensor:
    return torch.cat([log10.new_zeros(1), log10.cumsum(0)])
