"""Chrono initialisation: memory spread over all lags up to the longest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from carousel.diagnosis.remedies._forget_bias import has_forget_gate, without_biases
from carousel.diagnosis.remedies._initial import OVERWRITES, Initialisation
from carousel.diagnosis.remedies._places import Place
from carousel.init import chrono_
from carousel.trace import spec_of

__all__ = ["Chrono"]


@dataclass(frozen=True)
class Chrono(Initialisation):
    """Draw each unit's memory from 1 to ``lag_steps`` - 1 steps, through the biases of its gates.

    Source: Tallec & Ollivier, *Can recurrent neural networks warp time?*, ICLR 2018, eq. 16.

    Attributes:
        layer: name of a layer or of a module; "": every LSTM with a forget gate and every GRU.
        lag_steps: the longest lag of the task, at least 2.
        seed: of the generator that the lags are drawn from, for the first module; one more for
            each further one. torch's own is left alone.
    """

    lag_steps: float
    seed: int = 0
    name: ClassVar[str] = "chrono"
    writes: ClassVar[tuple[str, ...]] = ("bias_ih", "bias_hh")

    def sentence(self) -> str:
        """What it does, in plain words."""
        return (
            f"Spread the memory of the units of {self.where} over all lags up to "
            f"{self.lag_steps:g} steps (chrono initialisation). {OVERWRITES} the biases."
        )

    def _unfit(self, module: nn.Module) -> str:
        if "z" in spec_of(module).cell.gates:
            return without_biases(module)
        return has_forget_gate(module)

    def _set(self, place: Place, index: int) -> None:
        generator = torch.Generator().manual_seed(self.seed + index)
        chrono_(place.module, self.lag_steps, generator, layer=place.suffix)

    def _function(self) -> str:
        return "chrono_"

    def _arguments(self) -> list[str]:
        return [repr(self.lag_steps), f"torch.Generator().manual_seed({self.seed})"]
