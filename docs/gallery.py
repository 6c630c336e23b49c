"""Draws the gallery: each picture that Carousel makes, of four networks that read the same digits.

Run ``make gallery``, or ``python docs/gallery.py``; it writes ``docs/gallery/*.png`` and
``docs/gallery.md``, words and numbers included. Needs the extras ``plots`` and ``data``. The
networks are as they are drawn, before any training: what is shown is what they could learn from,
not what they have learnt. They compute in float64, so that every machine comes to the numbers of
the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import carousel
from carousel import theory
from carousel.flow import LayerFlow
from carousel.study import SequenceClassifier
from carousel.tasks import load

HERE = Path(__file__).parent
HIDDEN, BATCH, SEED, DPI = 64, 32, 0, 110
LAST, EVERY = "last", "every"  # at which step a loss is

Layers = Mapping[str, LayerFlow]  # the recurrent layer of each network, by the network's name


@dataclass(frozen=True)
class Network:
    """One of the four networks."""

    name: str
    cell: str
    prepare: Callable[[nn.Module], object] | None = None


@dataclass(frozen=True)
class Picture:
    """One quantity, drawn for every network that has it."""

    file: str
    title: str
    call: str
    words: Callable[[Layers], str]  # what to see, with the measured numbers
    draw: Callable[[LayerFlow, Axes], Axes]
    loss: str = LAST
    needs_c: bool = False


def networks(steps: int) -> tuple[Network, ...]:
    """As torch draws them, and with the initialisations that are meant for long lags."""
    return (
        Network("LSTM, torch's default", "lstm"),
        Network("LSTM, chrono", "lstm", lambda layer: carousel.init.chrono_(layer, steps)),
        Network("tanh RNN, torch's default", "rnn"),
        Network("tanh RNN, orthogonal", "rnn", carousel.init.orthogonal_),
    )


def measured(loss: str, *, hidden: int = HIDDEN, batch: int = BATCH) -> dict[str, LayerFlow]:
    """The recurrent layer of each network over the same batch.

    Args:
        loss: LAST, the cross entropy after the last step; EVERY, its mean over all steps.
        hidden: H.
        batch: B.
    """
    digits = load("digits")
    inputs, targets = digits.train_inputs[:batch].double(), digits.train_targets[:batch]
    layers = {}
    for network in networks(digits.steps):
        torch.manual_seed(SEED)
        model = SequenceClassifier(network.cell, inputs.shape[-1], hidden, digits.classes)
        if network.prepare is not None:
            network.prepare(model.recurrent)
        loss_fn = nn.functional.cross_entropy if loss == LAST else at_every_step
        flow = carousel.measure(model.double(), (inputs, targets), loss_fn)
        layers[network.name] = flow["recurrent.l0"]
    return layers


def at_every_step(model: SequenceClassifier, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The digit is asked for after each pixel."""
    inputs, targets = batch
    output, _ = model.recurrent(inputs)
    logits = model.head(output).transpose(1, 2)  # [B, C, T]
    return nn.functional.cross_entropy(logits, targets.unsqueeze(1).expand(-1, logits.shape[2]))


def each(layers: Layers, number: Callable[[LayerFlow], str]) -> str:
    """A number of each network, as a list within a sentence."""
    return "; ".join(f"{name}: {number(layer)}" for name, layer in layers.items())


def power(log10: float) -> str:
    """A positive number of any size, by its log10, to two digits."""
    if -3 < log10 < 4:
        return f"{float(f'{10**log10:.2g}'):g}"
    exponent = math.floor(log10)
    digits = f"{10 ** (log10 - exponent):.1f}"
    return f"1.0e{exponent + 1}" if digits == "10.0" else f"{digits}e{exponent}"


def median(log10: Tensor) -> float:
    """Over the sequences."""
    return float(log10.quantile(0.5))


def fall(layer: LayerFlow, name: str) -> str:
    """What the first step has of the last step's gradient."""
    norms = layer.log10_norm(name)
    return power(median(norms[0]) - median(norms[-1]))


def gradient_words(layers: Layers) -> str:
    """Of d_h."""
    return (
        "The loss is on the last step: the injected part is zero before it, and all that an "
        "earlier step can learn from has come back through time. What is left at step 0 of the "
        f"gradient at the last step: {each(layers, lambda layer: fall(layer, 'd_h'))}."
    )


def gradient_c_words(layers: Layers) -> str:
    """Of d_c."""
    return (
        "The same of the cell state, the carousel and all other paths together. Left at step 0: "
        f"{each(layers, lambda layer: fall(layer, 'd_c'))}."
    )


