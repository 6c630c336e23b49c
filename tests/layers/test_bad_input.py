"""Wrong calls: the same type of error as torch.nn raises, and a message that says what to do."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import carousel
from carousel import CarouselError

KINDS = {carousel.RNN: nn.RNN, carousel.GRU: nn.GRU, carousel.LSTM: nn.LSTM}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is asked
        call()
    return caught.value


def state(kind: type, *shape: int, **options: object) -> object:
    h = torch.zeros(*shape, **options)
    return (h, h) if kind in (carousel.LSTM, nn.LSTM) else h


INPUTS = {  # name: (x, options, what the message holds)
    "rank 1": (torch.zeros(3), {}, r"3D.*or 2D.*got 1D: \[3\]"),
    "rank 4": (torch.zeros(1, 2, 3, 3), {}, r"got 4D: \[1, 2, 3, 3\]"),
    "size": (torch.zeros(5, 2, 4), {}, r"input_size = 3.*\[5, 2, 4\]"),
    "dtype": (torch.zeros(5, 2, 3).double(), {}, r"input is torch.float64.*x.to\(torch.float32\)"),
    "integers": (torch.zeros(5, 2, 3).long(), {}, r"torch.int64.*x.to\(torch.float32\).*Embedding"),
    "booleans": (torch.zeros(5, 2, 3).bool(), {}, r"torch.bool.*x.to\(torch.float32\).*Embedding"),
    "no steps": (torch.zeros(0, 2, 3), {}, r"no steps.*\[0, 2, 3\]"),
    "no steps, batch first": (torch.zeros(2, 0, 3), {"batch_first": True}, r"no steps"),
    "device": (torch.zeros(5, 2, 3, device="meta"), {}, r"on meta.*weights on cpu.*x.to\('cpu'\)"),
    "packed rank": (
        PackedSequence(torch.zeros(3, 1, 3), torch.tensor([2, 1])),
        {},
        r"2 dimensions.*\[3, 1, 3\]",
    ),
    "packed size": (
        pack_padded_sequence(torch.zeros(4, 2, 2), [4, 2]),
        {},
        r"input_size = 3.*\[6, 2\]",
    ),
    "packed, growing": (
        PackedSequence(torch.zeros(5, 3), torch.tensor([2, 3])),
        {},
        r"batch_sizes.*\[2, 3\].*never increase.*5 rows.*pack_padded_sequence",
    ),
    "packed, rows missing": (
        PackedSequence(torch.zeros(5, 3), torch.tensor([3, 3])),
        {},
        r"\[3, 3\].*sum up to its 5 rows",
    ),
}


@each_kind
@pytest.mark.parametrize("name", INPUTS)
def test_input(kind: type[nn.Module], name: str) -> None:
    x, options, message = INPUTS[name]
    error = raised(lambda: kind(3, 4, **options)(x))
    assert re.search(message, str(error)), error
    assert type(error) is type(raised(lambda: KINDS[kind](3, 4, **options)(x)))


STATES = {  # name: (rows, sequences, units .., options, unbatched input, what the message holds)
    "rank": ((1, 4), {}, False, r"batched \(3D\) input h_0 must have 3.*\[1, 2, 4\].*\[1, 4\]"),
    "rank, unbatched": ((1, 1, 4), {}, True, r"unbatched \(2D\).*2 dimensions.*\[1, 1, 4\]"),
    "layers": ((2, 2, 4), {}, False, r"Expected h_0 of size \[1, 2, 4\].*got \[2, 2, 4\]"),
    "batch": ((1, 3, 4), {}, False, r"Expected h_0 of size \[1, 2, 4\].*got \[1, 3, 4\]"),
    "units": ((1, 2, 5), {}, False, r"Expected h_0 of size \[1, 2, 4\].*got \[1, 2, 5\]"),
    "dtype": ((1, 2, 4), {"dtype": torch.float64}, False, r"h_0 is torch.float64.*h_0.to\("),
    "device": ((1, 2, 4), {"device": "meta"}, False, r"h_0 is on meta.*h_0.to\('cpu'\)"),
}


@each_kind
@pytest.mark.parametrize("name", STATES)
def test_state(kind: type[nn.Module], name: str) -> None:
    shape, options, unbatched, message = STATES[name]
    x = torch.zeros(5, 3) if unbatched else torch.zeros(5, 2, 3)
    error = raised(lambda: kind(3, 4)(x, state(kind, *shape, **options)))
    assert re.search(message, str(error)), error
    theirs = raised(lambda: KINDS[kind](3, 4)(x, state(kind, *shape, **options)))
    assert isinstance(theirs, type(error)), theirs  # NotImplementedError is a RuntimeError


def test_c_0_is_checked_too() -> None:
    h, x = torch.zeros(1, 2, 3), torch.zeros(5, 2, 3)
    lstm = carousel.LSTM(3, 4, proj_size=3)
    with pytest.raises(RuntimeError, match=r"Expected c_0 of size \[1, 2, 4\].*got \[1, 2, 3\]"):
        lstm(x, (h, h))


@pytest.mark.parametrize("batch", [2, 4])
def test_state_of_packed_sequences(batch: int) -> None:
    packed = pack_padded_sequence(torch.zeros(4, 3, 3), [1, 4, 2], enforce_sorted=False)
    with pytest.raises(RuntimeError, match=rf"of size \[1, 3, 4\].*got \[1, {batch}, 4\]"):
        carousel.GRU(3, 4)(packed, torch.zeros(1, batch, 4))


def test_things_that_are_no_tensors() -> None:
    x, h = torch.zeros(5, 2, 3), torch.zeros(1, 2, 4)
    with pytest.raises(TypeError, match=r"Tensor or a PackedSequence.*list.*torch\.stack"):
        carousel.RNN(3, 4)([x, x])
    with pytest.raises(TypeError, match=r"h_0 must be a Tensor, but it is a tuple"):
        carousel.GRU(3, 4)(x, (h, h))
    for wrong in (h, (h,), (h, h, h), {"h": h}):
        with pytest.raises(TypeError, match=r"pair of tensors, hx = \(h_0, c_0\)"):
            carousel.LSTM(3, 4)(x, wrong)
    with pytest.raises(TypeError, match=r"c_0 must be a Tensor, but it is None"):
        carousel.LSTM(3, 4)(x, (h, None))


def test_lengths_are_checked_by_torch() -> None:
    with pytest.raises(RuntimeError, match="greater than 0"):
        carousel.GRU(3, 4)(pack_padded_sequence(torch.zeros(4, 2, 3), [4, 0]))


OPTIONS = {  # name: (layer, options, error, message)
    "variant": (
        carousel.LSTM,
        {"variant": "gru"},
        ValueError,
        r"variant 'gru'.*forget, 1997.*cifg",
    ),
    "hidden row": (carousel.LSTM, {"variant": "1997 squashed"}, ValueError, r"Unknown variant"),
    "squashers": (
        carousel.LSTM,
        {"squashers": "relu"},
        ValueError,
        r"squashers 'relu'.*tanh, 1997",
    ),
    "gradient": (carousel.LSTM, {"gradient": "rtrl"}, ValueError, r"gradient 'rtrl'.*full, 1997"),
    "nonlinearity": (
        carousel.RNN,
        {"nonlinearity": "elu"},
        ValueError,
        r"'elu'.*tanh, relu, sigmoid, identity",
    ),
    "RNN truncated": (carousel.RNN, {"gradient": "1997"}, ValueError, r"gradient.*carousel\.LSTM"),
    "GRU truncated": (carousel.GRU, {"gradient": "1997"}, ValueError, r"GRU does not have it"),
    "GRU projected": (carousel.GRU, {"proj_size": 2}, ValueError, r"proj_size is an option"),
    "RNN projected": (carousel.RNN, {"proj_size": 2}, ValueError, r"proj_size is an option"),
    "GRU unknown": (carousel.GRU, {"peep": 2}, TypeError, r"'peep'"),
    "LSTM unknown": (carousel.LSTM, {"peep": 2}, TypeError, r"'peep'"),
    "no steps": (carousel.GRU, {"checkpoint": 0}, ValueError, r"at least 2; got 0"),
    "one step": (carousel.RNN, {"checkpoint": 1}, ValueError, r"at least 2; got 1"),
    "half a step": (carousel.LSTM, {"checkpoint": 2.5}, ValueError, r"got 2\.5"),
    "dropout": (carousel.LSTM, {"dropout": 2}, ValueError, r"range \[0, 1\]"),
    "layers": (carousel.GRU, {"num_layers": 0}, ValueError, r"num_layers must be greater"),
    "bias": (carousel.GRU, {"bias": 1}, TypeError, r"bias should be of type bool"),
    "projection": (carousel.LSTM, {"proj_size": 4}, ValueError, r"smaller than hidden_size"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_refused_when_the_layer_is_built(name: str) -> None:
    kind, options, error, message = OPTIONS[name]
    with pytest.raises(error, match=message):
        kind(3, 4, **options)


ASSIGNED = (
    "variant",
    "hidden row",
    "squashers",
    "gradient",
    "nonlinearity",
    "no steps",
    "one step",
    "half a step",
)


@pytest.mark.parametrize("name", ASSIGNED)
def test_options_are_refused_when_they_are_assigned(name: str) -> None:
    """With the same message, and the layer stays what it was."""
    kind, options, error, message = OPTIONS[name]
    layer = kind(3, 4)
    before = repr(layer), dict(vars(layer))
    for option, value in options.items():
        with pytest.raises(error, match=message):
            setattr(layer, option, value)
    assert (repr(layer), dict(vars(layer))) == before


def test_options_that_belong_together() -> None:
    layer = carousel.LSTM(3, 4)
    with pytest.raises(ValueError, match="belongs to variant='1997'"):
        layer.squashers = "1997"
    with pytest.raises(AttributeError, match=r"is 'forget' since it was built.*variant='cifg'"):
        layer.variant = "cifg"
    layer.variant = "forget"
    accelerated = carousel.accelerate(nn.LSTM(3, 4))
    with pytest.raises(AttributeError, match="since it was built"):
        accelerated.variant = "1997"
    with pytest.raises(ValueError, match="gradient 'rtrl'"):
        accelerated.gradient = "rtrl"


def test_options_that_are_assigned_are_those_of_a_layer_built_so() -> None:
    x = torch.randn(5, 2, 3)
    for kind, built, option, value in (
        (carousel.LSTM, {}, "gradient", "1997"),
        (carousel.LSTM, {"variant": "1997"}, "squashers", "1997"),
        (carousel.RNN, {}, "nonlinearity", "sigmoid"),
        (carousel.RNN, {"nonlinearity": "identity"}, "nonlinearity", "relu"),
        (carousel.GRU, {}, "checkpoint", 2),
    ):
        layer, other = kind(3, 4, **built), kind(3, 4, **{**built, option: value})
        assert repr(layer) != repr(other)
        setattr(layer, option, value)
        other.load_state_dict(layer.state_dict())
        assert repr(layer) == repr(other)
        assert layer.mode == other.mode
        for one in (layer, other):
            one(x)[0].square().sum().backward()
        assert torch.equal(layer.weight_hh_l0.grad, other.weight_hh_l0.grad)
        for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301
            assert repr(again) == repr(layer)
            assert torch.equal(again(x)[0], layer(x)[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_script_is_refused() -> None:
    model = nn.Sequential(carousel.GRU(3, 4))
    with pytest.raises(CarouselError, match=r"cannot compile carousel\.GRU.*torch\.jit\.trace"):
        torch.jit.script(model)
    assert isinstance(model[0], carousel.GRU)


def test_dropout_in_one_layer_is_remarked() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        carousel.GRU(3, 4, dropout=0.1)


def test_accelerate_takes_a_module() -> None:
    with pytest.raises(CarouselError, match=r"torch\.nn\.Module to accelerate, got the class LSTM"):
        carousel.accelerate(nn.LSTM)
