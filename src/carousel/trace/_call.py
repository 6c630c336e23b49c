"""One call of a recurrent module, as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from carousel.cells import Weights
from carousel.trace._layout import Layout
from carousel.trace._modules import Spec
from carousel.trace._timepath import Edge, TimePath

if TYPE_CHECKING:
    from carousel.trace._recorded import Heard

__all__ = ["Arithmetic", "Call", "Gradients", "WeightCopy"]


@dataclass(frozen=True)
class Arithmetic:
    """In which precision, and where, a call computed."""

    dtype: torch.dtype  # of the products: autocast's where it was on
    device: torch.device
    autocast: bool

    @property
    def replay_dtype(self) -> torch.dtype:
        """float64 stays; everything else is replayed in float32."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32


@dataclass(frozen=True, eq=False)
class WeightCopy:
    """A module's weights as they were, shared by all calls that saw the same values."""

    layers: list[Weights]  # layer by layer, the directions side by side
    mark: tuple[tuple[int, int], ...]  # place and version of each tensor when it was copied


@dataclass(eq=False)
class Call:
    """What a forward took and gave, copied, so that later changes in place do not reach it."""

    serial: int
    name: str  # path of the module
    spec: Spec
    layout: Layout
    weights: WeightCopy
    arithmetic: Arithmetic
    x: Tensor  # as the module got it (packed: the data)
    start: tuple[Tensor, ...]  # (h_0,) or (h_0, c_0) as the module got it; () where none was given
    outputs: dict[str, Tensor]  # "output", "h_n", "c_n" as the module gave them
    rng_state: Tensor | None = None  # of the CPU generator before the forward, if it drew from it
    masks: list[Tensor] | None = None  # of dropout between layers, where Carousel drew them
    carrying: frozenset[int] = frozenset()  # which states came from ``before``
    continues: bool = False  # whether the state is a detached one that the call before had left
    by_keyword: bool = False  # the state was given as hx=.., of which no alias can be made
    before: Call | None = None  # the call whose state entered this one, through the graph
    unheard: frozenset[int] = frozenset()  # which of the states came from there unheard
    hooked: bool = False  # whether a hook of the user's is on the state, after other operations
    made_in: int | None = None  # the backward pass in which the call was made, if in one
    differentiated_in: int | None = None  # the last pass that built a graph of its own
    twice: bool = False  # whether another pass came through after such a one
    runs: list[Heard] = field(default_factory=list)  # of one of Carousel's own layers
    altered: bool = False  # whether a hook of the user's changed what arrived
    lost: bool = False  # whether the search for that call gave up
    paths: list[TimePath] = field(default_factory=list)
    edges: dict[Edge, str] = field(default_factory=dict)  # where the outputs stand in the graph
    handles: list[RemovableHandle] = field(default_factory=list)

    def stop_listening(self) -> None:
        """Take every hook of this call off the graph."""
        for handle in self.handles:
            handle.remove()
        for path in self.paths:
            path.remove()


@dataclass(eq=False)
class Gradients:
    """What one backward pass brought to one call, in the layout of the module."""

    arrived: dict[str, Tensor] = field(default_factory=dict)  # at each output, in total
    carried: dict[str, Tensor] = field(default_factory=dict)  # the part from later calls
    pass_id: int | None = None  # of the backward pass, as the engine counts them

    def add_carried(self, output: str, gradient: Tensor) -> None:
        """Note a gradient that a later call sent back to one of the outputs."""
        old: Any = self.carried.get(output)
        self.carried[output] = gradient if old is None else old + gradient
