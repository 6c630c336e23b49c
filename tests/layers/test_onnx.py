"""Layers exported to ONNX, run by onnxruntime, against the layers themselves.

An export takes seconds, most of them whatever the model is: so each way of running is one export of
a model that holds many cells side by side.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass

import onnx
import onnxruntime
import pytest
import torch
from tests.tolerances import assert_close
from torch import nn
from torch.export import Dim
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils import _pytree as pytree

from carousel import CarouselError
from carousel.cells import CELLS
from carousel.layers import GRU, LSTM, RNN

# torch.export copies its own descriptions of arguments in a way that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*:FutureWarning")

INPUTS, H, P = 3, 5, 2
PROJECTED = "LSTM peephole projected"
NAMES = (*CELLS, PROJECTED)
HAS_C = {name: name.startswith("LSTM") for name in NAMES}


@dataclass(frozen=True)
class Way:
    """One way of running a layer."""

    layers: int = 1
    bidirectional: bool = False
    batch_first: bool = False
    bias: bool = True
    state: bool = True
    cells: tuple[str, ...] = NAMES
    # Steps and batch: of the export, then others that the same file has to serve.
    shapes: tuple[tuple[int, int], ...] = ((4, 2), (7, 3), (1, 1))

    @property
    def rows(self) -> int:
        """Return the rows of a state."""
        return self.layers * (1 + self.bidirectional)

    @property
    def options(self) -> dict[str, int | bool]:
        """Return the arguments that every kind of layer takes."""
        return {
            "num_layers": self.layers,
            "bidirectional": self.bidirectional,
            "batch_first": self.batch_first,
            "bias": self.bias,
            "dropout": 0.5 if self.layers > 1 else 0.0,  # which an evaluated model leaves out
        }


WAYS = {
    "both directions": Way(bidirectional=True),
    "one direction, no bias, no state": Way(
        batch_first=True,
        bias=False,
        state=False,
        cells=("RNN identity", "LSTM 1997", "LSTM cifg", "LSTM nig", "LSTM niaf", PROJECTED, "GRU"),
    ),
    "stacked": Way(layers=2, cells=("RNN relu", "LSTM", PROJECTED, "GRU")),
}


def layer_of(name: str, **options: object) -> nn.Module:
    """Return the layer that computes a cell, with random weights."""
    family, _, kind = name.partition(" ")
    if family == "RNN":
        layer = RNN(INPUTS, H, nonlinearity=kind, **options)
    elif family == "GRU":
        layer = GRU(INPUTS, H, **options)
    elif name == PROJECTED:
        layer = LSTM(INPUTS, H, variant="peephole", proj_size=P, **options)
    elif kind == "1997 squashed":
        layer = LSTM(INPUTS, H, variant="1997", squashers="1997", **options)
    else:
        layer = LSTM(INPUTS, H, variant=kind or "forget", **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0.0, 0.4)
    return layer.eval()


def state_of(name: str, way: Way, batch: int) -> object:
    """Return a random initial state, as the layer takes it."""
    h_0 = torch.randn(way.rows, batch, P if name == PROJECTED else H)
    return (h_0, torch.randn(way.rows, batch, H)) if HAS_C[name] else h_0


class Several(nn.Module):
    """Layers side by side over one input; their results one after the other."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor, states: list | None = None) -> list[torch.Tensor]:
        """Return output, h_n and, where there is one, c_n, of each layer."""
        found = []
        for layer, state in zip(self.layers, states or [None] * len(self.layers), strict=True):
            output, end = layer(x, state)
            found += [output, *(end if isinstance(end, tuple) else [end])]
        return found


def export(model: nn.Module, args: tuple, **options: object) -> onnx.ModelProto:
    """Export as a user does; the file has to be valid."""
    program = torch.onnx.export(model, args, dynamo=True, verbose=False, **options)
    onnx.checker.check_model(program.model_proto, full_check=True)
    return program.model_proto


