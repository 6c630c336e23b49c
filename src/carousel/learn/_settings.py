"""What the explorer can be set to: two networks beside each other, on one input, with one loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Annotated, Literal

import torch
from torch import Tensor

from carousel.init import chrono_, forget_bias_, identity_, orthogonal_
from carousel.layers import GRU, LSTM, RNN
from carousel.learn._request import Range

__all__ = [
    "CELLS",
    "INPUT_SIZE",
    "CellName",
    "CellTraits",
    "Network",
    "Settings",
    "Unused",
    "applied",
    "chrono_lag",
    "ignored",
    "loss_of",
    "network",
    "signal",
    "spoken",
    "unused",
]

INPUT_SIZE = 4
DRAWING = Lock()

CellName = Literal["rnn-tanh", "rnn-relu", "lstm", "lstm-1997", "lstm-peephole", "gru"]
Init = Literal["default", "orthogonal", "identity", "chrono"]


@dataclass(frozen=True)
class Network:
    """One recurrent layer and how it is initialised."""

    cell: CellName = "lstm"
    hidden: Annotated[int, Range(1, 128)] = 64
    init: Init = "default"  # of W_hh; "chrono" of the biases, for a lag of all steps
    forget_bias: Annotated[float, Range(-10, 10, 0.1)] | None = None  # in total; None: as drawn
    gain: Annotated[float, Range(0, 4, 0.05)] = 1.0  # W_hh is multiplied by it after all
    gradient: Literal["full", "1997"] = "full"


@dataclass(frozen=True)
class Settings:
    """The whole of a figure: the same settings give the same numbers."""

    first: Network = field(default_factory=lambda: Network("rnn-tanh"))
    second: Network = field(default_factory=Network)
    steps: Annotated[int, Range(1, 500)] = 200
    signal: Literal["noise", "zeros", "pulse", "wave"] = "noise"
    loss: Literal["last", "middle", "every"] = "last"
    seed: Annotated[int, Range(0, 9999)] = 0


@dataclass(frozen=True)
class CellTraits:
    """What a choice of cell is, in words and in code."""

    name: str
    layer: type[RNN | LSTM | GRU]
    options: tuple[tuple[str, str], ...] = ()  # further arguments of the layer
    keeps: str = ""  # the gate that keeps the state and has a bias; "" where there is none


CELLS: dict[CellName, CellTraits] = {
    "rnn-tanh": CellTraits("tanh RNN", RNN),
    "rnn-relu": CellTraits("relu RNN", RNN, (("nonlinearity", "relu"),)),
    "lstm": CellTraits("LSTM", LSTM, (), "f"),
    "lstm-1997": CellTraits("LSTM of 1997", LSTM, (("variant", "1997"),)),
    "lstm-peephole": CellTraits("peephole LSTM", LSTM, (("variant", "peephole"),), "f"),
    "gru": CellTraits("GRU", GRU, (), "z"),
}


@dataclass(frozen=True)
class Unused:
    """A setting, or one choice of it, that means nothing for a cell."""

    field: str
    choice: str  # "": the whole field
    reason: str


def unused(settings: Network) -> tuple[Unused, ...]:
    """What does not apply to this cell, and why, whether it is set or not."""
    cell = CELLS[settings.cell]
    found = []
    if cell.layer is not RNN:
        why = "The identity is a start for a simple RNN: a gated cell keeps its state by its gates."
        found.append(Unused("init", "identity", why))
    if not cell.keeps:
        found.append(Unused("init", "chrono", f"Chrono sets the biases of gates, and {_no(cell)}."))
    if cell.keeps != "f":
        why = f"There is no such bias: {_no(cell)}."
        if cell.keeps == "z":
            why = (
                "A GRU has no forget gate: what keeps its state is the update gate z, "
                "h_t = (1 - z) n + z h_{t-1}. Chrono sets its bias, b_z = ln u."
            )
        found.append(Unused("forget_bias", "", why))
    elif settings.init == "chrono":
        why = "Chrono sets this bias itself, b_f = ln u with u from U(1, T - 1) for each unit."
        found.append(Unused("forget_bias", "", why))
    if cell.layer is not LSTM:
        why = "The truncated gradient of 1997 goes along a cell state c, which this cell has not."
        found.append(Unused("gradient", "1997", why))
    return tuple(found)


def _no(cell: CellTraits) -> str:
    if cell.layer is LSTM:
        return "the LSTM of 1997 has no forget gate: it keeps all of its cell state, f = 1"
    return "a simple RNN has no gates"


def applied(settings: Network) -> Network:
    """The settings with everything that does not apply as it is by default."""
    usual = Network(settings.cell)
    back = {one.field: getattr(usual, one.field) for one in _set_in_vain(settings)}
    return replace(settings, **back)


def ignored(settings: Network) -> tuple[str, ...]:
    """The reasons of what is set and does not apply."""
    return tuple(one.reason for one in _set_in_vain(settings))


def _set_in_vain(settings: Network) -> list[Unused]:
    usual = Network(settings.cell)
    return [
        one
        for one in unused(settings)
        if one.choice in ("", getattr(settings, one.field))
        and getattr(settings, one.field) != getattr(usual, one.field)
    ]


def spoken(settings: Network) -> str:
    """The network in a few words: "LSTM, forget bias 3"."""
    settings = applied(settings)
    said = [CELLS[settings.cell].name]
    if settings.hidden != Network().hidden:
        said.append(f"{settings.hidden} unit{'s' * (settings.hidden != 1)}")
    if settings.init != "default":
        said.append(settings.init)
    if settings.forget_bias is not None:
        said.append(f"forget bias {settings.forget_bias:g}")
    if settings.gain != 1:
        said.append(f"gain {settings.gain:g}")
    if settings.gradient == "1997":
        said.append("gradient of 1997")
    return ", ".join(said)


def network(settings: Network, steps: int, seed: int) -> RNN | LSTM | GRU:
    """The layer, freshly made from the seed; torch's own generator is left as it was."""
    settings = applied(settings)
    cell = CELLS[settings.cell]
    options = dict(cell.options)
    if settings.gradient == "1997":
        options["gradient"] = "1997"
    make: Callable[..., RNN | LSTM | GRU] = cell.layer
    # All threads share the generator: two requests at a time would draw from each other's seed.
    with DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = make(INPUT_SIZE, settings.hidden, **options)
        generator = torch.Generator().manual_seed(seed)
        if settings.init == "orthogonal":
            orthogonal_(layer, generator=generator)
        elif settings.init == "identity":
            identity_(layer)
        elif settings.init == "chrono":
            chrono_(layer, chrono_lag(steps), generator)
        if settings.forget_bias is not None:
            forget_bias_(layer, settings.forget_bias)
        with torch.no_grad():
            layer.get_parameter("weight_hh_l0").mul_(settings.gain)
    return layer


def chrono_lag(steps: int) -> int:
    """The longest lag that chrono is told: all steps, at least 3, so that U(1, T - 1) is one."""
    return max(steps, 3)


def signal(settings: Settings) -> Tensor:
    """The input, one sequence [T, 1, I]."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    shape = settings.steps, 1, INPUT_SIZE
    if settings.signal == "noise":
        return torch.randn(shape, generator=generator)
    x = torch.zeros(shape)
    if settings.signal == "pulse":
        x[0] = 1
    elif settings.signal == "wave":
        x += torch.sin(torch.arange(settings.steps) * (2 * torch.pi / 20))[:, None, None]
    return x


def loss_of(output: Tensor, place: str) -> Tensor:
    """Half the squared norm of h_t, at the last step, at the middle one, or added up over all."""
    if place == "every":
        return output.square().sum() / 2
    step = -1 if place == "last" else (len(output) - 1) // 2
    return output[step].square().sum() / 2
