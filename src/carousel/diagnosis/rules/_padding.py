"""Padding that counts as data: a batch that was padded and not packed.

Where the lengths are given, it is known. Else it is inferred from what the layer was fed: several
sequences end (or begin) with one and the same row, over runs of different lengths, and that row
occurs nowhere else. Rows that happen to be blank at the ends of sequences, as in pictures, look
the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import share
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["padding"]

MANY_STEPS = 0.05  # of the steps of a batch: fewer do not matter
LEAST_RUN = 2  # equal rows at an end; one row is always equal to itself
LEAST_SEQUENCES = 2
SOURCE = "torch.nn.utils.rnn.pack_padded_sequence exists for this; pytorch#149194"


def padding(subject: Subject) -> Iterator[Finding]:
    """A finding for each module that was fed padding as if it were data."""
    for name, layer in subject.flow.layers.items():
        place = subject.places[name]
        if place.layer or place.reverse or not bool((layer.lengths == layer.steps).all()):
            continue
        lengths = subject.lengths
        if (
            lengths is not None
            and len(lengths) == layer.batch
            and int(lengths.max()) <= layer.steps
        ):
            pad = layer.steps - lengths
            if bool((pad > 0).any()):
                yield _finding(layer, pad, "at the end", known=True)
            continue
        for x, end in ((layer.trace.x, "at the end"), (layer.trace.x.flip(0), "at the beginning")):
            pad = _padded(x)
            if float(pad.double().mean()) / layer.steps >= MANY_STEPS:
                yield _finding(layer, pad, end, known=False)
                break


def _padded(x: Tensor) -> Tensor:
    """The steps at the end of each sequence that look like padding, [B] int64; 0 for none."""
    steps, batch = x.shape[:2]
    nothing = torch.zeros(batch, dtype=torch.int64)
    runs = (x == x[-1]).all(-1).flip(0).int().cumprod(0).sum(0)  # equal rows at the end
    whole = runs == steps
    candidates = ((runs >= LEAST_RUN) & ~whole).nonzero().flatten()
    if len(candidates) < LEAST_SEQUENCES:
        return nothing
    rows, counts = x[-1, candidates].unique(dim=0, return_counts=True)
    row = rows[counts.argmax()]
    same = (x[-1] == row).all(-1)
    runs = torch.where(same, runs, 0)
    elsewhere = (x == row).all(-1).sum(0) != runs
    padded = (runs >= LEAST_RUN) & ~whole
    if int(padded.sum()) < LEAST_SEQUENCES or bool(elsewhere.any()):
        return nothing
    return runs.cpu() if len(runs.unique()) > 1 else nothing


def _finding(layer: LayerFlow, pad: Tensor, end: str, *, known: bool) -> Finding:
    part = float(pad.double().mean()) / layer.steps
    padded = int((pad > 0).sum())
    verb = "are" if known else "look like"
    said = (
        f"{share(part)} of the steps {verb} padding that the layer takes for data, {end} of "
        f"{padded} of {layer.batch} sequences, up to {int(pad.max())} steps: states run on through "
        "it, and so do gradients. Pack the batch (pack_padded_sequence)"
    )
    return Finding(
        rule="padding",
        severity="warning",
        layer=layer.name,
        sentence=f"{said}." if known else f"{said}, or give the lengths if it is data.",
        evidence={
            "padded_steps_share": part,
            "padded_sequences": float(padded),
            "longest_padding_steps": float(pad.max()),
        },
        threshold=None if known else MANY_STEPS,
        source=SOURCE,
    )
