"""torch.compile keeps one graph where torch's own layers break it, and gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from tests.tolerances import assert_close
from torch import nn

import carousel

MODELS: dict[str, Callable[[], nn.Module]] = {
    "RNN": lambda: carousel.RNN(3, 5, nonlinearity="relu"),
    "RNN identity": lambda: carousel.RNN(3, 5, nonlinearity="identity", bias=False),
    "GRU": lambda: carousel.GRU(3, 5, 2, bidirectional=True, batch_first=True),
    "LSTM": lambda: carousel.LSTM(3, 5, 2, dropout=0.5),
    "LSTM projected": lambda: carousel.LSTM(3, 5, proj_size=2, bidirectional=True),
    "LSTM peephole": lambda: carousel.LSTM(3, 5, variant="peephole", gradient="1997"),
    "LSTM checkpointed": lambda: carousel.LSTM(3, 5, variant="cifg", checkpoint=2),
}


class Around(nn.Module):
    """A layer amid others, as it is in a model."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.before, self.layer = nn.Linear(4, 3), layer

    def forward(self, x: torch.Tensor, hx: object = None) -> torch.Tensor:
        output, last = self.layer(torch.tanh(self.before(x)), hx)
        ends = last if isinstance(last, tuple) else (last,)
        return output.sin().sum() + sum(end.square().sum() for end in ends)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Compiled code of one test is none of another's; filled memory is no part of a graph."""
    torch.compiler.reset()
    torch.use_deterministic_algorithms(mode=False)
    yield
    torch.compiler.reset()


def both(model: nn.Module, compiled: nn.Module, *inputs: object) -> None:
    results = []
    for run in (model, compiled):
        model.zero_grad()
        torch.manual_seed(0)
        loss = run(*inputs)
        loss.backward()
        results.append([loss, *(p.grad.clone() for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        assert_close(other, one, 6, torch.float64, "compiled")


@pytest.mark.parametrize("name", MODELS)
def test_one_graph(name: str) -> None:
    model = Around(MODELS[name]()).double()
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    x = torch.randn(6, 2, 4, dtype=torch.float64)
    both(model, torch.compile(model, fullgraph=True, backend=backend), x)
    assert len(graphs) == 1
    calls = [node for node in graphs[0].graph.nodes if "carousel.recurrence" in str(node.target)]
    layer = model.layer
    assert len(calls) == layer.num_layers * (1 + layer.bidirectional)


def test_states_and_other_lengths() -> None:
    """Another length compiles once more, with the length as a symbol; then no more."""
    model = Around(carousel.LSTM(3, 5)).double()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    hx = (torch.randn(1, 2, 5, dtype=torch.float64), torch.randn(1, 2, 5, dtype=torch.float64))
    for steps in (6, 9, 12, 20):
        if steps > 9:
            torch.compiler.set_stance("fail_on_recompile")
        both(model, compiled, torch.randn(steps, 2, 4, dtype=torch.float64), hx)
    torch.compiler.set_stance("default")


def test_without_gradients() -> None:
    model = Around(carousel.GRU(3, 5)).eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(6, 2, 4)
    with torch.no_grad():
        assert torch.equal(compiled(x), model(x))


def test_accelerated_models_compile() -> None:
    model = Around(nn.LSTM(3, 5)).double()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="RNN, GRU, or LSTM"):
        torch.compile(model, fullgraph=True, backend="eager")(torch.zeros(6, 2, 4).double())
    torch.compiler.reset()
    carousel.accelerate(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    both(model, compiled, torch.randn(6, 2, 4, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_with_inductor() -> None:
    model = Around(carousel.LSTM(3, 5, bidirectional=True)).double()
    compiled = torch.compile(model, fullgraph=True)
    both(model, compiled, torch.randn(6, 2, 4, dtype=torch.float64))


def test_export() -> None:
    model = Around(carousel.GRU(3, 5)).eval()
    x = torch.randn(6, 2, 4)
    program = torch.export.export(model, (x,))
    assert torch.equal(program.module()(x), model(x))
