"""Your model: what the page is told is what the flow says, at any size and of any category."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.report import flows
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import carousel
from carousel import CarouselError
from carousel.diagnosis import diagnose
from carousel.diagnosis.rules import RULES
from carousel.flow import Category, Flow
from carousel.learn import ModelView, _model_layer, _model_map, _model_products
from carousel.learn._model import TITLES
from carousel.report import Report, norm, tally
from carousel.serve._api import answer
from carousel.serve._json import encoded


def measured(model: nn.Module, x: Tensor, loss: Callable[[Any], Tensor]) -> Flow:
    return carousel.measure(model, (x, None), lambda output, _: loss(output))


def viewed(flow: Flow, lag: int | None = None) -> ModelView:
    findings = diagnose(flow, lag)
    report = Report(flow, summary=tally(findings, lag), findings=findings)
    return ModelView("nets:make", flow, report, lag)


def asked(name: str, view: ModelView | None, **request: object) -> Any:
    """What goes over the wire: strict JSON, and back."""
    found = answer(name, request, model=view)
    return json.loads(encoded(found))


class Stack(nn.Module):
    """Two directions, two layers, and a GRU above them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 5, num_layers=2, bidirectional=True)
        self.decoder = nn.GRU(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.decoder(self.encoder(x)[0])[0]
        return output


def stack(steps: int = 20, batch: int = 6) -> Flow:
    torch.manual_seed(0)
    return measured(Stack(), torch.randn(steps, batch, 3), lambda y: y[-1].square().sum())


@pytest.fixture(scope="module")
def view() -> ModelView:
    return viewed(stack(), lag=50)


def test_without_a_model_the_page_says_how_to_get_one() -> None:
    found = asked("model", None)
    assert found["target"] is None
    assert "carousel check module:factory --web" in found["said"]
    for name in ("model_layer", "model_map", "model_products"):
        with pytest.raises(CarouselError, match="No model is served here"):
            asked(name, None, layer="l0")


def test_the_overview_names_every_layer(view: ModelView) -> None:
    found = asked("model", view)
    layers = found["layers"]
    assert [layer["key"] for layer in layers] == list(view.flow)
    assert layers[0]["identity"].startswith("LSTM, 5 units")
    assert found["lag"] == 50
    assert found["said"] == tally(diagnose(view.flow, 50), 50)


@pytest.mark.parametrize("name", ["model_layer", "model_map", "model_products"])
def test_an_unknown_layer_is_an_error_that_lists_the_layers(view: ModelView, name: str) -> None:
    with pytest.raises(CarouselError, match=r"no layer 'l9'\. The layers are: encoder\.l0, "):
        asked(name, view, layer="l9")
    with pytest.raises(CarouselError, match="at most 300 printable characters"):
        asked(name, view, layer="l" * 301)


def test_findings_of_one_rule_stand_once_with_all_layers(view: ModelView) -> None:
    findings = diagnose(view.flow, 50)
    groups = asked("model", view)["findings"]
    assert len({(one["rule"], one["severity"], one["source"]) for one in groups}) == len(groups)
    told = [(one["rule"], place["name"]) for one in groups for place in one["places"]]
    assert sorted(told) == sorted((found.rule, found.layer) for found in findings)
    (vanishing,) = (one for one in groups if one["rule"] == "vanishing")
    assert len(vanishing["places"]) == 5
    names = [remedy["name"] for remedy in vanishing["remedies"]]
    assert len(set(names)) == len(names)
    chrono = next(one for one in vanishing["remedies"] if one["name"] == "chrono")
    code = {
        remedy.layer: remedy.code()
        for found in findings
        for remedy in found.remedies
        if found.rule == "vanishing" and remedy.name == "chrono"
    }
    single = {cure["name"]: cure["code"] for cure in chrono["cures"][1:]}
    assert single == code
    together = chrono["cures"][0]["code"].splitlines()
    assert together.count("import carousel") == 1
    assert all(lines.splitlines()[-1] in together for lines in code.values())


def test_a_remedy_that_is_undone_after_training_is_told_by_layer(view: ModelView) -> None:
    groups = asked("model", view)["findings"]
    flossing = next(
        remedy for one in groups for remedy in one["remedies"] if remedy["name"] == "flossing"
    )
    assert all(cure["name"] for cure in flossing["cures"])


def test_the_bands_are_those_of_the_report(view: ModelView) -> None:
    said = view.summary("encoder.l1_reverse")
    found = asked("model_layer", view, layer="encoder.l1_reverse")
    bands = {band["quantity"]: band for band in found["bands"]}
    for series in said.series:
        assert bands[series.quantity]["median"] == list(series.median)
        assert bands[series.quantity]["low"] == list(series.low)
    assert found["horizon"] == str(view.flow["encoder.l1_reverse"].horizon())
    alone = view.flow["encoder.l1_reverse"].paths().log10_norm("carousel").quantile(0.5, dim=1)
    assert bands["carousel"]["median"] == pytest.approx(alone.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", ["encoder.l0", "encoder.l0_reverse", "decoder.l0"])
def test_the_shares_are_means_and_add_up_to_one(view: ModelView, name: str) -> None:
    found = asked("model_layer", view, layer=name)
    shares = {one["name"]: one["share"] for one in found["paths"]}
    for way, share in view.flow[name].paths().shares().items():
        assert shares[way] == pytest.approx(share.mean(dim=1).tolist(), abs=1e-5)
    assert np.sum(list(shares.values()), axis=0) == pytest.approx(np.ones(20), abs=1e-4)


def test_the_gates_are_those_of_the_layer(view: ModelView) -> None:
    found = asked("model_layer", view, layer="encoder.l0")
    for gate in found["gates"]:
        activation = view.flow["encoder.l0"].gates[gate["name"]].double().flatten(1)
        assert gate["mean"] == pytest.approx(activation.mean(dim=1).tolist(), abs=1e-5)
        assert gate["low"] == pytest.approx(activation.quantile(0.1, dim=1).tolist(), abs=1e-5)
        assert (gate["lowest"], gate["highest"]) == ((-1.0 if gate["name"] == "g" else 0.0), 1.0)


def test_a_saturated_gate_is_counted() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 8)
    carousel.init.forget_bias_(lstm, 30.0)
    flow = measured(lstm, torch.randn(10, 3, 2), lambda y: y[0][-1].sum())
    found = asked("model_layer", viewed(flow), layer="l0")
    saturated = {gate["name"]: gate["saturated"] for gate in found["gates"]}
    assert saturated["f"] == 1.0
    assert saturated["i"] < 0.1


def decoded(found: Any) -> tuple[Any, Any]:
    shape = found["rows"], found["columns"]
    levels = np.frombuffer(base64.b64decode(found["levels"]), dtype="<f4")
    categories = np.frombuffer(base64.b64decode(found["categories"]), dtype="u1")
    return levels.reshape(shape), categories.reshape(shape)


@pytest.mark.parametrize("quantity", ["d_h", "d_h_injected", "d_c"])
def test_the_map_holds_every_cell(view: ModelView, quantity: str) -> None:
    layer = view.flow["encoder.l0_reverse"]
    levels, categories = decoded(
        asked("model_map", view, layer="encoder.l0_reverse", quantity=quantity)
    )
    np.testing.assert_array_equal(levels, layer.log10_norm(quantity).T.float().numpy())
    np.testing.assert_array_equal(categories, layer.category(quantity).T.numpy())


def test_a_layer_without_c_has_no_map_of_it(view: ModelView) -> None:
    with pytest.raises(CarouselError, match=r"decoder\.l0 \(GRU\) has no cell state"):
        asked("model_map", view, layer="decoder.l0", quantity="d_c")


def test_all_categories_arrive_and_are_counted_in_words() -> None:
    found = asked("model_map", viewed(flows.categories()), layer="rnn.l0")
    _, categories = decoded(found)
    assert set(categories.flat) == {int(one) for one in Category}
    for code, word in (
        (Category.ZERO, "exactly zero"),
        (Category.UNDERFLOW, "underflowing"),
        (Category.INFINITE, "infinite"),
        (Category.NAN, "NaN"),
        (Category.PADDING, "padding (not recorded)"),
    ):
        assert f"{int((categories == code).sum())} of 360 cells are {word}" in str(
            found["sentence"]
        )


def test_joined_steps_hide_neither_nan_nor_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_model_map, "MOST_CELLS", 60)
    view = viewed(flows.categories())
    found = asked("model_map", view, layer="rnn.l0")
    _, categories = decoded(found)
    assert (found["columns"], found["stride"]) == (10, 6)
    whole = view.flow["rnn.l0"].category("d_h").T.numpy().reshape(6, 10, 6)
    for code in (Category.NAN, Category.INFINITE):
        np.testing.assert_array_equal((categories == code), (whole == code).any(axis=2))
    assert "6 steps are joined to a cell" in found["sentence"]


