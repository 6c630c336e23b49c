"""What torch.nn does not have, as layers: variants, nonlinearities, the truncated gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from tests.layers.loop import loop
from tests.tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import carousel
from carousel.cells.lstm import VARIANTS

FLOAT64 = torch.float64
INPUTS, H, P, B, T = 3, 5, 2, 3, 4


@dataclass(frozen=True)
class Kind:
    """A layer by its options and the oracle's name of its cell."""

    oracle: str
    make: Callable[..., nn.Module]
    options: tuple[tuple[str, object], ...] = ()

    @property
    def id(self) -> str:
        return "-".join([self.oracle, *(f"{name}={value}" for name, value in self.options)])

    def layer(self, **more: object) -> nn.Module:
        layer = self.make(INPUTS, H, dtype=FLOAT64, **dict(self.options), **more)
        with torch.no_grad():  # far from dead, but not exploding
            for name, parameter in layer.named_parameters():
                scale = 0.5 if "bias" in name or "peephole" in name else 1.2
                fan_in = 1 if scale == 0.5 else parameter.shape[1]
                parameter.normal_().mul_(scale / fan_in**0.5)
        return layer


def lstm(variant: str, oracle: str | None = None, **options: object) -> Kind:
    options = {"variant": variant, **options}
    return Kind(oracle or f"lstm_{variant}", carousel.LSTM, tuple(options.items()))


LSTMS = [
    lstm("forget", "lstm"),
    lstm("forget", "lstm", proj_size=P),
    lstm("forget", "lstm", gradient="1997"),
    lstm("1997"),
    lstm("1997", "lstm_1997_squashed", squashers="1997"),
    lstm("1997", "lstm_1997_squashed", squashers="1997", gradient="1997"),
    *(lstm(name) for name in ("peephole", "cifg", "nig", "nfg", "nog", "niaf", "noaf")),
    lstm("peephole", proj_size=P, gradient="1997"),
]
OTHERS = [
    Kind("rnn_sigmoid", carousel.RNN, (("nonlinearity", "sigmoid"),)),
    Kind("rnn_identity", carousel.RNN, (("nonlinearity", "identity"),)),
    Kind("gru", carousel.GRU),
]
KINDS = LSTMS + OTHERS
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)


@pytest.mark.parametrize("form", ["time first", "batch first", "packed", "unbatched"])
@pytest.mark.parametrize("checkpoint", [False, 3])
@pytest.mark.parametrize("stack", [(1, False), (2, True)], ids=["", "stack"])
@each_kind
def test_against_a_loop(
    kind: Kind, stack: tuple[int, bool], form: str, *, checkpoint: bool | int
) -> None:
    torch.manual_seed(len(form) + stack[0])
    layers, bidirectional = stack
    bias = form != "batch first"
    layer = kind.layer(
        num_layers=layers,
        bidirectional=bidirectional,
        batch_first=form == "batch first",
        bias=bias,
        checkpoint=checkpoint,
    )
    lengths = {"packed": [2, 4, 1], "unbatched": [T]}.get(form, [T] * B)
    sequences = [torch.randn(n, INPUTS, dtype=FLOAT64, requires_grad=True) for n in lengths]
    rows = layers * (1 + bidirectional)
    units = [layer.proj_size or H] + [H] * (kind.make is carousel.LSTM)
    starts = [torch.randn(rows, len(lengths), n, dtype=FLOAT64, requires_grad=True) for n in units]
    found = called(layer, form, sequences, starts)
    expected = loop(layer, kind.oracle, sequences, starts)
    leaves = [*sequences, *starts, *layer.parameters()]
    loss_of = loss_with_random_weights(expected)
    for name, one, other in zip(("output", "h_n", "c_n"), found, expected, strict=True):
        if other is None:
            assert one is None
            continue
        pairs = zip(one, other, strict=True)
        for row, wanted in pairs:
            assert_close(row, wanted, T, FLOAT64, name)
    gradients = [
        torch.autograd.grad(loss_of(results), leaves, materialize_grads=True)
        for results in (found, expected)
    ]
    for place, (one, other) in enumerate(zip(*gradients, strict=True)):
        assert_close(one, other, T, FLOAT64, f"gradient {place}")
    assert max(float(d.abs().max()) for d in gradients[1]) > 1e-2, "nothing was measured"


