"""The norms of all total gradients, at next to no cost, for watching whole trainings.

Carousel's own layers compute every dL/dh_t and dL/dc_t on their way back. Their norms are small
enough to be kept at each training step, where the gradients themselves are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils.hooks import RemovableHandle

from carousel._errors import CarouselError, kind_of
from carousel.cells import Saved, Weights, offer, withdraw
from carousel.flow._shown import Shown
from carousel.layers import Recurrent
from carousel.trace import refuse_compiled

__all__ = ["LayerNorms", "NormWatcher", "watch_norms"]


@dataclass(frozen=True, repr=False)
class LayerNorms(Shown):
    """Euclidean norms over the units, of one layer in one direction in one backward pass."""

    d_h: Tensor  # [T, B] float64  ||dL/dh_t||, in total; 0 at padding
    d_c: Tensor | None  # [T, B] float64  ||dL/dc_t||; None without c


def watch_norms(model: nn.Module) -> NormWatcher:
    """Keep the norms of all total gradients over time, of Carousel's own layers.

    Use as a context manager; ``watcher.norms`` holds those of the last backward pass:

        with carousel.watch_norms(model) as watcher:
            loss_fn(model(x), y).backward()
        watcher.norms["lstm.l0"].d_h        # [T, B]

    Each is computed inside the layer's own backward pass, in float64 from the layer's gradients.
    Those are in the layer's dtype, so in float32 a norm below about 1e-38 shows as 0: ``watch``
    follows such gradients on a scale of their own.

    Args:
        model: holds at least one ``carousel.RNN``, ``LSTM`` or ``GRU``.

    Raises:
        CarouselError: it holds none (``carousel.accelerate(model)`` makes them of torch's layers),
            is compiled, or a layer of it runs in torch's own kernels on a GPU.
    """
    return NormWatcher(model)


class NormWatcher:
    """See ``watch_norms``."""

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise CarouselError(
                f"Expected a torch.nn.Module to watch, got {kind_of(model)}. "
                "Pass the model itself, not its class, its output or its parameters."
            )
        refuse_compiled(model)
        self._names = {
            module: name for name, module in model.named_modules() if isinstance(module, Recurrent)
        }
        if not self._names:
            raise CarouselError(
                f"{type(model).__name__} holds none of Carousel's own layers, which alone can hand "
                "out the norms as they go. carousel.accelerate(model) puts them in the place of "
                "torch.nn.RNN, LSTM and GRU; or use carousel.watch(model), which replays any layer."
            )
        for module, name in self._names.items():
            for parameter in module.parameters():
                _refuse_elsewhere(name, module, parameter.device)
        self._handle: RemovableHandle | None = None
        self._pass_id: int | None = None
        self._calls = 0
        self._found: dict[str, dict[int, LayerNorms]] = {}  # by layer and number of the call

    def __enter__(self) -> Self:
        if self._handle is not None:
            raise CarouselError("This watcher is already listening. Enter it once.")
        self._handle = register_module_forward_pre_hook(self._before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            self._handle.remove()
            withdraw(self)
        self._handle = None

    @property
    def norms(self) -> Mapping[str, LayerNorms]:
        """By layer, of the last backward pass.

        A layer that was called several times has an entry for each call, in their order: "l0#1",
        "l0#2".
        """
        if not self._found:
            raise CarouselError(
                "No backward pass has been heard. Run the forward pass and loss.backward() inside "
                "`with carousel.watch_norms(model) as watcher:`, and not in code that was "
                "compiled or traced before (torch.compile, torch.jit.trace): it runs no hooks."
            )
        return {
            layer if len(calls) == 1 else f"{layer}#{number}": calls[call]
            for layer, calls in sorted(self._found.items())
            for number, call in enumerate(sorted(calls), start=1)
        }

    def _before(self, module: nn.Module, _args: tuple[Any, ...]) -> None:
        if isinstance(module, Recurrent) and module in self._names and self._handle is not None:
            self._calls += 1
            offer(module, _Listener(self, module, self._names[module], self._calls), self)

    def take(self, pass_id: int | None, layer: str, call: int, norms: LayerNorms) -> None:
        """Note the norms of a call of a layer in a backward pass."""
        if pass_id != self._pass_id:
            self._pass_id, self._found = pass_id, {}
        self._found.setdefault(layer, {})[call] = norms


class _Listener:
    """Hears the runs of one forward of a layer."""

    def __init__(self, watcher: NormWatcher, module: Recurrent, name: str, call: int) -> None:
        self.watcher, self.module, self.name, self.call = watcher, module, name, call
        self.packed: PackedSequence | None = None

    def begin(self, input: Any, weights: list[Weights]) -> None:  # noqa: A002 - LayerSink's
        _refuse_elsewhere(self.name, self.module, weights[0].w_ih.device)
        if isinstance(input, PackedSequence):
            self.packed = input._replace(data=input.data[:, :0])

    def forward(self, saved: Saved) -> _Token:
        layer, direction = divmod(saved.place, 2 if self.module.bidirectional else 1)
        suffix = f"l{layer}" + ("_reverse" if direction else "")
        name = f"{self.name}.{suffix}" if self.name else suffix
        run = saved.run
        return _Token(
            self.watcher,
            name,
            self.call,
            run.batch_first,
            run.cell.has_c,
            self.packed,
            made_in=_engine_run(),
        )


def _refuse_elsewhere(name: str, module: Recurrent, device: torch.device) -> None:
    """What torch's own kernels run hands out nothing."""
    if not module.runs_on(device):
        raise CarouselError(
            f"{name or 'The layer'} ({type(module).__name__}) is on {device}, where torch's own "
            "kernels run it, and they hand out no norms. Move it to the CPU, or use "
            'carousel.watch(model), which replays it there: flow["l0"].norm("d_h").'
        )


@dataclass(frozen=True)
class _Token:
    watcher: NormWatcher
    layer: str
    call: int
    batch_first: bool
    has_c: bool
    packed: PackedSequence | None
    made_in: int | None  # the backward pass that the forward ran in, if in one

    def norms(self, norms: Tensor) -> None:
        if self.packed is not None:
            norms = pad_packed_sequence(self.packed._replace(data=norms))[0]
        elif self.batch_first:
            norms = norms.transpose(0, 1)
        d_h, d_c = norms.unbind(-1)
        # A run made within a backward pass, by reentrant checkpointing, belongs to that pass.
        pass_id = _engine_run() if self.made_in is None else self.made_in
        found = LayerNorms(d_h, d_c if self.has_c else None)
        self.watcher.take(pass_id, self.layer, self.call, found)


def _engine_run() -> int | None:
    """The number of the backward pass that is running."""
    number: int = torch._C._current_graph_task_id()  # noqa: SLF001 - torch has no public name
    return None if number < 0 else number
