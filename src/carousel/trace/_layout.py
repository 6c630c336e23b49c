"""From the layouts that modules speak to one: time first, a batch axis always, padding behind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from carousel.trace._modules import Spec

__all__ = ["Layout", "layout_of"]


@dataclass(frozen=True)
class Layout:
    """How one call's sequences and states are laid out."""

    spec: Spec
    packed: PackedSequence | None  # its data is not used, only how it is packed
    unbatched: bool

    def sequence(self, tensor: Tensor) -> Tensor:
        """An input, an output or a gradient of either, as [T, B, units]."""
        if self.packed is not None:
            return pad_packed_sequence(self.packed._replace(data=tensor))[0]
        if self.unbatched:
            tensor = tensor.unsqueeze(0 if self.spec.is_cell else 1)
        if self.spec.is_cell:
            return tensor.unsqueeze(0)
        if self.spec.batch_first and not self.unbatched:
            return tensor.transpose(0, 1)
        return tensor

    def state(self, tensor: Tensor) -> Tensor:
        """A state or its gradient, as [layers * directions, B, units]."""
        if self.unbatched:
            tensor = tensor.unsqueeze(0 if self.spec.is_cell else 1)
        return tensor.unsqueeze(0) if self.spec.is_cell else tensor

    def lengths(self, steps: int, batch: int) -> Tensor:
        """Valid steps of each sequence [B] int64, on the CPU."""
        if self.packed is not None:
            return pad_packed_sequence(self.packed)[1]
        return torch.full((batch,), steps, dtype=torch.int64)


def layout_of(spec: Spec, x: Tensor | PackedSequence) -> Layout:
    """Read the layout off the input of a call."""
    if isinstance(x, PackedSequence):
        # One column is enough to keep the packing, whatever the width of the data.
        return Layout(spec, x._replace(data=x.data.detach().flatten(1)[:, :1]), unbatched=False)
    return Layout(spec, None, unbatched=x.dim() == (1 if spec.is_cell else 2))
