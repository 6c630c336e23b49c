"""A Remedy: one change of a model or of its training that a finding proposes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Protocol

from torch import nn

__all__ = ["WIDTH", "Applied", "Remedy", "call_of", "pasted", "written"]

WIDTH = 87  # columns of the lines to paste: below 88, at which formatters break them


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


def written(remedy: Remedy) -> str:
    """The remedy as Python, without what is as its class has it: ``Flossing(layer='lstm.l0')``."""
    given = [
        f"{each.name}={value!r}"
        for each in fields(remedy)
        if each.default is MISSING or repr(each.default) != repr(getattr(remedy, each.name))
        for value in (getattr(remedy, each.name),)
    ]
    return call_of(type(remedy).__name__, given, len("remedy = .apply(model)"))


def pasted(remedy: Remedy, comment: str = "") -> str:
    """The lines that apply the remedy to ``model``."""
    above = f"# {comment}\n" if comment else ""
    return (
        f"from carousel.diagnosis.remedies import {type(remedy).__name__}\n\n"
        f"{above}{written(remedy)}.apply(model)"
    )


def call_of(name: str, arguments: list[str], rest: int = 0) -> str:
    """A call as Python, broken into lines where it and ``rest`` columns behind it are too long."""
    inside = ", ".join(arguments)
    if len(f"{name}({inside})") + rest <= WIDTH:
        return f"{name}({inside})"
    if 4 + len(inside) <= WIDTH:
        return f"{name}(\n    {inside}\n)"
    return f"{name}(\n" + "".join(f"    {each},\n" for each in arguments) + ")"
