"""The modules of ``torch.nn`` that can be watched, and what is particular to each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from carousel._errors import CarouselError, kind_of
from carousel.cells import Cell, Run, Weights, cell_named, recurrence
from carousel.layers import Recurrent

__all__ = ["RECURRENT", "Spec", "find_recurrent", "refuse_compiled", "run_layer", "spec_of"]

RECURRENT = (Recurrent, nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)

KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "RNN tanh": torch.rnn_tanh,
    "RNN relu": torch.rnn_relu,
    "LSTM": torch.lstm,
    "GRU": torch.gru,
}


@dataclass(frozen=True)
class Spec:
    """What the replay must know of a module."""

    cell: Cell
    is_cell: bool  # one of the *Cell modules, called once for each step
    layers: int
    directions: int
    batch_first: bool
    dropout: float  # between layers, 0.0 outside training mode
    own: bool = False  # one of Carousel's own layers
    truncated: bool = False  # its backward follows the truncated gradient of 1997

    def suffix(self, layer: int, direction: int) -> str:
        """torch's own suffix for a layer's parameters."""
        return f"l{layer}" + ("_reverse" if direction else "")


def spec_of(module: nn.Module) -> Spec:
    """Read a recurrent module's options as they are now."""
    if isinstance(module, nn.RNNCellBase):
        return Spec(cell_named(_cell_name(module)), True, 1, 1, False, 0.0)
    assert isinstance(module, nn.RNNBase)
    drops = module.training and module.num_layers > 1
    return Spec(
        cell=cell_named(_cell_name(module)),
        is_cell=False,
        layers=module.num_layers,
        directions=2 if module.bidirectional else 1,
        batch_first=module.batch_first,
        dropout=float(module.dropout) if drops else 0.0,
        own=isinstance(module, Recurrent),
        truncated=isinstance(module, Recurrent) and module.truncated,
    )


def _cell_name(module: nn.Module) -> str:
    if isinstance(module, Recurrent):
        return module.cell.name
    if isinstance(module, (nn.LSTM, nn.LSTMCell)):
        return "LSTM"
    if isinstance(module, (nn.GRU, nn.GRUCell)):
        return "GRU"
    return f"RNN {module.nonlinearity}"


def weights_of(module: nn.Module) -> list[Weights]:
    """The weights that the last forward used, layer by layer, the directions side by side."""
    if isinstance(module, nn.RNNCellBase):
        return [Weights(module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh)]
    if isinstance(module, Recurrent):
        return module.weights()
    assert isinstance(module, nn.RNNBase)
    # The flat list is what forward hands to the kernel; attributes may lag behind it.
    flat: list[Tensor] = [tensor for tensor in module._flat_weights if tensor is not None]
    count = len(flat) // (module.num_layers * (2 if module.bidirectional else 1))
    projected = isinstance(module, nn.LSTM) and module.proj_size > 0
    return [
        _weights(flat[start : start + count], bool(module.bias), projected)
        for start in range(0, len(flat), count)
    ]


def _weights(tensors: list[Tensor], biased: bool, projected: bool) -> Weights:
    w_ih, w_hh, *rest = tensors
    b_ih, b_hh = rest[:2] if biased else (None, None)
    return Weights(w_ih, w_hh, b_ih, b_hh, rest[-1] if projected else None)


def find_recurrent(model: nn.Module) -> tuple[dict[nn.Module, str], list[str]]:
    """Every module that can be watched, with its path, and which others were left out.

    Raises:
        CarouselError: there is nothing to watch.
    """
    if not isinstance(model, nn.Module):
        raise CarouselError(
            f"Expected a torch.nn.Module to watch, got {kind_of(model)}. "
            "Pass the model itself, not its output or its parameters."
        )
    refuse_compiled(model)
    found: dict[nn.Module, str] = {}
    own_forward: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, RECURRENT):
            continue
        kind = next(kind for kind in RECURRENT if isinstance(module, kind))
        if type(module).forward is not kind.forward or "forward" in vars(module):
            own_forward.append(f"{name or 'the model'} ({type(module).__name__})")
            continue
        _refuse_meta(name, module)
        _refuse_unsteady(name, module)
        found[module] = name
    if found:
        return found, own_forward
    if own_forward:
        raise CarouselError(
            "The recurrent modules of this model replace torch's forward: "
            f"{', '.join(own_forward)}. Carousel can only replay the forward of torch.nn itself: "
            "let the subclass hold a torch.nn module and call it."
        )
    inside = sorted({type(module).__name__ for module in model.modules()})
    raise CarouselError(
        f"{type(model).__name__} holds no recurrent module. Expected at least one of torch.nn.RNN, "
        f"LSTM, GRU, RNNCell, LSTMCell or GRUCell; it holds {', '.join(inside[:12])}. "
        "Watch the model that contains the recurrent layer."
    )


