"""``watch_norms``: the norms of all total gradients, from inside the layers' own backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import carousel
from carousel.layers import _recurrent

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


def test_names_are_those_of_the_runs() -> None:
    """A run without a gradient is not heard; the others keep their names."""
    layer = carousel.LSTM(2, 5, num_layers=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(STEPS, BATCH, 2, dtype=torch.float64)
    with carousel.watch(layer) as watcher:
        layer(x)[0].square().sum().backward()
    expected = watcher.flow
    for frozen in (["l0"], ["l0", "l0_reverse"]):
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(not any(name.endswith(f"_{suffix}") for suffix in frozen))
        with carousel.watch_norms(layer) as norms_watcher:
            layer(x)[0].square().sum().backward()
        norms = norms_watcher.norms
        assert set(norms) == set(expected) - set(frozen)
        for name, found in norms.items():
            torch.testing.assert_close(found.d_h, expected[name].norm("d_h"))


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed"])
def test_an_input_by_keyword(packed: bool) -> None:
    layer = carousel.GRU(2, 5)
    x: object = torch.randn(STEPS, BATCH, 2)
    if packed:
        x = pack_padded_sequence(x, [4, 6, 1], enforce_sorted=False)  # type: ignore[arg-type]
    found = []
    for call in (lambda: layer(x), lambda: layer(hx=None, input=x)):
        with carousel.watch_norms(layer) as watcher:
            output, _ = call()
            (output.data if packed else output).square().sum().backward()
        found.append(watcher.norms["l0"].d_h)
    assert found[0].shape == (STEPS, BATCH)
    assert torch.equal(*found)


@pytest.mark.parametrize("outer", ["watch", "watch_norms"])
@pytest.mark.parametrize("inner", ["watch", "watch_norms"])
def test_watchers_inside_each_other(outer: str, inner: str) -> None:
    """Each hears what it would alone, also after the inner one has left."""
    layer = carousel.LSTM(2, 5, num_layers=2, proj_size=3, dtype=torch.float64)
    x = torch.randn(STEPS, BATCH, 2, dtype=torch.float64)

    def norms(watcher: object) -> dict[str, torch.Tensor]:
        if isinstance(watcher, carousel.flow.NormWatcher):
            return {name: found.d_h for name, found in watcher.norms.items()}
        assert isinstance(watcher, carousel.flow.Watcher)
        return {name: found.norm("d_h") for name, found in watcher.flow.layers.items()}

    with carousel.watch(layer) as alone:
        layer(x)[0].square().sum().backward()
    with getattr(carousel, outer)(layer) as one:
        with getattr(carousel, inner)(layer) as other:
            layer(x)[0].square().sum().backward()
        torch.testing.assert_close(norms(one), norms(alone))
        torch.testing.assert_close(norms(other), norms(alone))
        layer(x)[0].sum().backward()
    with carousel.watch(layer) as alone_again:
        layer(x)[0].sum().backward()
    torch.testing.assert_close(norms(one), norms(alone_again))
    torch.testing.assert_close(norms(other), norms(alone))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_by_torch(reentrant: bool) -> None:
    """The layers run once more within the backward pass, and all belong to that pass."""
    first, second = (carousel.GRU(5, 5, dtype=torch.float64) for _ in range(2))
    model = nn.ModuleDict({"first": first, "second": second})
    x = torch.randn(STEPS, BATCH, 5, dtype=torch.float64, requires_grad=True)
    with carousel.watch(model) as watcher:
        second(first(x)[0])[0].square().sum().backward()
    with carousel.watch_norms(model) as norms_watcher:
        y = x
        for layer in (first, second):
            y = checkpoint(lambda y, layer=layer: layer(y)[0], y, use_reentrant=reentrant)
        y.square().sum().backward()
    expected = {name: layer.norm("d_h") for name, layer in watcher.flow.layers.items()}
    torch.testing.assert_close({n: f.d_h for n, f in norms_watcher.norms.items()}, expected)


@pytest.mark.parametrize("watch", [carousel.watch, carousel.watch_norms])
def test_many_passes_in_one_are_not_heard(watch: Callable[..., Any]) -> None:
    """Neither inside torch.func nor with is_grads_batched, and the next pass is."""
    layer = carousel.GRU(2, 5)
    x = torch.randn(STEPS, BATCH, 2)

    def heard(watcher: Any) -> list[str]:
        norms = isinstance(watcher, carousel.flow.NormWatcher)
        return list(watcher.norms if norms else watcher.flow.layers)

    with watch(layer) as watcher:
        torch.func.vmap(lambda x: layer(x)[0])(x.expand(3, *x.shape)).sum().backward()
        output = layer(x)[0]
        came = torch.randn(3, *output.shape)
        torch.autograd.grad(output, layer.weight_hh_l0, came, is_grads_batched=True)
        with pytest.raises(carousel.CarouselError, match="No backward pass"):
            heard(watcher)
        layer(x)[0].sum().backward()
    assert heard(watcher) == ["l0"]


def test_what_hands_out_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device on which torch's own kernels run the layer; here the CPU stands for it."""
    layer = nn.Sequential(carousel.LSTM(2, 5))
    peephole = carousel.LSTM(2, 5, variant="peephole")
    watcher = carousel.watch_norms(layer)
    monkeypatch.setattr(_recurrent, "HERE", ("meta",))
    says = r"0 \(LSTM\) is on cpu, where torch's own kernels run it"
    with pytest.raises(carousel.CarouselError, match=says):
        carousel.watch_norms(layer)
    with watcher, pytest.raises(carousel.CarouselError, match=says):  # moved since
        layer(torch.randn(STEPS, BATCH, 2))
    with carousel.watch_norms(peephole) as heard:  # which torch does not have
        peephole(torch.randn(STEPS, BATCH, 2))[0].sum().backward()
    assert set(heard.norms) == {"l0"}


def test_compiled_models_are_refused() -> None:
    layer = carousel.GRU(2, 5)
    with pytest.raises(carousel.CarouselError, match=r"is compiled \(torch.compile\)"):
        carousel.watch_norms(torch.compile(layer, backend="eager"))


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
