"""Draws the gallery: each picture that Carousel makes, of four networks that read the same digits.

Run ``python docs/gallery.py``; it writes ``docs/gallery/*.png`` and ``docs/gallery.md``. Needs the
extras ``plots`` and ``data``. The networks are as they are drawn, before any training: what is
shown is what they could learn from, not what they have learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import nn

import carousel
from carousel import theory
from carousel.flow import LayerFlow
from carousel.study import SequenceClassifier
from carousel.tasks import load

HERE = Path(__file__).parent
HIDDEN, BATCH, DPI = 64, 32, 110


@dataclass(frozen=True)
class Network:
    """One of the four networks."""

    title: str
    cell: str
    prepare: Callable[[nn.Module], object] | None = None


@dataclass(frozen=True)
class Picture:
    """One quantity, drawn for every network that has it."""

    file: str
    title: str
    words: str
    draw: Callable[[LayerFlow, Axes], Axes]
    needs_c: bool = False


def networks(steps: int) -> tuple[Network, ...]:
    """As torch draws them, and with the initialisations that are meant for long lags."""
    return (
        Network("LSTM, torch's default", "lstm"),
        Network("LSTM, chrono", "lstm", lambda layer: carousel.init.chrono_(layer, steps)),
        Network("tanh RNN, torch's default", "rnn"),
        Network("tanh RNN, orthogonal", "rnn", carousel.init.orthogonal_),
    )


PICTURES = (
    Picture(
        "gradient",
        "The gradient by step: `layer.plot.gradient()`",
        "The loss is on the last step, so the injected part is zero before it, and all that an "
        "earlier step can learn from has come back through time.",
        lambda layer, ax: layer.plot.gradient(ax=ax),
    ),
    Picture(
        "gradient_c",
        '...and of the cell state: `layer.plot.gradient("c")`',
        "The total gradient on c, the constant error carousel and all other paths together.",
        lambda layer, ax: layer.plot.gradient("c", ax=ax),
        needs_c=True,
    ),
    Picture(
        "jacobian",
        "The product of the Jacobians by lag: `layer.plot.jacobian()`",
        "What one step's loss can send back, whatever the loss is, and the rate of the horizon.",
        lambda layer, ax: layer.plot.jacobian(ax=ax),
    ),
)
CLOSED_FORMS: dict[str, tuple[str, Callable[[], Axes]]] = {
    "power": ("theory.plot_power()", theory.plot_power),
    "product": ("theory.plot_product()", theory.plot_product),
    "largest_factor": ("theory.plot_largest_factor()", theory.plot_largest_factor),
    "forget_gate": ("theory.plot_forget_gate()", theory.plot_forget_gate),
}


def measured() -> dict[str, LayerFlow]:
    """The recurrent layer of each network, by title, over the same batch."""
    digits = load("digits")
    batch = (digits.train_inputs[:BATCH], digits.train_targets[:BATCH])
    layers = {}
    for network in networks(digits.steps):
        torch.manual_seed(0)
        model = SequenceClassifier(network.cell, batch[0].shape[-1], HIDDEN, digits.classes)
        if network.prepare is not None:
            network.prepare(model.recurrent)
        flow = carousel.measure(model, batch, nn.functional.cross_entropy)
        layers[network.title] = flow["recurrent.l0"]
    return layers


def draw(picture: Picture, layers: dict[str, LayerFlow], folder: Path) -> None:
    """One panel for each network that has the quantity."""
    shown = {name: one for name, one in layers.items() if one.c is not None or not picture.needs_c}
    rows = -(-len(shown) // 2)
    figure, panels = plt.subplots(rows, 2, figsize=(12.6, 3.9 * rows), layout="constrained")
    for panel, (name, layer) in zip(panels.flat, shown.items(), strict=True):
        picture.draw(layer, panel).set_title(name, loc="left", fontsize=10.5, pad=24)
    figure.savefig(folder / f"{picture.file}.png", dpi=DPI)
    plt.close(figure)


def page(layers: dict[str, LayerFlow], steps: int) -> str:
    """The page around the pictures, with the measured horizons."""
    lines = [
        "# Gallery",
        "",
        "Made by `python docs/gallery.py`.",
        f"Four networks before any training, {HIDDEN} units each, read {BATCH} handwritten digits,",
        f"one pixel a step, {steps} steps; the loss is the cross entropy after the last one.",
        "",
        "| network | horizon |",
        "|---|---|",
        *(f"| {name} | {layer.horizon()} |" for name, layer in layers.items()),
        "",
    ]
    for picture in PICTURES:
        lines += [f"## {picture.title}", "", picture.words, ""]
        lines += [f"![{picture.title}](gallery/{picture.file}.png)", ""]
    lines += ["## Closed forms", ""]
    for file, (call, _) in CLOSED_FORMS.items():
        lines += [f"`carousel.{call}`", "", f"![{call}](gallery/{file}.png)", ""]
    return "\n".join(lines)


def main() -> None:
    """Write the pictures and the page."""
    mpl.use("agg")
    folder = HERE / "gallery"
    folder.mkdir(exist_ok=True)
    layers = measured()
    for picture in PICTURES:
        draw(picture, layers, folder)
    for file, (_, plot) in CLOSED_FORMS.items():
        figure = plot().get_figure(root=True)
        assert figure is not None
        figure.savefig(folder / f"{file}.png", dpi=DPI)
        plt.close(figure)
    steps = next(iter(layers.values())).steps
    (HERE / "gallery.md").write_text(page(layers, steps), encoding="utf-8")


if __name__ == "__main__":
    main()
