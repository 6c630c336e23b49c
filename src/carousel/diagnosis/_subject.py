"""What the rules look at: a flow, and what its user knows beside it."""

from __future__ import annotations

from dataclasses import dataclass

from carousel.flow import Flow

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """A flow under examination."""

    flow: Flow
    lag_steps: int | None  # how far back the task has to see; None where nobody said
