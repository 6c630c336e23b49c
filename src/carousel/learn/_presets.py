"""Settings worth looking at: where the explorer begins, and what a lesson can point to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carousel.learn._settings import Network, Settings

__all__ = ["PRESETS", "Nothing", "Preset", "Presets", "presets"]


@dataclass(frozen=True)
class Nothing:
    """A request without anything to choose."""


@dataclass(frozen=True)
class Preset:
    """One of them, and what to look for."""

    name: str
    says: str
    settings: Settings


@dataclass(frozen=True)
class Presets:
    """All of them."""

    presets: tuple[Preset, ...]


PRESETS = (
    Preset(
        "As PyTorch draws them",
        "Both vanish: an LSTM's forget gate begins at about one half.",
        Settings(),
    ),
    Preset(
        "Forget bias 1 against 3",
        "The same LSTM twice. The bias decides how long the carousel turns.",
        Settings(Network("lstm", forget_bias=1.0), Network("lstm", forget_bias=3.0)),
    ),
    Preset(
        "Chrono against forget bias 1",
        "Chrono spreads the biases, so that some units keep the gradient over all 200 steps.",
        Settings(Network("lstm", forget_bias=1.0), Network("lstm", init="chrono")),
    ),
    Preset(
        "The carousel of 1997 is constant",
        "No forget gate: along the carousel alone all of dL/dc is kept, and the truncated gradient "
        "follows nothing else. The full one does not stay constant.",
        Settings(Network("lstm-1997"), Network("lstm-1997", gradient="1997")),
    ),
    Preset(
        "A relu RNN at the identity",
        "Without input the identity carries everything; 2 % more at each step, and it explodes.",
        Settings(
            Network("rnn-relu", init="identity"),
            Network("rnn-relu", init="identity", gain=1.02),
            signal="pulse",
        ),
    ),
    Preset(
        "Orthogonal is not enough",
        "An orthogonal W keeps every length, and the slopes of tanh take it away: slower than "
        "as drawn, and still a product of factors below 1.",
        Settings(Network("rnn-tanh"), Network("rnn-tanh", init="orthogonal")),
    ),
    Preset(
        "Beyond float32",
        "A gain of 4 makes the relu RNN explode past every number that float32 has.",
        Settings(Network("rnn-relu", gain=4.0), Network("rnn-tanh", gain=4.0)),
    ),
    Preset(
        "A loss at every step hides it",
        "Both as PyTorch draws them. The totals look level, since each step's own loss feeds them; "
        "next to nothing comes from more than 50 steps away, as the itemised matrix says.",
        Settings(loss="every"),
    ),
)


def presets(_request: Nothing, proceed: Callable[[], None] = lambda: None) -> Presets:
    """Give them all."""
    proceed()
    return Presets(PRESETS)
