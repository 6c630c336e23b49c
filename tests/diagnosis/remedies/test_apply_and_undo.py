"""Every remedy on every model: it applies or says why not, and ``undo`` brings back every bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.diagnosis.remedied import MODELS, inputs, model_of, output_of, snapshot, train
from torch import nn

import carousel
from carousel import CarouselError
from carousel.diagnosis import remedies
from carousel.diagnosis.remedies import (
    CarryState,
    Chrono,
    Clipping,
    Flossing,
    ForgetBias,
    Identity,
    Orthogonal,
    PascanuOmega,
    Remedy,
    StateDtype,
    SwapToLSTM,
    TruncationLength,
)

REMEDIES: dict[str, Callable[[str], Remedy]] = {
    "forget-bias": lambda layer: ForgetBias(layer, 2.0),
    "chrono": lambda layer: Chrono(layer, 10),
    "orthogonal": Orthogonal,
    "identity": Identity,
    "clipping": lambda _: Clipping(max_norm=0.01),
    "truncation-length": lambda layer: TruncationLength(layer, 3),
    "carry-state": CarryState,
    "state-dtype": lambda layer: StateDtype(layer, "float64"),
    "lstm": lambda layer: SwapToLSTM(layer, 10),
    "omega": PascanuOmega,
    "flossing": Flossing,
}
FORGETTING = {
    "LSTM",
    "LSTM deep",
    "LSTM stack",
    "LSTM projected",
    "LSTM batch first",
    "LSTMCell",
} | {
    "own LSTM",
    "own peephole",
    "own cifg",
    "used twice",
    "tied",
}
ONE_WAY = set(MODELS) - {"LSTM deep", "RNN deep", "LSTMCell", "GRUCell", "RNNCell"}
SIMPLE = {"RNN", "RNN deep", "RNN no bias", "bare RNN", "RNNCell", "own RNN"}
FITS: dict[str, set[str]] = {
    "forget-bias": FORGETTING,
    "chrono": FORGETTING | {"GRU", "GRUCell", "own GRU"},
    "identity": SIMPLE | {"RNN relu", "own sigmoid"},
    "lstm": SIMPLE - {"RNNCell", "RNN no bias"},  # chrono sets biases
    "truncation-length": ONE_WAY,
    "carry-state": ONE_WAY,
}
CASES = [(remedy, model) for remedy in REMEDIES for model in MODELS]


def test_every_remedy_is_here() -> None:
    every = {
        getattr(remedies, name).name
        for name in remedies.__all__
        if name not in ("Applied", "Remedy") and issubclass(getattr(remedies, name), Remedy)
    }
    assert every == set(REMEDIES)


@pytest.mark.parametrize(("remedy", "model"), CASES)
def test_apply_and_undo(remedy: str, model: str) -> None:
    net = model_of(model)
    before = snapshot(net)
    expected = output_of(net, inputs()).detach()
    made = REMEDIES[remedy]("")
    assert made.name == remedy
    if model not in FITS.get(remedy, set(MODELS)):
        with pytest.raises(CarouselError, match="fits no recurrent module"):
            made.apply(net)
        assert_same(before, snapshot(net))
        return
    applied = made.apply(net)
    train(net)
    assert any(not same(before[name], now) for name, now in snapshot(net).items())
    applied.undo()
    if not made.in_model:  # what was trained meanwhile is the user's
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(before[name])
        before.pop("rng")
    assert_same(before, {name: value for name, value in snapshot(net).items() if name in before})
    assert torch.equal(output_of(net, inputs()), expected)
    applied.undo()
    assert_same(before, {name: value for name, value in snapshot(net).items() if name in before})


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    return one == other


def assert_same(before: dict[str, object], now: dict[str, object]) -> None:
    assert before.keys() == now.keys()
    for name, value in before.items():
        assert same(value, now[name]), name


@pytest.mark.parametrize("name", ["forget-bias", "chrono", "orthogonal", "identity", "lstm"])
def test_an_interrupt_in_the_midst_leaves_the_model_as_it_was(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = model_of("RNN deep" if name in ("identity", "lstm") else "LSTM deep")
    module = {
        "forget-bias": "_forget_bias",
        "chrono": "_chrono",
        "orthogonal": "_orthogonal",
        "identity": "_identity",
        "lstm": "_swap_lstm",
    }[name]
    function = {
        "forget-bias": "forget_bias_",
        "chrono": "chrono_",
        "orthogonal": "orthogonal_",
        "identity": "identity_",
        "lstm": "chrono_",
    }[name]

    def half(target: nn.Module, *_: object, **__: object) -> None:
        with torch.no_grad():
            for parameter in target.parameters():
                parameter.fill_(7.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"carousel.diagnosis.remedies.{module}.{function}", half)
    before = snapshot(net)
    with pytest.raises(KeyboardInterrupt):
        REMEDIES[name]("").apply(net)
    assert_same(before, snapshot(net))


@pytest.mark.parametrize("name", ["forget-bias", "chrono", "orthogonal"])
@pytest.mark.parametrize("suffix", ["l0", "l0_reverse", "l1_reverse"])
def test_one_layer_alone(name: str, suffix: str) -> None:
    net = model_of("LSTM deep")
    before = snapshot(net)
    REMEDIES[name](f"rnn.{suffix}").apply(net)
    changed = {
        parameter
        for parameter, tensor in net.named_parameters()
        if not torch.equal(before[parameter], tensor)
    }
    kinds = {"weight_hh"} if name == "orthogonal" else {"bias_ih", "bias_hh"}
    assert changed == {f"rnn.{kind}_{suffix}" for kind in kinds}


def test_a_module_by_its_path_and_a_call_by_its_number() -> None:
    net = model_of("LSTM deep")
    ForgetBias("rnn", 2.0).apply(net)
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        total = getattr(net.rnn, f"bias_ih_{suffix}") + getattr(net.rnn, f"bias_hh_{suffix}")
        assert total[5:10].tolist() == [2.0] * 5
    ForgetBias("rnn.l1#2", 3.0).apply(net)
    assert (net.rnn.bias_ih_l1 + net.rnn.bias_hh_l1)[5:10].tolist() == [3.0] * 5
    assert (net.rnn.bias_ih_l0 + net.rnn.bias_hh_l0)[5:10].tolist() == [2.0] * 5


@pytest.mark.parametrize("layer", ["rnn.l7", "encoder.l0", "rnn.l0_reverse"])
def test_no_such_layer(layer: str) -> None:
    with pytest.raises(CarouselError, match=r"There is no layer .* Its layers are: rnn\.l0\."):
        Orthogonal(layer).apply(model_of("LSTM"))


def test_a_remedy_that_does_not_fit_says_why() -> None:
    with pytest.raises(
        CarouselError, match=r"does not fit rnn\.l0: GRU computes GRU, which has no"
    ):
        ForgetBias("rnn.l0").apply(model_of("GRU"))
    with pytest.raises(CarouselError, match="has no biases"):
        Chrono("", 10).apply(nn.LSTM(2, 3, bias=False))
    with pytest.raises(CarouselError, match="change the loop by hand"):
        SwapToLSTM("").apply(model_of("RNNCell"))
    with pytest.raises(CarouselError, match="detach its state in the loop"):
        TruncationLength("", 3).apply(model_of("GRUCell"))
    with pytest.raises(CarouselError, match="in a wider dtype than float32 already"):
        StateDtype("", "float32").apply(model_of("LSTM", torch.float64))
    with pytest.raises(CarouselError, match="does not pass through W_hh"):
        PascanuOmega("").apply(carousel.LSTM(2, 3, gradient="1997"))
    net = nn.LSTM(2, 3)
    nn.utils.parametrizations.orthogonal(net, "weight_hh_l0")
    for remedy in (PascanuOmega(""), Flossing("")):
        with pytest.raises(CarouselError, match="its weight_hh_l0 is computed from other"):
            remedy.apply(net)


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        (Clipping(), "max_norm, which is still to be measured"),
        (Clipping(max_norm=-1.0), "max_norm to be a number above 0, got -1.0"),
        (TruncationLength("", 0), "whole number from 1 on, got 0"),
        (StateDtype("", "float8"), "no such dtype for a state: 'float8'"),
        (PascanuOmega("", -1.0), "strength to be a number above 0, got -1.0"),
        (Flossing("", 0), "whole number from 1 on, got 0"),
        (Flossing("", 1, float("nan")), "strength to be a number above 0"),
        (Chrono("", 1), "longest_lag_steps to be a finite number of at least 2"),
        (Orthogonal("", float("inf")), "gain to be a finite number"),
    ],
)
def test_numbers_that_make_no_sense(remedy: Remedy, words: str) -> None:
    net = model_of("LSTM")
    before = snapshot(net)
    with pytest.raises(CarouselError, match=words):
        remedy.apply(net)
    assert_same(before, snapshot(net))


def test_the_later_remedy_is_undone_first() -> None:
    net = model_of("LSTM")
    first = TruncationLength("", 3).apply(net)
    second = CarryState("").apply(net)
    with pytest.raises(CarouselError, match="Undo the later one first"):
        first.undo()
    second.undo()
    first.undo()
    assert type(net.rnn) is nn.LSTM


def test_sentences_say_whether_weights_are_kept() -> None:
    for make in REMEDIES.values():
        remedy = make("rnn.l0")
        said = remedy.sentence()
        assert ("overwrites" in said) != remedy.keeps_weights, said
        if remedy.keeps_weights:
            assert "as they are" in said or "keep their values" in said, said
