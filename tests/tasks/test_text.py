"""The text: windows, targets, the split by position, and the baseline."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from carousel import CarouselError
from carousel.tasks import SequenceData, text
from carousel.tasks import _text as module


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return text()


def spelled(data: SequenceData, symbols: torch.Tensor) -> str:
    return "".join(data.symbols[index] for index in symbols.flatten().tolist())


@pytest.fixture
def four_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "documentation", lambda: "abcd" * 10)


def test_windows_are_the_text_in_its_order(data: SequenceData) -> None:
    whole = module.documentation()
    read = spelled(data, data.train_inputs)
    assert len(read) > 100_000
    assert whole.startswith(read)
    assert spelled(data, data.test_inputs) in whole[len(read) :]


def test_target_is_the_next_character(data: SequenceData) -> None:
    for inputs, targets in (
        (data.train_inputs, data.train_targets),
        (data.test_inputs, data.test_targets),
    ):
        assert inputs.shape == targets.shape
        assert inputs.shape[1] == data.steps == 100
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs.flatten()[1:], targets.flatten()[:-1])


def test_symbols_are_every_character_once(data: SequenceData) -> None:
    assert list(data.symbols) == sorted(set(module.documentation()))
    assert len(data.symbols) == data.classes
    assert data.symbolic
    assert data.target_each_step


@pytest.mark.usefixtures("four_letters")
def test_windows_by_hand() -> None:
    data = text(steps=3, test_share=0.25)  # 30 characters and 10
    assert data.train_inputs.shape == (9, 3)  # 27 and the one after them
    assert data.test_inputs.shape == (3, 3)
    assert spelled(data, data.train_inputs[0]) == "abc"
    assert spelled(data, data.train_targets[0]) == "bcd"
    assert spelled(data, data.test_inputs[0]) == "cda"  # the 31st character is a c


@pytest.mark.usefixtures("four_letters")
def test_baseline_where_each_letter_names_the_next() -> None:
    # Training holds about 7 of each pair: p = 8 / 11 at most, far above a quarter.
    assert text(steps=4, test_share=0.25).baseline == pytest.approx(math.log2(11 / 8), abs=0.1)


def test_baseline_by_hand() -> None:
    # After 0: p(0) = (2 + 1) / (3 + 2), p(1) = (1 + 1) / (3 + 2); after 1, never seen: 1 / 2 each.
    train = (torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0]))
    test = (torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))
    bits = module.bigram_bits(train, test, 2)
    assert bits == pytest.approx((math.log2(5 / 3) + math.log2(5 / 2) + 1) / 3)


@pytest.mark.usefixtures("four_letters")
@pytest.mark.parametrize(
    ("steps", "share"), [(0, 0.25), (10, 0.25), (50, 0.25), (3, 0.0), (3, 1.0)]
)
def test_windows_that_do_not_fit_are_refused(steps: int, share: float) -> None:
    with pytest.raises(CarouselError, match=rf"windows of {steps} characters"):
        text(steps=steps, test_share=share)


def test_without_the_documentation_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(CarouselError, match=r"pydoc_data\.topics"):
        text()
