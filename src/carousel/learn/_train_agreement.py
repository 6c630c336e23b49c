"""Trains the networks of the page's sentences, and counts what they get right.

    python -m carousel.learn._train_agreement          # eight minutes of one core

Writes the parameters (safetensors) and the counts (JSON) into ``carousel/learn/agreement``. Both
cells are treated alike: the same sentences, Adam with a rate that falls linearly to a twentieth,
the norm of the gradient clipped, and the learning rate of a small grid whose validation loss is
lowest at the end. That is done for two budgets, a short and a long one. The network that ships is
always that of the first seed; the further seeds say how much hangs on luck.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from carousel.learn._agreement_models import CELLS, Budget, Cell, Predictor, encode, file_name
from carousel.tasks import Agreement, AgreementSentence, other_number

__all__ = ["Plan", "Run", "right", "train_all"]


@dataclass(frozen=True)
class Plan:
    """All that decides about the result."""

    steps: dict[Budget, int] = field(default_factory=lambda: {"short": 1_000, "long": 5_000})
    learning_rates: tuple[float, ...] = (0.003, 0.01, 0.03)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    batch: int = 64
    clip_norm: float = 1.0
    longest: int = 30  # distances in training and validation: 1 to this, all equally often
    sentences: int = 1_000  # of each distance, for training
    validation: int = 20  # of each distance
    tested_to: int = 100
    tests: int = 50  # of each distance with each number of attractors
    curve_points: int = 25


@dataclass(frozen=True)
class Words:
    """Sentences of one distance: word indices [T, N], and both forms of each verb."""

    words: Tensor  # int64 [T, N], 0 after the end
    verb: Tensor  # int64 [N], the position
    wrong: Tensor  # int64 [N], the index of the verb's other form


@dataclass
class Run:
    """One training, and what came of it."""

    cell: Cell
    budget: Budget
    seed: int
    learning_rate: float
    parameters: int
    validation_loss: float = float("nan")  # nats per word
    curve: list[tuple[int, float]] = field(default_factory=list)  # step, share of right verbs
    hits: list[list[int]] = field(default_factory=list)  # by distance, by attractors


def train_all(folder: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Everything, in an order that depends on nothing but the plan."""
    started = time.process_time()
    pool = [words(d, plan.sentences, "training", 1) for d in range(1, plan.longest + 1)]
    validation = [words(d, plan.validation, "validation", 2) for d in range(1, plan.longest + 1)]
    test = [
        [words(d, plan.tests, "test", 3, k) for k in range(7) if 3 * k < d]
        for d in range(1, plan.tested_to + 1)
    ]
    say(f"sentences made ({time.process_time() - started:.0f} s)")
    shipped, further = [], []
    for budget in plan.steps:
        for cell in CELLS:
            tried = []
            for rate in plan.learning_rates:
                tried.append(train(cell, budget, plan.seeds[0], rate, (pool, validation), plan))
                say(told(tried[-1][0], started))
            run, model = min(tried, key=lambda one: one[0].validation_loss)
            run.hits = counted(model, test)
            (folder / file_name(cell, budget)).write_bytes(save(model.state_dict()))
            losses = [(one.learning_rate, one.validation_loss) for one, _ in tried]
            shipped.append(asdict(run) | {"tried": losses})
            for seed in plan.seeds[1:]:
                data = pool, validation
                other, model = train(cell, budget, seed, run.learning_rate, data, plan)
                other.hits = counted(model, test)
                say(told(other, started))
                further.append(asdict(other))
    found = {
        "plan": asdict(plan),
        "runs": shipped,
        "further": further,
        "cpu_seconds": round(time.process_time() - started),
    }
    (folder / "results.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


def words(distance: int, count: int, part: str, seed: int, attractors: int | None = None) -> Words:
    """Sentences of one distance; with any number of attractors, all equally often, or with one."""
    rng = random.Random(f"{seed} {distance} {attractors}")
    made: list[AgreementSentence] = []
    for _ in range(count):
        k = rng.randint(0, min(6, (distance - 1) // 3)) if attractors is None else attractors
        made.append(Agreement(distance, k).sentence(rng, part=part))  # type: ignore[arg-type]
    return Words(
        nn.utils.rnn.pad_sequence([encode(one.words) for one in made]),
        torch.tensor([one.verb for one in made]),
        encode(other_number(one.words[-1]) for one in made),
    )


def train(
    cell: Cell,
    budget: Budget,
    seed: int,
    learning_rate: float,
    data: tuple[list[Words], list[Words]],
    plan: Plan,
) -> tuple[Run, Predictor]:
    """One network from its initialisation to the end of the budget."""
    pool, validation = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Predictor(cell)
    run = Run(cell, budget, seed, learning_rate, model.parameter_count)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    steps = plan.steps[budget]
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    points = {round(steps * k / plan.curve_points) for k in range(plan.curve_points + 1)}
    for step in range(steps + 1):
        if step in points:
            hits = sum(int(right(model, one).sum()) for one in validation)
            run.curve.append((step, hits / (plan.validation * plan.longest)))
        if step == steps:
            break
        distance = int(torch.randint(plan.longest, (), generator=order))
        chosen = torch.randint(plan.sentences, (plan.batch,), generator=order)
        optimizer.zero_grad()
        loss_of(model, pool[distance].words[:, chosen]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        losses = [loss_of(model, one.words).item() for one in validation]
    run.validation_loss = sum(losses) / len(losses)
    return run, model


def loss_of(model: Predictor, sentences: Tensor) -> Tensor:
    """Mean cross entropy of the next word, in nats, over all words but the first."""
    h, wanted = model(sentences[:-1]), sentences[1:]
    there = wanted > 0
    return nn.functional.cross_entropy(model.head(h[there]), wanted[there])


@torch.no_grad()
def right(model: Predictor, given: Words) -> Tensor:
    """Whether the verb's right form has the larger logit, bool [N]. The verb itself is not read."""
    numbers = torch.arange(len(given.verb))
    logits = model.head(model(given.words)[given.verb - 1, numbers])
    wanted = given.words[given.verb, numbers]
    found: Tensor = logits[numbers, wanted] > logits[numbers, given.wrong]
    return found


def counted(model: Predictor, test: list[list[Words]]) -> list[list[int]]:
    """Right answers by distance and number of attractors."""
    return [[int(right(model, one).sum()) for one in row] for row in test]


def told(run: Run, started: float) -> str:
    """A line for the reader."""
    return (
        f"{run.cell} {run.budget} seed {run.seed} rate {run.learning_rate}: validation loss "
        f"{run.validation_loss:.4f}, {run.curve[-1][1]:.1%} of the verbs right "
        f"({time.process_time() - started:.0f} s)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the networks of the page's sentences.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "agreement")
    torch.set_num_threads(1)
    train_all(parser.parse_args().folder, Plan(), lambda line: print(line, flush=True))  # noqa: T201
