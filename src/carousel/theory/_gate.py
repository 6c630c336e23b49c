"""The constant error carousel alone: a forget gate that stands still, and its horizon.

    c_t = f c_{t-1} + ..,     dc_n/dc_0 = f^n,     f = sigmoid(b_f)

What else leads from c_0 to c_n, through the gates, comes on top of this: see ``layer.d_c`` of a
measured flow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from carousel.theory._checks import finite, whole_steps
from carousel.theory._nonlinearities import sigmoid

__all__ = ["ForgetGate", "bias_for_horizon", "chrono_bias", "forget_gate"]


@dataclass(frozen=True)
class ForgetGate:
    """A forget gate that stands at sigmoid(bias); ``str()`` says what that means.

    >>> print(forget_gate(1.0))  # doctest: +NORMALIZE_WHITESPACE
    A forget gate with a bias of 1 in all stands at f = 0.7311: each step back multiplies dL/dc by
    that, so it falls to 1/e in 3.19 steps and halves in 2.21.
    """

    bias: float  # b_f, over both biases of torch's layers: b_ih + b_hh

    @property
    def f(self) -> float:
        """sigmoid(bias)."""
        return sigmoid(self.bias)

    @property
    def log_f(self) -> float:
        """ln f = -ln(1 + e^-b), exact also where f rounds to 1 or to 0."""
        b = self.bias
        return -math.log1p(math.exp(-b)) if b >= 0 else b - math.log1p(math.exp(b))

    @property
    def horizon_steps(self) -> float:
        """-1 / ln f: steps in which dL/dc falls to 1/e; infinite where e^-b underflows."""
        return math.inf if self.log_f == 0 else -1 / self.log_f

    @property
    def half_life_steps(self) -> float:
        """-ln 2 / ln f: steps in which dL/dc halves."""
        return math.log(2) * self.horizon_steps

    def log10_after(self, steps: int) -> float:
        """log10 f^n, what is left of dL/dc after n steps."""
        return whole_steps("steps", steps) * self.log_f / math.log(10)

    def __str__(self) -> str:
        return (
            f"A forget gate with a bias of {self.bias:.4g} in all stands at f = {self.f:.4g}: each "
            f"step back multiplies dL/dc by that, so it falls to 1/e in {self.horizon_steps:.3g} "
            f"steps and halves in {self.half_life_steps:.3g}."
        )


def forget_gate(bias: float) -> ForgetGate:
    """A forget gate that nothing but its bias drives.

    Torch's default leaves it near b = 0, f = 0.5; "unit forget bias", the default of Keras, sets
    b = 1, f = 0.731, a horizon of 3.2 steps.

    Args:
        bias: b_f, over both biases.

    Raises:
        CarouselError: the bias is not a finite number.
    """
    return ForgetGate(finite("bias", bias, "the forget gate's bias"))


def bias_for_horizon(horizon_steps: float) -> float:
    """The forget bias that gives a wanted horizon: f = e^(-1/h), b = -ln(e^(1/h) - 1).

    The inverse of ``forget_gate(b).horizon_steps``; ``carousel.init.forget_bias_`` sets it.

    Args:
        horizon_steps: h > 0, the steps in which dL/dc shall fall to 1/e.

    Raises:
        CarouselError: the horizon is not a positive finite number.

    >>> round(bias_for_horizon(100), 3)
    4.6
    """
    h = finite("horizon_steps", horizon_steps, "the wanted horizon in steps", above=0.0)
    rate = 1 / h
    return -(rate + math.log(-math.expm1(-rate)))  # e^rate would overflow, e^-rate does not


def chrono_bias(longest_lag_steps: float) -> float:
    """The largest bias of the chrono initialisation: b_f = ln(T - 1), at which f = 1 - 1/T.

    Its horizon is about T - 1/2 steps: 9.49, 99.50, 999.50 for T = 10, 100, 1000.

    Source: Tallec & Ollivier, *Can recurrent neural networks warp time?*, ICLR 2018, eq. 16.

    Args:
        longest_lag_steps: T > 1, the longest lag of the task.

    Raises:
        CarouselError: the lag is not a finite number above 1.

    >>> round(forget_gate(chrono_bias(100)).horizon_steps, 2)
    99.5
    """
    lag = finite("longest_lag_steps", longest_lag_steps, "the longest lag in steps", above=1.0)
    return math.log(lag - 1)
