"""The explorer's figures as scripts: what is shown, for anyone to run, change and quote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from carousel.learn._deeper import MOST_VALUES
from carousel.learn._settings import (
    CELLS,
    INPUT_SIZE,
    Network,
    Settings,
    applied,
    chrono_lag,
    spoken,
)

__all__ = ["Code", "CodeRequest", "code"]


@dataclass(frozen=True)
class CodeRequest:
    """The script of one figure."""

    settings: Settings = field(default_factory=Settings)
    figure: Literal["gradients", "products", "spectra", "itemised"] = "gradients"


@dataclass(frozen=True)
class Code:
    """Python that computes the same numbers with torch and Carousel."""

    text: str


def code(request: CodeRequest, proceed: Callable[[], None] = lambda: None) -> Code:
    """Write the script: both networks, the input, the loss, and what the figure draws."""
    proceed()
    settings = request.settings
    lines = ["import torch", "", "import carousel", "", *_input(settings), "", ""]
    lines += ["def loss_of(h):", f"    return {LOSSES[settings.loss](settings)}", "", ""]
    for name, one in (("first", settings.first), ("second", settings.second)):
        lines += [*_network(name, one, settings), ""]
    lines += FIGURES[request.figure]
    return Code("\n".join(lines) + "\n")


LOSSES: dict[str, Callable[[Settings], str]] = {
    "last": lambda _: "h[-1].square().sum() / 2",
    "middle": lambda settings: f"h[{(settings.steps - 1) // 2}].square().sum() / 2",
    "every": lambda _: "h.square().sum() / 2",
}


def _input(settings: Settings) -> list[str]:
    shape = f"{settings.steps}, 1, {INPUT_SIZE}"
    if settings.signal == "noise":
        seed = f"torch.Generator().manual_seed({settings.seed + 1})"
        return [f"x = torch.randn({shape}, generator={seed})"]
    lines = [f"x = torch.zeros({shape})"]
    if settings.signal == "pulse":
        lines.append("x[0] = 1")
    elif settings.signal == "wave":
        wave = f"torch.sin(torch.arange({settings.steps}) * (2 * torch.pi / 20))"
        lines.append(f"x += {wave}[:, None, None]")
    return lines


def _network(name: str, one: Network, settings: Settings) -> list[str]:
    """One network: made, changed, measured."""
    one = applied(one)
    cell = CELLS[one.cell]
    options = dict(cell.options)
    if one.gradient == "1997":
        options["gradient"] = "1997"
    said = "".join(f', {key}="{value}"' for key, value in options.items())
    generator = f"torch.Generator().manual_seed({settings.seed})"
    # Carousel's layers draw the same numbers as torch's, which is what its reader knows.
    home = "torch.nn" if of_torch(one) else "carousel"
    lines = [
        f"torch.manual_seed({settings.seed})  # {spoken(one)}",
        f"{name} = {home}.{cell.layer.__name__}({INPUT_SIZE}, {one.hidden}{said})",
    ]
    if one.init == "orthogonal":
        lines.append(f"carousel.init.orthogonal_({name}, generator={generator})")
    elif one.init == "identity":
        lines.append(f"carousel.init.identity_({name})")
    elif one.init == "chrono":
        lag = chrono_lag(settings.steps)
        lines.append(f"carousel.init.chrono_({name}, {lag}, {generator})")
    if one.forget_bias is not None:
        lines.append(f"carousel.init.forget_bias_({name}, {one.forget_bias!r})")
    if one.gain != 1:
        lines += ["with torch.no_grad():", f"    {name}.weight_hh_l0.mul_({one.gain!r})"]
    lines.append(f'{name} = carousel.measure({name}, lambda: loss_of({name}(x)[0]))["l0"]')
    return lines


def of_torch(one: Network) -> bool:
    """Whether torch has this cell, and its gradient."""
    return one.cell in ("rnn-tanh", "rnn-relu", "lstm", "gru") and one.gradient == "full"


BOTH = 'for name, layer in {"first": first, "second": second}.items():'

FIGURES: dict[str, list[str]] = {
    "gradients": [
        "curves = {}  # log10 of the norm over the units, by step",
        BOTH,
        '    curves[name, "d_h"] = layer.log10_norm("d_h")[:, 0]',
        "    if layer.c is not None:",
        '        curves[name, "d_c"] = layer.log10_norm("d_c")[:, 0]',
        "    ways = layer.paths()",
        "    if ways.carousel is not None:",
        '        curves[name, "carousel"] = ways.log10_norm("carousel")[:, 0]',
        "for (name, what), curve in curves.items():",
        '    print(f"{name:6} {what:8} at step 0: 10^{curve[0]:.3f}")',
    ],
    "products": [
        "norms, singular = {}, {}  # log10",
        BOTH,
        '    norms[name] = layer.jacobian_norms("frobenius").log10[:, 0]',
        "    last = layer.steps - 1",
        "    state = layer.hidden * (1 if layer.c is None else 2)",
        "    for lag in sorted({1, last // 4, last // 2, last} - {0}):",
        "        if lag <= last:",
        f"            found = layer.jacobian_product(last - lag, last, min({MOST_VALUES}, state))",
        "            singular[name, lag] = found.log10_singular_values[0]",
        "    print(name, layer.horizon())",
    ],
    "spectra": [
        "spectra = {}",
        BOTH,
        "    state = layer.hidden * (1 if layer.c is None else 2)",
        f"    spectra[name] = layer.spectrum(min({MOST_VALUES}, state))",
        "    print(name, spectra[name])",
    ],
    "itemised": [
        "matrices = {}  # log10 ||G[t_loss, t]||",
        BOTH,
        "    matrices[name] = layer.itemised().log10_h[:, :, 0]",
        "    print(name, layer.itemised())",
    ],
}