def run(file: onnx.ModelProto, args: tuple) -> list[torch.Tensor]:
    """Run an exported model."""
    session = onnxruntime.InferenceSession(
        file.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    arrays = [tensor.numpy() for tensor in pytree.tree_leaves(args)]
    names = [entry.name for entry in session.get_inputs()]
    found = session.run(None, dict(zip(names, arrays, strict=True)))
    return [torch.from_numpy(array) for array in found]


def call_of(way: Way, steps: int, batch: int) -> tuple:
    """Return random arguments of a model of all cells."""
    x = torch.randn((batch, steps, INPUTS) if way.batch_first else (steps, batch, INPUTS))
    return (x, [state_of(name, way, batch) for name in way.cells]) if way.state else (x,)


@pytest.mark.parametrize("key", WAYS)
def test_onnxruntime_gives_what_the_layers_give(key: str) -> None:
    way = WAYS[key]
    torch.manual_seed(zlib.crc32(key.encode()))
    model = Several([layer_of(name, **way.options) for name in way.cells]).eval()
    calls = [call_of(way, *shape) for shape in way.shapes]
    anything, batch = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {1: Dim.DYNAMIC}
    dynamic = (anything, [(batch, batch) if HAS_C[name] else batch for name in way.cells])
    file = export(model, calls[0], dynamic_shapes=dynamic[: len(calls[0])])

    assert {node.domain for node in file.graph.node} == {""}, "not an operator of the standard"
    operators = Counter(node.op_type for node in file.graph.node)
    expected = Counter(name.partition(" ")[0] for name in way.cells * way.layers)
    assert {name: operators[name] for name in expected} == expected, "one for each layer"
    assert operators["Scan"] == operators["Loop"] == operators["Dropout"] == 0

    for call, (steps, _) in zip(calls, way.shapes, strict=True):
        with torch.no_grad():
            pairs = zip(run(file, call), model(*call), strict=True)
        for name in way.cells:
            for what in ("output", "h_n", "c_n") if HAS_C[name] else ("output", "h_n"):
                actual, wanted = next(pairs)
                assert wanted.abs().max() > 1e-2, "the dynamics died: the test measures zero"
                assert_close(actual, wanted, steps, torch.float32, f"{what} of {name}")


def test_a_gate_that_is_not_there_is_exactly_one() -> None:
    """Nothing is written where g = tanh(0), so c comes through a thousand steps as it was."""
    layers = [LSTM(INPUTS, H, variant=variant) for variant in ("1997", "nfg")]
    model = Several(layers).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    states = [(torch.randn(1, 2, H), torch.randn(1, 2, H)) for _ in layers]
    args = (torch.randn(1000, 2, INPUTS), states)
    found = run(export(model, args), args)
    assert torch.equal(found[2], states[0][1])
    assert torch.equal(found[5], states[1][1])


def test_an_unbatched_sequence() -> None:
    torch.manual_seed(0)
    layer = layer_of("LSTM peephole", bidirectional=True)
    args = (torch.randn(6, INPUTS), (torch.randn(2, H), torch.randn(2, H)))
    with torch.no_grad():
        expected = pytree.tree_leaves(layer(*args))
    for actual, wanted in zip(run(export(layer, args), args), expected, strict=True):
        assert_close(actual, wanted, 6, torch.float32, "unbatched")


def test_packed_sequences_are_refused() -> None:
    class Packing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = LSTM(INPUTS, H)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return self.lstm(pack_padded_sequence(x, lengths, enforce_sorted=False))[1][0]

    args = (torch.randn(4, 2, INPUTS), torch.tensor([4, 2]))
    with pytest.raises(torch.onnx.OnnxExporterError, match="A PackedSequence cannot be exported"):
        export(Packing().eval(), args)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch would rather not be asked either
def test_the_exporter_of_old_is_refused() -> None:
    x = torch.randn(4, 1, INPUTS)
    with pytest.raises(CarouselError, match=r"TorchScript.*dynamo=True"):
        torch.onnx.export(LSTM(INPUTS, H), (x,), "unused.onnx", dynamo=False)
