"""Where a state was carried over from call to call, but its gradient was not.

Known from the graph, not from the size of what came back: a loss that sends nothing over a boundary
cuts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from carousel.trace._call import Call

__all__ = ["cut_notes", "cut_states", "starts_where"]

STATES = ("h", "c")


def starts_where(states: Sequence[Tensor], ends: Sequence[Tensor]) -> bool:
    """Whether some sequence starts exactly where an earlier call left it, away from zero.

    Args:
        states: (h_0,) or (h_0, c_0) as a module got them, sequences on the last axis but one.
        ends: the states that the earlier call put out.
    """
    if not states or len(states) != len(ends):
        return False
    if any(a.shape != b.shape or a.device != b.device for a, b in zip(states, ends, strict=True)):
        return False
    pairs = [(a.detach(), b.detach()) for a, b in zip(states, ends, strict=True)]
    same = torch.stack([_for_all(a == b) for a, b in pairs]).all(0)
    moved = torch.stack([~_for_all(a == 0) for a, _ in pairs]).any(0)
    return bool((same & moved).any())


def _for_all(flags: Tensor) -> Tensor:
    """Whether a flag holds throughout a sequence: over all axes but the last but one, [B]."""
    flags = flags.all(-1)
    return flags if flags.dim() == 1 else flags.flatten(0, -2).all(0)


def cut_states(timeline: Sequence[Call], begins: Sequence[int]) -> Mapping[int, str]:
    """The first steps of the calls into whose state, or a part of it, no gradient flows back.

    Args:
        timeline: calls that continue one another.
        begins: the first step of each call.

    Returns:
        By step, what came detached: "h", "c" or "hc".
    """
    found = {
        step: _missing(call, first=number == 0)
        for number, (step, call) in enumerate(zip(begins, timeline, strict=True))
    }
    return {step: states for step, states in found.items() if states}


def _missing(call: Call, *, first: bool) -> str:
    """The states that came detached from the call before: "h", "c", "hc", or "" for none.

    A call that checkpointing made anew, or whose way was too long to follow, says nothing.
    """
    states = "".join(STATES[: len(call.start)])
    if call.made_in is not None or call.lost:
        return ""
    if first:
        return states if call.continues else ""
    return "".join(name for k, name in enumerate(states) if k not in call.carrying)


def cut_notes(timeline: Sequence[Call], begins: Sequence[int]) -> list[str]:
    """The same in sentences."""
    notes = []
    if _missing(timeline[0], first=True):
        notes.append(
            "The state at step 0 came detached from an earlier call: no gradient crosses there."
        )
    later = list(zip(begins, timeline, strict=True))[1:]
    has_c = timeline[0].spec.cell.has_c
    for missing in ("h", "c", "hc") if has_c else ("h",):
        steps = [step for step, call in later if _missing(call, first=False) == missing]
        if steps:
            part = f"{missing} of the state" if has_c and len(missing) == 1 else "The state"
            notes.append(
                f"{part} was detached before step{'s' * (len(steps) > 1)} {_listed(steps)}: "
                "no gradient crosses there."
            )
    return notes


def _listed(steps: Sequence[int]) -> str:
    shown = ", ".join(str(step) for step in steps[:5])
    return shown if len(steps) <= 5 else f"{shown} and {len(steps) - 5} more"
