"""The recipes by which the numbers of the bank are recomputed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch

from carousel._errors import CarouselError
from carousel.flow import LayerFlow, measure
from carousel.layers import RNN
from carousel.learn._settings import CellName, Network, Settings, loss_of, network, signal
from carousel.learn.quiz._link import settings_of
from carousel.learn.quiz._marks import Marked
from carousel.theory import (
    bias_for_horizon,
    chrono_bias,
    forget_gate,
    largest_factor,
    log10_power,
    scalar_product,
    steps_until,
    vanishes,
)

__all__ = ["RECIPES", "recompute"]


def recompute(number: Marked) -> float:
    """What the package says that a number of the bank should be.

    Raises:
        CarouselError: there is no such recipe, or its arguments do not fit.
    """
    recipe = RECIPES.get(number.recipe)
    if recipe is None:
        raise CarouselError(
            f"There is no recipe {number.recipe!r}. Expected one of: {', '.join(RECIPES)}."
        )
    try:
        return float(recipe(*number.arguments))
    except (TypeError, ValueError) as error:
        raise CarouselError(
            f"[[{number.text}|{number.recipe} {' '.join(number.arguments)}]]: {error}."
        ) from error


def tanh_slope(state: str) -> float:
    """dh_1/dh_0 of a tanh unit with w = 1 that comes to the state."""
    product = scalar_product(1.0, 1, "tanh", initial=math.atanh(float(state)))
    return 10 ** float(product.log10_to_end[0])


def steady(f: str) -> float:
    """The bias of a gate that stands at f."""
    return math.log(float(f) / (1 - float(f)))


def clipped_by_norm(first: str, second: str, limit: str, which: str) -> float:
    """One entry of a gradient of two, clipped by torch."""
    parameter = torch.zeros(2, dtype=torch.float64)
    parameter.grad = torch.tensor([float(first), float(second)], dtype=torch.float64)
    torch.nn.utils.clip_grad_norm_([parameter], float(limit))
    return parameter.grad[int(which)].item()


def doubling(quantity: str, step: str) -> float:
    """A gradient of x_t = 2 x_{t-1} with the loss on the last of three, measured."""
    double = RNN(1, 1, nonlinearity="relu", bias=False)
    with torch.no_grad():
        double.get_parameter("weight_hh_l0").fill_(2.0)
        double.get_parameter("weight_ih_l0").zero_()
    start = torch.ones(1, 1, 1)

    def loss() -> torch.Tensor:
        output: torch.Tensor = double(torch.zeros(3, 1, 1), start)[0]
        return output[-1].sum()

    layer = measure(double, loss)["l0"]
    found = {"total": layer.d_h, "injected": layer.d_h_injected}[quantity]
    return found[int(step)].item()


def parameter_ratio(first: CellName, second: CellName) -> float:
    """How many times the parameters of the second cell the first one has."""
    counts = [
        sum(weights.numel() for weights in network(Network(cell), 1, 0).parameters())
        for cell in (first, second)
    ]
    return counts[0] / counts[1]


def stacked_orthogonal(hidden: str) -> float:
    """The root mean square of a gate's singular values in an orthogonal stack of four."""
    size = int(hidden)
    generator = torch.Generator().manual_seed(0)
    stack = torch.nn.init.orthogonal_(torch.empty(4 * size, size), generator=generator)
    return float(torch.linalg.svdvals(stack[:size]).square().mean().sqrt())


@cache
def measured(which: str, query: str) -> LayerFlow:
    """One of the explorer's two networks."""
    settings = settings_of(f"explorer?{query}") or Settings()
    one = settings.first if which == "first" else settings.second
    layer = network(one, settings.steps, settings.seed)
    x = signal(settings)
    return measure(layer, lambda: loss_of(layer(x)[0], settings.loss))["l0"]


def growth(which: str, query: str) -> float:
    """By what the product of Jacobians is multiplied at each step, measured."""
    return math.exp(measured(which, query).horizon().rate)


def in_all(which: str, query: str) -> float:
    """||dL/dc|| at the first step over that at the last, by all ways, measured."""
    total = measured(which, query).log10_norm("d_c")
    return float(10 ** (total[0, 0] - total[-1, 0]))


def decades(which: str, query: str) -> float:
    """log10 of the total dL/dc at the first step, over its part along the carousel alone."""
    layer = measured(which, query)
    total, alone = layer.log10_norm("d_c"), layer.paths().log10_norm("carousel")
    return float(total[0, 0] - alone[0, 0])


RECIPES: dict[str, Callable[..., float]] = {
    "power": lambda factor, steps: 10 ** log10_power(float(factor), int(steps)),
    "steps_until": lambda factor, target: steps_until(float(factor), float(target)),
    "smallest_float32": lambda: torch.finfo(torch.float32).smallest_normal * 2.0**-23,
    "critical_weight": lambda kind: 1 / vanishes(1.0, kind).largest_slope,
    "largest_slope": lambda kind: vanishes(1.0, kind).largest_slope,
    "largest_factor": lambda kind: largest_factor(kind).factor,
    "largest_weight": lambda kind: largest_factor(kind).weight,
    "tanh_slope": tanh_slope,
    "gate": lambda bias: forget_gate(float(bias)).f,
    "gate_slope": lambda bias: forget_gate(float(bias)).f * forget_gate(-float(bias)).f,
    "gate_after": lambda bias, steps: 10 ** forget_gate(float(bias)).log10_after(int(steps)),
    "horizon": lambda bias: forget_gate(float(bias)).horizon_steps,
    "horizon_of_gate": lambda f: forget_gate(steady(f)).horizon_steps,
    "halving": lambda f: forget_gate(steady(f)).half_life_steps,
    "left": lambda horizon, lag: (
        10 ** forget_gate(bias_for_horizon(float(horizon))).log10_after(int(lag))
    ),
    "bias_for_horizon": lambda steps: bias_for_horizon(float(steps)),
    "chrono": lambda lag: chrono_bias(float(lag)),
    "chrono_gate": lambda lag: forget_gate(chrono_bias(float(lag))).f,
    "chrono_horizon": lambda lag: forget_gate(chrono_bias(float(lag))).horizon_steps,
    # ten guesses among eight symbols, over the ten that are shown, the blanks and the ten guesses
    "copy_baseline": lambda blanks: 10 * math.log(8) / (float(blanks) + 20),
    "clipped_by_norm": clipped_by_norm,
    "doubling": doubling,
    "parameter_ratio": parameter_ratio,
    "stacked_orthogonal": stacked_orthogonal,
    "growth": growth,
    "decades": decades,
    "in_all": in_all,
}
