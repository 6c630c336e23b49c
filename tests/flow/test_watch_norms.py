"""``watch_norms``: the norms of all total gradients, from inside the layers' own backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import carousel

STEPS, BATCH = 6, 3


class Net(nn.Module):
    def __init__(self, kind: str, **options: object) -> None:
        super().__init__()
        self.rnn = getattr(carousel, kind)(2, 5, dtype=torch.float64, **options)

    def forward(self, x: object) -> torch.Tensor:
        output, _ = self.rnn(x)
        data: torch.Tensor = output if isinstance(output, torch.Tensor) else output.data
        return data


OPTIONS: list[dict[str, object]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"batch_first": True},
    {"checkpoint": 3},
]


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_norms_are_those_of_the_flow(kind: str, options: dict[str, object], packed: bool) -> None:
    net = Net(kind, **options)
    shape = (BATCH, STEPS) if options.get("batch_first") else (STEPS, BATCH)
    x: object = torch.randn(*shape, 2, dtype=torch.float64)
    if packed:
        assert isinstance(x, torch.Tensor)
        lengths = torch.tensor([4, 6, 1])
        first = bool(options.get("batch_first"))
        x = pack_padded_sequence(x, lengths, enforce_sorted=False, batch_first=first)
    with carousel.watch(net) as watcher:
        net(x).square().sum().backward()
    flow = watcher.flow
    with carousel.watch_norms(net) as norms_watcher:
        net(x).square().sum().backward()
    norms = norms_watcher.norms
    assert set(norms) == set(flow)
    for name in flow:
        torch.testing.assert_close(norms[name].d_h, flow[name].norm("d_h"))
        d_c = norms[name].d_c
        assert (d_c is None) == (flow[name].d_c is None)
        if d_c is not None:
            torch.testing.assert_close(d_c, flow[name].norm("d_c"))


def test_each_call_of_a_layer_has_its_own() -> None:
    layer = carousel.LSTM(2, 5)
    with carousel.watch_norms(layer) as watcher:
        output, state = layer(torch.randn(STEPS, BATCH, 2))
        later, _ = layer(torch.randn(STEPS - 2, BATCH, 2), state)
        (output.sum() + later.sum()).backward()
    assert {name: norms.d_h.shape[0] for name, norms in watcher.norms.items()} == {
        "l0#1": STEPS,
        "l0#2": STEPS - 2,
    }


def test_the_last_pass_stands() -> None:
    layer = carousel.GRU(2, 5)
    with carousel.watch_norms(layer) as watcher:
        for steps in (4, 7):
            layer(torch.randn(steps, BATCH, 2))[0].sum().backward()
    assert watcher.norms["l0"].d_h.shape == (7, BATCH)
    assert watcher.norms["l0"].d_c is None


def test_nothing_is_left_behind() -> None:
    layer = carousel.GRU(2, 5)
    with carousel.watch_norms(layer), pytest.raises((RuntimeError, ValueError)):
        layer(torch.randn(STEPS, BATCH, 3))
    from carousel.cells import offered_to

    assert offered_to(layer) is None
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.LSTM(2, 3), "accelerate"),
        (carousel.LSTM, "Expected a torch.nn.Module"),
    ],
)
def test_bad_models(model: object, says: str) -> None:
    with pytest.raises(carousel.CarouselError, match=says):
        carousel.watch_norms(model)  # type: ignore[arg-type]


def test_before_any_pass() -> None:
    watcher = carousel.watch_norms(carousel.LSTM(2, 3))
    with pytest.raises(carousel.CarouselError, match="No backward pass"):
        _ = watcher.norms
