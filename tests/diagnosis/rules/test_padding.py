"""Padding that counts as data: known from lengths, or inferred from the rows at the ends."""

from __future__ import annotations

import pytest
import torch
from tests.diagnosis.models import data, every, found, made, measured
from torch import Tensor, nn

import carousel
from carousel import CarouselError

LENGTHS = (40, 31, 22, 13)


def padded(value: float = 0.0, *, in_front: bool = False) -> Tensor:
    x = data(40)
    for sequence, length in enumerate(LENGTHS):
        rows = slice(0, 40 - length) if in_front else slice(length, None)
        x[rows, sequence] = value
    return x


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, carousel.GRU])
@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize("in_front", [False, True])
def test_inferred(kind: type[nn.Module], value: float, *, in_front: bool) -> None:
    flow = measured(made(kind, num_layers=2), padded(value, in_front=in_front), every)
    (finding,) = found(flow, "padding")
    assert finding.layer == "l0"
    assert finding.evidence["padded_sequences"] == 3
    assert finding.evidence["longest_padding_steps"] == 27
    assert finding.evidence["padded_steps_share"] == pytest.approx(54 / 160)
    assert ("at the beginning" if in_front else "at the end") in finding.sentence


def test_known_lengths_need_no_sign() -> None:
    """Whatever stands in the padding."""
    flow = measured(made(nn.LSTM), data(40), every)
    (finding,) = found(flow, "padding", lengths=LENGTHS)
    assert finding.evidence["longest_padding_steps"] == 27
    assert "are padding" in finding.sentence
    assert not found(flow, "padding", lengths=[40] * 4)


def test_a_packed_batch_is_right() -> None:
    module = made(nn.LSTM)
    packed = nn.utils.rnn.pack_padded_sequence(padded(), torch.tensor(LENGTHS))
    flow = carousel.measure(module, lambda: module(packed)[0].data.square().sum())
    assert not found(flow, "padding")
    assert not found(flow, "padding", lengths=LENGTHS)


def same_end() -> Tensor:
    """A blank tail of one length, as in delayed recall: data, not padding."""
    x = data(40)
    x[5:] = 0.0
    return x


def binary() -> Tensor:
    return (data(40)[..., :3] > 0.5).float()[..., :1].expand(-1, -1, 3).contiguous()


def constant() -> Tensor:
    return torch.zeros(40, 4, 3)


def one_short() -> Tensor:
    x = data(40)
    x[30:, 0] = 0.0
    return x


@pytest.mark.parametrize("make", [same_end, binary, constant, one_short, lambda: data(40)])
def test_what_only_looks_like_it(make: object) -> None:
    assert not found(measured(made(nn.LSTM), make(), every), "padding")


@pytest.mark.parametrize("lengths", [[40, 40], [0, 40, 40, 40]])
def test_bad_lengths(lengths: list[int]) -> None:
    with pytest.raises(CarouselError, match="valid steps of each sequence"):
        carousel.diagnose(measured(made(nn.LSTM), data(40)), lengths=lengths)
