"""Orthogonal recurrent weights, gate by gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from carousel.diagnosis.remedies._initial import OVERWRITES, Initialisation
from carousel.diagnosis.remedies._places import Place
from carousel.init import orthogonal_

__all__ = ["Orthogonal"]


@dataclass(frozen=True)
class Orthogonal(Initialisation):
    """Make each gate's block of W_hh orthogonal, times a gain.

    ``torch.nn.init.orthogonal_`` on the stacked matrix does not: it leaves the blocks of an LSTM
    with singular values around half of the gain.

    Source: Saxe, McClelland & Ganguli 2014.

    Attributes:
        layer: name of a layer or of a module; "": every recurrent module.
        gain: the singular value of each block.
        seed: of the generator that the matrices are drawn from, for the first module; one more for
            each further one. torch's own is left alone.
    """

    gain: float = 1.0
    seed: int = 0
    name: ClassVar[str] = "orthogonal"
    writes: ClassVar[tuple[str, ...]] = ("weight_hh",)

    def sentence(self) -> str:
        """What it does, in plain words."""
        return (
            f"Make the recurrent weight of {self.where} orthogonal, each gate by itself, with "
            f"singular values {self.gain:g}. {OVERWRITES} the recurrent weights."
        )

    def _unfit(self, module: nn.Module) -> str:  # noqa: ARG002 - it fits whatever is recurrent
        return ""

    def _set(self, place: Place, index: int) -> None:
        generator = torch.Generator().manual_seed(self.seed + index)
        orthogonal_(place.module, self.gain, generator, layer=place.suffix)

    def _function(self) -> str:
        return "orthogonal_"

    def _arguments(self) -> list[str]:
        return [repr(self.gain), f"torch.Generator().manual_seed({self.seed})"]
