"""The oracle of a single step through autograd, with any of its ways left open or cut.

Written on the oracle's own equations, never on ``carousel``.
"""

from __future__ import annotations

import torch
from tests.cases import Problem
from tests.lstm_family import LSTM, lstm_step
from tests.oracles import Reference, parameters_of, references, weights_of

__all__ = ["GATES", "Single", "singles"]

GATES = {**{name: kind.rows for name, kind in LSTM.items()}, "gru": "rzn"}


class Single:
    """One layer of a problem; each step alone, as a function of what stood before it."""

    def __init__(self, problem: Problem, name: str, found: Reference, x: torch.Tensor) -> None:
        self.cell = problem.case.cell
        self.reverse = name.endswith("_reverse")
        self.reference, self.x = found, x
        parameters = parameters_of(problem.module)
        self.weights = {k: v.detach() for k, v in weights_of(parameters, name).items()}
        place = problem.case.layer_names.index(name)
        zeros = torch.zeros_like(found.h[0])
        self.h0 = zeros if problem.h0 is None else problem.h0[place].detach()
        self.c0 = None
        if found.c is not None:
            c0 = getattr(problem, "c0", None)
            self.c0 = torch.zeros_like(found.c[0]) if c0 is None else c0[place].detach()

    @property
    def gates(self) -> str:
        return GATES.get(self.cell, "h")

    def before(self, b: int, t: int) -> int | None:
        """The step that sequence b took before step t; None for the initial state."""
        last = int(self.reference.valid[:, b].sum()) - 1
        step = t + 1 if self.reverse else t - 1
        return step if 0 <= step <= last else None

    def state(self, b: int, t: int | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(h, c) of sequence b after step t."""
        if t is None:
            return self.h0[b], None if self.c0 is None else self.c0[b]
        found = self.reference
        return found.h[t, b], None if found.c is None else found.c[t, b]

    def step(
        self,
        b: int,
        t: int,
        h: torch.Tensor,
        c: torch.Tensor | None,
        live: str | None = None,
        nudge: torch.Tensor | float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Step t of sequence b. Only the gates in ``live`` (None: all) see that h and c move."""
        live = self.gates if live is None else live
        w = self.weights
        from_x = w["weight_ih"] @ self.x[t, b].double() + w.get("bias_ih", 0.0)

        def rows(of_h: torch.Tensor) -> dict[str, torch.Tensor]:
            a = w["weight_hh"] @ of_h + w.get("bias_hh", 0.0)
            return dict(zip(self.gates, a.chunk(len(self.gates)), strict=True))

        moving, still = rows(h), rows(h.detach())
        from_h = {gate: moving[gate] if gate in live else still[gate] for gate in self.gates}
        by_x = dict(zip(self.gates, from_x.chunk(len(self.gates)), strict=True))
        if self.cell == "gru":
            r, z = (torch.sigmoid(by_x[gate] + from_h[gate]) for gate in "rz")
            n = torch.tanh(by_x["n"] + r * from_h["n"])
            return (1 - z) * n + z * h, None
        a = {gate: by_x[gate] + from_h[gate] for gate in self.gates}
        if c is None:
            phi = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
            return phi.get(self.cell.removeprefix("rnn_"), torch.clone)(a["h"]), None
        kind = LSTM[self.cell]
        if kind.sighted:
            w = dict(w, weight_peephole=w["weight_peephole"].clone())
            for row, gate in enumerate(kind.sighted):
                if gate in "if" and gate not in live:
                    a[gate] = a[gate] + w["weight_peephole"][row] * c.detach()
                    w["weight_peephole"][row] = 0.0
        return lstm_step(kind, a, w, c, nudge=nudge)[:2]

    def moved(self, b: int, t: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """A leaf that is added to c_t (to h_t without c), and h_t and c_t as functions of it."""
        h, c = self.state(b, self.before(b, t))
        if c is None:
            leaf = torch.zeros_like(h).requires_grad_()
            return leaf, self.step(b, t, h, None)[0] + leaf, None
        leaf = torch.zeros_like(c).requires_grad_()
        return leaf, *self.step(b, t, h, c, nudge=leaf)

    def v_c(self, b: int, t: int) -> torch.Tensor | None:
        """dL/dc_t without what c_t receives through h_t."""
        found = self.reference
        if found.c is None:
            return None
        leaf, h, _ = self.moved(b, t)
        return found.d_c[t, b] - torch.autograd.grad((found.d_h[t, b] * h).sum(), leaf)[0]

    def sent(self, b: int, t: int, live: str | None = None) -> torch.Tensor:
        """What step t sends to c (to h without c) of the step before it, along open ways."""
        before = self.before(b, t)
        assert before is not None
        leaf, h, c = self.moved(b, before)
        h, c = self.step(b, t, h, c, live)
        loss = (self.reference.d_h[t, b] * h).sum()
        if c is not None:
            loss = loss + (self.v_c(b, t) * c).sum()
        if not loss.requires_grad:
            return torch.zeros_like(leaf)
        (found,) = torch.autograd.grad(loss, leaf, allow_unused=True)
        return torch.zeros_like(leaf) if found is None else found

    def jacobian(self, b: int, t: int, live: str | None = None) -> torch.Tensor:
        """dc_t/dc_{t-1} (of h without c), the state before being a function of its c."""
        before = self.before(b, t)
        assert before is not None
        leaf, h, c = self.moved(b, before)
        h, c = self.step(b, t, h, c, live)
        rows = []
        for entry in h if c is None else c:
            found = None
            if entry.requires_grad:
                found = torch.autograd.grad(entry, leaf, retain_graph=True, allow_unused=True)[0]
            rows.append(torch.zeros_like(leaf) if found is None else found)
        return torch.stack(rows)


def singles(problem: Problem, loss: str) -> dict[str, Single]:
    """The oracle's layers of a problem after one backward pass."""
    found, _ = references(problem, loss)
    result, below = {}, problem.x.double()
    case = problem.case
    for k in range(case.layers):
        names = [f"l{k}", f"l{k}_reverse"][: case.directions]
        result |= {name: Single(problem, name, found[name], below) for name in names}
        below = torch.cat([found[name].h for name in names], dim=-1)
    return result
