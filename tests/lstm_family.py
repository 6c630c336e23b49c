"""The oracle's LSTM and its variants, one step each, for autograd.

Written from Hochreiter & Schmidhuber 1997 and Greff et al. 2015, never from ``carousel``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["LSTM", "Kind", "lstm_step"]

Tensors = dict[str, torch.Tensor]
Factor = Callable[[Tensors], torch.Tensor | float]
Squash = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Kind:
    """c_t = keep * c_{t-1} + write * g and h_t = show * squash(c_t), by the gates that exist."""

    rows: str  # of the weights
    peepholes: bool = False
    keep: Factor = lambda gates: gates["f"]
    write: Factor = lambda gates: gates["i"]
    show: Factor = lambda gates: gates["o"]
    squash_in: Squash = torch.tanh
    squash_out: Squash = torch.tanh

    @property
    def sighted(self) -> str:
        """The gates with a row of peephole weights, in order."""
        return self.rows.replace("g", "") if self.peepholes else ""


LSTM = {
    "lstm": Kind("ifgo"),
    "lstm_1997": Kind("igo", keep=lambda _: 1.0),
    "lstm_1997_squashed": Kind(
        "igo",
        keep=lambda _: 1.0,
        squash_in=lambda a: 4 * torch.sigmoid(a) - 2,
        squash_out=lambda c: 2 * torch.sigmoid(c) - 1,
    ),
    "lstm_peephole": Kind("ifgo", peepholes=True),
    "lstm_cifg": Kind("igo", keep=lambda gates: 1 - gates["i"]),
    "lstm_nig": Kind("fgo", peepholes=True, write=lambda _: 1.0),
    "lstm_nfg": Kind("igo", peepholes=True, keep=lambda _: 1.0),
    "lstm_nog": Kind("ifg", peepholes=True, show=lambda _: 1.0),
    "lstm_niaf": Kind("ifgo", peepholes=True, squash_in=lambda a: a),
    "lstm_noaf": Kind("ifgo", peepholes=True, squash_out=lambda c: c),
}


def lstm_step(
    kind: Kind,
    a: Tensors,
    weights: Tensors,
    c: torch.Tensor,
    *,
    nudge: torch.Tensor | float = 0.0,
    truncated: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, Tensors, Tensors]:
    """One step from the pre-activations without peepholes, by gate: h, c, gates, pre-activations.

    ``nudge`` is added to c_t before anybody sees it. ``truncated``: the gates see a c that is cut
    off from what it was computed from.
    """

    def seen(state: torch.Tensor) -> torch.Tensor:
        return state.detach() if truncated else state

    p = dict(zip(kind.sighted, weights["weight_peephole"], strict=True)) if kind.sighted else {}
    a = {name: a[name] + p[name] * seen(c) if name in p and name in "if" else a[name] for name in a}
    gates = {name: torch.sigmoid(a[name]) for name in a if name in "if"}
    gates["g"] = kind.squash_in(a["g"])
    c = kind.keep(gates) * c + kind.write(gates) * gates["g"] + nudge
    if "o" in p:
        a["o"] = a["o"] + p["o"] * seen(c)
    if "o" in a:
        gates["o"] = torch.sigmoid(a["o"])
    h = kind.show(gates) * kind.squash_out(c)
    if "weight_hr" in weights:
        h = h @ weights["weight_hr"].T
    return h, c, gates, a
