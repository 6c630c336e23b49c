"""The cell diagram's numbers: every quantity of every step of one network, for one of its units.

Each gradient travels as its sign and its log10, since a step far back may stand at 1e-50.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from carousel._errors import CarouselError
from carousel.cells import Scaled
from carousel.flow import LayerFlow, measure
from carousel.learn._request import Range
from carousel.learn._settings import Network, Settings, loss_of, network, signal
from carousel.report import Level, level

__all__ = ["CellGradient", "CellRun", "CellSettings", "CellValues", "run_cell"]

Value = float | Literal["infinite", "minus infinite", "nan"]


@dataclass(frozen=True)
class CellSettings:
    """A network, what it reads, where its loss sits, and the unit that is looked at."""

    network: Network = field(default_factory=lambda: Network("lstm", hidden=8))
    steps: Annotated[int, Range(1, 200)] = 30
    signal: Literal["noise", "zeros", "pulse", "wave"] = "noise"
    loss: Literal["last", "middle", "every"] = "last"
    seed: Annotated[int, Range(0, 9999)] = 0
    unit: Annotated[int, Range(0, 127)] = 0


@dataclass(frozen=True)
class CellValues:
    """One quantity of the forward pass by step."""

    name: str
    of_unit: tuple[Value, ...]
    mean: tuple[Value, ...]  # over all units


@dataclass(frozen=True)
class CellGradient:
    """One gradient by step: that of the unit, as sign and log10 of its size."""

    name: str
    negative: tuple[bool, ...]
    size: tuple[Level, ...]  # log10
    norm: tuple[Level, ...]  # log10 of the Euclidean norm over all units


@dataclass(frozen=True)
class CellRun:
    """All steps of one cell. A name means the same in every tuple.

    ``values``: a_k before and k after the activation of gate k; h and c after the step, h_prev and
    c_prev before it; kept and written, the two terms of the new state; and what else a cell has
    on its way. ``slopes``: the derivative of an activation at its place, by the name of its output.
    ``gradients``: dL by that quantity, all ways counted; a_k for the gates; c_from_h: the part of
    c that came through h of the same step.
    ``ways``: what dL/ds_t of ``state`` s is the sum of: [t] of a gate came through that gate of
    step t+1, of all units; "direct" along the carousel, "injected" not through time.
    """

    state: Literal["c", "h"]
    gates: tuple[str, ...]
    values: tuple[CellValues, ...]
    slopes: tuple[CellValues, ...]
    gradients: tuple[CellGradient, ...]
    ways: tuple[CellGradient, ...]
    smallest_log10: float  # below it, float32 has no normal number


def run_cell(settings: CellSettings, proceed: Callable[[], None] = lambda: None) -> CellRun:
    """Measure the network, and take out one unit.

    Raises:
        CarouselError: the network has no such unit, or not what it is to be initialised with.
    """
    one, unit = settings.network, settings.unit
    if unit >= one.hidden:
        raise CarouselError(
            f"unit: expected one of the {one.hidden} units, 0 to {one.hidden - 1}, got {unit}."
        )
    module = network(one, settings.steps, settings.seed)
    of = Settings(one, one, settings.steps, settings.signal, settings.loss, settings.seed)
    x = signal(of)
    layer = measure(module, lambda: loss_of(module(x)[0], settings.loss))["l0"]
    proceed()
    ways = layer.paths()
    proceed()
    values, slopes = quantities(layer)
    return CellRun(
        state=ways.state,
        gates=tuple(layer.gates),
        values=tuple(CellValues(*entry) for entry in shown(values, unit)),
        slopes=tuple(CellValues(*entry) for entry in shown(slopes, unit)),
        gradients=signed(gradients(layer, values), unit),
        ways=signed(ways.scaled, unit),
        smallest_log10=math.log10(torch.finfo(torch.float32).tiny),
    )


def quantities(layer: LayerFlow) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The values of one forward pass, and the slopes of its activations, each [T, 1, H] by name."""
    gates, h_prev = dict(layer.gates), before(layer.h)
    values = {
        "x_norm": layer.norm("x").unsqueeze(-1),
        "h_prev": h_prev,
        **{f"a_{gate}": a for gate, a in layer.pre_activations.items()},
        **gates,
    }
    slopes = {gate: slope(layer.kind, gate, output) for gate, output in gates.items()}
    if layer.c is not None:
        i, f, g = gates["i"], gates.get("f"), gates["g"]
        c_prev, tanh_c = before(layer.c), layer.c.tanh()
        values |= {"c_prev": c_prev, "kept": c_prev if f is None else f * c_prev}
        values |= {"written": i * g, "c": layer.c, "tanh_c": tanh_c}
        slopes["tanh_c"] = 1 - tanh_c**2
    elif "z" in gates:
        r, z, n = gates["r"], gates["z"], gates["n"]
        q = layer.trace.trajectory.recurrent_n
        assert q is not None
        values |= {"q": q, "reset": r * q, "one_minus_z": 1 - z}
        values |= {"kept": z * h_prev, "written": (1 - z) * n}
    return values | {"h": layer.h}, slopes


