"""What a remedy changed, and the way back: bit for bit, in the reverse order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError

__all__ = ["Undo"]


class Undo:
    """A remedy that is in place. ``notes`` say what its user has to see to.

    Everything is noted down before it is changed, so that ``undo`` is right at any moment: after
    the change, in the midst of it, or a second time.
    """

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()
        self.acted = 0  # how often it has come to act, where it acts again and again
        self._way_back: list[Callable[[], None]] = []

    def undo(self) -> None:
        """Put everything back, bit for bit. A second time it does nothing."""
        while self._way_back:
            self._way_back[-1]()  # first done, then forgotten: an interrupt leaves it to be done
            self._way_back.pop()

    def before_leaving(self, action: Callable[[], None]) -> None:
        """Note an action that takes a change back; it may run twice where it is interrupted."""
        self._way_back.append(action)

    def keep_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Note the numbers, the dtype and the memory of parameters that will be written to."""
        for tensor in tensors:
            self._way_back.append(_restoring(tensor))

    def keep_class(self, module: nn.Module, changed: type[nn.Module]) -> None:
        """Note the class of a module that will become ``changed``."""
        kind = type(module)

        def back() -> None:
            if type(module) is changed:
                object.__setattr__(module, "__class__", kind)
            elif type(module) is not kind:
                raise CarouselError(
                    f"Another remedy was applied to this {kind.__name__} after this one. Undo the "
                    "later one first."
                )

        self._way_back.append(back)

    def keep_attributes(self, module: nn.Module) -> None:
        """Note all that a module's attributes refer to: its parameters and options."""
        attributes = dict(vars(module))

        def back() -> None:
            vars(module).clear()
            vars(module).update(attributes)

        self._way_back.append(back)


def _restoring(tensor: Tensor) -> Callable[[], None]:
    memory, numbers, grad = tensor.data, tensor.detach().clone(), tensor.grad

    def back() -> None:
        with torch.no_grad():
            memory.copy_(numbers)
        if tensor.data_ptr() != memory.data_ptr() or tensor.dtype != memory.dtype:
            tensor.data = memory
        if tensor.grad is not None and tensor.grad.dtype != memory.dtype:
            tensor.grad = grad  # one of another dtype belongs to the change

    return back
