"""Clipping that cuts nearly every step: its length is then the clip's and not the loss's.

A flow cannot know it, since clipping comes after backward: the norms of a training have to be
given, see ``ClippingRecord``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import number, share
from carousel.diagnosis._subject import Subject

__all__ = ["clipping"]

# Of the steps. Pascanu et al. take half to ten times the average norm as the limit, which cuts the
# peaks; a limit that cuts nine of ten steps is a learning rate of its own.
NEARLY_EVERY = 0.9
SOURCE = "Pascanu, Mikolov & Bengio 2013, section 3.2: half to ten times the average norm"


def clipping(subject: Subject) -> Iterator[Finding]:
    """A finding where the given norms are cut nearly always."""
    given = subject.clipping
    if given is None:
        return
    norms = torch.tensor([float(norm) for norm in given.norms], dtype=torch.float64)
    part = float((norms > given.max_norm).double().mean())
    if part < NEARLY_EVERY:
        return
    finite = norms[norms.isfinite()]
    median = float(finite.median()) if len(finite) else float("inf")
    yield Finding(
        rule="clipping",
        severity="warning",
        layer="",
        sentence=(
            f"Clipping at {number(given.max_norm)} cuts {share(part)} of {len(norms)} training "
            f"steps: their median norm is {number(median)}, so every step has the same length, "
            "whatever the loss. Clip the peaks alone, or lower the learning rate instead."
        ),
        evidence={
            "clipped_steps_share": part,
            "median_over_limit": median / given.max_norm,
            "steps": float(len(norms)),
        },
        threshold=NEARLY_EVERY,
        source=SOURCE,
    )
