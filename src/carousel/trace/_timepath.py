"""How a state came from one call of a module to the next, followed through the autograd graph.

Between two calls a user may hand the state over as it is, mask it where an episode ended, drop it
out, normalise it. The gradient that comes back this way is *carried through time*; what else
arrives at the same state is *injected*. To tell them apart, the nodes between the two calls are
listened to, and where such a node serves something else too, its backward is run once more on the
carried part alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["REACH", "Edge", "TimePath", "edge_of"]

REACH = 256  # nodes that the search for the call before may look at

Edge = tuple[int, int]  # (sequence number of a node, which of its outputs)


def edge_of(tensor: Tensor) -> Edge | None:
    """Where a tensor stands in the graph: its node's number and its place among the outputs."""
    node = tensor.grad_fn
    return None if node is None else (_number(node), tensor.output_nr)


@dataclass(eq=False)
class TimePath:
    """The nodes from an entering state back to the states that earlier calls put out.

    The first node must be an alias that only this call reads, so that all of its gradient is
    carried. Nodes refer to the path weakly, the path to its nodes strongly: no cycle, no leak.
    """

    deliver: Callable[[Edge, Tensor], None]  # called with each carried gradient and its place
    first: int
    nodes: dict[int, Any] = field(default_factory=dict)
    targets: set[Edge] = field(default_factory=set)
    hooked: Edge | None = None  # the state's own place, where the user has hooks on it
    cut: bool = False  # whether there was more to search than is within reach
    arrived: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    handles: list[Any] = field(default_factory=list)

    @staticmethod
    def from_state(
        state: Tensor,
        owner_of: Callable[[Edge], str | None],
        owner: str,
        deliver: Callable[[Edge, Tensor], None],
        *,
        hooked: bool = False,
    ) -> TimePath:
        """Search the way back to a state that the same module put out earlier.

        Args:
            state: the entering state, in an alias that only this call reads.
            owner_of: the module that put out what stands at an edge, None for anything else.
            owner: the module that the state enters; the search ends at any other's states.
            deliver: takes each carried gradient, with the edge that it arrives at.
            hooked: whether the user has hooks on the state itself, which may change its gradient.

        Returns:
            The path; without targets where there is none within reach.
        """
        node: Any = state.grad_fn
        path = TimePath(deliver, _number(node))
        if hooked:
            parent, place = node.next_functions[0]
            path.hooked = _number(parent), place
        path._search(node, owner_of, owner, {})
        reference = weakref.ref(path)
        for number, node in path.nodes.items():
            path.handles.append(node.register_hook(partial(_pass_on, reference, number)))
        return path

    def _search(
        self,
        node: Any,
        owner_of: Callable[[Edge], str | None],
        owner: str,
        leads: dict[int, bool],
    ) -> bool:
        number = _number(node)
        if number in leads:
            return leads[number]
        if len(leads) >= REACH:
            self.cut = True
            return False
        leads[number] = False
        for parent, place in node.next_functions:
            if parent is None:
                continue
            edge = (_number(parent), place)
            found = owner_of(edge)
            if found == owner:
                self.targets.add(edge)
                leads[number] = True
            elif found is None and self._search(parent, owner_of, owner, leads):
                leads[number] = True
        if leads[number]:
            self.nodes[number] = node
        return leads[number]

    def follow(
        self,
        number: int,
        grad_inputs: tuple[Tensor | None, ...],
        grad_outputs: tuple[Tensor | None, ...],
    ) -> None:
        """A node of the path has run: pass the carried part on to the nodes before it."""
        node = self.nodes[number]
        if number == self.first:
            self.arrived.clear()
            results = grad_inputs
        else:
            carried = self.arrived.pop(number, None)
            if carried is None:
                return
            if self.hooked is not None and number == self.hooked[0]:
                # What the hooks made of it. What else served from this state cannot be told apart.
                place, whole = self.hooked[1], grad_outputs[self.hooked[1]]
                carried = carried if whole is None else {**carried, place: whole}
            results = grad_inputs
            if not _only(carried, grad_outputs):
                with torch.no_grad():
                    again = node(*(carried.get(k) for k in range(len(grad_outputs))))
                results = again if isinstance(again, tuple) else (again,)
        for (parent, place), result in zip(node.next_functions, results, strict=True):
            if parent is None or result is None:
                continue
            edge = (_number(parent), place)
            if edge in self.targets:
                self.deliver(edge, result)
            elif edge[0] in self.nodes:
                slots = self.arrived.setdefault(edge[0], {})
                slots[place] = slots[place] + result if place in slots else result

    def remove(self) -> None:
        """Stop listening."""
        for handle in self.handles:
            handle.remove()


def _pass_on(
    path: weakref.ref[TimePath],
    number: int,
    grad_inputs: tuple[Tensor | None, ...],
    grad_outputs: tuple[Tensor | None, ...],
) -> None:
    alive = path()
    if alive is not None:
        alive.follow(number, grad_inputs, grad_outputs)


def _only(carried: dict[int, Tensor], grad_outputs: tuple[Tensor | None, ...]) -> bool:
    """Whether nothing but the carried gradient arrived at a node."""
    return all(
        (whole is None) if part is None else (whole is not None and torch.equal(part, whole))
        for part, whole in ((carried.get(k), whole) for k, whole in enumerate(grad_outputs))
    )


def _number(node: Any) -> int:
    number: int = node._sequence_nr()
    return number