def called(
    layer: nn.Module, form: str, sequences: list[torch.Tensor], starts: list[torch.Tensor]
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor | None]:
    """Call a layer as a user does; take its results apart as ``loop`` gives them."""
    unbatched = form == "unbatched"
    state = tuple(start.squeeze(1) if unbatched else start for start in starts)
    if form == "packed":
        x = pack_sequence(sequences, enforce_sorted=False)
    elif unbatched:
        (x,) = sequences
    else:
        x = torch.stack(sequences, dim=0 if form == "batch first" else 1)
    output, last = layer(x, state if len(state) == 2 else state[0])
    ends = [end.unsqueeze(1) if unbatched else end for end in (last if len(state) == 2 else [last])]
    if isinstance(output, PackedSequence):
        outputs = nn.utils.rnn.unpack_sequence(output)
    else:
        outputs = [output] if unbatched else list(output.unbind(0 if form == "batch first" else 1))
    return outputs, ends[0], ends[1] if len(ends) == 2 else None


def loss_with_random_weights(like: tuple[object, ...]) -> Callable[[tuple], torch.Tensor]:
    ups = [torch.randn_like(row) for part in like if part is not None for row in part]

    def loss(results: tuple) -> torch.Tensor:
        rows = [row for part in results if part is not None for row in part]
        return sum((up * row).sum() for up, row in zip(ups, rows, strict=True))

    return loss


@pytest.mark.parametrize("kind", LSTMS, ids=lambda kind: kind.id)
def test_parameters(kind: Kind) -> None:
    """Rows for the gates that there are, within torch's limits; peepholes beside torch's names."""
    torch.manual_seed(0)
    options = dict(kind.options)
    layer = carousel.LSTM(INPUTS, 400, 2, bidirectional=True, **options)
    row = VARIANTS[options["variant"]]
    gates, peepholes = len(row.gates), len(row.peepholes)
    plain = nn.LSTM(INPUTS, 400, 2, bidirectional=True, proj_size=options.get("proj_size", 0))
    names = {name for name, _ in plain.named_parameters()}
    added = {name.replace("weight_ih", "weight_peephole") for name in names if "weight_ih" in name}
    assert {name for name, _ in layer.named_parameters()} == names | (added if peepholes else set())
    assert layer.weight_hh_l1_reverse.shape[0] == layer.bias_ih_l0.shape[0] == gates * 400
    for parameter in layer.parameters():
        assert math.isclose(float(parameter.detach().abs().max()), 1 / 20, rel_tol=0.05)
    if peepholes:
        assert layer.weight_peephole_l1_reverse.shape == (peepholes, 400)
        assert any(parameter is layer.weight_peephole_l1 for parameter in layer.all_weights[2])
        with torch.no_grad():
            layer.weight_peephole_l0.fill_(7.0)
        layer.reset_parameters()
        assert float(layer.weight_peephole_l0.detach().abs().max()) < 0.06
    again = carousel.LSTM(INPUTS, 400, 2, bidirectional=True, **options)
    again.load_state_dict(layer.state_dict(), strict=True)


def test_torch_cannot_load_what_it_does_not_have() -> None:
    with pytest.raises(RuntimeError, match="weight_peephole_l0"):
        nn.LSTM(INPUTS, H).load_state_dict(
            carousel.LSTM(INPUTS, H, variant="peephole").state_dict()
        )


def test_the_truncated_gradient_is_another() -> None:
    torch.manual_seed(0)
    x = torch.randn(T, B, INPUTS)
    full = carousel.LSTM(INPUTS, H)
    cut = carousel.LSTM(INPUTS, H, gradient="1997")
    cut.load_state_dict(full.state_dict())
    for layer in (full, cut):
        layer(x)[0][-1].sum().backward()
    assert torch.equal(full(x)[0], cut(x)[0])
    assert not torch.allclose(full.weight_ih_l0.grad, cut.weight_ih_l0.grad)


def test_the_representation_names_what_is_not_default() -> None:
    shown = repr(carousel.LSTM(INPUTS, H, 2, variant="1997", squashers="1997", gradient="1997"))
    assert shown == ("LSTM(3, 5, num_layers=2, variant='1997', squashers='1997', gradient='1997')")
    assert repr(carousel.LSTM(INPUTS, H, checkpoint=True)) == "LSTM(3, 5, checkpoint=True)"
    assert repr(carousel.RNN(INPUTS, H, nonlinearity="identity")) == (
        "RNN(3, 5, nonlinearity='identity')"
    )
    assert repr(carousel.GRU(INPUTS, H, batch_first=True)) == repr(
        nn.GRU(INPUTS, H, batch_first=True)
    )


@pytest.mark.parametrize(
    ("variant", "squashers"), list(itertools.product(("1997", "peephole"), ("1997", "tanh")))
)
def test_squashers_belong_to_1997(variant: str, squashers: str) -> None:
    if squashers == "1997" and variant != "1997":
        with pytest.raises(ValueError, match=r"squashers='1997' belongs to variant='1997'"):
            carousel.LSTM(INPUTS, H, variant=variant, squashers=squashers)
    else:
        assert carousel.LSTM(INPUTS, H, variant=variant, squashers=squashers).squashers == squashers
