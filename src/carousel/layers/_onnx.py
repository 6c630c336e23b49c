"""One layer as a standard operator of ONNX, emitted while ``torch.onnx.export`` traces a model.

The operators are LSTM, GRU and RNN of the default domain, opset 14 and later, with the weights
rearranged to their layout. Time and batch may be dynamic axes. They have the dtype of the model;
onnxruntime has kernels for float32 and float16, not for float64. What differs from torch:

- the rows of the weights stand in the order i, o, f, g and z, r, n, and both biases in one tensor;
- a gate that a variant does not have is there, without weights and with a bias so large that it is
  exactly 1: ONNX cannot leave a gate out;
- the coupled gate f = 1 - i = sigmoid(-a_i) is a forget gate with the weights of i negated. ONNX's
  own attribute for it, input_forget, is not understood by every runtime;
- a projection of the output, which ONNX does not have, is folded into the recurrent weights:
  W_hh h = (W_hh W_hr) m, and the state that the operator carries is m. Only the first step starts
  from an h that need not be the projection of any m: W_hh h_0 arrives as one more input, which is
  zero at all other steps.

Source: the ONNX operator specifications of LSTM, GRU and RNN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import PackedSequence

from carousel._errors import CarouselError
from carousel.cells import Cell, Weights
from carousel.cells.lstm import VARIANTS

__all__ = ["exporting", "onnx_layer"]

Attributes = dict[
    str,
    int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool],
]

# sigmoid(50) is 1 exactly, in float64 too, and exp(50) is finite in float32.
ALWAYS_OPEN = 50.0


@dataclass(frozen=True)
class Activation:
    """An activation function of ONNX with its coefficients, where it has any."""

    name: str
    alpha_beta: tuple[float, float] | None = None


SIGMOID, TANH = Activation("Sigmoid"), Activation("Tanh")
IDENTITY = Activation("Affine", (1.0, 0.0))  # alpha a + beta
CELL_INPUT = {
    "tanh": TANH,
    "logistic": Activation("ScaledTanh", (2.0, 0.5)),  # 4 sigmoid(a) - 2 = 2 tanh(a / 2)
    "identity": IDENTITY,
}
CELL_OUTPUT = {
    "tanh": TANH,
    "logistic": Activation("ScaledTanh", (1.0, 0.5)),  # 2 sigmoid(c) - 1 = tanh(c / 2)
    "identity": IDENTITY,
}
NONLINEARITY = {
    "RNN tanh": TANH,
    "RNN relu": Activation("Relu"),
    "RNN sigmoid": SIGMOID,
    "RNN identity": IDENTITY,
}
BY_CELL_NAME = {variant.cell_name: variant for variant in VARIANTS.values()}


@dataclass(frozen=True)
class Operator:
    """How a cell is written in ONNX."""

    name: str
    gates: tuple[str, ...]  # in the order of ONNX's rows
    activations: tuple[Activation, ...]  # of one direction
    coupled: bool = False  # f = 1 - i
    linear_before_reset: bool = False  # of a GRU: r scales W_hn h + b_hn, as in torch


def exporting(input: object) -> bool:  # noqa: A002 - torch's name
    """Whether this call of a layer is being written as ONNX. Every call of every layer asks.

    Args:
        input: what the layer is called with.

    Raises:
        CarouselError: it is, but through TorchScript, or with a PackedSequence.
    """
    graph = torch.compiler.is_exporting()
    # The question itself is slow: of a call that nothing traces it is not asked.
    if not (graph or torch.jit.is_tracing()) or not torch.onnx.is_in_onnx_export():  # type: ignore[attr-defined,no-untyped-call]
        return False
    if not graph:
        raise CarouselError(
            "This model is being exported through TorchScript (dynamo=False), in which Carousel's "
            "layers cannot be written. Use torch.onnx.export(..., dynamo=True), the default of "
            "torch since 2.9."
        )
    if isinstance(input, PackedSequence):
        raise CarouselError(
            "A PackedSequence cannot be exported to ONNX. Export the model on padded sequences "
            "[T, B, input_size] without packing them: what the padding changes are the steps "
            "behind a sequence's end, h_n and c_n, and the reverse direction."
        )
    return True


def onnx_layer(
    cell: Cell,
    x: Tensor,
    weights: Sequence[Weights],
    h_0: Tensor | None = None,
    c_0: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer, in one direction or both, as one operator of ONNX.

    Only while a model is being exported, see ``exporting``: outside it the outputs are zeros.

    Args:
        cell: the equations.
        x: inputs [T, B, I].
        weights: of the forward and, in a layer of two directions, of the reverse one: D of them.
        h_0: initial states [D, B, P]; None: zero.
        c_0: initial cell states [D, B, H] of a cell that has them; None: zero.

    Returns:
        output [T, B, D*P], h_n [D, B, P], and c_n [D, B, H], or None for a cell without it.
    """
    operator = _operator(cell)
    projections = [w.w_hr for w in weights if w.w_hr is not None]
    if projections:
        x, weights = _unprojected(x, weights, h_0)
        h_0 = None
    inputs = [x, *_tensors(operator, cell, weights), None, h_0]
    (steps, batch), directions, units = x.shape[:2], len(weights), weights[0].w_hh.shape[1]
    state = (directions, batch, units)
    shapes = [(steps, directions, batch, units), state]
    if cell.has_c:
        inputs += [c_0, _peepholes(cell, weights)]
        shapes += [state]
    output, *ends = torch.onnx.ops.symbolic_multi_out(
        operator.name,
        inputs,
        _attributes(operator, directions, units),
        dtypes=[x.dtype] * len(shapes),
        shapes=shapes,
    )
    if x.device.type != "cpu":  # where torch thinks that the outputs of such an operator are
        output, *ends = (tensor.to(x.device) for tensor in (output, *ends))
    if projections:
        w_hm = torch.stack(projections).transpose(1, 2)  # [D, H, P]
        output, ends[0] = output @ w_hm, ends[0] @ w_hm
    output = output.squeeze(1) if directions == 1 else torch.cat(output.unbind(1), dim=-1)
    return output, ends[0], ends[1] if cell.has_c else None


