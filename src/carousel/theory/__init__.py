"""Closed forms: what one unit, one gate or one matrix does to a gradient through time.

Real numbers in, float64 out, in logarithms, so that nothing under- or overflows. What a whole
network does is measured: ``carousel.watch``.
"""

from carousel.theory._bound import NormBound, vanishes
from carousel.theory._gate import ForgetGate, bias_for_horizon, chrono_bias, forget_gate
from carousel.theory._plots import (
    plot_bound,
    plot_forget_gate,
    plot_largest_factor,
    plot_power,
    plot_product,
)
from carousel.theory._power import log10_power, steps_until
from carousel.theory._product import LargestFactor, ScalarProduct, largest_factor, scalar_product

__all__ = [
    "ForgetGate",
    "LargestFactor",
    "NormBound",
    "ScalarProduct",
    "bias_for_horizon",
    "chrono_bias",
    "forget_gate",
    "largest_factor",
    "log10_power",
    "plot_bound",
    "plot_forget_gate",
    "plot_largest_factor",
    "plot_power",
    "plot_product",
    "scalar_product",
    "steps_until",
    "vanishes",
]
