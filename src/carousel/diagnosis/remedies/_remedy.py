"""A Remedy: one change of a model or of its training that a finding proposes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import nn

__all__ = ["Applied", "Remedy"]


class Applied(Protocol):
    """A remedy that is in place."""

    def undo(self) -> None:
        """Put everything back, bit for bit."""
        ...


@dataclass(frozen=True)
class Remedy(ABC):
    """One change; each remedy is a frozen subclass in a file of its own.

    Attributes:
        layer: the name of a layer in the flow; "" for the model as a whole or its training loop.
        name: such as "chrono".
        keeps_weights: False where it overwrites trained weights; its sentence says so.
        in_model: False where it changes the training loop and not the model.
    """

    layer: str
    name: ClassVar[str]
    keeps_weights: ClassVar[bool]
    in_model: ClassVar[bool]

    @abstractmethod
    def sentence(self) -> str:
        """What it does, in plain words."""

    @abstractmethod
    def code(self) -> str:
        """The few lines of PyTorch that do the same."""

    @abstractmethod
    def apply(self, model: nn.Module) -> Applied:
        """Change the model in place.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
