"""Changing gradients between ``loss.backward()`` and ``optimizer.step()``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._places import Place, layers_of
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._undo import Undo
from carousel.flow import LayerFlow, watch
from carousel.trace import spec_of

__all__ = [
    "add_gradients",
    "around_training",
    "before_each_step",
    "checked_strength",
    "refuse_computed",
    "while_listening",
]

PARAMETERS = {  # by the name in the equations
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "b_ih": "bias_ih",
    "b_hh": "bias_hh",
    "w_hr": "weight_hr",
    "peephole": "weight_peephole",
}


def before_each_step(model: nn.Module, action: Callable[[], None], applied: Undo) -> None:
    """Run ``action`` before each step of an optimizer of torch that holds a parameter of a model.

    Raises:
        CarouselError: later, of an optimizer that makes its gradients itself, from a closure.
    """

    def hook(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        own = {id(parameter) for parameter in model.parameters()}
        held = (p for group in optimizer.param_groups for p in group["params"])
        if not any(id(parameter) in own for parameter in held):
            return
        # Optimizers hand themselves on as the first argument.
        if any(callable(each) for each in (*args[1:], *kwargs.values())):
            raise CarouselError(
                f"{type(optimizer).__name__} makes its gradients inside step(closure), where "
                "nothing can be changed about them. Use an optimizer whose step() follows "
                "loss.backward()."
            )
        action()
        applied.acted += 1

    handle = register_optimizer_step_pre_hook(hook)
    applied.before_leaving(handle.remove)


def refuse_computed(place: Place, *names: str) -> None:
    """Refuse a layer whose weights are no parameters: gradients are added to parameters.

    Raises:
        CarouselError: one of them is computed from others.
    """
    there = dict(place.module.named_parameters(recurse=False, remove_duplicate=False))
    for layer in layers_of(place):
        for name in names:
            parameter = _parameter_name(place, layer, name)
            if parameter not in there and hasattr(place.module, parameter):
                raise CarouselError(
                    f"{parameter} of {place.name} is computed from other tensors (a "
                    "parametrization), and gradients are added to parameters. Remove the "
                    "parametrization, or write this loss by hand."
                )


def add_gradients(place: Place, layer: LayerFlow, gradients: Mapping[str, Tensor]) -> None:
    """Add to the ``.grad`` of a layer's parameters that take one; by the names of the equations.

    Where a gradient is not finite, as where a direction has died, nothing is added.
    """
    if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
        return
    there = dict(place.module.named_parameters(recurse=False, remove_duplicate=False))
    for name, gradient in gradients.items():
        parameter = there.get(_parameter_name(place, layer.name, name))
        if parameter is None or not parameter.requires_grad:
            continue
        own = gradient.to(parameter)
        parameter.grad = own if parameter.grad is None else parameter.grad + own


def _parameter_name(place: Place, layer: str, name: str) -> str:
    suffix = layer.partition("#")[0].rpartition(".")[2]
    return PARAMETERS[name] + ("" if spec_of(place.module).is_cell else f"_{suffix}")


def while_listening(
    model: nn.Module,
    places: list[Place],
    add: Callable[[Place, LayerFlow], None],
    applied: Undo,
) -> None:
    """Watch a model, and call ``add`` for each place's layers before each step of an optimizer."""
    watcher = watch(model)

    def act() -> None:
        flow = watcher.flow
        for place in places:
            names = set(layers_of(place))
            for layer in flow.layers.values():
                if layer.name.partition("#")[0] in names:
                    add(place, layer)

    watcher.__enter__()
    applied.before_leaving(lambda: watcher.__exit__(None, None, None))
    before_each_step(model, act, applied)


def around_training(remedy: Remedy) -> str:
    """The lines that put a remedy around a training loop."""
    return (
        f"from carousel.diagnosis.remedies import {type(remedy).__name__}\n\n"
        f"applied = {remedy!r}.apply(model)  # acts before each optimizer.step()\n"
        "...  # the training loop, as it is\n"
        "applied.undo()"
    )


def checked_strength(strength: float) -> None:
    """Refuse what is no factor of an extra loss.

    Raises:
        CarouselError: it is not finite and above zero.
    """
    if not strength > 0 or not math.isfinite(strength):
        raise CarouselError(f"Expected strength to be a number above 0, got {strength!r}.")
