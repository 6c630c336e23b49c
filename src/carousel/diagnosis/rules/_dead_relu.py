"""Dead relu units: zero at every step of every sequence, so that no gradient ever enters them."""

from __future__ import annotations

from collections.abc import Iterator

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import share
from carousel.diagnosis._subject import Subject

__all__ = ["dead_relu"]

# Of the units. A unit of random sign is off at all of 32 steps with a chance of 2^-32; a tenth of
# them leaves no room for chance, and single ones do no harm.
MANY = 0.1
LEAST_SAMPLES = 32  # steps times sequences
SOURCE = "Maas, Hannun & Ng 2013; Le, Jaitly & Hinton 2015 (for recurrent relu units)"


def dead_relu(subject: Subject) -> Iterator[Finding]:
    """A finding for each relu RNN of which many units never fire."""
    for layer in subject.derived:
        if layer.kind != "RNN relu":
            continue
        states = layer.h[layer.trace.valid]
        if len(states) < LEAST_SAMPLES or not bool(states.isfinite().all()):
            continue
        dead = (states == 0).all(0)
        part = float(dead.double().mean())
        if part < MANY:
            continue
        everything = part == 1
        yield Finding(
            rule="dead-relu",
            severity="error" if everything else "warning",
            layer=layer.name,
            sentence=(
                f"{int(dead.sum())} of {layer.hidden} relu units ({share(part)}) are zero at every "
                f"step of every sequence ({len(states)} states): no gradient enters them, so they "
                "stay dead unless what feeds them moves."
            ),
            evidence={
                "dead_units": float(dead.sum()),
                "units_share": part,
                "states": float(len(states)),
            },
            threshold=1.0 if everything else MANY,
            source=SOURCE,
        )
