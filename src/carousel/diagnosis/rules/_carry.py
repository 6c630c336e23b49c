"""A state that is detached, or not carried on, between calls of one module.

Four cases: set to zero in all sequences between calls; cut within a backward pass; come detached
from an earlier pass, as truncated training does on purpose; and calls that each start from zero,
which may be chunks of one sequence or sequences of their own: a flow cannot tell, and the finding
says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import counted
from carousel.diagnosis._pieces import longest_piece
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["carry"]

SOURCE = "Lightning#17848: truncated backpropagation left to the user, who forgets the state"


def carry(subject: Subject) -> Iterator[Finding]:
    """A finding for each module whose state, or its gradient, does not go on from call to call."""
    modules: dict[str, list[LayerFlow]] = defaultdict(list)
    for name, layer in subject.flow.layers.items():
        place = subject.places[name]
        if place.layer == 0 and not place.reverse:  # the layers of a stack are cut alike
            modules[place.path].append(layer)
    for layers in modules.values():
        for layer in layers:
            yield from _cut(subject, layer)
            yield from _reset(layer)
        fresh = [layer for layer in layers if _starts_at_zero(layer)]
        if len(layers) > 1 and len(fresh) == len(layers):
            yield _not_carried(subject, layers)


def _cut(subject: Subject, layer: LayerFlow) -> Iterator[Finding]:
    within = [step for step in layer.cuts if step > 0]
    if not layer.cuts:
        return
    piece = longest_piece(layer)
    if within and subject.lag_steps is not None and piece <= subject.lag_steps:
        return  # "truncation" says it, as the error that it is
    if within:
        places = ", ".join(map(str, within[:5])) + (", .." if len(within) > 5 else "")
        said = (
            f"The state is detached before step {places}: no gradient crosses there, though one "
            f"backward pass holds both sides. The longest piece has {counted(piece, 'step')}."
        )
    else:
        said = (
            "The state at step 0 came detached from an earlier call, as in truncated training: the "
            f"gradient goes back over {counted(piece, 'step')} at most."
        )
    harmless = subject.lag_steps is not None and piece > subject.lag_steps
    yield Finding(
        rule="carry",
        severity="warning" if within and not harmless else "info",
        layer=layer.name,
        sentence=said,
        evidence={"cuts": float(len(layer.cuts)), "longest_piece_steps": float(piece)},
        threshold=None if subject.lag_steps is None else float(subject.lag_steps + 1),
        source=SOURCE,
    )


def _reset(layer: LayerFlow) -> Iterator[Finding]:
    """Boundaries at which every sequence was reset, unlike the ends of some episodes."""
    handed = layer.trace.handed_over
    steps = [
        step
        for step, factors in zip(layer.boundaries, handed, strict=True)
        if bool((factors == 0).all())
    ]
    if steps:
        places = ", ".join(map(str, steps[:5])) + (", .." if len(steps) > 5 else "")
        yield Finding(
            rule="carry",
            severity="warning",
            layer=layer.name,
            sentence=(
                f"The state of all sequences is zero again at step {places}, where a later call "
                "took it over: nothing from before is remembered there, and no gradient crosses."
            ),
            evidence={"resets": float(len(steps))},
            threshold=None,
            source=SOURCE,
        )


def _not_carried(subject: Subject, layers: list[LayerFlow]) -> Finding:
    steps = max(longest_piece(layer) for layer in layers)
    needed = subject.lag_steps is not None and steps <= subject.lag_steps
    return Finding(
        rule="carry",
        severity="warning" if needed or steps == 1 else "info",
        layer=layers[0].name,
        sentence=(
            f"The module was called {len(layers)} times in this pass, and each call starts from a "
            "state of zeros. If they are chunks of one sequence, nothing is remembered over more "
            f"than {counted(steps, 'step')}: hand the state on. If they are sequences of "
            "their own, all is well."
        ),
        evidence={"calls": float(len(layers)), "longest_piece_steps": float(steps)},
        threshold=None if subject.lag_steps is None else float(subject.lag_steps + 1),
        source=SOURCE,
    )


def _starts_at_zero(layer: LayerFlow) -> bool:
    trajectory = layer.trace.trajectory
    return bool((trajectory.h_prev[0] == 0).all()) and (
        trajectory.c_prev is None or bool((trajectory.c_prev[0] == 0).all())
    )