def before(state: Tensor) -> Tensor:
    """The state that each step started from; the first, from zero."""
    return pad(state[:-1], (0, 0, 0, 0, 1, 0))


def slope(kind: str, gate: str, output: Tensor) -> Tensor:
    """The derivative of a gate's activation, from what it put out."""
    if kind == "RNN relu":
        return (~(output <= 0)).to(output.dtype)  # NaN stays in the open, as in torch
    return 1 - output**2 if gate in "gnh" else output - output**2


def gradients(layer: LayerFlow, values: Mapping[str, Tensor]) -> dict[str, Scaled]:
    """dL by what the diagram shows, by name; of a gate k by its pre-activation, a_k."""
    trace = layer.trace
    d_h = double(trace.d_h)
    # The gradient of 1997 goes through no peephole, so neither do its factors.
    lin = trace.cell.linearise(trace.trajectory, trace.weights, trace.gradient == "1997")
    rows = lin.from_h.unbind(-2)
    if trace.d_c is not None:
        assert lin.from_c is not None
        d_c = double(trace.d_c)
        inner = [gate for gate in trace.cell.gates if gate != "o"]
        from_c = zip(inner, lin.from_c.unbind(-2)[1:], strict=True)  # behind the carry
        found = {f"a_{gate}": times(row, d_c) for gate, row in from_c}
        found |= {"a_o": times(rows[0], d_h), "tanh_c": times(values["o"], d_h)}
        assert lin.c_from_h is not None
        found["c_from_h"] = times(lin.c_from_h, d_h)
        return found | {"c": d_c, "c_prev": earlier(d_c), "h": d_h, "h_prev": earlier(d_h)}
    found = {"h": d_h, "h_prev": earlier(d_h)}
    if lin.n_from_h is None:
        return found | {"a_h": times(rows[0], d_h)}
    _, r, z, q = rows
    found |= {"a_r": times(r, d_h), "a_z": times(z, d_h), "q": times(q, d_h)}
    return found | {"a_n": times(lin.n_from_h, d_h)}


def double(scaled: Scaled) -> Scaled:
    """In float64, where the product with a small factor is in range."""
    return Scaled(scaled.mantissa.double(), scaled.exponent)


def times(factor: Tensor, gradient: Scaled) -> Scaled:
    return gradient.linear(lambda mantissa: factor.double() * mantissa)


def earlier(gradient: Scaled) -> Scaled:
    """That of the step before; NaN in front of the first, which ``signed`` calls not recorded."""
    mantissa = pad(gradient.mantissa[:-1], (0, 0, 0, 0, 1, 0), value=math.nan)
    return Scaled(mantissa, pad(gradient.exponents()[:-1], (0, 0, 1, 0)))


def shown(
    found: Mapping[str, Tensor], unit: int
) -> list[tuple[str, tuple[Value, ...], tuple[Value, ...]]]:
    """Name, by step the unit's value, and by step the mean over the units."""
    return [
        (
            name,
            tuple(map(value, of[:, 0, min(unit, of.shape[-1] - 1)].tolist())),
            tuple(map(value, of[:, 0].double().mean(-1).tolist())),
        )
        for name, of in found.items()
    ]


def value(number: float) -> Value:
    """A number as JSON can say it."""
    if math.isnan(number):
        return "nan"
    if math.isinf(number):
        return "infinite" if number > 0 else "minus infinite"
    return number


def signed(found: Mapping[str, Scaled], unit: int) -> tuple[CellGradient, ...]:
    """By step, sign and log10 of the unit's entry, and log10 of the norm of all."""
    made = []
    for name, scaled in found.items():
        entry = scaled.mantissa[:, 0, unit].double()
        log10 = (entry.abs().log2() + scaled.exponents()[:, 0]) * math.log10(2)
        size, norm = (
            [exact(one) for one in each.tolist()]
            for each in (log10, scaled.log2_norm()[:, 0] * math.log10(2))
        )
        if name.endswith("_prev"):
            size[0] = norm[0] = "padding"
        made.append(CellGradient(name, tuple((entry < 0).tolist()), tuple(size), tuple(norm)))
    return tuple(made)


def exact(log10: float) -> Level:
    """A level with all its digits: parts are added up again."""
    named = level(log10)
    return named if isinstance(named, str) else log10
