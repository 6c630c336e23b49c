"""What the gradient's way through time costs: recording it, watching it, and memory."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

import carousel
from carousel.cells._recording import Passage, Saved, recording
from harness._checks import agree, same
from harness._grid import Shape
from harness._groups import Case, Comparison, Group, Options, Row, Target
from harness._memory import held_and_peak_bytes, saved_bytes
from harness._peers import CellLoop
from harness._steps import Training, example, layer
from harness._timing import interleaved

__all__ = ["memory_group", "recording_group", "watch_group"]


class Tensors:
    """A sink that keeps the total gradients of each backward pass."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def forward(self, _saved: Saved) -> Tensors:
        """Every run is of interest."""
        return self

    def backward(self, passage: Passage) -> None:
        """Keep one backward pass."""
        assert passage.d_c is not None  # an LSTM
        self.kept = {"d_h": passage.d_h, "d_c": passage.d_c}


class Norms:
    """A sink that keeps their norms over the units, as ``carousel.watch_norms`` does."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def forward(self, _saved: Saved) -> Norms:
        """Every run is of interest."""
        return self

    def norms(self, norms: Tensor) -> None:
        """Keep one backward pass."""
        d_h, d_c = norms.unbind(-1)
        self.kept = {"d_h": d_h, "d_c": d_c}


SINKS = {"tensors": Tensors, "norms": Norms}


def recorded_step(step: Training, keep: str) -> Callable[[], dict[str, Tensor]]:
    """The step of one of our layers, keeping what its backward pass hands out.

    Args:
        step: of a layer of Carousel's.
        keep: "tensors" or "norms".

    Returns:
        A function that makes the step and returns d_h and d_c [T, B, H], or their norms [T, B].
    """
    sink = SINKS[keep]()

    def run() -> dict[str, Tensor]:
        with recording(sink):
            step()
        return sink.kept

    return run


def recording_group(shapes: tuple[Shape, ...]) -> Group:
    """Our layer's step with total gradients kept, against the step alone."""
    return Group(
        "recording",
        "float32 LSTM, keeping every dL/dh_t and dL/dc_t",
        shapes,
        case=recorded,
        comparisons=(
            Comparison("norms / plain", "norms", "plain"),
            Comparison("tensors / plain", "tensors", "plain"),
        ),
        targets=(
            Target("norms / plain", None, 1.03, True, lambda shape: shape.H >= 128, "H >= 128"),
            Target("tensors / plain", each=1.08, at_most=True),
        ),
    )


def recorded(shape: Shape, _options: Options) -> Case:
    """A step, a step that keeps norms, and one that keeps tensors."""
    x, d_output = example(shape)
    model = layer("LSTM", shape.H, source="carousel")
    step = Training(model, x, d_output)
    norms, tensors = (recorded_step(step, keep) for keep in ("norms", "tensors"))

    def check() -> None:
        expected = CellLoop(model).totals(x.clone().requires_grad_(), d_output)
        same(tensors(), expected)
        found = {name: norm.float() for name, norm in norms().items()}
        same(found, {name: d.norm(dim=-1) for name, d in expected.items()})

    return Case({"plain": step, "norms": norms, "tensors": tensors}, check)


def watch_group(shapes: tuple[Shape, ...]) -> Group:
    """``watch`` on plain torch.nn, the flow of every pass computed, against the step alone."""
    return Group(
        "watch",
        "float32 torch.nn.LSTM watched, flow of every pass",
        shapes,
        case=watched,
        comparisons=(
            Comparison("watch / plain", "watch", "plain"),
            Comparison("loop / plain", "loop", "plain"),
        ),
        targets=(
            Target("watch / plain", mean=1.5, at_most=True),
            Target("loop / plain", at_most=True, rows=""),
        ),
    )


def watched(shape: Shape, _options: Options) -> Case:
    """A plain step, the same step watched, and a loop of LSTMCell with ``retain_grad``."""
    x, d_output = example(shape)
    model = nn.LSTM(shape.H, shape.H)
    plain, loop, leaf = Training(model, x, d_output), CellLoop(model), x.clone().requires_grad_()
    watcher = carousel.watch(model)

    def watch() -> dict[str, Tensor]:
        with watcher:
            plain()
        flow = watcher.flow["l0"]
        flow.norm("d_h"), flow.norm("d_c")
        return {"d_h": flow.d_h, "d_c": flow.d_c}

    return Case(
        {"plain": plain, "watch": watch, "loop": lambda: loop(leaf, d_output)},
        lambda: same(watch(), loop.totals(leaf, d_output)),
    )


def memory_group(options: Options) -> Group:
    """KiB a step of the sequence, and what ``checkpoint=True`` saves and costs.

    *saved* are the tensors that autograd keeps, as large as they were allocated; *held* is by how
    much the process has grown between forward and backward, in pages that were touched; *peak* is
    its largest growth over the whole step.
    """
    shapes = (Shape(16, 1000, 128),) if options.quick else MEMORY_SHAPES
    return Group(
        "memory",
        "float32 LSTM, KiB per step of the sequence",
        shapes,
        measure=memory,
        targets=(
            Target("saved / checkpointed", each=4.0),
            Target("held / checkpointed", rows=""),
            Target("peak / checkpointed", rows=""),
            Target("time with checkpoint", at_most=True, rows=""),
        ),
    )


MEMORY_SHAPES = (Shape(16, 1000, 128), Shape(1, 10_000, 32), Shape(16, 10_000, 128))


def memory(shape: Shape, options: Options) -> Row:
    """Memory of torch's step and of ours with and without checkpoints, and the time of ours."""
    x, d_output = example(shape)
    kinds: dict[str, dict[str, object]] = {
        "torch": {"source": "torch"},
        "carousel": {"source": "carousel"},
        "checkpointed": {"source": "carousel", "checkpoint": True},
    }
    values: dict[str, float] = {}
    steps: dict[str, Training] = {}
    for kind, chosen in kinds.items():
        module = layer("LSTM", shape.H, **chosen)
        steps[kind] = Training(module, x, d_output)
        saved = saved_bytes(module, steps[kind].x)
        arguments = {"cell": "LSTM", "hidden": shape.H, **chosen}
        held, peak = held_and_peak_bytes(layer, arguments, tuple(x.shape))
        for name, size in (("saved", saved), ("held", held), ("peak", peak)):
            values[f"{kind} {name}"] = size / 1024 / shape.T
    agree(steps["carousel"], steps["torch"])
    agree(steps["checkpointed"], steps["torch"])
    del steps["torch"]
    timing = interleaved(steps, options.budget_s)
    ratio = timing.ratio("checkpointed", "carousel")
    for name in ("saved", "held", "peak"):
        smaller = values[f"checkpointed {name}"]
        values[f"{name} / checkpointed"] = values[f"carousel {name}"] / smaller
    return Row(shape, timing.rounds, {}, {"time with checkpoint": ratio}, values)
