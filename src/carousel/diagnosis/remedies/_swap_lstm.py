"""An LSTM in the place of a tanh RNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._initial import OVERWRITES
from carousel.diagnosis.remedies._places import Place, expression, path_and_suffix, places_of
from carousel.diagnosis.remedies._remedy import Remedy
from carousel.diagnosis.remedies._undo import Undo
from carousel.init import chrono_, forget_bias_
from carousel.layers import LSTM
from carousel.layers import RNN as OWN_RNN
from carousel.trace import spec_of

__all__ = ["SwapToLSTM"]

# What belongs to the module in its model, and not to the recurrence that it computes.
STAYS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_is_full_backward_hook"),
    *("_forward_hooks_always_called", "_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "training"),
)


@dataclass(frozen=True)
class SwapToLSTM(Remedy):
    """Replace a tanh RNN by an LSTM of the same size, whose cell input has the RNN's parameters.

    W_ih, W_hh and the biases of the RNN become those of the gate g; i, f and o are drawn as torch
    draws them, and the forget gate gets a bias. The LSTM has four times the parameters. Where the
    RNN gives its state, h is given as before, so that the code around it runs on.

    Attributes:
        layer: name of a layer or of a module, which is swapped as a whole stack; "": every tanh
            RNN.
        lag_steps: for chrono initialisation; None: a total forget bias of 1.
        seed: of what is drawn; torch's own generator is left alone.
    """

    lag_steps: float | None = None
    seed: int = 0
    name: ClassVar[str] = "lstm"
    keeps_weights: ClassVar[bool] = False
    in_model: ClassVar[bool] = True

    def sentence(self) -> str:
        """What it does, in plain words."""
        start = "a forget bias of 1"
        if self.lag_steps is not None:
            start = f"chrono initialisation for {self.lag_steps:g} steps"
        return (
            f"Replace {self.layer or 'every tanh RNN'} by an LSTM of the same size with {start}; "
            "it has four times the parameters, and what holds the old ones (an optimizer) has to "
            f"be built anew. {OVERWRITES} what the layer has learnt, in all but name."
        )

    def code(self) -> str:
        """The lines to paste after the model is built."""
        path, _ = path_and_suffix(self.layer)
        start = "carousel.init.forget_bias_(lstm, 1.0)"
        if self.lag_steps is not None:
            start = f"carousel.init.chrono_(lstm, {self.lag_steps!r})"
        place = expression(path) if self.layer else "model.rnn"
        if path and place.startswith("model.get_submodule"):
            replaced = f'model.set_submodule("{path}", lstm)'
        else:
            replaced = f"{place} = lstm"
        return (
            f"import carousel\nimport torch\n\nrnn = {place}\n"
            "lstm = torch.nn.LSTM(\n"
            "    rnn.input_size, rnn.hidden_size, rnn.num_layers, rnn.bias, rnn.batch_first,\n"
            "    rnn.dropout, rnn.bidirectional,\n"
            ").to(rnn.weight_hh_l0)\n"
            f"{start}\n"
            f"{replaced}  # before the optimizer is built; its state is (h, c) now"
        )

    def apply(self, model: nn.Module) -> Undo:
        """Make the module an LSTM; it stays the object that it is, wherever it is used.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        applied = Undo()
        try:
            for place in places_of(model, self.layer, _unfit):
                self._swap(place, applied)
        except BaseException:
            applied.undo()
            raise
        applied.notes = (
            "An optimizer that was built before holds the old parameters: build it anew.",
        )
        return applied

    def _swap(self, place: Place, applied: Undo) -> None:
        rnn = place.module
        kind = _OwnInPlaceOfRNN if isinstance(rnn, OWN_RNN) else _InPlaceOfRNN
        lstm = self._lstm(rnn, kind)
        for name in STAYS:
            if name in vars(rnn):
                vars(lstm)[name] = vars(rnn)[name]
        applied.keep_attributes(rnn)
        applied.keep_class(rnn, kind)
        object.__setattr__(rnn, "__class__", kind)
        vars(rnn).clear()
        vars(rnn).update(vars(lstm))

    def _lstm(self, rnn: nn.Module, kind: type[nn.Module]) -> nn.Module:
        like, units = rnn.weight_hh_l0, rnn.hidden_size
        assert isinstance(like, Tensor)
        assert isinstance(units, int)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            lstm = kind(
                rnn.input_size,
                rnn.hidden_size,
                rnn.num_layers,
                rnn.bias,
                rnn.batch_first,
                rnn.dropout,
                rnn.bidirectional,
                dtype=like.dtype,
            )
        if rnn.bias:
            generator = torch.Generator().manual_seed(self.seed)
            if self.lag_steps is None:
                forget_bias_(lstm, 1.0)
            else:
                chrono_(lstm, self.lag_steps, generator)
        own = dict(rnn.named_parameters())
        with torch.no_grad():
            for name, parameter in lstm.named_parameters():
                parameter[2 * units : 3 * units] = own[name].cpu()
        lstm = lstm.to(like.device)
        for name, parameter in lstm.named_parameters():
            parameter.requires_grad_(own[name].requires_grad)
        return lstm


class _AsAnRNN:
    """The calls of an RNN, answered by an LSTM."""

    def __call__(self, input: Any, hx: Tensor | None = None) -> Any:  # noqa: A002 - torch's name
        if hx is not None and bool((hx != 0).any()):
            raise CarouselError(
                "This RNN became an LSTM, and a state other than zero was handed to it. The state "
                "of an LSTM is (h, c): where the model carries it from call to call, swap the "
                "layer by hand and carry both (SwapToLSTM(..).code() has the lines)."
            )
        # Zeros as well as none at all are where both states begin.
        output, (h_n, _) = super().__call__(input)  # type: ignore[misc]
        return output, h_n


class _InPlaceOfRNN(_AsAnRNN, nn.LSTM):
    """torch.nn.LSTM with the calls of an RNN."""


class _OwnInPlaceOfRNN(_AsAnRNN, LSTM):
    """carousel.LSTM with the calls of an RNN."""


def _unfit(module: nn.Module) -> str:
    spec = spec_of(module)
    if spec.cell.name != "RNN tanh":
        return f"{type(module).__name__} computes {spec.cell.name}, and is no tanh RNN"
    if spec.is_cell:
        return (
            "an RNNCell takes its state from the loop that calls it, and that of an LSTMCell is "
            "(h, c): change the loop by hand"
        )
    if is_parametrized(module):
        return "its parameters are computed from others (a parametrization)"
    return ""