def paths_words(layers: Layers) -> str:
    """How the gradient came."""

    def alone(layer: LayerFlow) -> str:
        paths = layer.paths()
        if paths.carousel is None:
            return "no carousel, all of it through the weights"
        direct = float(paths.shares()["direct"][0].quantile(0.5))
        left = median(paths.log10_norm("carousel")[0] - paths.log10_norm("total")[0])
        return (
            f"{100 * direct:.1f} % came straight from the step after, and the carousel alone would "
            f"leave {power(left)} of the total"
        )

    return (
        "Above the size of the gradient, below how it came from the step after: straight along the "
        f"carousel, or through a gate. At step 0 (medians), {each(layers, alone)}."
    )


def jacobian_words(layers: Layers) -> str:
    """By lag."""

    def left(layer: LayerFlow) -> str:
        full = power(median(layer.jacobian_norms().log10[-1]))
        if layer.c is None:
            return full
        alone = power(median(layer.carousel_share().log10_carousel[-1]))
        return f"{full}, along the carousel alone {alone}"

    lags = next(iter(layers.values())).steps - 1
    return (
        "What one step's loss can send back, whatever the loss is, with the rate of the horizon "
        f"beside it. The norm that is left over {lags} steps: {each(layers, left)}."
    )


def spectrum_words(layers: Layers) -> str:
    """The exponents."""

    def leading(layer: LayerFlow) -> str:
        found = layer.spectrum()
        resolved = int(found.exponents.isfinite().sum())
        return (
            f"{float(found.exponents[0]):+.3f} per step, {resolved} of {found.size} exponents "
            "resolved"
        )

    return (
        "How fast nearby states come together, direction by direction. The largest exponent "
        "decides how long anything is remembered; under chrono the directions that forget at "
        f"once lie too far below the others to be resolved: {each(layers, leading)}."
    )


def itemised_words(layers: Layers) -> str:
    """Loss by step."""

    def first(layer: LayerFlow) -> str:
        items = layer.itemised().log10_h
        return power(median(items[-1, 0] - items[0, 0]))

    return (
        "A loss at every step here, and colours of its own for each network. "
        "A row is one step's loss, and its way back through time leads "
        "to the left: the faster the colours fade, the less can be learnt from what was read "
        "before. What the last loss sends to step 0, beside what the loss of step 0 itself sends "
        f"there: {each(layers, first)}."
    )


def truncation_words(layers: Layers) -> str:
    """The length that is needed."""
    return (
        "A loss at every step. How wrong the gradient of the layer's weights and biases is when "
        "each loss goes back over k steps only. At most 10 % wrong "
        f"from this k on: {each(layers, lambda layer: str(layer.truncation_length(0.1)))}."
    )


def parameter_words(layers: Layers) -> str:
    """Early against late terms."""

    def early(layer: LayerFlow) -> str:
        terms = layer.parameter_terms("weight_hh")
        half = layer.steps // 2
        return power(float(terms.log10_from_start[half - 1] - terms.log10_from_start[-1]))

    return (
        "The gradient of the recurrent weights is a sum over the steps. The first half of the "
        f"sequence makes this much of it, norm by norm: {each(layers, early)}."
    )


def omega_words(layers: Layers) -> str:
    """The ratio."""

    def ratio(layer: LayerFlow) -> str:
        log10 = layer.omega().log10_ratio
        return f"{10 ** float(log10[log10.isfinite()].quantile(0.5)):.3f}"

    return (
        "1 keeps the gradient's size; the regulariser Omega of Pascanu et al. 2013 is the squared "
        f"distance from it. The median over steps and sequences: {each(layers, ratio)}."
    )


