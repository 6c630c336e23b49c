"""Models that remedies are tried on: every module, in depth, both ways, cells and own layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import carousel

INPUTS, H, T, B = 3, 5, 12, 4


class Net(nn.Module):
    """A recurrent module with a head, called once for each sequence."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Loop(nn.Module):
    """A cell in a loop."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state, found = None, []
        for x_t in x:
            state = self.cell(x_t, state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(found)


class Twice(nn.Module):
    """One module that is used in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(INPUTS, INPUTS)
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.first(x)[0])[0]


class Tied(nn.Module):
    """Two modules that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.other = nn.LSTM(INPUTS, H), nn.LSTM(INPUTS, H)
        self.other.weight_hh_l0 = self.first.weight_hh_l0

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x)[0] + self.other(x)[0]


DEEP = {"num_layers": 2, "bidirectional": True}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Net(nn.LSTM(INPUTS, H)),
    "LSTM deep": lambda: Net(nn.LSTM(INPUTS, H, **DEEP)),
    "LSTM stack": lambda: Net(nn.LSTM(INPUTS, H, num_layers=2)),
    "LSTM projected": lambda: Net(nn.LSTM(INPUTS, H, proj_size=2)),
    "LSTM batch first": lambda: Net(nn.LSTM(INPUTS, H, batch_first=True)),
    "GRU": lambda: Net(nn.GRU(INPUTS, H)),
    "RNN": lambda: Net(nn.RNN(INPUTS, H)),
    "RNN deep": lambda: Net(nn.RNN(INPUTS, H, **DEEP)),
    "RNN relu": lambda: Net(nn.RNN(INPUTS, H, nonlinearity="relu")),
    "RNN no bias": lambda: Net(nn.RNN(INPUTS, H, bias=False)),
    "bare RNN": lambda: nn.RNN(INPUTS, H),
    "LSTMCell": lambda: Loop(nn.LSTMCell(INPUTS, H)),
    "GRUCell": lambda: Loop(nn.GRUCell(INPUTS, H)),
    "RNNCell": lambda: Loop(nn.RNNCell(INPUTS, H)),
    "own LSTM": lambda: Net(carousel.LSTM(INPUTS, H)),
    "own peephole": lambda: Net(carousel.LSTM(INPUTS, H, variant="peephole")),
    "own cifg": lambda: Net(carousel.LSTM(INPUTS, H, variant="cifg")),
    "own 1997": lambda: Net(carousel.LSTM(INPUTS, H, variant="1997")),
    "own RNN": lambda: Net(carousel.RNN(INPUTS, H, num_layers=2)),
    "own sigmoid": lambda: Net(carousel.RNN(INPUTS, H, nonlinearity="sigmoid")),
    "own GRU": lambda: Net(carousel.GRU(INPUTS, H)),
    "used twice": Twice,
    "tied": Tied,
}


def model_of(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a model, the same each time."""
    torch.manual_seed(3)
    return MODELS[name]().to(dtype)


def inputs(steps: int = T) -> Tensor:
    """Return an input, the same each time."""
    return torch.randn(steps, B, INPUTS, generator=torch.Generator().manual_seed(4))


def output_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return what a model puts out, be it a module of torch itself."""
    found = model(x)
    return found[0] if isinstance(found, tuple) else found


def train(model: nn.Module, steps: int = 2, x: Tensor | None = None) -> None:
    """Change every parameter."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        output_of(model, inputs() if x is None else x).square().sum().backward()
        optimizer.step()


def snapshot(model: nn.Module) -> dict[str, object]:
    """Return everything that must be as it was, bit by bit."""
    found: dict[str, object] = {"rng": torch.get_rng_state()}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[name] = tensor.detach().clone()
        found[f"{name} itself"] = id(tensor)
        found[f"{name} memory"] = tensor.data_ptr()
        found[f"{name} takes"] = tensor.requires_grad
    for path, module in model.named_modules():
        found[f"{path} class"] = type(module)
        found[f"{path} attributes"] = {
            name: id(value)
            for name, value in vars(module).items()
            if not name.startswith("_flat_weight")  # lists of the parameters, made anew by .to()
        }
    return found
