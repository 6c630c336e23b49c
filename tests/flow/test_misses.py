"""What is asked for by a wrong name, or where nothing can be measured, is answered with the way."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel import CarouselError
from carousel.flow import Flow


@pytest.fixture(scope="module")
def flow() -> Flow:
    torch.manual_seed(0)
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "rnn": nn.RNN(4, 5)})

    def loss() -> Tensor:
        output: Tensor = model["rnn"](model["lstm"](torch.randn(20, 2, 3))[0])[0]
        return output.sum()

    return carousel.measure(model, loss)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("d_h", r"flow\['lstm.l0'\]\.d_h.*lstm\.l0, rnn\.l0"),
        ("paths", r"flow\['lstm.l0'\]\.paths"),
        ("l0", r"no l0. Its layers are: lstm\.l0, rnn\.l0"),
    ],
)
def test_a_flow_points_to_its_layers(flow: Flow, name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        getattr(flow, name)
    assert not hasattr(flow, name)


def test_a_layer_asked_for_as_an_attribute() -> None:
    model = nn.LSTM(3, 4)
    one = carousel.measure(model, lambda: model(torch.randn(5, 2, 3))[0].sum())
    with pytest.raises(AttributeError, match=r"in brackets: flow\['l0'\]\."):
        _ = one.l0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dh", r"lstm\.l0 \(LSTM\) has no dh\. Did you mean d_h\?"),
        ("nonsense", r"has no nonsense\. It has the quantities d_h, d_c, "),
        ("f", r"layer\.gates\['f'\]"),
    ],
)
def test_a_layer_lists_what_it_has(flow: Flow, name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        getattr(flow["lstm.l0"], name)


def test_an_error_within_a_property_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise AttributeError("from within")

    monkeypatch.setattr(Flow, "slowest", property(broken))
    with pytest.raises(AttributeError, match="from within"):
        _ = Flow({}).slowest


def test_flows_are_still_copied_and_pickled(flow: Flow) -> None:
    assert list(copy.copy(flow)) == list(flow)
    gates = flow["lstm.l0"].gates
    for again in (copy.deepcopy(gates), pickle.loads(pickle.dumps(gates))):  # noqa: S301 - our own
        assert list(again) == ["i", "f", "g", "o"]
        with pytest.raises(CarouselError, match="no gate"):
            again["z"]
    with pytest.raises(AttributeError):
        Flow.__new__(Flow).layers  # noqa: B018 - as a copy asks before anything is there


def test_a_miss_among_the_gates_lists_them(flow: Flow) -> None:
    layer = flow["lstm.l0"]
    for gates in (layer.gates, layer.pre_activations):
        with pytest.raises(CarouselError, match=r"lstm\.l0 \(LSTM\) has no gate 'z'.*: i, f, g, o"):
            gates["z"]
        assert "z" not in gates
        assert gates.get("z") is None


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda layer: layer.step_terms("a"), "whole number.*got 'a'"),
        (lambda layer: layer.step_terms(1.5), "whole number.*got 1.5"),
        (lambda layer: layer.truncation_length("x"), "above 0.*got 'x'"),
        (lambda layer: layer.jacobian_norms(100), "All lags come at once.*row 100"),
        (lambda layer: layer.carousel_share(100), "All lags come at once.*row 100"),
        (lambda layer: layer.jacobian_norms("l1"), "no norm 'l1'. Expected one of: .*frobenius.$"),
        (lambda layer: layer.jacobian_norms([]), r"no norm \[\]"),
    ],
)
def test_arguments_of_another_kind(flow: Flow, ask: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(CarouselError, match=said):
        ask(flow["lstm.l0"])


def test_steps_of_numpy_are_steps(flow: Flow) -> None:
    numpy = pytest.importorskip("numpy")
    layer = flow["lstm.l0"]
    assert torch.equal(layer.step_terms(numpy.int64(3)).total, layer.step_terms(3).total)


def test_a_table_that_cannot_be_written(flow: Flow, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    target = tmp_path / "missing" / "table.parquet"
    for source in (flow, flow["lstm.l0"]):
        with pytest.raises(CarouselError, match=r"cannot be written to .*missing.*another path"):
            source.to_parquet(target)


def test_a_cell_measured_as_a_function_names_the_loop() -> None:
    state = (torch.zeros(2, 4), torch.zeros(2, 4))
    x = torch.randn(5, 2, 3)
    layer = carousel.measure_cell(nn.LSTMCell(3, 4), x, state, lambda s: s[0].sum())["cell"]
    for ask in (layer.paths, lambda: layer.gates, lambda: layer.parameter_terms("weight_hh")):
        with pytest.raises(CarouselError, match=r"\*Cell modules.* called in a loop"):
            ask()


class TestMeasure:
    model = nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    other = nn.Parameter(torch.ones(1))

    def refused(self, loss: Callable[[], Tensor]) -> str:
        with pytest.raises(CarouselError) as error:
            carousel.measure(self.model, loss)
        assert "watch" not in str(error.value)
        return str(error.value)

    def test_the_model_was_not_called(self) -> None:
        said = self.refused(lambda: self.other.sum())
        assert said.startswith("No recurrent module of the model was called while the loss")

    def test_the_loss_leaves_its_output_out(self) -> None:
        def loss() -> Tensor:
            self.model(self.x)
            return self.other.sum()

        assert "does not depend on the output of a recurrent module" in self.refused(loss)

    def test_the_model_ran_without_gradients(self) -> None:
        def loss() -> Tensor:
            with torch.no_grad():
                output = self.model(self.x)[0].sum()
            return self.other.sum() + output

        assert "called once, but with gradients disabled" in self.refused(loss)

    def test_there_are_no_data(self) -> None:
        said = self.refused(lambda: self.model(torch.zeros(5, 0, 3))[0].sum())
        assert "holds no sequence or no step" in said

    def test_inference_mode(self) -> None:
        with torch.inference_mode(), pytest.raises(CarouselError, match=r"inference_mode\(False\)"):
            carousel.measure(self.model, lambda: self.model(self.x)[0].sum())
        with torch.inference_mode(), torch.inference_mode(False):
            carousel.measure(self.model, lambda: self.model(self.x)[0].sum())

    def test_inference_mode_with_a_cell(self) -> None:
        with torch.inference_mode(), pytest.raises(CarouselError, match="measure_cell was called"):
            carousel.measure_cell(
                lambda _, h: 2 * h, torch.zeros(3, 1, 1), torch.ones(1, 1), lambda h: h.sum()
            )
