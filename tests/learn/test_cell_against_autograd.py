"""Every gradient of the cell diagram, against autograd of the equations written out in float64.

The gradient of 1997 is no derivative of anything: its recursion is written out by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import pytest
import torch
from torch import Tensor

from carousel.layers import GRU, LSTM, RNN
from carousel.learn import CellGradient, CellSettings, Network, Settings, run_cell
from carousel.learn._settings import CellName, network, signal

HIDDEN, STEPS, UNIT = 7, 12, 2
CELLS = get_args(CellName)
WITH_C: tuple[CellName, ...] = ("lstm", "lstm-peephole", "lstm-1997")
Steps = dict[str, list[Tensor]]


def settings(one: Network, loss: str) -> CellSettings:
    return CellSettings(one, steps=STEPS, loss=loss, seed=5, unit=UNIT)  # type: ignore[arg-type]


def small(cell: CellName, gradient: str = "full") -> Network:
    """Weights larger than they are drawn: every way carries something."""
    return Network(cell, hidden=HIDDEN, gain=2.0, gradient=gradient)  # type: ignore[arg-type]


class Forward:
    """All quantities of all steps, each a node of its own in autograd's graph."""

    def __init__(self, one: Network) -> None:
        module: RNN | LSTM | GRU = network(one, STEPS, 5).double()
        self.w = {name: p.detach() for name, p in module.named_parameters()}
        self.found: Steps = {}
        state = torch.zeros(HIDDEN, dtype=torch.float64)
        c = state
        step = {"rnn": self.rnn, "gru": self.gru, "lstm": self.lstm}[one.cell.split("-")[0]]
        for x in signal(Settings(steps=STEPS, seed=5))[:, 0].double():
            state, c = step(one.cell, x, state, c)
            for name, of in (("h", state), ("c", c)):
                self.found.setdefault(name, []).append(of)

    def keep(self, name: str, of: Tensor) -> Tensor:
        made = of.clone().requires_grad_() if not of.requires_grad else of.clone()
        self.found.setdefault(name, []).append(made)
        return made

    def affine(self, what: str, of: Tensor, gate: int) -> Tensor:
        rows = slice(gate * HIDDEN, (gate + 1) * HIDDEN)
        return self.w[f"weight_{what}_l0"][rows] @ of + self.w[f"bias_{what}_l0"][rows]

    def rnn(self, cell: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        a = self.keep("a_h", self.affine("ih", x, 0) + self.affine("hh", h, 0))
        return (a.relu() if cell == "rnn-relu" else a.tanh()), c

    def gru(self, _: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        a_r = self.keep("a_r", self.affine("ih", x, 0) + self.affine("hh", h, 0))
        a_z = self.keep("a_z", self.affine("ih", x, 1) + self.affine("hh", h, 1))
        q = self.keep("q", self.affine("hh", h, 2))
        n = self.keep("a_n", self.affine("ih", x, 2) + a_r.sigmoid() * q).tanh()
        z = a_z.sigmoid()
        return (1 - z) * n + z * h, c

    def lstm(self, cell: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        gates = "igo" if cell == "lstm-1997" else "ifgo"
        p = self.w.get("weight_peephole_l0", torch.zeros(3, HIDDEN, dtype=torch.float64))

        def a(gate: str, seen: Tensor) -> Tensor:
            place = gates.index(gate)
            both = self.affine("ih", x, place) + self.affine("hh", h, place)
            return self.keep(f"a_{gate}", both + seen)

        i = a("i", p[0] * c).sigmoid()
        f = a("f", p[1] * c).sigmoid() if "f" in gates else torch.ones_like(i)
        new = f * c + i * a("g", torch.zeros_like(i)).tanh()
        read = self.keep("c_from_h", new)  # what this step's h sees of c; the next step sees new
        o = a("o", p[2] * read).sigmoid()
        return o * self.keep("tanh_c", read.tanh()), new


def loss_of(h: list[Tensor], place: str) -> Tensor:
    chosen = h if place == "every" else [h[-1] if place == "last" else h[(STEPS - 1) // 2]]
    return torch.stack(chosen).square().sum() / 2


def by_autograd(one: Network, loss: str) -> dict[str, Tensor]:
    """Each gradient, [T, H]."""
    run = Forward(one).found
    names = [name for name in run if run[name][-1].requires_grad]
    nodes = [node for name in names for node in run[name]]
    found = torch.autograd.grad(
        loss_of(run["h"], loss), nodes, allow_unused=True, materialize_grads=True
    )
    of = {name: torch.stack(found[at * STEPS : (at + 1) * STEPS]) for at, name in enumerate(names)}
    return with_earlier(of)


def by_hand(one: Network) -> dict[str, Tensor]:
    """The truncated gradient of L = sum of ||h_t||^2 / 2: nothing goes through a gate to t - 1."""
    run = {name: torch.stack(of).detach() for name, of in Forward(one).found.items()}
    d_h = run["h"]
    gate = {name: run[f"a_{name}"].sigmoid() for name in "ifo" if f"a_{name}" in run}
    i, f, o = gate["i"], gate.get("f", torch.ones_like(d_h)), gate["o"]
    g, tanh_c = run["a_g"].tanh(), run["c"].tanh()
    c_from_h = d_h * o * (1 - tanh_c**2)
    d_c = c_from_h.clone()
    for t in range(STEPS - 2, -1, -1):
        d_c[t] += f[t + 1] * d_c[t + 1]
    c_prev = torch.cat([torch.zeros(1, HIDDEN, dtype=torch.float64), run["c"][:-1]])
    found = {
        "h": d_h,
        "c": d_c,
        "c_from_h": c_from_h,
        "tanh_c": d_h * o,
        "a_i": d_c * g * i * (1 - i),
        "a_g": d_c * i * (1 - g**2),
        "a_o": d_h * tanh_c * o * (1 - o),
    }
    if "f" in gate:
        found["a_f"] = d_c * c_prev * f * (1 - f)
    return with_earlier(found)


def with_earlier(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state before a step has the gradient of the state after the step before."""
    nothing = torch.full((1, HIDDEN), math.nan, dtype=torch.float64)
    before = {
        f"{name}_prev": torch.cat([nothing, found[name][:-1]]) for name in found.keys() & "hc"
    }
    return found | before


def agree(said: CellGradient, expected: Tensor) -> None:
    """Sign and size of the unit, and the norm of all, at every step."""
    largest = expected.nan_to_num().abs().max()
    for t, row in enumerate(expected):
        size, norm = said.size[t], said.norm[t]
        if row.isnan().any():
            assert (size, norm) == ("padding", "padding")
            continue
        for told, negative, right in (
            (size, said.negative[t], row[UNIT]),
            (norm, False, row.norm()),
        ):
            number = 0.0 if told == "zero" else 10.0 ** float(told)
            signed = -number if negative else number
            close = pytest.approx(float(right), rel=1e-4, abs=float(1e-6 * largest))
            assert signed == close, (said.name, t)


def check(one: Network, loss: str, expected: Mapping[str, Tensor]) -> None:
    told = {said.name: said for said in run_cell(settings(one, loss)).gradients}
    assert told.keys() == expected.keys()
    for name, right in expected.items():
        assert right.nan_to_num().any(), name  # nothing is compared with nothing
        agree(told[name], right)


@pytest.mark.parametrize("loss", ["every", "last", "middle"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_gradient_is_autograds(cell: CellName, loss: str) -> None:
    check(small(cell), loss, by_autograd(small(cell), loss))


@pytest.mark.parametrize("cell", WITH_C)
def test_every_gradient_of_1997_is_the_truncated_recursion(cell: CellName) -> None:
    check(small(cell, "1997"), "every", by_hand(small(cell, "1997")))


@pytest.mark.parametrize("cell", WITH_C)
def test_the_gradient_of_1997_adds_up_along_the_carousel(cell: CellName) -> None:
    """d_c[t] = c_from_h[t] + f[t+1] d_c[t+1], of the told numbers alone."""
    run = run_cell(settings(small(cell, "1997"), "every"))

    def told(name: str) -> list[float]:
        one = next(one for one in run.gradients if one.name == name)
        return [
            (-1 if negative else 1) * 10.0 ** float(size)
            for negative, size in zip(one.negative, one.size, strict=True)
        ]

    f = next((one.of_unit for one in run.values if one.name == "f"), (1.0,) * STEPS)
    d_c, from_h = told("c"), told("c_from_h")
    largest = max(map(abs, d_c))
    for t in range(STEPS - 1):
        sum_of_both = from_h[t] + float(f[t + 1]) * d_c[t + 1]
        assert d_c[t] == pytest.approx(sum_of_both, rel=1e-4, abs=1e-6 * largest), t
