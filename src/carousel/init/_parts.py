"""The parameters of a recurrent module, checked before the first of them is written to.

A module is taken apart into its layers and directions. Each part knows its parameters by the names
that torch gives them, and which rows of them belong to which gate. A function of this package asks
for all that it will write, so that an error leaves the module as it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from carousel._errors import CarouselError
from carousel.cells import Cell, cell_named

__all__ = ["Part", "cell_of", "checked_number", "parts_of"]


@dataclass(frozen=True)
class Part:
    """One layer in one direction."""

    cell: Cell
    parameters: dict[str, Tensor]  # by kind, without the suffix: weight_hh, bias_ih, ...

    def gate(self, kind: str, gate: str) -> Tensor:
        """The rows of a parameter that belong to a gate, as a view: [H, ..]."""
        return self.parameters[kind].chunk(len(self.cell.gates))[self.cell.gates.index(gate)]

    def set_total_bias(self, gate: str, value: Tensor | float) -> None:
        """Make b_ih + b_hh of a gate equal to ``value`` [H]: all of it stands in b_ih."""
        rows = self.gate("bias_ih", gate)
        rows.copy_(value) if isinstance(value, Tensor) else rows.fill_(value)
        self.gate("bias_hh", gate).zero_()


def cell_of(module: nn.Module) -> Cell:
    """The equations that a module computes.

    Raises:
        CarouselError: it is no recurrent module.
    """
    if not isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        raise CarouselError(
            f"Expected a recurrent module, got {type(module).__name__}. The modules that can be "
            "initialised are torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell and GRUCell, and "
            "Carousel's own layers: pass such a module itself, not the model that holds it."
        )
    own = getattr(module, "cell", None)
    if isinstance(own, Cell):
        return own
    if isinstance(module, (nn.LSTM, nn.LSTMCell)):
        return cell_named("LSTM")
    if isinstance(module, (nn.GRU, nn.GRUCell)):
        return cell_named("GRU")
    return cell_named(f"RNN {module.nonlinearity}")


def parts_of(module: nn.Module, *kinds: str, layer: str | None = None) -> list[Part]:
    """Every layer and direction with the parameters of these kinds, ready to be written to.

    Args:
        module: a recurrent module.
        kinds: without the suffix.
        layer: torch's suffix of the one that is wanted, such as "l0_reverse"; None: all. A cell is
            its own "l0".

    Raises:
        CarouselError: there is no such layer, or a parameter is missing, parametrised, shared or on
            the meta device.
    """
    cell = cell_of(module)
    suffixes = _chosen(module, layer)
    parts = [
        Part(cell, {kind: _parameter(module, kind + suffix) for kind in kinds})
        for suffix in suffixes
    ]
    _refuse_shared(module, suffixes, parts)
    return parts


def checked_number(name: str, value: object, at_least: float, meaning: str) -> float:
    """``value`` as a float, if it is a finite number and large enough.

    Raises:
        CarouselError: it is not.
    """
    number = float(value) if isinstance(value, Real) else math.nan
    if not math.isfinite(number) or number < at_least:
        least = "" if at_least == -math.inf else f" of at least {at_least:g}"
        raise CarouselError(
            f"Expected {name} to be a finite number{least}, got {value!r}. It is {meaning}."
        )
    return number


def _suffixes(module: nn.Module) -> list[str]:
    if isinstance(module, nn.RNNCellBase):
        return [""]
    assert isinstance(module, nn.RNNBase)
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return [f"_l{layer}{way}" for layer in range(module.num_layers) for way in directions]


def _chosen(module: nn.Module, layer: str | None) -> list[str]:
    every = _suffixes(module)
    if layer is None:
        return every
    names = [suffix.removeprefix("_") or "l0" for suffix in every]
    if layer not in names:
        raise CarouselError(
            f"This {type(module).__name__} has no layer {layer!r}. Its layers are: "
            f"{', '.join(names)}."
        )
    return [every[names.index(layer)]]


def _parameter(module: nn.Module, name: str) -> Tensor:
    kind = type(module).__name__
    if is_parametrized(module, name):
        raise CarouselError(
            f"{name} of this {kind} is parametrised: it is computed from other tensors each time "
            "it is read, so what is written to it is lost. Initialise the module before "
            "parametrising it, or remove the parametrisation first "
            "(torch.nn.utils.parametrize.remove_parametrizations)."
        )
    found = dict(module.named_parameters(recurse=False, remove_duplicate=False)).get(name)
    if found is None and name.startswith("bias"):
        raise CarouselError(
            f"This {kind} has no biases (bias=False), and this initialisation sets them. "
            "Create the module with bias=True."
        )
    if found is None:
        raise CarouselError(
            f"{name} is not a parameter of this {kind}: something else computes it, as "
            "torch.nn.utils.weight_norm does, so what is written to it is lost. Initialise the "
            "module before that, or remove it first."
        )
    if found.is_meta:
        raise CarouselError(
            f"{name} of this {kind} is on the meta device: it has a shape, {tuple(found.shape)}, "
            "but no numbers that could be set. Create the module on a real device first: "
            "module.to_empty(device='cpu')."
        )
    return found


def _refuse_shared(module: nn.Module, suffixes: list[str], parts: list[Part]) -> None:
    """Two parameters in the same memory cannot have two values."""
    seen: dict[tuple[int, int], str] = {}
    for suffix, part in zip(suffixes, parts, strict=True):
        for kind, tensor in part.parameters.items():
            place = (tensor.data_ptr(), tensor.numel())
            if place in seen:
                raise CarouselError(
                    f"{seen[place]} and {kind}{suffix} of this {type(module).__name__} are the "
                    "same tensor, and each should get values of its own. Initialise the module "
                    "before sharing its parameters."
                )
            seen[place] = kind + suffix
