"""The digits: what is in them, that the split is one, and what is said without scikit-learn."""

from __future__ import annotations

import sys

import pytest
import torch

from carousel import CarouselError
from carousel.tasks import SequenceData, digits


def as_set(inputs: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in inputs}


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return digits()


def test_inputs_are_64_steps_of_one_pixel_between_0_and_1(data: SequenceData) -> None:
    for inputs, count in ((data.train_inputs, 1437), (data.test_inputs, 360)):
        assert inputs.shape == (count, 64, 1)
        assert inputs.dtype == torch.float32
        assert inputs.min() == 0.0
        assert inputs.max() == 1.0
    assert data.steps == 64
    assert not data.symbolic
    assert not data.target_each_step


def test_pixels_are_read_row_by_row(data: SequenceData) -> None:
    from sklearn.datasets import load_digits

    rows = torch.from_numpy(load_digits().images).float().flatten(1) / 16  # [1797, 64]
    everything = torch.cat((data.train_inputs, data.test_inputs)).squeeze(-1)
    assert sorted(everything.tolist()) == sorted(rows.tolist())


def test_targets_belong_to_their_images(data: SequenceData) -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    images = torch.from_numpy(source.data / 16).float()
    found = torch.cdist(data.test_inputs.squeeze(-1), images).argmin(dim=1)
    assert torch.equal(data.test_targets, torch.from_numpy(source.target)[found])


def test_every_class_has_the_same_share_in_both_parts(data: SequenceData) -> None:
    for part in (data.train_targets, data.test_targets):
        shares = torch.bincount(part, minlength=data.classes) / len(part)
        assert len(shares) == data.classes == 10
        assert (shares - 0.1).abs().max() < 0.005


def test_no_image_is_in_both_parts(data: SequenceData) -> None:
    assert not as_set(data.train_inputs) & as_set(data.test_inputs)


def test_baseline_is_what_the_commonest_class_reaches(data: SequenceData) -> None:
    reached = [(data.test_targets == c).float().mean().item() for c in range(10)]
    commonest = int(torch.bincount(data.train_targets).argmax())
    assert data.baseline == pytest.approx(reached[commonest])
    assert 0.05 < data.baseline < 0.15


def test_same_seed_same_split_and_another_seed_another(data: SequenceData) -> None:
    again, other = digits(seed=0), digits(seed=1)
    assert torch.equal(again.train_inputs, data.train_inputs)
    assert torch.equal(again.test_targets, data.test_targets)
    assert as_set(other.test_inputs) != as_set(data.test_inputs)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(CarouselError, match="test_share must lie between 0 and 1"):
        digits(test_share=share)


def test_without_scikit_learn_the_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(CarouselError, match=r"pip install 'carousel-rnn\[data\]'"):
        digits()
