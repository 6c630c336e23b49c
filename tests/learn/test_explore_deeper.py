"""What lies behind the curves: products, spectra, the matrix, powers, presets."""

from __future__ import annotations

from dataclasses import asdict, replace
from decimal import Decimal
from typing import Literal

import pytest
import torch

from carousel.learn import (
    PRESETS,
    MatrixRequest,
    Network,
    Nothing,
    PowerRequest,
    Settings,
    explore,
    horizons,
    matrix,
    parse,
    power,
    presets,
    products,
    spectra,
)
from carousel.learn._explore import measured
from carousel.report import level

SETTINGS = Settings(Network("rnn-tanh", hidden=6), Network(hidden=6), steps=40)


def test_horizons_are_those_of_the_flow() -> None:
    found = horizons(SETTINGS)
    for one, said in ((SETTINGS.first, found.first), (SETTINGS.second, found.second)):
        expected = measured(one, SETTINGS).horizon()
        assert said.sentence == str(expected)
        assert said.steps == expected.steps


def test_products_are_those_of_the_flow() -> None:
    found = products(SETTINGS).second
    layer = measured(SETTINGS.second, SETTINGS)
    norms = layer.jacobian_norms("frobenius").log10[:, 0].tolist()
    assert found.log10_by_lag == tuple(map(level, norms))
    assert [one.lag for one in found.singular] == [1, 9, 19, 39]
    whole = layer.jacobian_product(20, 39).log10_singular_values[0, :8]
    torch.testing.assert_close(
        torch.tensor(found.singular[2].log10), whole.float(), rtol=1e-4, atol=1e-4
    )


def test_spectra_are_those_of_the_flow() -> None:
    found = spectra(SETTINGS).first
    expected = measured(SETTINGS.first, SETTINGS).spectrum(6)
    assert found.sentence == str(expected)
    assert found.exponents == tuple(map(level, expected.exponents.tolist()))


def test_the_matrix_is_that_of_the_flow() -> None:
    settings = replace(SETTINGS, loss="every")
    found = matrix(MatrixRequest(settings, "second"))
    expected = measured(settings.second, settings).itemised().log10_h[:, :, 0]
    assert found.losses == found.steps == tuple(range(40))
    for row in range(40):
        for at in range(40):
            value = found.log10[40 * row + at]
            if at > row:
                assert value == "padding"
            else:
                assert value == level(expected[row, at].item())


def test_of_long_sequences_every_nth_step_is_shown() -> None:
    settings = replace(SETTINGS, loss="every", steps=401)
    found = matrix(MatrixRequest(settings, "first"))
    assert found.steps == tuple(range(1, 401, 3))  # the last step among them
    expected = measured(settings.first, settings).itemised([301], t_from=298).log10_h[0, 0, 0]
    assert found.log10[100 * len(found.steps) + 99] == level(expected.item())


@pytest.mark.parametrize("loss", ["last", "middle"])
@pytest.mark.parametrize("steps", [2, 199, 200, 201, 300, 500])
def test_the_only_loss_is_among_those_that_are_shown(loss: str, steps: int) -> None:
    settings = replace(SETTINGS, loss=loss, steps=steps)
    found = matrix(MatrixRequest(settings, "second"))
    at = steps - 1 if loss == "last" else (steps - 1) // 2
    row = found.losses.index(at)
    d_h = measured(settings.second, settings).log10_norm("d_h")[:, 0]
    for column, step in enumerate(found.steps):
        value = found.log10[row * len(found.steps) + column]
        if step > at:
            assert value == "padding"
        else:  # what the only loss sent is the whole gradient
            assert value == pytest.approx(d_h[step].item(), abs=1e-3)


@pytest.mark.parametrize(
    ("factor", "steps", "exact", "scientific", "passes", "regime"),
    [
        (0.5, 20, "0.00000095367431640625", "9.53674316406e-7", 10, "vanishes"),
        (1.0, 200, "1", "1e0", None, "carried"),
        (2.0, 20, "1048576", "1.048576e6", 10, "explodes"),
        (0.1, 1, "0.1", "1e-1", 3, "vanishes"),
        (0.1, 200, None, "1e-200", 3, "vanishes"),
        (0.9, 50, None, "5.15377520732e-3", 66, "vanishes"),
        (1.9, 200, None, "5.6327462948e55", 11, "explodes"),
    ],
)
def test_powers(
    factor: float, steps: int, exact: str | None, scientific: str, passes: int | None, regime: str
) -> None:
    found = power(PowerRequest(factor, steps))
    assert (found.exact, found.scientific) == (exact, scientific)
    assert (found.passes, found.regime) == (passes, regime)
    assert len(found.log10) == steps + 1
    assert 10 ** Decimal(found.log10[-1]) == pytest.approx(Decimal(scientific), rel=Decimal("1e-4"))


@pytest.mark.parametrize("factor", [0.1, 0.3, 0.97, 1.01, 1.5, 2.0])
def test_the_step_that_passes_is_the_first_one(factor: float) -> None:
    passes = power(PowerRequest(factor)).passes
    assert passes is not None
    m, bound = Decimal(repr(factor)), Decimal("0.001") if factor < 1 else Decimal(1000)

    def there(steps: int) -> bool:
        return m**steps <= bound if factor < 1 else m**steps >= bound

    assert there(passes)
    assert not there(passes - 1)


@pytest.mark.parametrize("which", ["first", "second"])
def test_the_preset_hides_what_its_caption_says(which: Literal["first", "second"]) -> None:
    """Level totals, and next to nothing of the first one from losses far away."""
    preset = next(one for one in PRESETS if one.name == "A loss at every step hides it")
    settings = preset.settings
    found = matrix(MatrixRequest(settings, which))
    assert found.far is not None
    assert f"more than {found.far_steps} steps" in preset.says
    assert abs(found.far) < 1e-9
    one = settings.first if which == "first" else settings.second
    assert one.init == "default"
    assert one.forget_bias is None
    total = measured(one, settings).log10_norm("d_h")[:, 0]
    assert float(total.max() - total.min()) < 0.5


def test_what_came_from_afar_is_the_rest_of_what_came_from_near() -> None:
    """With a bias of 3 nearly all of it: nothing that this preset could be an example of."""
    settings = Settings(second=Network("lstm", forget_bias=3.0), loss="every")
    found = matrix(MatrixRequest(settings, "second"))
    near = measured(settings.second, settings).itemised(
        list(range(found.far_steps + 1)), t_from=0, t_to=1
    )
    assert found.far == pytest.approx(1 - float(near.share_h.sum()), abs=1e-5)
    assert found.far is not None
    assert found.far > 0.9
    assert matrix(MatrixRequest(replace(settings, steps=51), "second")).far is None
    assert matrix(MatrixRequest(replace(settings, steps=52), "second")).far is not None


def test_along_the_carousel_of_1997_dl_dc_is_constant() -> None:
    preset = next(one for one in PRESETS if one.name == "The carousel of 1997 is constant")
    found = explore(preset.settings)
    for flat in (found.first.carousel, found.second.carousel, found.second.d_c):
        assert len(set(flat)) == 1
    first, last = found.first.d_c[0], found.first.d_c[-1]
    assert isinstance(first, float)
    assert isinstance(last, float)
    assert abs(first - last) > 1  # "The full one does not stay constant."


def test_presets_are_requests() -> None:
    found = presets(Nothing()).presets
    assert found == PRESETS
    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert parse(Settings, asdict(one.settings)) == one.settings
