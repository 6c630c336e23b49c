"""The two models: shapes, causality, and that the recurrent layer is torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from carousel import CarouselError
from carousel.study import CELLS, NextCharacter, SequenceClassifier, model_for, sequence_loss
from carousel.tasks import text

KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_classifier_reads_the_last_hidden_state(cell: str) -> None:
    model = SequenceClassifier(cell, input_size=3, hidden_size=5, classes=4)
    inputs = torch.randn(2, 7, 3)
    logits = model(inputs)
    assert type(model.recurrent) is KINDS[cell]
    assert logits.shape == (2, 4)
    _, state = model.recurrent(inputs)
    h_n = state[0] if cell == "lstm" else state
    assert torch.equal(logits, model.head(h_n[-1]))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_next_character_never_looks_ahead(cell: str) -> None:
    model = NextCharacter(cell, characters=11, hidden_size=5, embedding_size=3)
    symbols = torch.randint(0, 11, (2, 7))
    changed = symbols.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 11
    before, after = model(symbols), model(changed)
    assert type(model.recurrent) is KINDS[cell]
    assert before.shape == (2, 7, 11)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


def test_an_unknown_cell_lists_the_known_ones() -> None:
    with pytest.raises(CarouselError, match="'mgu'; choose one of: rnn, lstm, gru"):
        SequenceClassifier("mgu", input_size=1, hidden_size=2, classes=2)


def test_model_for_fits_symbols_and_leaves_the_random_state_alone() -> None:
    data = text(steps=5)
    state = torch.get_rng_state()
    model = model_for(data, "gru", hidden_size=6, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(model, NextCharacter)
    assert model(data.test_inputs[:2]).shape == (2, 5, data.classes)
    again = model_for(data, "gru", hidden_size=6, seed=3)
    other = model_for(data, "gru", hidden_size=6, seed=4)
    assert torch.equal(again.head.weight, model.head.weight)
    assert not torch.equal(other.head.weight, model.head.weight)


@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_loss_of_equal_logits_is_the_logarithm_of_the_classes(shape: tuple[int, ...]) -> None:
    loss = sequence_loss(torch.zeros(*shape, 8), torch.zeros(shape, dtype=torch.int64))
    assert loss.item() == pytest.approx(math.log(8))


def test_loss_at_each_step_is_the_mean_over_all_steps() -> None:
    logits, targets = torch.randn(2, 3, 5), torch.randint(0, 5, (2, 3))
    by_hand = [-logits[b, t].log_softmax(-1)[targets[b, t]] for b in range(2) for t in range(3)]
    assert sequence_loss(logits, targets).item() == pytest.approx(
        torch.stack(by_hand).mean().item(), rel=1e-5
    )
