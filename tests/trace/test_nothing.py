"""A watcher without a backward pass says which mistake it was, as far as it can know."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import carousel
from carousel import CarouselError

MODEL = nn.LSTM(3, 4)
X = torch.randn(5, 2, 3)


def refused(watcher: carousel.flow.Watcher) -> str:
    with pytest.raises(CarouselError, match="No backward pass has been recorded") as error:
        _ = watcher.flow
    assert "Run the forward pass and loss.backward() inside" in str(error.value)
    return str(error.value)


def test_never_entered() -> None:
    watcher = carousel.watch(MODEL)
    MODEL(X)[0].sum().backward()
    assert "was never entered" in refused(watcher)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_without_gradients(without: type[torch.no_grad]) -> None:
    with carousel.watch(MODEL) as watcher, without():
        MODEL(X)
        MODEL(X)
    assert "called 2 times with gradients disabled" in refused(watcher)


def test_backward_after_the_block() -> None:
    with carousel.watch(MODEL) as watcher:
        loss = MODEL(X)[0].sum()
    loss.backward()
    said = refused(watcher)
    assert "called once, but no backward pass came through before the `with` block ended" in said
    assert "Either loss.backward() was called after it" in said


def test_before_backward() -> None:
    with carousel.watch(MODEL) as watcher:
        loss = MODEL(X)[0].sum()
        assert "Call loss.backward() first" in refused(watcher)
        loss.backward()
    assert len(watcher.flow) == 1


def test_forward_before_the_block() -> None:
    loss = MODEL(X)[0].sum()
    with carousel.watch(MODEL) as watcher:
        loss.backward()
    assert "no recurrent module of the model was called inside" in refused(watcher)


def test_no_data() -> None:
    with carousel.watch(MODEL) as watcher:
        MODEL(torch.zeros(5, 0, 3))[0].sum().backward()
    assert "on a batch without data" in refused(watcher)
