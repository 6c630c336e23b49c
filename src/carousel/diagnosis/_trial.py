"""One training of a few steps, on a copy of a model, from a seed: with a remedy or without one.

    train_step(copy) -> step        a function that builds what a training needs around a model, its
                                    optimizer and its data, and returns what does one step
    step() -> loss                  or step(number of the step, from 0)

The first of them is called anew for each trial, behind the seed, so both trainings see the same
data and the optimizer holds the parameters of the copy, those that a remedy has put there included.
A step without any optimizer of its own may be given as it is: train_step(model) -> loss.
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from carousel._errors import CarouselError
from carousel.diagnosis._pieces import crosses
from carousel.diagnosis._random import seeded
from carousel.diagnosis.remedies import Remedy
from carousel.diagnosis.remedies._places import THE_MODEL
from carousel.diagnosis.remedies._stepping import before_each_step
from carousel.diagnosis.remedies._undo import Undo
from carousel.flow import Flow, LayerFlow, described, watch

__all__ = ["Reading", "TrainStep", "Trial", "run_trial"]

TrainStep = Callable[..., Any]
Ended = Literal["steps", "not finite"]
TAIL = 4  # the last quarter of the losses is what a training has come to


@dataclass(frozen=True, eq=False)
class Reading:
    """What one training step was like: its loss, and the flow of its last backward pass."""

    step: int  # counted from 0
    loss: float
    flow: Flow = field(repr=False)

    def layer(self, name: str) -> LayerFlow:
        """A layer by its name; of a module's layers or of several calls the slowest; "": of all."""
        if name in ("", THE_MODEL):
            return self.flow.slowest
        if name in self.flow.layers:
            return self.flow[name]
        layers = self.flow.layers.items()
        own = {each: layer for each, layer in layers if each.startswith((f"{name}#", f"{name}."))}
        return Flow(own).slowest if own else self.flow[name]

    def log10_at_lag(self, name: str, lag_steps: int) -> float:
        """log10 of what is left of a gradient after the lag: the median over the sequences.

        -inf where the state is detached more often than that, for nothing crosses a cut.
        """
        layer = self.layer(name)
        if not crosses(layer, lag_steps):
            return -math.inf
        reached = layer.reach(lag_steps)
        return float(reached.nanmedian()) if not bool(reached.isnan().all()) else math.nan


@dataclass(frozen=True, eq=False)
class Trial:
    """A training of a few steps."""

    remedy: Remedy | None
    losses: tuple[float, ...]  # one for each step; a loss that is not finite ends the training
    gradient_norms: tuple[float, ...]  # before each step of a torch optimizer
    first: Reading  # before any update
    last: Reading
    ended: Ended
    elapsed_seconds: float
    shown: tuple[tuple[float, ...], ...] = ()  # what the model was given, step by step, in short

    @property
    def final_loss(self) -> float:
        """The mean over the last quarter of the steps; infinite where the training broke off."""
        if self.ended == "not finite":
            return math.inf
        tail = self.losses[-max(1, len(self.losses) // TAIL) :]
        return sum(tail) / len(tail)


def run_trial(
    model: nn.Module,
    remedy: Remedy | None,
    train_step: TrainStep,
    steps: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    *,
    learns: bool = True,
) -> Trial:
    """Train a copy of a model for some steps.

    Args:
        model: is not touched.
        remedy: applied to the copy before its optimizer is built.
        train_step: see the head of this file.
        steps: how many.
        seed: of torch's, NumPy's and Python's generators, which are afterwards as they were.
        progress: told how many steps are done.
        learns: refuse a training that changes nothing; a few steps may do so, as in a warm-up.

    Raises:
        CarouselError: the remedy does not fit, or the training step cannot be used.
    """
    twin = copied(model)
    start = time.perf_counter()
    with seeded(seed), ExitStack() as stack:
        applied: Any = Undo()
        if remedy is not None:
            applied = remedy.apply(twin)
            stack.callback(applied.undo)
        norms: list[float] = []
        stack.enter_context(_norms_into(norms, twin))
        shown: list[float] = []
        stack.enter_context(_inputs_into(shown, twin))
        shown_by_step: list[tuple[float, ...]] = []
        shapes = _shapes(twin)
        begun = [parameter.detach().clone() for parameter in twin.parameters()]
        step = _Stepper(train_step, twin, remedy)
        losses: list[float] = []
        readings: list[Reading] = []
        for number in range(steps):
            watched = number in (0, steps - 1)
            with ExitStack() as listening:
                watcher = listening.enter_context(watch(twin)) if watched else None
                loss = step(number)
            shown_by_step.append(tuple(shown))
            shown.clear()
            _refuse_changed_shapes(shapes, _shapes(twin))
            if watcher is not None and not watcher.passes_recorded:
                raise _nothing_heard()
            if watcher is not None and math.isfinite(loss):
                readings.append(Reading(number, loss, watcher.flow))
            elif watcher is not None and number == 0:
                raise CarouselError(
                    f"The loss of the first step is {loss}, before anything was learnt: there is "
                    "nothing to compare. carousel.measure(model, batch, loss_fn).nonfinite says "
                    "where it arises."
                )
            if not math.isfinite(loss):
                break
            losses.append(loss)
            if progress is not None:
                progress(number + 1)
        _refuse_idle(remedy, applied)
        finite = len(losses) == steps
        if (
            learns
            and finite
            and all(torch.equal(a, b) for a, b in zip(begun, twin.parameters(), strict=True))
        ):
            raise _nothing_learnt(steps)
    return Trial(
        remedy=remedy,
        losses=tuple(losses),
        gradient_norms=tuple(norms),
        first=readings[0],
        last=readings[-1],
        ended="steps" if finite else "not finite",
        elapsed_seconds=time.perf_counter() - start,
        shown=tuple(shown_by_step),
    )


def copied(model: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        CarouselError: the model cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise CarouselError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}), and a "
            "remedy is tried on a copy. Tensors with a graph kept as attributes (a carried state) "
            "are a frequent reason: detach them, or set them to None before."
        ) from error


