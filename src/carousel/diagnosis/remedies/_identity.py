"""A simple RNN that begins as a copy of its own state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from carousel.diagnosis.remedies._initial import OVERWRITES, Initialisation
from carousel.diagnosis.remedies._places import Place
from carousel.init import identity_
from carousel.trace import spec_of

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity(Initialisation):
    """W_hh = scale * I and biases of zero in a simple RNN; with relu the IRNN.

    Source: Le, Jaitly & Hinton 2015.

    Attributes:
        layer: name of a layer or of a module; "": every simple RNN.
        scale: what stands on the diagonal.
    """

    scale: float = 1.0
    name: ClassVar[str] = "identity"
    writes: ClassVar[tuple[str, ...]] = ("weight_hh", "bias_ih", "bias_hh")

    def sentence(self) -> str:
        """What it does, in plain words."""
        times = "" if self.scale == 1 else f"{self.scale:g} times "
        return (
            f"Begin {self.where} with {times}the identity as recurrent weight and biases of zero, "
            f"so that the state stays where no input arrives. {OVERWRITES} both."
        )

    def _unfit(self, module: nn.Module) -> str:
        gates = spec_of(module).cell.gates
        if len(gates) == 1:
            return ""
        return f"{type(module).__name__} has the gates {', '.join(gates)}, and is no simple RNN"

    def _set(self, place: Place, index: int) -> None:  # noqa: ARG002 - nothing is drawn
        identity_(place.module, self.scale, layer=place.suffix)

    def _function(self) -> str:
        return "identity_"

    def _arguments(self) -> list[str]:
        return [repr(self.scale)]
