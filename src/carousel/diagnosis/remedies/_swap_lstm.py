"""An LSTM in the place of a tanh RNN."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from carousel._errors import CarouselError
from carousel.diagnosis.remedies._calling import CalledThrough, class_called_through
from carousel.diagnosis.remedies._initial import OVERWRITES
from carousel.diagnosis.remedies._places import Place, computed, frozen, places_of
from carousel.diagnosis.remedies._remedy import Remedy, pasted
from carousel.diagnosis.remedies._undo import Undo, set_attributes
from carousel.init import chrono_, forget_bias_
from carousel.layers import LSTM
from carousel.layers import RNN as OWN_RNN
from carousel.trace import spec_of

__all__ = ["LSTMInPlaceOfRNN", "OwnLSTMInPlaceOfRNN", "SwapToLSTM"]

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class SwapToLSTM(Remedy):
    """Replace a tanh RNN by an LSTM of the same size, whose cell input has the RNN's parameters.

    W_ih, W_hh and the biases of the RNN become those of the gate g; i, f and o are drawn as torch
    draws them, and the forget gate gets a bias. The LSTM has four times the parameters. Where the
    RNN gives its state, h is given as before, so that the code around it runs on.

    Attributes:
        layer: name of a layer or of a module, which is swapped as a whole stack; "": every tanh
            RNN.
        lag_steps: for chrono initialisation; None: a total forget bias of 1, where there are
            biases.
        seed: of what is drawn; torch's own generator is left alone.
    """

    lag_steps: float | None = None
    seed: int = 0
    name: ClassVar[str] = "lstm"
    keeps_weights: ClassVar[bool] = False
    in_model: ClassVar[bool] = True

    def sentence(self) -> str:
        """What it does, in plain words."""
        start = "a forget bias of 1, where it has biases"
        if self.lag_steps is not None:
            start = f"chrono initialisation for {self.lag_steps:g} steps"
        return (
            f"Replace {self.layer or 'every tanh RNN'} by an LSTM of the same size with {start}; "
            "it has four times the parameters, and what holds the old ones (an optimizer) has to "
            f"be built anew. {OVERWRITES} what the layer has learnt, in all but name."
        )

    def code(self) -> str:
        """The lines to paste after the model is built."""
        return pasted(self, "before the optimizer is built")

    def apply(self, model: nn.Module) -> Undo:
        """Make the module an LSTM; it stays the object that it is, wherever it is used.

        What its user set on it, hooks and buffers among it, stays.

        Raises:
            CarouselError: it does not fit the layer; the model is as it was.
        """
        applied = Undo(self)
        try:
            shared = _shared(model)
            for place in places_of(model, self.layer, lambda each: self._unfit(each, shared)):
                self._swap(place, applied)
            applied.notes = (
                "An optimizer that was built before holds the old parameters: build it anew.",
            )
            return applied
        except BaseException:
            applied.undo()
            raise

    def _unfit(self, place: Place, shared: dict[int, list[str]]) -> str:
        reason = _no_tanh_rnn(place.module)
        if reason:
            return reason
        if self.lag_steps is not None and not place.module.bias:
            return "it has no biases (bias=False), and chrono initialisation sets them"
        whole = replace(place, suffix=None)  # it is swapped as a whole stack
        reason = computed(whole, *KINDS)
        if reason:
            return reason
        held = frozen(whole, *KINDS)
        if held:
            return f"its {held[0]} is frozen (requires_grad=False), and would be replaced"
        for name, parameter in place.module.named_parameters(recurse=False):
            names = shared[id(parameter)]
            if len(names) > 1:
                return (
                    f"its {name} is shared ({' is '.join(names)}), and an LSTM's parameters have "
                    "another size"
                )
        return ""

    def _swap(self, place: Place, applied: Undo) -> None:
        rnn = place.module
        kind: type[nn.Module] = LSTMInPlaceOfRNN
        if isinstance(rnn, OWN_RNN):
            kind = OwnLSTMInPlaceOfRNN
        with torch.random.fork_rng(devices=[]):
            plain = vars(OWN_RNN(1, 1) if isinstance(rnn, OWN_RNN) else nn.RNN(1, 1))
        lstm = self._lstm(rnn, kind)
        base = vars(nn.Module()).keys() - {"_parameters"}  # of any module, hooks and buffers
        own = {
            name: value for name, value in vars(rnn).items() if name in base or name not in plain
        }
        own |= {name: value for name, value in vars(lstm).items() if name not in base}
        if isinstance(rnn, CalledThrough):
            kind = class_called_through(kind)
        applied.keep_tensors(rnn.parameters(recurse=False))
        applied.keep_attributes(rnn)
        applied.keep_class(rnn, kind)
        object.__setattr__(rnn, "__class__", kind)
        set_attributes(rnn, own)

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
        own = dict(rnn.named_parameters(recurse=False))
        for name, parameter in lstm.named_parameters():
            parameter.detach()[2 * units : 3 * units] = own[name].detach().cpu()
        return lstm.to(like.device)


class _AsAnRNN:
    """The calls of an RNN, answered by an LSTM."""

    def __call__(self, input: Any, hx: Tensor | None = None) -> Any:  # noqa: A002 - torch's name
        if hx is not None and bool((hx != 0).any()):
            raise CarouselError(
                "This RNN became an LSTM, and a state other than zero was handed to it. The state "
                "of an LSTM is (h, c): where the model carries it from call to call, swap the "
                "layer by hand and carry both."
            )
        # Zeros as well as none at all are where both states begin.
        output, (h_n, _) = super().__call__(input)  # type: ignore[misc]
        return output, h_n


class LSTMInPlaceOfRNN(_AsAnRNN, nn.LSTM):
    """torch.nn.LSTM with the calls of an RNN: what SwapToLSTM makes of a torch.nn.RNN."""


class OwnLSTMInPlaceOfRNN(_AsAnRNN, LSTM):
    """carousel.LSTM with the calls of an RNN: what SwapToLSTM makes of a carousel.RNN."""


for _kind in (LSTMInPlaceOfRNN, OwnLSTMInPlaceOfRNN):
    _kind.__module__ = "carousel.diagnosis.remedies"  # by which saved models name it


def _shared(model: nn.Module) -> dict[int, list[str]]:
    """Every name under which a model has a parameter, by the parameter's id."""
    names: dict[int, list[str]] = defaultdict(list)
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            names[id(parameter)].append(f"{path}.{name}" if path else name)
    return names


def _no_tanh_rnn(module: nn.Module) -> str:
    spec = spec_of(module)
    if spec.cell.name != "RNN tanh":
        return f"{type(module).__name__} computes {spec.cell.name}, and is no tanh RNN"
    if spec.is_cell:
        return (
            "an RNNCell takes its state from the loop that calls it, and that of an LSTMCell is "
            "(h, c): change the loop by hand"
        )
    return ""