class _Stepper:
    """Does one step on the copy, and gives its loss as a number."""

    def __init__(self, train_step: TrainStep, twin: nn.Module, remedy: Remedy | None) -> None:
        if not callable(train_step):
            raise CarouselError(
                f"Expected train_step to be a function, got {described(train_step)}. "
                "train_step(model) builds the optimizer and returns a function that does one step."
            )
        self.train_step, self.twin = train_step, twin
        self.by = "" if remedy is None else f" with the remedy {remedy.name!r} applied"
        self.numbered = _positional(train_step) >= 2
        self.step: Callable[..., Any] | None = None

    def __call__(self, number: int) -> float:
        if self.numbered:
            return _number(self._called(self.train_step, self.twin, number))
        if self.step is None:
            made = self._called(self.train_step, self.twin)
            if not callable(made):  # it was a step itself
                return _number(made)
            self.step = made
        arguments = (number,) if _positional(self.step) else ()
        return _number(self._called(self.step, *arguments))

    def _called(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except CarouselError:
            raise
        except Exception as error:
            raise CarouselError(
                f"The training step raised{self.by}: {type(error).__name__}: {error}. It was "
                f"called as {self._as_called(function, arguments)}. The model is as it was."
            ) from error

    def _as_called(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
        if function is not self.train_step:
            return "step(number)" if arguments else "step(), what train_step(model) returned"
        return "train_step(model, number)" if len(arguments) > 1 else "train_step(model)"


def _positional(function: Callable[..., Any]) -> int:
    """How many arguments a function has to be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )


def _number(loss: Any) -> float:
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return float(loss.detach())
    if isinstance(loss, (int, float)) and not isinstance(loss, bool):
        return float(loss)
    raise CarouselError(
        f"Expected the training step to return its loss as a scalar, got {described(loss)}. "
        "Reduce it, for example with .mean(), and return it. "
        "train_step(model) builds the optimizer and returns a function that does one step."
    )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _refuse_changed_shapes(
    before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]
) -> None:
    if before == after:
        return
    changed = [
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    raise CarouselError(
        f"The training step changes the shapes of the model's parameters ({'; '.join(changed[:3])}"
        "), so that before and after cannot be compared. Change the model before verifying, and "
        "let the training step only train it."
    )


def _refuse_idle(remedy: Remedy | None, applied: Any) -> None:
    """A remedy of the training loop has to have come to act."""
    if remedy is None or remedy.in_model or bool(getattr(applied, "acted", True)):
        return
    raise CarouselError(
        f"The remedy {remedy.name!r} never came to act. It changes gradients between "
        "loss.backward() and the step() of an optimizer of torch.optim, or the calls of the "
        "recurrent module; the training step made none of them."
    )


def _nothing_heard() -> CarouselError:
    return CarouselError(
        "The training step ran no backward pass through a recurrent module of the model that it "
        "was given. It gets a copy as its argument: run that one, with gradients enabled, and call "
        "loss.backward()."
    )


def _nothing_learnt(steps: int) -> CarouselError:
    return CarouselError(
        f"The training step changed no parameter of the model that it was given, in {steps} steps. "
        "Either it never calls optimizer.step(), or its optimizer was built outside and holds the "
        "parameters of another model: build it inside, `def train_step(model): optimizer = "
        "Adam(model.parameters()); def step(): ..; return step`."
    )


@contextmanager
def _inputs_into(shown: list[float], model: nn.Module) -> Iterator[None]:
    """Collect a number for each tensor that the model is called with: the same for the same data.

    What other modules are called with depends on the weights, and a model that is never called as a
    whole shows nothing.
    """

    def take(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for given in (*args, *kwargs.values()):
            data = given.data if isinstance(given, PackedSequence) else given
            if isinstance(data, Tensor) and data.numel():
                weights = torch.arange(1, data.numel() + 1, device=data.device).double().sqrt()
                shown.append(float((data.detach().double().flatten() * weights).sum()))

    handle = model.register_forward_pre_hook(take, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _norms_into(norms: list[float], model: nn.Module) -> Iterator[None]:
    """Collect the norm of the gradient before each step of a torch optimizer."""
    listening = Undo()

    def take() -> None:
        sizes = [p.grad.detach().norm() for p in model.parameters() if p.grad is not None]
        if sizes:
            norms.append(float(torch.stack([size.double().cpu() for size in sizes]).norm()))

    before_each_step(model, take, listening)
    try:
        yield
    finally:
        listening.undo()