PICTURES = (
    Picture(
        *("gradient", "The gradient by step", "gradient()", gradient_words),
        lambda layer, ax: layer.plot.gradient(ax=ax),
    ),
    Picture(
        *("gradient_c", "The gradient of the cell state", 'gradient("c")', gradient_c_words),
        lambda layer, ax: layer.plot.gradient("c", ax=ax),
        needs_c=True,
    ),
    Picture(
        *("paths", "The ways that it came", "paths()", paths_words),
        lambda layer, ax: layer.plot.paths(ax=ax),
    ),
    Picture(
        *("jacobian", "The product of the Jacobians by lag", "jacobian()", jacobian_words),
        lambda layer, ax: layer.plot.jacobian(ax=ax),
    ),
    Picture(
        *("spectrum", "The Lyapunov spectrum", "spectrum()", spectrum_words),
        lambda layer, ax: layer.plot.spectrum(ax=ax),
    ),
    Picture(
        *("omega", "Growth from step to step", "omega()", omega_words),
        lambda layer, ax: layer.plot.omega(ax=ax),
    ),
    Picture(
        *("itemised", "The gradient, item by item", "itemised()", itemised_words),
        lambda layer, ax: layer.plot.itemised(ax=ax),
        loss=EVERY,
    ),
    Picture(
        *("truncation", "What truncation throws away", "truncation()", truncation_words),
        lambda layer, ax: layer.plot.truncation(ax=ax),
        loss=EVERY,
    ),
    Picture(
        "parameter_terms",
        "Which steps make the gradient of the weights",
        'parameter_terms("weight_hh")',
        parameter_words,
        lambda layer, ax: layer.plot.parameter_terms("weight_hh", ax=ax),
    ),
)
CLOSED_FORMS: dict[str, tuple[str, Callable[[], Axes]]] = {
    "power": ("theory.plot_power()", theory.plot_power),
    "product": ("theory.plot_product()", theory.plot_product),
    "largest_factor": ("theory.plot_largest_factor()", theory.plot_largest_factor),
    "forget_gate": ("theory.plot_forget_gate()", theory.plot_forget_gate),
}


def shown(picture: Picture, layers: Layers) -> dict[str, LayerFlow]:
    """The networks that have the quantity."""
    return {name: one for name, one in layers.items() if one.c is not None or not picture.needs_c}


def draw(picture: Picture, layers: Layers, folder: Path) -> None:
    """One panel for each network that has the quantity."""
    there = shown(picture, layers)
    rows = -(-len(there) // 2)
    figure, panels = plt.subplots(rows, 2, figsize=(12.6, 4.1 * rows), layout="constrained")
    for panel, (name, layer) in zip(panels.flat, there.items(), strict=True):
        picture.draw(layer, panel).set_title(name, loc="left", fontsize=10.5, pad=24)
    save(figure, folder / f"{picture.file}.png")


def save(figure: Figure, path: Path) -> None:
    """Write a picture in 256 colours, which are all that it has but for the edges of letters."""
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    with Image.open(path) as drawn:
        small = drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def page(layers: Mapping[str, Layers]) -> str:
    """The page around the pictures, with the measured numbers.

    Args:
        layers: by the step at which the loss is.
    """
    last = layers[LAST]
    one = next(iter(last.values()))
    steps = one.steps
    lines = [
        "# Gallery",
        "",
        "Made by `make gallery`, words and numbers included; `docs/gallery.py` is the whole of it.",
        f"Four networks before any training, {one.hidden} units each, read {one.batch} handwritten",
        f"digits, one pixel a step, {steps} steps. The loss is the cross entropy after the last",
        "one, or after every one where it says so. Lines are medians over the sequences, bands go",
        "from the 10 % to the 90 % quantile.",
        "",
        "| network | what one step's loss sends back halves every | certificate |",
        "|---|---|---|",
    ]
    for name, layer in last.items():
        half_life = layer.horizon().half_life
        halves = "does not fall" if half_life is None else f"{half_life:.3g} steps"
        met = "within its limit" if layer.certificate <= layer.certificate_limit else "above it"
        lines.append(f"| {name} | {halves} | {met} |")
    for picture in PICTURES:
        words = picture.words(shown(picture, layers[picture.loss]))
        lines += ["", f"## {picture.title}: `layer.plot.{picture.call}`", "", words, ""]
        lines += [f"![{picture.title}](gallery/{picture.file}.png)"]
    lines += ["", "## Closed forms", "", "The theory alone, from `carousel.theory`."]
    for file, (call, _) in CLOSED_FORMS.items():
        lines += ["", f"`{call}`", "", f"![{call}](gallery/{file}.png)"]
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the pictures and the page."""
    mpl.use("agg")
    folder = HERE / "gallery"
    folder.mkdir(exist_ok=True)
    layers = {loss: measured(loss) for loss in (LAST, EVERY)}
    for picture in PICTURES:
        draw(picture, layers[picture.loss], folder)
    for file, (_, plot) in CLOSED_FORMS.items():
        figure = plot().get_figure(root=True)
        assert figure is not None
        save(figure, folder / f"{file}.png")
    (HERE / "gallery.md").write_text(page(layers), encoding="utf-8")


if __name__ == "__main__":
    main()
