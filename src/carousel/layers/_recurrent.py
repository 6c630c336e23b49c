"""What the layers share: a stack of runs in one or two directions, called as ``torch.nn`` is.

The base class is ``torch.nn.RNNBase`` and not ``torch.nn.LSTM``: torch.compile breaks its graph at
every instance of torch's own three classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from carousel._errors import CarouselError
from carousel.cells import (
    Cell,
    Run,
    Sink,
    State,
    Weights,
    offered_to,
    recording,
    recurrence,
    sink_here,
)
from carousel.layers._checks import check_batch_sizes, check_input, check_state
from carousel.layers._onnx import exporting, onnx_layer

__all__ = ["Recurrent"]

# On other devices than the CPU these run faster in torch's own kernels.
KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "RNN tanh": torch.rnn_tanh,
    "RNN relu": torch.rnn_relu,
    "LSTM": torch.lstm,
    "GRU": torch.gru,
}
HERE = ("cpu", "meta")


class Recurrent(nn.RNNBase):
    """The common part of ``carousel.RNN``, ``LSTM`` and ``GRU``."""

    # On the class, so that a module of torch.nn that becomes one of ours has it.
    checkpoint: bool | int = False

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; an option of Carousel's is checked as when the layer was built."""
        self._check_option(name, value)
        super().__setattr__(name, value)

    def _check_option(self, name: str, value: object) -> None:
        """Refuse what cannot be assigned to an option.

        Raises:
            ValueError: the option does not have this value.
            AttributeError: it cannot be changed any more.
        """
        if name == "checkpoint":
            check_checkpoint(value)

    @property
    @abstractmethod
    def cell(self) -> Cell:
        """The recurrence of each layer."""

    @property
    def truncated(self) -> bool:
        """Whether backward follows the truncated gradient of 1997."""
        return False

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:  # noqa: A002 - torch's name
        """Run the stack.

        Args:
            input: [T, B, I], [B, T, I] if ``batch_first``, unbatched [T, I], or a PackedSequence.
            hx: h_0 [layers * directions, B, P], for an LSTM (h_0, c_0), c_0 [.., H]; without B for
                unbatched input. None: zeros.

        Returns:
            The output [.., directions * P] in the form of the input, and the last state in the
            form of ``hx``.

        Raises:
            ValueError: an input of wrong rank or dtype.
            RuntimeError: an input of wrong size, or a state that does not fit.
            TypeError: an input or a state that is not made of tensors.
        """
        onnx = exporting(input)
        x, batch_sizes, into_order, back = input, None, None, None
        if isinstance(input, PackedSequence):
            x, batch_sizes, into_order, back = input
        weights = self.weights()
        sink = None if torch.compiler.is_compiling() else offered_to(self)
        if sink is not None:
            sink.begin(input, weights)
        check_input(x, weights[0].w_ih, self.input_size, batch_sizes is not None)
        batched = batch_sizes is not None or x.dim() == 3
        if not batched:
            x = x.unsqueeze(0 if self.batch_first else 1)
        starts = self._starts(x, hx, batch_sizes, batched)
        if into_order is not None:
            starts = [state.index_select(1, into_order) for state in starts]
        if onnx:
            output, ends = self._onnx_stack(x, starts if hx is not None else [], weights)
        elif self.runs_on(x.device):
            output, ends = self._stack(x, batch_sizes, starts, weights, sink)
        else:
            output, ends = self._torch_stack(x, batch_sizes, starts, weights)
        if back is not None:
            ends = [state.index_select(1, back) for state in ends]
        if not batched:
            output = output.squeeze(0 if self.batch_first else 1)
            ends = [state.squeeze(1) for state in ends]
        last = tuple(ends) if self.cell.has_c else ends[0]
        if batch_sizes is not None:
            return PackedSequence(output, batch_sizes, into_order, back), last
        return output, last

    def runs_on(self, device: torch.device) -> bool:
        """Whether a forward there runs Carousel's own code, which can hand out its runs.

        Elsewhere torch's kernels run the cells that torch has.
        """
        return device.type in HERE or not self._torch_runs_it

    def __prepare_scriptable__(self) -> Any:
        """Refuse torch.jit.script, which calls this first.

        Raises:
            CarouselError: always.
        """
        raise CarouselError(
            f"torch.jit.script cannot compile carousel.{type(self).__name__}, whose code is Python "
            "over an operator of its own. Trace the layer, torch.jit.trace(layer, (x,)), and "
            "script what is around it; or export it with torch.export or torch.onnx."
        )

    def flatten_parameters(self) -> None:
        """Lay the weights out as cuDNN wants them, where torch's own kernels will run them."""
        if self._torch_runs_it:
            super().flatten_parameters()

    def extra_repr(self) -> str:
        """The options that are not as they are by default."""
        shown = super().extra_repr()
        return shown + (f", checkpoint={self.checkpoint}" if self.checkpoint is not False else "")

    @property
    def _torch_runs_it(self) -> bool:
        return self.cell.name in KERNELS and not self.truncated and self.checkpoint is False

    @property
    def _directions(self) -> tuple[str, ...]:
        """The endings of the parameters' names."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def _starts(
        self, x: Tensor, hx: Any, batch_sizes: Tensor | None, batched: bool
    ) -> list[Tensor]:
        """h_0 and, for an LSTM, c_0, each [layers * directions, B, ..], in the user's order."""
        if batch_sizes is not None:
            check_batch_sizes(batch_sizes, x.shape[0])
            sequences: Any = batch_sizes[0]
            tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
            if not tracing:  # a trace keeps the tensor, for batches of any size
                sequences = int(sequences)
        else:
            sequences = x.shape[0] if self.batch_first else x.shape[1]
            if x.numel() == 0 and x.shape[1 if self.batch_first else 0] == 0:
                raise RuntimeError(
                    "The input has no steps: expected a sequence length of at least 1, got "
                    f"{list(x.shape)}."
                )
        rows = self.num_layers * len(self._directions)
        names, sizes = ("h_0", "c_0"), (self.proj_size or self.hidden_size, self.hidden_size)
        count = 2 if self.cell.has_c else 1
        if hx is None:
            return [x.new_zeros(rows, sequences, size) for size in sizes[:count]]
        if count == 2 and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(
                "An LSTM starts from a pair of tensors, hx = (h_0, c_0); got "
                + (f"{len(hx)} of them." if isinstance(hx, (tuple, list)) else type(hx).__name__)
            )
        given = hx if count == 2 else (hx,)
        for name, state, size in zip(names, given, sizes, strict=False):
            shape = (rows, sequences, size) if batched else (rows, size)
            check_state(name, state, x, shape, batched)
        return list(given) if batched else [state.unsqueeze(1) for state in given]

    def _stack(
        self,
        x: Tensor,
        batch_sizes: Tensor | None,
        starts: list[Tensor],
        weights: list[Weights],
        sink: Sink | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers on the run of ``carousel.cells``: the output, and h_n (, c_n)."""
        keep_every = self._keep_every(x, batch_sizes)
        if sink is None and not torch.compiler.is_compiling():
            sink = sink_here()
        dtype = self._dtype(x, starts)
        if x.dtype != dtype:
            x = x.to(dtype)
        if weights[0].w_ih.dtype != dtype:
            weights = [part.map(lambda weight: weight.to(dtype)) for part in weights]
        states = list(zip(*(start.to(dtype).unbind(0) for start in starts), strict=True))
        ends: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(len(self._directions)):
                state = states[len(ends)]
                run = Run(
                    cell=self.cell,
                    weights=weights[len(ends)],
                    x=x,
                    h_0=state[0],
                    c_0=state[1] if len(state) == 2 else None,
                    batch_sizes=batch_sizes,
                    reverse=direction == 1,
                    batch_first=self.batch_first and batch_sizes is None,
                    truncated=self.truncated,
                )
                if sink is None:
                    output, h_n, c_n = recurrence(run, keep_every)
                else:
                    with recording(sink, place=len(ends)):
                        output, h_n, c_n = recurrence(run, keep_every)
                outputs.append(output)
                ends.append((h_n,) if c_n is None else (h_n, c_n))
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
            if self.dropout > 0 and self.training and layer < self.num_layers - 1:
                x = self._dropped(x, batch_sizes)
        return x, [torch.stack(parts) for parts in zip(*ends, strict=True)]

    def weights(self) -> list[Weights]:
        """The parameters of each layer and direction as they are now, in the order of the runs.

        Each is read once: one that is parametrized may be another whenever it is read.
        """
        return [
            Weights(
                w_ih=getattr(self, f"weight_ih_{suffix}"),
                w_hh=getattr(self, f"weight_hh_{suffix}"),
                b_ih=getattr(self, f"bias_ih_{suffix}") if self.bias else None,
                b_hh=getattr(self, f"bias_hh_{suffix}") if self.bias else None,
                w_hr=getattr(self, f"weight_hr_{suffix}") if self.proj_size else None,
                peephole=(
                    getattr(self, f"weight_peephole_{suffix}") if self.cell.peepholes else None
                ),
            )
            for layer in range(self.num_layers)
            for suffix in (f"l{layer}{ending}" for ending in self._directions)
        ]

    def _dtype(self, x: Tensor, starts: list[Tensor]) -> torch.dtype:
        """The dtype of the whole stack; under autocast as ``torch.nn`` chooses it."""
        device = x.device.type
        if device == "meta" or not torch.is_autocast_enabled(device) or x.dtype == torch.float64:
            return x.dtype
        if self.cell.name == "GRU":  # torch's GRU only multiplies in low precision
            return starts[0].dtype
        return torch.get_autocast_dtype(device)

    def _keep_every(self, x: Tensor, batch_sizes: Tensor | None) -> int:
        """The steps of a segment of which backward computes everything again; 1: of none."""
        if self.checkpoint is False:
            return 1
        if self.checkpoint is not True:
            return self.checkpoint
        steps = x.shape[1 if self.batch_first else 0]
        if batch_sizes is not None:
            steps = batch_sizes.shape[0]
        return max(2, int(steps**0.5))  # as many states are kept as there are steps in a segment

    def _dropped(self, x: Tensor, batch_sizes: Tensor | None) -> Tensor:
        """Dropout between two layers, with the random numbers in torch's order."""
        if batch_sizes is not None or not self.batch_first:
            return torch.dropout(x, self.dropout, train=True)
        mask = torch.dropout(x.new_ones(x.transpose(0, 1).shape), self.dropout, train=True)
        return x * mask.transpose(0, 1)

    def _onnx_stack(
        self, x: Tensor, starts: list[Tensor], weights: list[Weights]
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers as operators of ONNX, which have time first; no ``starts``: from zero."""
        rows = len(self._directions)
        x = x.transpose(0, 1) if self.batch_first else x
        ends = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = torch.dropout(x, self.dropout, self.training)
            these = slice(layer * rows, (layer + 1) * rows)
            of_layer = [start[these] for start in starts]
            x, *end = onnx_layer(self.cell, x, weights[these], *of_layer)
            ends.append([state for state in end if state is not None])
        output = x.transpose(0, 1) if self.batch_first else x
        return output, [torch.cat(parts) for parts in zip(*ends, strict=True)]

    def _torch_stack(
        self, x: Tensor, batch_sizes: Tensor | None, starts: list[Tensor], weights: list[Weights]
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers in torch's own kernel."""
        flat = [tensor for part in weights for tensor in part.tensors()]
        hx = starts if self.cell.has_c else starts[0]
        options = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        kernel = KERNELS[self.cell.name]
        if batch_sizes is not None:
            output, *ends = kernel(x, batch_sizes, hx, flat, *options)
        else:
            output, *ends = kernel(x, hx, flat, *options, self.batch_first)
        return output, ends


def check_checkpoint(checkpoint: object) -> None:
    """Refuse what is neither a bool nor a number of steps.

    Raises:
        ValueError: it is not.
    """
    if isinstance(checkpoint, bool) or (isinstance(checkpoint, int) and checkpoint >= 2):
        return
    raise ValueError(
        "checkpoint must be False, True, or the number of steps in a segment, at least 2; got "
        f"{checkpoint!r}."
    )
