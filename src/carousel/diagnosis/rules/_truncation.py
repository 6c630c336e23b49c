"""A backward pass shorter than the lag: whatever the weights, no gradient crosses that many steps.

Two steps that are ``lag`` apart need lag + 1 steps in one piece: of one timeline, and not cut.
"""

from __future__ import annotations

from collections.abc import Iterator

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._numbers import counted
from carousel.diagnosis._pieces import longest_piece
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["truncation"]

SOURCE = (
    "Williams & Peng 1990; Tallec & Ollivier 2017: truncated backpropagation is biased beyond its "
    "length"
)


def truncation(subject: Subject) -> Iterator[Finding]:
    """A finding for each module whose longest piece of uncut time is shorter than the lag."""
    lag = subject.lag_steps
    if lag is None:
        return
    longest: dict[str, LayerFlow] = {}
    for name, layer in subject.flow.layers.items():
        path = subject.places[name].path
        if path not in longest or longest_piece(layer) > longest_piece(longest[path]):
            longest[path] = layer
    for layer in longest.values():
        piece = longest_piece(layer)
        if piece > lag:
            continue
        cut = any(step > 0 for step in layer.cuts)
        why = "the state is detached in between" if cut else "that is all that was measured"
        advice = (
            f"Detach it after {lag + 1} steps at the earliest."
            if cut
            else "Give longer sequences to have the lag judged."
        )
        yield Finding(
            rule="truncation",
            severity="error",
            layer=layer.name,
            sentence=(
                f"The gradient goes back over {counted(piece, 'step')} at most ({why}), and your "
                f"task needs {lag}: whatever the weights, none crosses that. {advice}"
            ),
            evidence={
                "longest_piece_steps": float(piece),
                "lag_steps": float(lag),
                "cuts": float(len(layer.cuts)),
            },
            threshold=float(lag + 1),
            source=SOURCE,
        )
