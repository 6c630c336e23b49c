"""What is said where something is asked for by a name that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from torch import Tensor

from carousel._errors import CarouselError
from carousel.trace import Trace

__all__ = ["ByName", "no_such_of_flow", "no_such_of_layer"]

QUANTITIES = (
    *("d_h", "d_c", "d_h_injected", "d_c_injected", "d_h0", "d_c0"),
    *("h", "c", "gates", "pre_activations", "lengths", "certificate", "notes"),
)


class ByName(dict[str, Tensor]):
    """Tensors by gate, whose miss lists the gates that there are.

    Args:
        found: by gate.
        whose: the layer and its cell, as the message names them.
    """

    def __init__(self, found: Mapping[str, Tensor], whose: str) -> None:
        super().__init__(found)
        self.whose = whose

    def __missing__(self, name: str) -> Tensor:
        raise CarouselError(f"{self.whose} has no gate {name!r}. It has: {', '.join(self)}.")

    def __reduce__(self) -> tuple[type[ByName], tuple[dict[str, Tensor], str]]:
        return ByName, (dict(self), self.whose)


def no_such_of_flow(layers: Iterable[str], of_layer: Iterable[str], name: str) -> str:
    """Why a flow has no attribute of this name, and what to write instead.

    Args:
        layers: names of the flow's layers.
        of_layer: what a layer has by name.
        name: what was asked for.
    """
    layers = list(layers)
    listed = ", ".join(layers)
    if name in layers:
        return f"A Flow gives its layers by name in brackets: flow[{name!r}]."
    if name in of_layer:
        first = layers[0] if layers else "l0"
        place = f"flow[{first!r}].{name}"
        return f"A Flow has no {name}, its layers do: {place}. Its layers are: {listed}."
    return (
        f"A Flow has no {name}. Its layers are: {listed}; what was measured is theirs, such as "
        "flow[name].d_h."
    )


def no_such_of_layer(trace: Trace, names: Iterable[str], name: str) -> str:
    """Why a layer has no attribute of this name, and what it has.

    Args:
        trace: of the layer.
        names: all public attributes of a layer.
        name: what was asked for.
    """
    if name in trace.trajectory.gates:
        return f"The gates of {trace.name} are in layer.gates: layer.gates[{name!r}]."
    near = get_close_matches(name, list(names), n=1, cutoff=0.7)
    meant = f" Did you mean {near[0]}?" if near else ""
    return (
        f"{trace.name} ({trace.cell.name}) has no {name}.{meant} It has the quantities "
        f"{', '.join(QUANTITIES)}; dir(layer) lists the methods too."
    )