def refuse_compiled(model: nn.Module) -> None:
    """Refuse what does not run the hooks that Carousel listens with.

    Raises:
        CarouselError: a module of the model is compiled or scripted.
    """
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            raise CarouselError(
                f"{name or 'The model'} is compiled (torch.compile), and compiled code does not "
                "run the hooks that Carousel listens with. Watch the original module (the model "
                "before torch.compile, or compiled._orig_mod) and run that one while measuring."
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise CarouselError(
                f"{name or 'The model'} is a scripted module (torch.jit), whose inside Carousel "
                "cannot hear. Watch the model before torch.jit.script or torch.jit.trace."
            )


def _refuse_meta(name: str, module: nn.Module) -> None:
    for parameter, tensor in module.named_parameters():
        if tensor.is_meta:
            raise CarouselError(
                f"{name + '.' if name else ''}{parameter} is on the meta device: it has a shape, "
                f"{tuple(tensor.shape)}, but no numbers, so there is no gradient to measure. "
                "Create the model on a real device first: model.to_empty(device='cpu') and "
                "initialise it."
            )


def _refuse_unsteady(name: str, module: nn.Module) -> None:
    """A cell's weights are read after its forward, which must not change them."""
    if not (isinstance(module, nn.RNNCellBase) and is_parametrized(module)):
        return
    assert isinstance(module.parametrizations, nn.ModuleDict)
    for weight, chain in module.parametrizations.items():
        if any(True for _ in chain.buffers()):
            kinds = ", ".join(type(step).__name__ for step in chain.children())
            raise CarouselError(
                f"{name + '.' if name else ''}{weight} is parametrized by {kinds}, which keeps a "
                "state and gives other weights each time they are read; reading them would change "
                "the model. Remove the parametrization while measuring "
                "(torch.nn.utils.parametrize.remove_parametrizations)."
            )


def run_layer(
    spec: Spec, weights: list[Weights], x: Tensor, start: tuple[Tensor, ...], lengths: Tensor
) -> tuple[Tensor, ...]:
    """One layer through the module's own kernel: x [T, B, I] -> output [T, B, D*P], h_n (, c_n).

    The kernel is the one that the whole stack ran on, so the result is what the module computed
    inside and did not put out.
    """
    cell = spec.cell
    if spec.own:
        return _run_own_layer(spec, weights, x, start, lengths)
    flat = [tensor for w in weights for tensor in w.tensors()]
    biased, directions = weights[0].b_ih is not None, len(weights)
    hx = start if cell.has_c else start[0]
    options = (biased, 1, 0.0, False, directions == 2)
    kernel = KERNELS[cell.name]
    with warnings.catch_warnings():
        # cuDNN remarks that these weights do not lie in one chunk; the copies need not.
        warnings.filterwarnings("ignore", message="RNN module weights")
        if bool((lengths == x.shape[0]).all()):
            return kernel(x, hx, flat, *options, False)
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        order = packed.sorted_indices
        assert order is not None
        sorted_start = tuple(state.index_select(1, order) for state in start)
        hx = sorted_start if cell.has_c else sorted_start[0]
        data, *ends = kernel(packed.data, packed.batch_sizes, hx, flat, *options)
        output = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])[0]
        back = packed.unsorted_indices
        assert back is not None
        return (output, *(end.index_select(1, back) for end in ends))


def _run_own_layer(
    spec: Spec, weights: list[Weights], x: Tensor, start: tuple[Tensor, ...], lengths: Tensor
) -> tuple[Tensor, ...]:
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
        weights = [own.map(lambda weight: weight.to(dtype)) for own in weights]
        x, start = x.to(dtype), tuple(state.to(dtype) for state in start)
    packed = None
    if not bool((lengths == x.shape[0]).all()):
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        order = packed.sorted_indices
        assert order is not None
        start = tuple(state.index_select(1, order) for state in start)
    outputs, ends = [], []
    for direction, own in enumerate(weights):
        run = Run(
            cell=spec.cell,
            weights=own,
            x=x if packed is None else packed.data,
            h_0=start[0][direction],
            c_0=start[1][direction] if spec.cell.has_c else None,
            batch_sizes=None if packed is None else packed.batch_sizes,
            reverse=direction == 1,
        )
        output, *end = recurrence(run)
        outputs.append(output)
        ends.append(end[: len(start)])
    output = torch.cat(outputs, -1)
    final = [torch.stack(parts) for parts in zip(*ends, strict=True)]
    if packed is None:
        return (output, *final)
    back = packed.unsorted_indices
    assert back is not None
    padded = pad_packed_sequence(packed._replace(data=output), total_length=x.shape[0])[0]
    return (padded, *(end.index_select(1, back) for end in final))
