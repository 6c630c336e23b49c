"""Clipping the gradient's norm at a percentile of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._stepping import before_each_step
from carousel.diagnosis.remedies._undo import Undo

__all__ = ["Clipping"]


@dataclass(frozen=True)
class Clipping(Remedy):
    """Scale the gradient of all parameters down to ``max_norm`` where its norm is above.

    It acts before each step of a torch optimizer. Without ``max_norm`` it has still to be measured:
    ``fitted`` takes it from norms of a training, and ``carousel.verify`` does so by itself.

    Source: Pascanu, Mikolov & Bengio 2013, algorithm 1; a percentile of the norms: Seetharaman et
    al. 2020 (AutoClip).

    Attributes:
        layer: "", for it concerns the whole model.
        percentile: of the measured norms, from 0 to 100.
        max_norm: the largest norm that is let through; None: to be measured.
    """

    layer: str = ""
    percentile: float = 90.0
    max_norm: float | None = None
    name: ClassVar[str] = "clipping"
    keeps_weights: ClassVar[bool] = True
    in_model: ClassVar[bool] = False

    def fitted(self, norms: Sequence[float]) -> Clipping:
        """The same with ``max_norm`` at the percentile of these norms.

        Raises:
            CarouselError: none of them is finite and above zero, or there is no such percentile.
        """
        if self.max_norm is not None:
            return self
        if not 0 <= self.percentile <= 100:
            raise CarouselError(f"Expected a percentile from 0 to 100, got {self.percentile!r}.")
        known = [norm for norm in norms if math.isfinite(norm) and norm > 0]
        if not known:
            raise CarouselError(
                f"Expected norms of gradients to take a percentile of, got {len(norms)} of which "
                "none is finite and above zero. The norms are read before each step of a torch "
                "optimizer; give max_norm where there is none."
            )
        at = torch.quantile(torch.tensor(known, dtype=torch.float64), self.percentile / 100)
        return Clipping(self.layer, self.percentile, float(at))

    def sentence(self) -> str:
        """What it does, in plain words."""
        at = f"the {self.percentile:g}th percentile of the norms measured"
        if self.max_norm is not None:
            at = f"{self.max_norm:.4g}"
        return (
            f"Clip the norm of the gradient of all parameters at {at}, before each step of the "
            "optimizer. The weights stay as they are."
        )

    def code(self) -> str:
        """The line to paste into the training loop."""
        limit = "max_norm" if self.max_norm is None else f"{self.max_norm:.6g}"
        return (
            "# between loss.backward() and optimizer.step()\n"
            f"torch.nn.utils.clip_grad_norm_(model.parameters(), {limit})"
        )

    def apply(self, model: nn.Module) -> Undo:
        """Clip before each step of an optimizer that holds parameters of the model.

        Raises:
            CarouselError: ``max_norm`` is not known, or is no positive number.
        """
        limit = self.max_norm
        if limit is None:
            raise CarouselError(
                "Expected max_norm, which is still to be measured: Clipping().fitted(norms), or "
                "carousel.verify, which measures it in the training without the remedy."
            )
        if not limit > 0 or not math.isfinite(limit):
            raise CarouselError(f"Expected max_norm to be a number above 0, got {limit!r}.")

        def clip() -> None:
            nn.utils.clip_grad_norm_(model.parameters(), limit)
            applied.acted += 1

        applied = Undo(self)
        try:
            before_each_step(model, clip, applied)
            return applied
        except BaseException:
            applied.undo()
            raise
