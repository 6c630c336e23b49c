"""Changing gradients between ``loss.backward()`` and ``optimizer.step()``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._places import Place, computed, frozen, layers_of, parameter_names
from carousel.diagnosis.remedies._remedy import Remedy, written
from carousel.diagnosis.remedies._undo import Undo
from carousel.flow import LayerFlow, watch
from carousel.trace import spec_of

__all__ = [
    "add_gradients",
    "around_training",
    "before_each_step",
    "checked_strength",
    "unfit_for_gradients",
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
    handles: list[RemovableHandle] = []

    def hook(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if not handles:  # an interrupt came before its handle was noted: it is as if it were not
            return
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

    def leave() -> None:
        for handle in handles:
            handle.remove()
        handles.clear()

    applied.before_leaving(leave)
    handles.append(register_optimizer_step_pre_hook(hook))


def unfit_for_gradients(place: Place, *names: str) -> str:
    """Why no gradients can be added to the parameters of these names in the equations; or ""."""
    kinds = [PARAMETERS[name] for name in names]
    reason = computed(place, *kinds)
    if reason:
        return f"{reason}, for gradients are added to parameters"
    held = frozen(place, *kinds)
    if held and len(held) == len(_there(place, kinds)):
        return f"its {held[0]} is frozen (requires_grad=False), and takes no gradient"
    return ""


def _there(place: Place, kinds: list[str]) -> list[str]:
    return [
        name
        for name in parameter_names(place, tuple(kinds))
        if getattr(place.module, name, None) is not None
    ]


def add_gradients(place: Place, layer: LayerFlow, gradients: Mapping[str, Tensor]) -> bool:
    """Add to the ``.grad`` of a layer's parameters that take one; by the names of the equations.

    Where a gradient is not finite, as where a direction has died, nothing is added.

    Returns:
        Whether a gradient was changed.
    """
    if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
        return False
    changed = False
    there = dict(place.module.named_parameters(recurse=False, remove_duplicate=False))
    for name, gradient in gradients.items():
        parameter = there.get(_parameter_name(place, layer.name, name))
        if parameter is None or not parameter.requires_grad:
            continue
        own = gradient.to(parameter)
        parameter.grad = own if parameter.grad is None else parameter.grad + own
        changed = changed or bool(own.any())
    return changed


def _parameter_name(place: Place, layer: str, name: str) -> str:
    suffix = layer.partition("#")[0].rpartition(".")[2]
    return PARAMETERS[name] + ("" if spec_of(place.module).is_cell else f"_{suffix}")


def while_listening(
    model: nn.Module,
    places: list[Place],
    add: Callable[[Place, LayerFlow], bool],
    applied: Undo,
    most_steps: int | None = None,
) -> None:
    """Watch a model, and call ``add`` for each place's layers before each step of an optimizer.

    Args:
        model: that is trained.
        places: whose gradients are changed.
        add: says whether it changed one.
        applied: counts the steps in which one was changed.
        most_steps: the number of steps after which nothing is done any more; None: no end.

    Raises:
        CarouselError: a remedy of the same kind acts on one of the layers already.
    """
    for place in places:
        for name in layers_of(place):
            applied.acts_on(place.module, name)
    watcher = watch(model)
    steps = itertools.count()

    def act() -> None:
        if most_steps is not None and next(steps) >= most_steps:
            return
        flow = watcher.flow
        changed = [
            add(place, layer)
            for place in places
            for layer in flow.layers.values()
            if layer.name.partition("#")[0] in layers_of(place)
        ]
        applied.acted += any(changed)

    applied.before_leaving(lambda: watcher.__exit__(None, None, None))
    watcher.__enter__()
    before_each_step(model, act, applied)


def around_training(remedy: Remedy) -> str:
    """The lines that put a remedy around a training loop."""
    return (
        f"from carousel.diagnosis.remedies import {type(remedy).__name__}\n\n"
        f"remedy = {written(remedy)}\n"
        "applied = remedy.apply(model)  # acts before each optimizer.step()\n"
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
