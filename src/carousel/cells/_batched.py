"""Operators under vmap, of which torch has two: ``torch.func.vmap``, and one of autograd's own.

The core runs one example at a time, so that is the rule of the first. The second, which
``is_grads_batched`` and ``jacobian(vectorize=True)`` use, knows no rules for operators: there the
gradient is taken through the plain equations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor

from carousel.cells._recording import recording

__all__ = ["batched", "one_by_one"]


def one_by_one(op: Any) -> Callable[..., tuple[Any, Any]]:
    """The rule of torch.func.vmap for an operator: every example is a call of its own.

    Nobody hears of these calls, as nobody hears of any inside of torch.func.
    """

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        with recording(None):
            found = [
                op(
                    *(
                        argument if dim is None else argument.select(dim, example)
                        for argument, dim in zip(arguments, in_dims, strict=True)
                    )
                )
                for example in range(info.batch_size)
            ]
        kind = type(found[0])
        stacked = kind(torch.stack(parts) for parts in zip(*found, strict=True))
        return stacked, kind(0 for _ in stacked)

    return rule


def batched(gradient: Tensor | None) -> bool:
    """Whether it stands for many: ``is_grads_batched``, whose batches no operator can have."""
    return gradient is not None and is_legacy_batchedtensor(gradient)