def _operator(cell: Cell) -> Operator:
    if cell.name in BY_CELL_NAME:
        variant = BY_CELL_NAME[cell.name]
        squashers = (CELL_INPUT[variant.cell_input], CELL_OUTPUT[variant.cell_output])
        return Operator("LSTM", ("i", "o", "f", "g"), (SIGMOID, *squashers), variant.coupled)
    if cell.name == "GRU":
        return Operator("GRU", ("z", "r", "n"), (SIGMOID, TANH), linear_before_reset=True)
    return Operator("RNN", ("h",), (NONLINEARITY[cell.name],))


def _attributes(operator: Operator, directions: int, units: int) -> Attributes:
    both = operator.activations * directions
    attributes: Attributes = {
        "hidden_size": units,
        "direction": "bidirectional" if directions == 2 else "forward",
        "activations": [activation.name for activation in both],
    }
    coefficients = [activation.alpha_beta for activation in both if activation.alpha_beta]
    if coefficients:  # only of the functions that have some, in their order
        attributes["activation_alpha"] = [alpha for alpha, _ in coefficients]
        attributes["activation_beta"] = [beta for _, beta in coefficients]
    if operator.linear_before_reset:
        attributes["linear_before_reset"] = 1
    return attributes


def _tensors(
    operator: Operator, cell: Cell, weights: Sequence[Weights]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """W [D, G*H, I], R [D, G*H, H] and B [D, 2*G*H], G the gates that the operator has."""

    def rows(tensors: Sequence[Tensor], absent: float = 0.0) -> Tensor:
        """The rows of the operator's gates, made of those of the cell's, for all directions."""
        stacked = torch.stack(list(tensors))
        # Slices, not chunk: the exporter computes slices of constants, but not splits of them.
        units = stacked.shape[1] // len(cell.gates)
        of = {gate: stacked.narrow(1, k * units, units) for k, gate in enumerate(cell.gates)}
        if operator.coupled:
            of["f"] = -of["i"]
        some = of[cell.gates[0]]
        for gate in set(operator.gates) - set(of):
            of[gate] = torch.full_like(some, absent)
        return torch.cat([of[gate] for gate in operator.gates], dim=1)

    bias = None
    b_ih = [w.b_ih for w in weights if w.b_ih is not None]
    b_hh = [w.b_hh for w in weights if w.b_hh is not None]
    absent = len(cell.gates) + operator.coupled < len(operator.gates)
    if not b_ih and absent:
        b_ih = b_hh = [torch.zeros_like(w.w_ih[:, 0]) for w in weights]
    if b_ih:
        bias = torch.cat([rows(b_ih, ALWAYS_OPEN), rows(b_hh)], dim=1)
    return rows([w.w_ih for w in weights]), rows([w.w_hh for w in weights]), bias


def _peepholes(cell: Cell, weights: Sequence[Weights]) -> Tensor | None:
    """P [D, 3*H], of the gates i, o and f."""
    found = [w.peephole for w in weights if w.peephole is not None]
    if not found:
        return None
    seen = dict(zip(cell.peepholes, torch.stack(found).unbind(1), strict=True))  # each [D, H]
    zero = torch.zeros_like(next(iter(seen.values())))
    return torch.cat([seen.get(gate, zero) for gate in ("i", "o", "f")], dim=1)


def _unprojected(
    x: Tensor, weights: Sequence[Weights], h_0: Tensor | None
) -> tuple[Tensor, list[Weights]]:
    """The same layer with m in place of h as its state, and what it takes for an input."""
    without = []
    for direction, w in enumerate(weights):
        assert w.w_hr is not None
        w_ih = w.w_ih
        if h_0 is not None:
            outputs = w.w_hr.shape[0]
            before = direction * outputs
            w_ih = torch.cat(
                [w_ih, pad(w.w_hh, (before, (len(weights) - 1) * outputs - before))], 1
            )
        without.append(Weights(w_ih, w.w_hh @ w.w_hr, w.b_ih, w.b_hh, None, w.peephole))
    if h_0 is None:
        return x, without
    steps = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1)
    first = (steps == 0, steps == x.shape[0] - 1)  # the reverse direction starts at the end
    starts = [at.to(x.dtype) * h for at, h in zip(first, h_0, strict=False)]  # each [T, B, P]
    return torch.cat([x, *starts], dim=-1), without
