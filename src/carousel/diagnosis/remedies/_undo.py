"""What a remedy changed, and the way back: bit for bit, the later remedy before the earlier one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._remedy import Remedy

__all__ = ["Undo", "set_attributes"]

Change = nn.Module | Tensor  # what a remedy writes to


class Undo:
    """A remedy that is in place. ``notes`` say what its user has to see to.

    Everything is noted down before it is changed, so that ``undo`` is right at any moment: after
    the change, in the midst of it, or a second time.
    """

    def __init__(self, remedy: Remedy | None = None) -> None:
        self.remedy = remedy
        self.notes: tuple[str, ...] = ()
        self.acted = 0  # how often it has changed something, where it acts again and again
        self._way_back: list[Callable[[], None]] = []
        self._refusals: list[Callable[[], str]] = []
        self.changed: list[Change] = []
        self.layers: list[tuple[nn.Module, str]] = []  # modules and the names of their layers
        self.number = next(NUMBERS)
        IN_PLACE[self.number] = self

    def __repr__(self) -> str:
        state = "in place" if self._way_back else "not in place"
        return f"<{self.name}: {state}>"

    @property
    def name(self) -> str:
        return "a change" if self.remedy is None else repr(self.remedy)

    def undo(self) -> None:
        """Put everything back, bit for bit. A second time it does nothing.

        An interrupt is passed on once all is back.

        Raises:
            CarouselError: another remedy was applied to the same module or parameters later, and
                is still in place. Nothing is put back.
        """
        try:
            self._put_back()
        except CarouselError:
            raise
        except BaseException:
            self._put_back()
            raise

    def _put_back(self) -> None:
        self._refuse_the_wrong_order()
        while self._way_back:
            self._way_back[
                -1
            ]()  # first done, then forgotten: an interrupt leaves it to be done again
            self._way_back.pop()
        self._refusals.clear()
        self.changed.clear()
        self.layers.clear()

    def before_leaving(self, action: Callable[[], None]) -> None:
        """Note an action that takes a change back; it may run twice where it is interrupted."""
        self._way_back.append(action)

    def will_change(self, target: Change) -> None:
        """Note what a remedy writes to, so that no earlier one is undone before it."""
        self.changed.append(target)

    def acts_on(self, module: nn.Module, layer: str) -> None:
        """Note a layer for which gradients are changed.

        Raises:
            CarouselError: a remedy of the same kind acts on it already.
        """
        for other in list(IN_PLACE.values()):
            alike = type(other.remedy) is type(self.remedy)
            if alike and any(own is module and name == layer for own, name in other.layers):
                raise CarouselError(
                    f"{other.name} acts on {layer} already, and the extra loss would count "
                    "twice. Undo that one first."
                )
        self.layers.append((module, layer))

    def keep_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Note the numbers, dtype, memory and gradient of parameters that will be written to."""
        for tensor in tensors:
            self.will_change(tensor)
            self._way_back.append(_restoring(tensor))

    def keep_class(self, module: nn.Module, changed: type[nn.Module]) -> None:
        """Note the class of a module that will become ``changed``."""
        kind = type(module)

        def refusal() -> str:
            if type(module) in (kind, changed):
                return ""
            return (
                f"This {kind.__name__} has become a {type(module).__name__} after {self.name}, "
                "and putting its class back would lose that. Undo the later change first."
            )

        def back() -> None:
            object.__setattr__(module, "__class__", kind)

        self.will_change(module)
        self._refusals.append(refusal)
        self._way_back.append(back)

    def keep_attributes(self, module: nn.Module) -> None:
        """Note all that a module's attributes refer to, but for train or eval, its user's."""
        attributes = dict(vars(module))

        def back() -> None:
            set_attributes(module, attributes | {"training": module.training})

        self.will_change(module)
        self._way_back.append(back)

    def _refuse_the_wrong_order(self) -> None:
        for later in list(IN_PLACE.values()):
            if later.number > self.number and _meet(later.changed, self.changed):
                raise CarouselError(
                    f"{later.name} was applied after {self.name}, to the same module. Undo the "
                    "later one first: otherwise the numbers that it found would come back last."
                )
        for refusal in self._refusals:
            reason = refusal()
            if reason:
                raise CarouselError(reason)


def set_attributes(module: nn.Module, attributes: dict[str, Any]) -> None:
    """Make these all of a module's attributes, so that none is missing in the meantime."""
    vars(module).update(attributes)
    for name in vars(module).keys() - attributes.keys():
        del vars(module)[name]


# All that somebody holds, by the order of their making: who drops one will never undo it.
IN_PLACE: WeakValueDictionary[int, Undo] = WeakValueDictionary()
NUMBERS = itertools.count()


def _meet(one: list[Change], other: list[Change]) -> bool:
    own = {id(each) for each in one}
    return any(id(each) in own for each in other)


def _restoring(tensor: Tensor) -> Callable[[], None]:
    memory, numbers, grad = tensor.data, tensor.detach().clone(), tensor.grad
    grad_memory = None if grad is None else grad.data
    grad_numbers = None if grad is None else grad.detach().clone()

    def back() -> None:
        tensor.grad = None  # torch takes no data of another dtype while there is one
        memory.copy_(numbers)
        if grad_memory is not None and grad_numbers is not None:
            grad_memory.copy_(grad_numbers)
        if tensor.data_ptr() != memory.data_ptr() or tensor.dtype != memory.dtype:
            tensor.data = memory
        if grad is not None and grad_memory is not None:
            if grad.data_ptr() != grad_memory.data_ptr() or grad.dtype != grad_memory.dtype:
                grad.data = grad_memory
            tensor.grad = grad

    return back
