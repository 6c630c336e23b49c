"""Problems on Carousel's own layers, and which way their flow was come by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
import torch
from tests import oracles
from tests.cases import Case, Problem
from tests.lstm_family import LSTM
from torch import nn

import carousel
from carousel.flow import Flow
from carousel.trace import _timelines

__all__ = [
    "CELLS",
    "TORCH",
    "Own",
    "assert_equal_flows",
    "cut_oracle",
    "flow_of",
    "heard",
    "options_of",
    "replayed",
    "rich",
]

CELLS = [*LSTM, "gru", "rnn_tanh", "rnn_relu", "rnn_sigmoid", "rnn_identity"]
TORCH = ("lstm", "gru", "rnn_tanh", "rnn_relu")  # what torch.nn has too


def options_of(cell: str) -> tuple[type[nn.Module], dict[str, str]]:
    """The layer that computes what the oracle calls ``cell``."""
    if cell == "gru":
        return carousel.GRU, {}
    if cell.startswith("rnn_"):
        return carousel.RNN, {"nonlinearity": cell.removeprefix("rnn_")}
    if cell == "lstm_1997_squashed":
        return carousel.LSTM, {"variant": "1997", "squashers": "1997"}
    return carousel.LSTM, {"variant": cell.removeprefix("lstm").removeprefix("_") or "forget"}


@dataclass
class Own(Problem):
    """A Case on one of Carousel's own layers. ``case.cell`` is the oracle's name."""

    options: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.has_c and self.h0 is not None:
            rows, sequences, _ = self.h0.shape
            generator = torch.Generator().manual_seed(self.case.seed + 1)
            c0 = torch.randn(
                rows, sequences, self.case.hidden, generator=generator, dtype=torch.float64
            )
            self.c0 = (0.7 * c0).to(self.dtype)
            self.c0.requires_grad_(self.h0.requires_grad)

    @property
    def has_c(self) -> bool:
        return self.case.cell in LSTM

    def _module(self, generator: torch.Generator) -> nn.Module:
        case = self.case
        kind, options = options_of(case.cell)
        if case.projected:
            options = {**options, "proj_size": case.state_size}
        module = kind(
            case.inputs,
            case.hidden,
            num_layers=case.layers,
            bias=case.bias,
            batch_first=case.batch_first,
            bidirectional=case.bidirectional,
            dropout=case.dropout,
            **options,
            **self.options,
        ).to(self.dtype)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                value = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                inside = "bias" in name or "peephole" in name
                if case.cell == "rnn_relu" and inside:  # most units alive
                    value = value.abs()
                parameter.copy_(value * (0.4 if inside else 1.2 / parameter.shape[1] ** 0.5))
        return module

    @property
    def twin(self) -> nn.Module:
        """The layer of torch.nn with the same weights."""
        own = self.module
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}.get(self.case.cell, nn.RNN)
        options = {"nonlinearity": own.nonlinearity} if kind is nn.RNN else {}
        if own.proj_size:
            options["proj_size"] = own.proj_size
        names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
        options |= {name: getattr(own, name) for name in names}
        twin = kind(own.input_size, own.hidden_size, **options).to(self.dtype)
        twin.load_state_dict(own.state_dict(), strict=True)
        return twin

    @property
    def state(self) -> object:
        if self.h0 is None:
            return None
        parts = [self.h0] if self.c0 is None else [self.h0, self.c0]
        if self.case.ragged == "unbatched":
            parts = [part.squeeze(1) for part in parts]
        return tuple(parts) if self.has_c else parts[0]

    def call(self, module: nn.Module | None = None) -> tuple:
        torch.manual_seed(self.case.seed)
        output, state = (module or self.module)(self.input, self.state)
        h_n, c_n = state if self.has_c else (state, None)
        return output, h_n, c_n


def rich(cell: str, **more: object) -> Case:
    """A case with much in it: two layers, two directions, states, and a loss on everything."""
    return replace(
        Case(cell=cell, layers=2, bidirectional=True, state="requires_grad", steps=5), **more
    )


def flow_of(module: nn.Module, loss: Callable[[], torch.Tensor]) -> Flow:
    """The flow of one backward pass, watched."""
    with carousel.watch(module) as watcher:
        loss().backward()
    return watcher.flow


@contextmanager
def _with(recorded_layers: Callable[..., object]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_timelines, "recorded_layers", recorded_layers)
        yield


@contextmanager
def heard(calls: int | None = 1) -> Iterator[None]:
    """Require that within the block so many calls are taken as they were heard, none replayed.

    None: all of them, however many.
    """
    original, found = _timelines.recorded_layers, []

    def counting(*arguments: object) -> object:
        result = original(*arguments)
        found.append(result is not None)
        return result

    with _with(counting):
        yield
    assert all(found), f"{found.count(False)} of {len(found)} calls were replayed"
    assert len(found) == (calls if calls is not None else max(1, len(found))), len(found)


@contextmanager
def replayed() -> Iterator[None]:
    """Let all calls within the block be replayed, whatever was heard."""
    with _with(lambda *_: None):
        yield


@contextmanager
def cut_oracle() -> Iterator[None]:
    """Let the oracle follow the truncated gradient of 1997 within the block."""
    original = oracles.step_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracles, "step_of", lambda *args, **kw: original(*args, truncated=True, **kw))
        yield


def assert_equal_flows(
    actual: Flow, expected: Flow, rtol: float = 1e-10, *, forward: bool = True
) -> None:
    """Compare two flows; NaN equals NaN. ``rtol``: of each quantity's largest finite entry."""
    assert list(actual) == list(expected)
    names = ("d_h", "d_c", "d_h_injected", "d_c_injected", "d_h0", "d_c0")
    for layer in actual:
        one, other = actual[layer], expected[layer]
        pairs = [(name, getattr(one, name), getattr(other, name)) for name in names]
        if forward:
            pairs += [(name, getattr(one, name), getattr(other, name)) for name in ("h", "c")]
            for what in ("gates", "pre_activations"):
                ours, theirs = getattr(one, what), getattr(other, what)
                assert list(ours) == list(theirs)
                pairs += [(f"{what} {key}", ours[key], theirs[key]) for key in ours]
        for name, found, wanted in pairs:
            if wanted is None:
                assert found is None, f"{name} of {layer}"
                continue
            finite = wanted[wanted.isfinite()].abs()
            scale = float(finite.max()) if finite.numel() else 0.0
            torch.testing.assert_close(
                found,
                wanted,
                rtol=0.0,
                atol=rtol * scale,
                equal_nan=True,
                msg=lambda text, what=f"{name} of {layer}": f"{what}: {text}",
            )
        assert one.lengths.tolist() == other.lengths.tolist()
        assert one.boundaries == other.boundaries
