"""Time and batch axes swapped: the layer goes through the samples as if they were steps.

Signs in a flow: the loss reaches one sequence of the batch alone, the last, and that one at every
step, which is what ``output[:, -1]`` of a time-first layer picks (or ``output[-1]`` of a
batch-first one); a lag that fits the batch and not the steps; and an input of two dimensions,
which torch reads as one sequence without a batch. A mean over the wrong axis leaves no sign.
"""

from __future__ import annotations

from collections.abc import Iterator

from carousel.diagnosis._finding import Finding, Severity
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["axes"]

LEAST_STEPS = 3  # with a gradient in the last sequence at each of them; fewer may be chance
LEAST_SEQUENCES = 4  # of fewer, the others may just be without labels
SOURCE = "torch.nn.RNN takes [T, B, I] unless batch_first=True, and [T, I] as one sequence"


def axes(subject: Subject) -> Iterator[Finding]:
    """A finding for each module that seems to have been fed the wrong way round."""
    for path in dict.fromkeys(place.path for place in subject.places.values()):
        layers = [subject.flow[name] for name in subject.flow if subject.places[name].path == path]
        top, first = layers[-1], layers[0]
        if _only_the_last_sequence(top):
            yield _finding(
                top,
                "error" if top.batch >= LEAST_SEQUENCES else "warning",
                f"The loss reaches the last of {top.batch} sequences alone, at every one of "
                f"{top.steps} steps, as where time and batch are swapped. The layer was given "
                f"{top.steps} steps of {top.batch} sequences; check batch_first and the order of "
                "the axes.",
            )
        elif subject.lag_steps is not None and top.steps <= subject.lag_steps < top.batch:
            yield _finding(
                top,
                "warning",
                f"Your task needs {subject.lag_steps} steps, and the layer was given {top.steps} "
                f"steps of {top.batch} sequences: time and batch may be swapped. Check batch_first "
                "and the order of the axes.",
            )
        if first.trace.unbatched and not first.boundaries and first.steps > 1:
            yield _finding(
                first,
                "info",
                f"The input had two dimensions, which is read as one sequence of {first.steps} "
                f"steps. If it was a batch of {first.steps} samples, give it an axis of time.",
            )


def _only_the_last_sequence(layer: LayerFlow) -> bool:
    if layer.batch < 2 or layer.steps < LEAST_STEPS:
        return False
    reached = (layer.d_h_injected != 0).any(-1)  # [T, B]
    return bool(reached[:, -1].all()) and not bool(reached[:, :-1].any())


def _finding(layer: LayerFlow, severity: Severity, sentence: str) -> Finding:
    return Finding(
        rule="axes",
        severity=severity,
        layer=layer.name,
        sentence=sentence,
        evidence={"steps": float(layer.steps), "sequences": float(layer.batch)},
        threshold=None,
        source=SOURCE,
    )