def test_many_numbers_are_sampled_by_sequence_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_model_layer, "MOST_NUMBERS", 20 * 5 * 2)
    view = viewed(stack())
    found = asked("model_layer", view, layer="encoder.l0_reverse")
    assert found["sampled"] == 2
    picked = view.flow["encoder.l0_reverse"].gates["f"][:, [0, 5]].double()
    gate = next(one for one in found["gates"] if one["name"] == "f")
    assert gate["mean"] == pytest.approx(picked.flatten(1).mean(dim=1).tolist(), abs=1e-5)
    share = view.flow["encoder.l0_reverse"].paths().shares()["direct"][:, [0, 5]].mean(dim=1)
    way = next(one for one in found["paths"] if one["name"] == "direct")
    assert way["share"] == pytest.approx(share.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", ["encoder.l0", "encoder.l0_reverse", "decoder.l0"])
def test_the_products_are_those_of_the_layer(view: ModelView, name: str) -> None:
    layer = view.flow[name]
    found = asked("model_products", view, layer=name, sequences=3, lag=7)
    assert found["sequences"] == [0, 1, 2]
    norms = layer.jacobian_norms().log10[:, :3].quantile(0.5, dim=1)
    assert found["norms"]["median"] == pytest.approx(norms.tolist(), abs=1e-5)
    alone = layer.carousel_share().log10_carousel[:, :3].quantile(0.5, dim=1)
    assert found["carousel"]["median"] == pytest.approx(alone.tolist(), abs=1e-5)
    start = 0 if layer.direction == "reverse" else 12
    values = layer.jacobian_product(start, start + 7).log10_singular_values[:3].quantile(0.5, dim=0)
    assert found["values"] == pytest.approx(values.tolist(), abs=1e-5)
    assert found["lag"] == 7


def test_of_a_ragged_batch_the_same_sequences_are_compared() -> None:
    """Shorter sequences end with large gradients of their own; the sentence leaves them out."""
    torch.manual_seed(0)
    lengths = torch.tensor([30, 30, 12, 12, 12, 7])
    net = nn.LSTM(2, 5)

    def loss(x: Tensor) -> Tensor:
        padded, _ = pad_packed_sequence(net(pack_padded_sequence(x, lengths))[0])
        return padded[lengths - 1, torch.arange(6)].square().sum()

    flow = carousel.measure(net, lambda: loss(torch.randn(30, 6, 2)))
    found = asked("model_layer", viewed(flow), layer="l0")
    assert found["ends"] == [{"step": 7, "sequences": 1}, {"step": 12, "sequences": 3}]
    assert found["whole"] == 2
    norms = flow["l0"].log10_norm("d_h")[:, :2].double().quantile(0.5, dim=1)
    first, last = (norm(norms[at].item()) for at in (0, -1))
    assert found["course"] == (
        f"The norm of dL/dh is {last} at step 29 and {first} at step 0 "
        "(medians over the 2 of 6 sequences that reach step 29)."
    )
    everyone = flow["l0"].log10_norm("d_h")[0].double().quantile(0.5).item()
    assert first != norm(everyone)


def test_of_sequences_of_one_length_nothing_is_said_of_ends(view: ModelView) -> None:
    found = asked("model_layer", view, layer="encoder.l0")
    assert (found["ends"], found["whole"]) == ([], 6)
    assert found["course"].endswith("(medians over the sequences).")


def test_every_rule_has_a_title_that_reads(view: ModelView) -> None:
    assert list(TITLES) == list(RULES)
    for one in asked("model", view)["findings"]:
        assert one["title"] == TITLES[one["rule"]]


def test_the_products_of_a_ragged_batch_are_of_the_longest_sequences() -> None:
    found = asked("model_products", viewed(flows.categories()), layer="rnn.l0", sequences=5)
    assert found["sequences"] == [0, 1, 2, 3, 4]
    assert found["carousel"] is None


def test_products_too_large_for_a_page_are_refused_with_the_call(
    view: ModelView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_model_products, "MOST", 1e4)
    with pytest.raises(
        CarouselError, match=r'flow\["encoder\.l0"\]\.jacobian_norms\("frobenius"\)'
    ):
        asked("model_products", view, layer="encoder.l0", sequences=2)


def test_a_large_state_gets_the_frobenius_norm(
    view: ModelView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_model_products, "SPECTRAL", 1e4)
    found = asked("model_products", view, layer="encoder.l0", sequences=1)
    norms = view.flow["encoder.l0"].jacobian_norms("frobenius").log10[:, 0]
    assert found["norm"] == "frobenius"
    assert found["norms"]["median"] == pytest.approx(norms.tolist(), abs=1e-5)


def test_somebody_who_left_is_not_computed_for(view: ModelView) -> None:
    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        answer("model_products", {"layer": "encoder.l1", "sequences": 2}, leave, view)


def test_one_step_zero_gradients_and_nan_are_told() -> None:
    for steps, loss in (
        (1, lambda y: y[0].sum()),
        (12, lambda y: (y[0] * 0).sum()),
        (12, lambda y: (y[0] * math.nan).sum()),
        (12, lambda y: y[0].sum() * 1e300),
    ):
        torch.manual_seed(0)
        lstm = nn.LSTM(2, 3).double()
        flow = measured(lstm, torch.randn(steps, 2, 2).double(), loss)
        view = viewed(flow)
        found = asked("model_layer", view, layer="l0")
        asked("model", view)
        asked("model_map", view, layer="l0")
        products = asked("model_products", view, layer="l0", sequences=2)
        assert products["lag"] == min(10, steps - 1)
        shares = [share for way in found["paths"] for share in way["share"]]
        gone = steps == 12 and "zero" in found["bands"][0]["median"]
        assert all(share is None for share in shares) == (
            gone or "nan" in found["bands"][0]["median"]
        )


def test_names_that_cannot_be_asked_for_go_by_number() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module('größe <b>&"', nn.RNN(2, 3))
            self.add_module("two\nlines", nn.RNN(3, 3))
            self.add_module("n" * 400, nn.RNN(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.children():
                x = layer(x)[0]
            return x

    torch.manual_seed(0)
    view = viewed(measured(Odd(), torch.randn(5, 2, 2), lambda y: y[-1].sum()))
    keys = list(view.keys())
    assert keys == ['größe <b>&".l0', "layer 2", "layer 3"]
    for key in keys:
        assert asked("model_layer", view, layer=key)["name"] == view.keys()[key]


def test_several_calls_are_layers_of_their_own() -> None:
    torch.manual_seed(0)
    rnn = nn.RNN(2, 3)
    x = torch.randn(6, 2, 2)
    with carousel.watch(rnn) as watcher:
        (rnn(x)[0].sum() + rnn(x.flip(0))[0].sum()).backward()
    view = viewed(watcher.flow)
    assert list(view.keys()) == ["l0#1", "l0#2"]
    assert asked("model_layer", view, layer="l0#2")["steps"] == 6


def test_more_steps_than_values_are_joined() -> None:
    flow = stack(steps=2500, batch=1)
    found = asked("model_layer", viewed(flow), layer="decoder.l0")
    assert found["stride"] == 2
    gate = next(one for one in found["gates"] if one["name"] == "z")
    activation = flow["decoder.l0"].gates["z"].double().reshape(1250, -1)
    assert gate["mean"] == pytest.approx(activation.mean(dim=1).tolist(), abs=1e-5)
    assert gate["high"] == pytest.approx(activation.quantile(0.9, dim=1).tolist(), abs=1e-5)


def test_what_goes_with_a_finding_does_not_stand_alone() -> None:
    """One layer of NaN: the finding says where it arose, and nothing else is to be said."""
    model = nn.Sequential(nn.LSTM(3, 4))
    with torch.no_grad():
        model[0].weight_hh_l0.fill_(float("nan"))
    flow = carousel.measure(model, lambda: model(torch.randn(6, 2, 3))[0].sum())
    found = asked("model", viewed(flow))
    assert [one["rule"] for one in found["findings"]].count("nonfinite") == 1
    assert found["faults"] == []
