"""What results say when they are printed: a sentence with a number, never a heap of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.cases import Case
from tests.flow.test_every_method import FLOAT64, SITUATIONS, both
from tests.report import flows
from torch import nn

import carousel
from carousel import CarouselError
from carousel.flow import LayerFlow
from carousel.flow._shown import middle, number, per_cent

RESULTS: dict[str, Callable[[LayerFlow], object]] = {
    "paths": lambda layer: layer.paths(),
    "truncation": lambda layer: layer.truncation(2),
    "truncation_curve": lambda layer: layer.truncation_curve(),
    "gradient_1997": lambda layer: layer.gradient_1997(),
    "itemised": lambda layer: layer.itemised(),
    "step_terms": lambda layer: layer.step_terms(1),
    "parameter_terms": lambda layer: layer.parameter_terms("weight_hh"),
    "omega": lambda layer: layer.omega(),
    "carousel_share": lambda layer: layer.carousel_share(),
    "jacobian_norms": lambda layer: layer.jacobian_norms(),
    "jacobian_product": lambda layer: layer.jacobian_product(0, 1),
    "split": lambda layer: layer.split(),
    "tiny": lambda layer: layer.tiny("d_h"),
    "spectrum": lambda layer: layer.spectrum(),
    "horizon": lambda layer: layer.horizon(),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_sentences_and_shapes_in_every_situation(situation: str) -> None:
    make, _ = SITUATIONS[situation]
    said = 0
    for layer in make().layers.values():
        for name, call in RESULTS.items():
            try:
                found = call(layer)
            except CarouselError:
                continue  # what is refused, and why, is tested with every method
            for text in (str(found), repr(found)):
                assert "tensor(" not in text, name
                assert "\n" not in text, name
            assert str(found).endswith("."), name
            assert len(str(found)) < 300, name
            assert repr(found).startswith(f"{type(found).__name__}("), name
            said += 1
    assert said >= 5


def test_the_headline_numbers_are_those_of_the_result() -> None:
    layer = both(Case(cell="lstm", steps=20, state="given")).layers["l0"]
    shares = layer.paths().shares()
    known = shares["direct"][~shares["direct"].isnan()].quantile(0.5)
    assert f"direct {100 * known:.3g} %" in str(layer.paths())
    bias = layer.truncation(5).all_parameters
    assert f"is {100 * bias.relative:.3g} % off" in str(layer.truncation(5))
    assert f"from k = {layer.truncation_length(0.1)} on" in str(layer.truncation_curve())
    cut = layer.gradient_1997().differences["weight_hh"].relative
    assert f"weight_hh {100 * cut:.3g} %" in str(layer.gradient_1997())
    own = layer.itemised().share_h[range(20), range(20)].quantile(0.5)
    assert f"makes {100 * own:.3g} % of dL/dh_t" in str(layer.itemised())
    norm = torch.linalg.matrix_norm(layer.step_terms(3).total).quantile(0.5)
    assert f"total {norm:.3g}" in str(layer.step_terms(3))
    terms = layer.parameter_terms("bias_hh")
    assert f"(norm {terms.gradient.norm():.3g})" in str(terms)
    assert f"that of step {int(terms.norms.argmax())} " in str(terms)
    total = layer.omega().total.quantile(0.5)
    assert f"adds up to {total:.3g} " in str(layer.omega())
    share = layer.carousel_share().share[19].quantile(0.5)
    assert f"{100 * share:.3g} % at lag 19" in str(layer.carousel_share())
    norms = 10 ** layer.jacobian_norms().log10.quantile(0.5, dim=1)
    assert f"is {norms[1]:.3g} at lag 1 and " in str(layer.jacobian_norms())
    product = layer.jacobian_product(3, 5)
    assert f"value is {10 ** product.log10_norm.quantile(0.5):.3g}," in str(product)
    carried = layer.split().carried.quantile(0.5)
    assert f"{100 * carried:.3g} % carried" in str(layer.split())
    tiny = flows.tenth(60)["rnn.l0"].tiny("d_h")
    assert f"{100 * tiny.underflowed.mean():.3g} % underflow" in str(tiny)
    assert tiny.underflowed.mean() > 0


def test_shapes_of_fields() -> None:
    layer = both(Case(cell="lstm", steps=6)).layers["l0"]
    steps, batch = layer.norm("d_h").shape
    assert f"log10_ratio=float64[{steps}, {batch}]" in repr(layer.omega())
    paths = repr(layer.paths())
    assert f"'direct': scaled float64{list(layer.d_c.shape)}" in paths
    assert f"valid=bool[{steps}, {batch}]" in paths
    assert "'weight_hh': float64[" in repr(layer.truncation_curve())


@pytest.mark.parametrize(
    ("log10", "said"),
    [
        (0.0, "1"),
        (math.log10(0.0312), "0.0312"),
        (-399.62, "2.4e-400"),
        (-7.0001, "1.0e-07"),
        (-math.inf, "exactly zero"),
        (math.inf, "infinite"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_of_any_size(log10: float, said: str) -> None:
    assert number(log10) == said


def test_medians_leave_out_what_is_no_number() -> None:
    assert middle(torch.tensor([math.nan, 1.0, 4.0, 2.0])) == 2.0
    assert middle(torch.tensor([1.0, 2.0])) == 1.5
    assert math.isnan(middle(torch.full((3,), math.nan)))
    assert per_cent(math.nan) == "NaN"


def broken(sequences: int) -> LayerFlow:
    """Forty steps of three sequences, so many of them with a NaN in their states."""
    torch.manual_seed(0)
    gru = nn.GRU(2, 4).to(FLOAT64)
    x = torch.randn(40, 3, 2, dtype=FLOAT64)
    x[20, :sequences] = math.nan
    return carousel.measure(gru, lambda: gru(x)[0].square().sum())["l0"]


def test_a_horizon_says_how_many_sequences_are_not_finite() -> None:
    found = broken(1).horizon()
    assert found.nonfinite == 1
    assert str(found).endswith("Sequences not counted, since their states are not finite: 1.")
    assert math.isfinite(found.rate)
    assert "not counted" not in str(broken(0).horizon())
    assert broken(3).horizon().kind == "nonfinite"


def test_a_truncation_length_says_why_there_is_none() -> None:
    with pytest.raises(CarouselError, match=r"of the layer is not finite.*flow\.nonfinite"):
        broken(1).truncation_length()
    zero = both(Case(cell="gru", steps=1)).layers["l0"].truncation_curve()
    assert zero.without == {"weight_hh": "exactly zero"}  # the first state is zero
    with pytest.raises(CarouselError, match=r"of weight_hh is exactly zero.*norm\('d_h'\)"):
        zero.length(0.1, "weight_hh")


def test_a_report_in_a_line_or_two() -> None:
    report = carousel.Report({"ours": flows.lstm(), "NaN": flows.categories()}, title="Both")
    first, second = str(report).splitlines()
    assert first == "Both. ours: l0; NaN: rnn.l0."
    assert second.startswith("WRONG: ")
    assert report.faults[0] in second
    assert str(carousel.Report(flows.lstm())).startswith("Gradients through time. l0. No fault was")
    assert repr(report) == "Report('Both', ours: l0; NaN: rnn.l0)"
