"""Underflow: gradients below the smallest normal number of the module's dtype.

The flow holds them as they would be; the module's own arithmetic makes denormals or zeros of them.
In float32 that is far below anything that matters, and costs time only (denormals slow kernels
down); in float16, whose smallest normal number is 6e-5, it is where learning ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import counted, share
from carousel.diagnosis._subject import Subject

__all__ = ["underflow"]

MOST_UNITS = 0.5  # of a step's entries: then the step as a whole is lost
MANY_STEPS = 0.1  # of the steps that have data
NARROW = 1e-30  # a dtype whose smallest normal number is above this underflows in practice
SOURCE = "Micikevicius et al. 2018, mixed precision training; oneDNN#561 for denormals"


def underflow(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer whose gradient leaves the range of its dtype below."""
    for layer in subject.layers:
        under = layer.tiny("d_h").underflowed
        there = ~under.isnan()
        lost = there & (under > MOST_UNITS)
        part = float(lost.sum() / there.sum().clamp(min=1))
        if part < MANY_STEPS:
            continue
        name = str(layer.dtype).removeprefix("torch.")
        smallest = torch.finfo(layer.dtype).tiny
        yield Finding(
            rule="underflow",
            severity="warning" if smallest > NARROW else "info",
            layer=layer.name,
            sentence=(
                f"At {int(lost.sum())} of {counted(int(there.sum()), 'step')} ({share(part)}) the "
                f"gradient is below the smallest normal {name}, {smallest:.1e}: the module itself "
                "computes with denormals or zeros there."
            ),
            evidence={
                "underflowed_steps_share": part,
                "underflowed_steps": float(lost.sum()),
                "smallest_normal": smallest,
            },
            threshold=MANY_STEPS,
            source=SOURCE,
        )
