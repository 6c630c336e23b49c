"""A bias that holds the forget gate open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from carousel._errors import CarouselError
from carousel.cells.lstm import VARIANTS
from carousel.diagnosis.remedies._initial import OVERWRITES, Initialisation
from carousel.diagnosis.remedies._places import Place
from carousel.init import forget_bias_
from carousel.trace import spec_of

__all__ = ["ForgetBias", "has_forget_gate", "without_biases"]

COUPLED = {variant.cell_name for variant in VARIANTS.values() if variant.coupled}  # f = 1 - i


@dataclass(frozen=True)
class ForgetBias(Initialisation):
    """Set the forget gate's bias, in total over both biases: f = sigmoid(value).

    Source: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015.

    Attributes:
        layer: name of a layer or of a module; "": every LSTM with a forget gate.
        value: b_ih + b_hh; ``for_lag`` chooses it.
    """

    value: float = 1.0
    name: ClassVar[str] = "forget-bias"
    writes: ClassVar[tuple[str, ...]] = ("bias_ih", "bias_hh")

    @classmethod
    def for_lag(cls, layer: str, lag_steps: int) -> ForgetBias:
        """The bias ln(lag - 1), with which f = 1 - 1/lag: a memory that fades over the lag.

        Raises:
            CarouselError: a lag below 2 steps.
        """
        if lag_steps < 2:
            raise CarouselError(f"Expected a lag of at least 2 steps, got {lag_steps}.")
        return cls(layer, math.log(lag_steps - 1))

    def sentence(self) -> str:
        """What it does, in plain words."""
        f = 1 / (1 + math.exp(-self.value))
        return (
            f"Set the forget gate's bias of {self.where} to {self.value:.3g} in total over both "
            f"biases, so that it begins at f = {f:.4g}. {OVERWRITES} the biases of that gate."
        )

    def _unfit(self, module: nn.Module) -> str:
        return has_forget_gate(module)

    def _set(self, place: Place, index: int) -> None:  # noqa: ARG002 - nothing is drawn
        forget_bias_(place.module, self.value, layer=place.suffix)

    def _function(self) -> str:
        return "forget_bias_"

    def _arguments(self) -> list[str]:
        return [repr(self.value)]


def has_forget_gate(module: nn.Module) -> str:
    """Why a module has no forget gate whose bias can be set; "" where it has one."""
    cell = spec_of(module).cell
    if "f" not in cell.gates and cell.name not in COUPLED:
        return f"{type(module).__name__} computes {cell.name}, which has no forget gate"
    return without_biases(module)


def without_biases(module: nn.Module) -> str:
    """A sentence if a module has no biases."""
    return "" if module.bias else f"this {type(module).__name__} has no biases (bias=False)"
