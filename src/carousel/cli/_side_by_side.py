"""What the demo does, apart from talking to the terminal."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from carousel.flow import Flow, measure
from carousel.report import Report
from carousel.study import Progress, TrainingRecord, model_for, sequence_loss, train
from carousel.tasks import Metric, SequenceData, load

if TYPE_CHECKING:
    from carousel.cli._progress import Announce

__all__ = ["side_by_side"]

NETWORKS = {"rnn": "tanh RNN", "lstm": "LSTM"}
SEQUENCES = 32  # of the test part, that are measured


@dataclass(frozen=True)
class Recipe:
    """How both networks are trained alike; chosen so that each of them learns well."""

    epochs: int
    batch_size: int
    learning_rate: float


RECIPES = {"digits": Recipe(40, 64, 5e-3), "text": Recipe(4, 32, 1e-2)}


def side_by_side(
    name: str, *, hidden_size: int, seed: int, seconds: float, progress: Announce
) -> Report:
    """Train a tanh RNN and an LSTM on the same data, and measure both before and after.

    Args:
        name: of the data set.
        hidden_size: H of both networks.
        seed: of the weights and of the order of the training sequences.
        seconds: for both trainings together.
        progress: told how far each part is.
    """
    progress("data", 0.0, name)
    data = load(name)
    progress("data", 1.0, name)
    recipe = RECIPES[name]
    flows: dict[str, Flow] = {}
    untrained: dict[str, Flow] = {}
    records: dict[str, TrainingRecord] = {}
    with one_thread():
        for cell, network in NETWORKS.items():
            model = model_for(data, cell, hidden_size=hidden_size, seed=seed)
            untrained[f"{network}, untrained"] = last_step_flow(model, data)

            def tell(done: Progress, network: str = network) -> None:
                words = f"epoch {done.epoch}, loss {done.loss:.2f}"
                # All of it is done only when the test part has been measured.
                progress(f"training the {network}", min(done.fraction, 0.99), words)

            records[network] = train(
                model,
                data,
                epochs=recipe.epochs,
                seconds=seconds / len(NETWORKS),
                batch_size=recipe.batch_size,
                learning_rate=recipe.learning_rate,
                seed=seed,
                progress=tell,
            )
            progress(f"training the {network}", 1.0, learnt(records[network]))
            flows[network] = last_step_flow(model, data)
        report = Report(
            flows | untrained,
            title=f"A tanh RNN and an LSTM of {hidden_size} units, side by side",
            summary=conclusion(flows, untrained, records, data),
            facts=facts(records, data, recipe),
        )
        progress("measuring", 0.0, "")
        _ = report.data  # the horizons are measured when the report first needs them
        progress("measuring", 1.0, "")
    return report


def last_step_flow(model: nn.Module, data: SequenceData) -> Flow:
    """The flow of the loss on the last step alone, over the first test sequences."""
    batch = data.test_inputs[:SEQUENCES], data.test_targets[:SEQUENCES]

    def last_step_loss(logits: Tensor, targets: Tensor) -> Tensor:
        if data.target_each_step:
            logits, targets = logits[:, -1], targets[:, -1]
        return sequence_loss(logits, targets)

    return measure(model, batch, last_step_loss)


def conclusion(
    flows: dict[str, Flow],
    untrained: dict[str, Flow],
    records: dict[str, TrainingRecord],
    data: SequenceData,
) -> str:
    """One sentence, from the numbers."""
    changes = [
        f"in the trained {network} it {course(flows[network])} "
        f"(before training it {course(untrained[f'{network}, untrained'])})"
        for network in flows
    ]
    reached = [f"the {network} {learnt(record)}" for network, record in records.items()]
    return (
        f"The gradient of the last step's loss goes back over {data.steps - 1} steps: "
        f"{', '.join(changes)}; {', '.join(reached)}, and without any memory one gets "
        f"{in_metric(data.baseline, data.metric)}."
    )


def course(flow: Flow) -> str:
    """What became of the gradient's norm from the last step to the first, by the medians."""
    layer = next(iter(flow.layers.values()))
    norms = layer.log10_norm("d_h").median(dim=1).values
    return change(float(norms[0] - norms[-1]))


def change(log10_ratio: float) -> str:
    """What became of a norm, given the log10 of the ratio."""
    if math.isnan(log10_ratio):
        return "is not a number"
    if log10_ratio == -math.inf:
        return "becomes exactly zero"
    powers = f"{abs(log10_ratio):.1f}"
    if powers == "0.0":
        return "keeps its size"
    return f"{'shrinks' if log10_ratio < 0 else 'grows'} by {powers} powers of ten"


def learnt(record: TrainingRecord) -> str:
    """What a training reached."""
    if record.ended == "not finite":
        return f"broke off after {record.steps} steps, its loss no longer finite"
    return f"reaches {in_metric(record.final_metric, record.metric)}"


def in_metric(value: float, metric: Metric) -> str:
    """A value of the metric in words."""
    return f"{value:.1%} accuracy" if metric == "accuracy" else f"{value:.2f} bits per character"


def facts(
    records: dict[str, TrainingRecord], data: SequenceData, recipe: Recipe
) -> dict[str, str | float | dict[str, str | float]]:
    """What the report says beside the gradients."""
    metric = data.metric
    return {
        "data": data.description,
        "the gradient is that of": "the loss on the last step alone, "
        f"of {SEQUENCES} sequences of the test part",
        "the lines compare": "by how far each falls from its own last step: how high it begins is "
        "the size of that network's own loss gradient, and says nothing of time",
        f"{metric} without memory": f"{in_metric(data.baseline, metric)} "
        f"({data.baseline_description})",
        "training": f"Adam, learning rate {recipe.learning_rate}, batches of {recipe.batch_size} "
        f"sequences, up to {recipe.epochs} epochs, the same for both",
        metric: {network: record.final_metric for network, record in records.items()},
        "updates": {network: record.steps for network, record in records.items()},
        "seconds": {
            network: round(record.elapsed_seconds, 1) for network, record in records.items()
        },
    }


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: the products are too small to share, and waiting costs more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
