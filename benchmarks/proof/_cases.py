"""Models that are sick or healthy by construction: a fault is planted, and is therefore known.

What a case has is never asked of a rule. Where a fault makes the gradient vanish or grow, its rate
is set so that twelve e-folds lie between the loss and the lag; where a case is healthy, it is at
most about one. Cases in between, over which one can argue, are not made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from carousel.tasks import long_range
from proof import _faults as faults
from proof._readers import READERS, StackReader

__all__ = ["Built", "Case", "Fault", "cases"]

LAGS = (50, 100)
TASKS = ("adding", "delayed-recall", "temporal-order")
TUNING_SEEDS, TESTING_SEEDS = (0,), (1, 2)
HIDDEN, SEQUENCES = 24, 16
MAKING = 2**34  # added to the seed: the sequences of no training


# Every rule about memory: what follows from a fault that is not about memory, or does not.
MEMORY = frozenset({"vanishing", "growing", "forget-gate-default", "contraction", "non-normal"})

# A layer through which nothing comes starves the one below it.
STACK = frozenset({"starved"})


@dataclass(frozen=True)
class Fault:
    """One way to be sick, or healthy.

    Attributes:
        name: of the fault.
        cells: that can have it.
        has: the rules that have to find something; none in a healthy model.
        may: the rules that may find something, since the fault can lead to it; they count neither
            way. All others have to be silent.
        plant: changes the model, given the lag in steps.
        inputs: changes the inputs [B, T, I].
        reader: how the model is run, a key of ``READERS``.
        layers: how many, where it matters.
        source: "torch" or "carousel", where it matters.
        lag: what is said to be needed, from the task's lag.
        steps: how many steps are shown, from the task's; the beginning is left out.
        curable: a remedy can be asked for: the fault lies in the weights.
    """

    name: str
    cells: tuple[str, ...]
    has: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    plant: Callable[[StackReader, int], object] = lambda _model, _lag_steps: None
    inputs: Callable[[Tensor], Tensor] = lambda inputs: inputs
    reader: str = "whole"
    layers: int | None = None
    source: str | None = None
    dtype: torch.dtype = torch.float32
    lag: Callable[[int], int | None] = lambda lag_steps: lag_steps
    steps: Callable[[int], int] = lambda steps: steps
    clip_norm: float | None = None
    curable: bool = False


GATED = ("LSTM", "GRU")
SIMPLE = ("tanh RNN", "relu RNN")
EVERY = (*GATED, *SIMPLE)


def rules(*names: str) -> frozenset[str]:
    """A set of rules by name."""
    return frozenset(names)


HEALTHY = (
    Fault("healthy", EVERY, curable=True),
    Fault("healthy, two layers", EVERY, layers=2),
    Fault("healthy, of Carousel", EVERY, source="carousel"),
    Fault("healthy, in chunks that hand the state on", EVERY, reader="carried"),
    Fault("healthy, forget bias in one of the biases", ("LSTM",), plant=faults.one_bias),
    Fault("healthy, orthogonal gate by gate", GATED, plant=faults.orthogonal_gates),
    Fault("healthy, a lag of two steps", GATED, plant=faults.default, lag=lambda _: 2),
    Fault("healthy, clipped now and then", EVERY, clip_norm=1e3),
    # Nobody said what is needed, so that nothing about memory may be an alarm.
    Fault("no lag given", GATED, plant=faults.default, lag=lambda _: None),
)

SICK = (
    Fault(
        "as torch draws it",
        ("LSTM",),
        rules("vanishing", "forget-gate-default"),
        plant=faults.default,
        curable=True,
    ),
    Fault(
        "as torch draws it",
        ("GRU",),
        rules("vanishing"),
        rules("forget-gate-default"),
        plant=faults.default,
        curable=True,
    ),
    Fault(
        "as torch draws it",
        SIMPLE,
        rules("vanishing"),
        rules("contraction", "dead-relu"),
        plant=faults.default,
        curable=True,
    ),
    Fault("forgets", ("LSTM",), rules("vanishing"), plant=faults.forgets, curable=True),
    Fault(
        "chrono for a shorter lag",
        GATED,
        rules("vanishing"),
        plant=faults.short_chrono,
        curable=True,
    ),
    Fault(
        "small recurrent weight",
        SIMPLE,
        rules("vanishing", "contraction"),
        plant=faults.small_weight,
        curable=True,
    ),
    Fault("grows", ("relu RNN", "linear RNN"), rules("growing"), plant=faults.grows, curable=True),
    Fault(
        "output gate shut",
        ("LSTM",),
        rules("saturated"),
        MEMORY | STACK,
        plant=faults.shut("o", -12.0),
        curable=True,
    ),
    Fault(
        "input gate shut",
        ("LSTM",),
        rules("saturated"),
        STACK,
        plant=faults.shut("i", -12.0),
        curable=True,
    ),
    Fault(
        "forget gate shut",
        ("LSTM",),
        rules("saturated", "vanishing"),
        plant=faults.shut("f", -12.0),
        curable=True,
    ),
    Fault(
        "update gate stuck",
        ("GRU",),
        rules("saturated"),
        STACK,
        plant=faults.shut("z", 12.0),
        curable=True,
    ),
    Fault(
        "inputs a thousand times too large",
        ("LSTM", "GRU", "tanh RNN"),
        rules("saturated"),
        MEMORY | STACK,
        plant=faults.default,
        inputs=lambda inputs: 1000 * inputs,
    ),
    Fault(
        "forget bias twice",
        ("LSTM",),
        rules("double-forget-bias"),
        MEMORY,
        plant=faults.double_forget_bias,
        curable=True,
    ),
    Fault(
        "chrono twice",
        GATED,
        rules("double-chrono"),
        rules("saturated"),
        plant=faults.double_chrono,
        curable=True,
    ),
    Fault(
        "orthogonal as a stack",
        GATED,
        rules("stacked-orthogonal"),
        plant=faults.stacked_orthogonal,
        curable=True,
    ),
    Fault(
        "dead",
        ("relu RNN",),
        rules("dead-relu", "vanishing"),
        STACK | rules("injected-only", "contraction"),
        plant=faults.dead(1.0),
        curable=True,
    ),
    Fault("half dead", ("relu RNN",), rules("dead-relu"), plant=faults.dead(0.5), curable=True),
    Fault(
        "NaN in the input",
        EVERY,
        rules("nonfinite"),
        MEMORY | rules("saturated", "dead-relu"),
        inputs=faults.nan_input,
    ),
    Fault(
        "infinite weight",
        EVERY,
        rules("nonfinite"),
        MEMORY | rules("saturated", "dead-relu", "stacked-orthogonal"),
        plant=faults.infinite_weight,
    ),
    Fault("chunks, detached", EVERY, rules("truncation"), rules("carry"), reader="detached"),
    Fault(
        "chunks, state dropped",
        EVERY,
        rules("carry"),
        MEMORY | rules("truncation"),
        reader="dropped",
    ),
    Fault(
        "sequences shorter than the lag",
        EVERY,
        rules("truncation"),
        MEMORY,
        steps=lambda steps: steps // 4,
    ),
    Fault(
        "nothing carried",
        ("tanh RNN",),
        rules("injected-only", "vanishing", "contraction"),
        plant=faults.nothing_carried,
        curable=True,
    ),
    Fault(
        "padding read as data", EVERY, rules("padding"), rules("dead-relu"), inputs=faults.padded
    ),
    Fault(
        "batch_first forgotten", EVERY, rules("axes"), MEMORY | rules("truncation"), reader="axes"
    ),
    Fault(
        "upper layer starves the lower",
        EVERY,
        rules("starved"),
        plant=faults.starving,
        layers=2,
        curable=True,
    ),
    Fault(
        "underflow of float16",
        ("LSTM", "GRU"),
        rules("underflow", "vanishing"),
        rules("forget-gate-default"),
        plant=faults.default,
        source="carousel",
        dtype=torch.float16,
    ),
    Fault(
        "amplifies on the way",
        ("linear RNN",),
        rules("non-normal"),
        rules("vanishing", "growing"),
        plant=faults.non_normal,
    ),
    Fault("clipped at each step", EVERY, rules("clipping"), clip_norm=1e-4),
)


@dataclass(frozen=True, eq=False)
class Built:
    """A case, ready to be measured."""

    model: StackReader
    inputs: Tensor
    targets: Tensor
    loss_fn: Callable[[Tensor, Tensor], Tensor] = field(repr=False)


@dataclass(frozen=True)
class Case:
    """One fault in one cell, with one task, lag and seed."""

    fault: Fault
    cell: str
    source: str  # "torch" or "carousel": whose layer it is
    layers: int
    task: str
    lag_steps: int
    seed: int

    @property
    def part(self) -> str:
        """Which part the seed belongs to."""
        return "tuning" if self.seed in TUNING_SEEDS else "testing"

    @property
    def said_lag(self) -> int | None:
        """The lag that the diagnosis is told."""
        return self.fault.lag(self.lag_steps)

    def __str__(self) -> str:
        what = f"{self.fault.name}; {self.cell} of {self.source}, {self.layers} layer(s)"
        return f"{what}; {self.task}, lag {self.lag_steps}, seed {self.seed}"

    def build(self) -> Built:
        """The model with its fault, and a batch of the task; the global random state is kept."""
        task = long_range(self.task, self.lag_steps)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = StackReader(
                READERS[self.fault.reader],
                faults.drawn(self.cell, self.source, (task.input_size, HIDDEN, self.layers)),
                task.output_size,
            )
            faults.make_healthy(model, self.cell, self.lag_steps)
            self.fault.plant(model, self.lag_steps)
        batch = task.batch(SEQUENCES, torch.Generator().manual_seed(self.seed + MAKING))
        shown = self.fault.steps(task.steps)
        inputs = self.fault.inputs(batch.inputs[:, task.steps - shown :])
        dtype = self.fault.dtype
        targets = batch.targets
        if targets.is_floating_point():
            targets = targets.to(dtype)
        return Built(model.to(dtype), inputs.to(dtype), targets, task.loss)


def cases() -> Iterator[Case]:
    """All cases; task, depth and origin of the layers go through their values in turn."""
    for seed in (*TUNING_SEEDS, *TESTING_SEEDS):
        turn = itertools.count(seed)
        for fault, lag_steps in itertools.product((*HEALTHY, *SICK), LAGS):
            for cell in fault.cells:
                k = next(turn)
                source = fault.source or ("carousel", "torch")[k % 2]
                if cell == "linear RNN":
                    source = "carousel"  # torch has none
                layers = fault.layers or (1, 1, 2)[k % 3]
                yield Case(fault, cell, source, layers, TASKS[k // 2 % 3], lag_steps, seed)
