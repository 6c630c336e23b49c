"""``carousel.watch`` and ``carousel.measure``: from a live model to a Flow."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from carousel._errors import CarouselError, kind_of
from carousel.flow._flow import Flow
from carousel.flow._layer_flow import LayerFlow
from carousel.trace import Recorder

__all__ = [
    "Buffers",
    "Watcher",
    "described",
    "loss_of",
    "measure",
    "refuse_inference_mode",
    "watch",
]


class Watcher(Recorder):
    """A recorder whose last pass can be read as a ``Flow``."""

    _flow: tuple[int, Flow] | None = None

    @property
    def flow(self) -> Flow:
        """The flow of the last recorded backward pass, computed when it is first asked for.

        Raises:
            CarouselError: no backward pass has been recorded.
        """
        if self._flow is None or self._flow[0] != self.passes_recorded:
            layers = [LayerFlow(trace) for trace in self.traces()]
            left_out = tuple(
                f"{name} was not watched: it replaces torch's forward." for name in self.left_out
            )
            flow = Flow({layer.name: layer for layer in layers}, left_out)
            self._flow = (self.passes_recorded, flow)
        return self._flow[1]


def watch(model: nn.Module, *, every: int = 1) -> Watcher:
    """Watch the recurrent modules of a live model, without changing what it computes.

        with carousel.watch(model) as watcher:
            loss = loss_fn(model(x), y)
            loss.backward()
        flow = watcher.flow

    Args:
        model: any module holding ``torch.nn.RNN``, ``LSTM``, ``GRU``, or their ``*Cell`` modules
            called in a loop of the user's own.
        every: record the first backward pass and then each ``every``-th.

    Raises:
        CarouselError: the model holds nothing to watch, is compiled, or lies on the meta device.
    """
    return Watcher(model, every=every)


def measure(model: nn.Module, batch: Any, loss_fn: Callable[..., Tensor] | None = None) -> Flow:
    """Measure one batch: forward and backward, no training step, nothing of the model changed.

    The parameters' ``.grad``, the buffers and the state of the random generators are afterwards
    what they were before.

    Args:
        model: any model that ``watch`` accepts, in the mode (train or eval) that it is in.
        batch: what ``loss_fn`` needs; or, without ``loss_fn``, a function without arguments that
            runs the model and returns the loss.
        loss_fn: ``loss_fn(model, batch)`` if its first parameter is named ``model``; otherwise
            ``loss_fn(model(inputs), target)`` with ``batch = (inputs, target)``.

    Raises:
        CarouselError: the model or the loss does not accept the batch, the loss is not a scalar
            that depends on a recurrent module, or this is under ``torch.inference_mode()``.
    """
    refuse_inference_mode("measure")
    watcher = Watcher(model, keep_outputs=True)
    run = _closure(model, batch, loss_fn)
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), Buffers(model), torch.enable_grad():
        with watcher:
            loss = _loss(run, batch)
            if watcher.outputs:
                # Towards the outputs alone: nothing accumulates in any parameter.
                edges = [edge for _, _, edge in watcher.outputs]
                gradients = _backward(loss, edges)
                for (call, output, _), gradient in zip(watcher.outputs, gradients, strict=True):
                    watcher.take(call, output, gradient)
        if not watcher.passes_recorded:
            raise CarouselError(watcher.met.why_nothing_measured())
        return watcher.flow


def _backward(loss: Tensor, edges: list[GradientEdge]) -> tuple[Tensor | None, ...]:
    try:
        return torch.autograd.grad(loss, edges, allow_unused=True)
    except RuntimeError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        raise CarouselError(
            "The loss was sent backward already: its graph is gone. The loss_fn has to return the "
            "loss without calling loss.backward()."
        ) from error


def refuse_inference_mode(function: str) -> None:
    """Refuse to measure where nothing takes a gradient, which enable_grad() does not change.

    Raises:
        CarouselError: under ``torch.inference_mode()``.
    """
    if torch.is_inference_mode_enabled():
        raise CarouselError(
            f"carousel.{function} was called under torch.inference_mode(), in which nothing takes "
            "a gradient. Call it outside, or under `with torch.inference_mode(False):`."
        )


def loss_of(model: nn.Module, batch: Any, loss_fn: Callable[..., Tensor] | None = None) -> Tensor:
    """The loss of a batch, called and checked as ``measure`` does.

    Raises:
        CarouselError: the model or the loss does not accept the batch, or the loss is not a scalar
            that takes a gradient.
    """
    return _loss(_closure(model, batch, loss_fn), batch)


def _closure(
    model: nn.Module, batch: Any, loss_fn: Callable[..., Tensor] | None
) -> Callable[[], Any]:
    if loss_fn is None:
        if isinstance(batch, Tensor):
            raise CarouselError(
                "Expected a function that computes the loss, got a loss that is already computed: "
                "its forward pass was over before Carousel could listen. Call "
                "carousel.measure(model, lambda: loss_fn(model(x), y)) or "
                "carousel.measure(model, (x, y), loss_fn)."
            )
        if not callable(batch):
            raise CarouselError(
                f"Expected measure(model, batch, loss_fn) or measure(model, function), got "
                f"{described(batch)} and no loss_fn."
            )
        closure: Callable[[], Any] = batch
        return closure
    if not callable(loss_fn):
        raise CarouselError(f"Expected loss_fn to be callable, got {described(loss_fn)}.")
    if _takes_model(loss_fn):
        return lambda: loss_fn(model, batch)
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise CarouselError(
            f"Expected batch = (inputs, target) for loss_fn(model(inputs), target), got "
            f"{described(batch)}. For anything else name the first parameter of loss_fn `model`; "
            "it is then called as loss_fn(model, batch)."
        )
    inputs, target = batch
    return lambda: loss_fn(model(inputs), target)


def _takes_model(loss_fn: Callable[..., Any]) -> bool:
    try:
        parameters = list(inspect.signature(loss_fn).parameters)
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    return bool(parameters) and parameters[0] == "model"


def _loss(run: Callable[[], Any], batch: Any) -> Tensor:
    try:
        loss = run()
    except CarouselError:
        raise
    except Exception as error:
        raise CarouselError(
            f"The model or the loss did not accept the batch: {type(error).__name__}: {error}\n"
            f"The batch was {described(batch)}. A loss_fn whose first parameter is named `model` "
            "is called as loss_fn(model, batch), any other as loss_fn(model(inputs), target)."
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise CarouselError(
            f"Expected the loss to be a scalar tensor, got {described(loss)}. "
            "Reduce it, for example with .mean()."
        )
    if not loss.requires_grad:
        raise CarouselError(
            "The loss does not depend on anything that takes a gradient. Do not detach the model's "
            "output, and do not compute it under torch.no_grad()."
        )
    return loss.reshape(())


def described(thing: Any) -> str:
    """What a thing is, with shapes where it has them."""
    if isinstance(thing, Tensor):
        return f"a tensor of {str(thing.dtype).removeprefix('torch.')} {list(thing.shape)}"
    if isinstance(thing, (tuple, list)) and not hasattr(thing, "_fields"):
        inside = ", ".join(described(part) for part in thing[:4])
        return f"a {type(thing).__name__} of {len(thing)} ({inside}{', ..' * (len(thing) > 4)})"
    return kind_of(thing)


class Buffers:
    """Puts a model's buffers (running statistics) back to what they were."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.saved = [(buffer, buffer.clone()) for buffer in self.model.buffers()]

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for buffer, saved in self.saved:
                buffer.copy_(saved)
