"""The data sets by name."""

from __future__ import annotations

import pytest

from carousel import CarouselError
from carousel.tasks import DATASETS, load


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_data_set_is_whole(name: str) -> None:
    data = load(name)
    assert data.name == name
    assert data.description.endswith(".")
    assert data.baseline_description
    assert len(data.train_inputs) == len(data.train_targets)
    assert len(data.test_inputs) == len(data.test_targets)
    assert data.train_inputs.shape[1:] == data.test_inputs.shape[1:]
    for targets in (data.train_targets, data.test_targets):
        assert targets.min() >= 0
        assert targets.max() < data.classes


def test_options_reach_the_data_set() -> None:
    assert load("text", steps=7).steps == 7


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CarouselError, match="'digit'; choose one of: digits, text"):
        load("digit")


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(CarouselError, match="no option lag; its options are: steps, test_share"):
        load("text", lag=3)
