"""Pascanu's regulariser: the gradient keeps its size from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from carousel.diagnosis.remedies._places import Place, places_of
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._stepping import (
    add_gradients,
    around_training,
    checked_strength,
    unfit_for_gradients,
    while_listening,
)
from carousel.diagnosis.remedies._undo import Undo
from carousel.flow import LayerFlow, omega_gradient

__all__ = ["PascanuOmega"]


@dataclass(frozen=True)
class PascanuOmega(Remedy):
    """Add strength * Omega to the loss, by its gradient on the recurrent weights.

        Omega = sum over t of (||dL/ds_{t+1} ds_{t+1}/ds_t|| / ||dL/ds_{t+1}|| - 1)^2

    averaged over the sequences. The gradient is the immediate derivative of eq. 10; it is added
    before each step of a torch optimizer, after the training loop's own clipping. With several
    backward passes to one step, the last is taken.

    Source: Pascanu, Mikolov & Bengio 2013, eq. 9-10; strength 4 in their temporal order task.

    Attributes:
        layer: name of a layer or of a module; "": every recurrent module.
        strength: the factor of Omega.
    """

    strength: float = 4.0
    name: ClassVar[str] = "omega"
    keeps_weights: ClassVar[bool] = True
    in_model: ClassVar[bool] = False

    def sentence(self) -> str:
        """What it does, in plain words."""
        return (
            f"Train {self.layer or 'every recurrent layer'} with Pascanu's regulariser Omega, "
            f"{self.strength:g} times, which keeps the gradient's size from step to step. It "
            "starts from the weights as they are."
        )

    def code(self) -> str:
        """The lines to paste around the training loop."""
        return around_training(self)

    def apply(self, model: nn.Module) -> Undo:
        """Listen to every backward pass, and add the gradient before each optimizer step.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        checked_strength(self.strength)
        applied = Undo(self)

        def add(place: Place, layer: LayerFlow) -> bool:
            _, d_w_hh = omega_gradient(layer.trace)
            return add_gradients(place, layer, {"w_hh": self.strength * d_w_hh})

        try:
            while_listening(model, places_of(model, self.layer, _unfit), add, applied)
            return applied
        except BaseException:
            applied.undo()
            raise


def _unfit(place: Place) -> str:
    if getattr(place.module, "truncated", False):
        return "its gradient is the truncated one of 1997, which does not pass through W_hh"
    return unfit_for_gradients(place, "w_hh")
