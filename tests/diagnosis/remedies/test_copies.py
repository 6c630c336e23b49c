"""A model with a remedy in place, copied, saved and loaded; and what counts as having acted."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from tests.diagnosis.remedied import INPUTS, H, inputs, model_of, output_of
from torch import Tensor, nn

import carousel
from carousel import CarouselError
from carousel.diagnosis import remedies
from carousel.diagnosis.remedies import (
    CarryState,
    Chrono,
    Flossing,
    ForgetBias,
    PascanuOmega,
    Remedy,
    StateDtype,
    SwapToLSTM,
    TruncationLength,
)


def saved_and_loaded(net: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def gradients(net: nn.Module) -> list[Tensor]:
    return list(
        torch.autograd.grad(output_of(net, inputs()).square().sum(), list(net.parameters()))
    )


IN_PLACE: dict[str, tuple[tuple[Remedy, ...], str]] = {
    "state-dtype": ((StateDtype("", "float64"),), "LSTM"),
    "state-dtype of a cell": ((StateDtype("", "float64"),), "LSTMCell"),
    "truncation-length": ((TruncationLength("", 3),), "GRU"),
    "carry-state": ((CarryState(""),), "own LSTM"),
    "lstm": ((SwapToLSTM("", 20),), "RNN"),
    "own lstm": ((SwapToLSTM("", 20),), "own RNN"),
    "two": ((TruncationLength("", 3), StateDtype("", "float64")), "LSTM stack"),
    "one and another module": ((StateDtype("", "float64"), SwapToLSTM("")), "RNN"),
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("how", [copy.deepcopy, saved_and_loaded])
def test_a_copy_computes_the_same(name: str, how: object) -> None:
    applied, kind = IN_PLACE[name]
    net = model_of(kind)
    plain = gradients(model_of(kind))
    undone = [remedy.apply(net) for remedy in applied]
    twin = how(net)
    assert repr(twin) == repr(net)
    expected, found = gradients(net), gradients(twin)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    if name != "carry-state":  # which is as it was in a first call
        assert any(
            a.shape != b.shape or not torch.equal(a, b)
            for a, b in zip(expected, plain, strict=True)
        )
    assert torch.equal(output_of(twin, inputs()), output_of(net, inputs()))
    for each in reversed(undone):
        each.undo()
    if name != "carry-state":
        again = gradients(twin)
        assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(gradients(net), plain, strict=True))


def test_what_is_loaded_is_a_public_class() -> None:
    net = model_of("RNN")
    SwapToLSTM("").apply(net)
    assert type(saved_and_loaded(net).rnn) is remedies.LSTMInPlaceOfRNN
    own = model_of("own RNN")
    SwapToLSTM("").apply(own)
    assert type(saved_and_loaded(own).rnn) is remedies.OwnLSTMInPlaceOfRNN


@pytest.mark.parametrize("how", [copy.deepcopy, saved_and_loaded])
def test_a_copy_begins_without_the_carried_state(how: object) -> None:
    net, fresh = model_of("LSTM"), model_of("LSTM")
    CarryState("").apply(net)
    first, second = inputs()[:5], inputs()[5:]
    net(first)
    twin = how(net)
    assert torch.equal(twin(first), fresh(first))
    twin(3.0 * first)  # which the original does not see
    _, state = fresh.rnn(first)
    assert torch.equal(net(second), fresh.rnn(second, state)[0])


def test_carrying_acts_where_a_state_is_handed_on() -> None:
    net = model_of("GRU")
    applied = CarryState("").apply(net)
    net(inputs())
    assert applied.acted == 0
    net(inputs())
    assert applied.acted == 1
    net.rnn(inputs(), torch.zeros(1, 4, H))  # its user's own
    assert applied.acted == 1
    copy.deepcopy(net)(inputs())
    assert applied.acted == 1


def test_truncation_acts_where_something_is_cut() -> None:
    net = model_of("LSTM")
    applied = TruncationLength("", 6).apply(net)
    net(inputs()[:6])
    assert applied.acted == 0
    net(inputs()[:7])
    assert applied.acted == 1


@pytest.mark.parametrize("remedy", [Flossing(""), PascanuOmega("")])
def test_an_extra_loss_acts_where_a_gradient_was_changed(remedy: Remedy) -> None:
    net = model_of("LSTM")
    head = nn.Linear(H, 1)
    net.head = head
    applied = remedy.apply(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for steps, acted in ((1, 0), (6, 1)):
        optimizer.zero_grad()
        net(inputs()[:steps]).square().sum().backward()
        if isinstance(remedy, Flossing) and steps == 1:
            for parameter in net.rnn.parameters():  # nothing takes a gradient now
                parameter.requires_grad_(False)
        optimizer.step()
        for parameter in net.rnn.parameters():
            parameter.requires_grad_()
        assert applied.acted == acted
    applied.undo()


def tied_layers() -> nn.Module:
    rnn = nn.RNN(H, H, num_layers=2)
    rnn.weight_hh_l1 = rnn.weight_hh_l0
    return nn.Sequential(rnn)


def tied_modules() -> nn.Module:
    net = nn.ModuleDict({"a": nn.RNN(H, H), "b": nn.RNN(H, H)})
    net["b"].weight_hh_l0 = net["a"].weight_hh_l0
    return net


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.Sequential(nn.utils.weight_norm(nn.RNN(H, H), "weight_hh_l0"))


def new_weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.RNN(H, H), "weight_hh_l0"))


def frozen() -> nn.Module:
    net = nn.Sequential(nn.RNN(H, H))
    net[0].weight_hh_l0.requires_grad_(False)
    return net


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (tied_layers, r"weight_hh_l0 is shared \(0\.weight_hh_l0 is 0\.weight_hh_l1\)"),
        (tied_modules, r"weight_hh_l0 is shared \(a\.weight_hh_l0 is b\.weight_hh_l0\)"),
        (old_weight_norm, "weight_hh_l0 is computed from other tensors"),
        (new_weight_norm, "weight_hh_l0 is computed from other tensors"),
        (frozen, r"weight_hh_l0 is frozen \(requires_grad=False\)"),
    ],
)
def test_an_rnn_that_cannot_be_swapped_is_refused_by_name(made: object, words: str) -> None:
    net = made()
    kinds = [type(module) for module in net.modules()]
    with pytest.raises(CarouselError, match=words):
        SwapToLSTM("").apply(net)
    assert [type(module) for module in net.modules()] == kinds


def test_a_module_that_is_used_twice_is_swapped_once() -> None:
    net = nn.ModuleDict({"a": nn.RNN(H, H)})
    net["b"] = net["a"]
    SwapToLSTM("").apply(net)
    assert net["a"] is net["b"]
    assert isinstance(net["b"], nn.LSTM)


def test_chrono_is_not_promised_where_there_are_no_biases() -> None:
    net = model_of("RNN no bias")
    with pytest.raises(CarouselError, match=r"no biases.*chrono"):
        SwapToLSTM("rnn.l0", 20).apply(net)
    remedy = SwapToLSTM("rnn.l0")
    assert "chrono" not in remedy.sentence()
    assert "where it has biases" in remedy.sentence()
    remedy.apply(net)
    assert not net.rnn.bias


def test_what_its_user_set_on_an_rnn_stays() -> None:
    net = model_of("RNN")
    net.rnn.scale = 3.0
    net.rnn.register_buffer("mask", torch.ones(4))
    net.rnn.register_buffer("seen", torch.zeros(1), persistent=False)
    net.rnn.norm = nn.LayerNorm(H)
    keys = set(net.state_dict())
    applied = SwapToLSTM("").apply(net)
    assert net.rnn.scale == 3.0
    assert set(net.state_dict()) == keys
    assert dict(net.rnn.named_buffers()).keys() == {"mask", "seen"}
    assert not hasattr(net.rnn, "nonlinearity")
    assert "LSTM" in repr(net)
    applied.undo()
    assert net.rnn.nonlinearity == "tanh"
    assert net.rnn.scale == 3.0


def test_a_truncated_rnn_that_is_swapped_is_truncated_still() -> None:
    net = model_of("RNN")
    TruncationLength("", 4).apply(net)
    SwapToLSTM("").apply(net)
    with pytest.raises(CarouselError, match="a state other than zero was handed to it"):
        net(inputs())
    assert net(inputs()[:4]).shape == (4, 4, H)


def test_modules_of_one_size_are_drawn_apart() -> None:
    net = nn.ModuleDict({"a": nn.LSTM(INPUTS, H), "b": nn.LSTM(INPUTS, H)})
    Chrono("", 50).apply(net)
    assert not torch.equal(net["a"].bias_ih_l0, net["b"].bias_ih_l0)
    remedies.Orthogonal("").apply(net)
    assert not torch.equal(net["a"].weight_hh_l0, net["b"].weight_hh_l0)
    once = net["b"].bias_ih_l0.clone()
    Chrono("", 50).apply(net)
    assert torch.equal(net["b"].bias_ih_l0, once)


@pytest.mark.parametrize("remedy", [Chrono("", 9), ForgetBias(""), remedies.Orthogonal("")])
def test_frozen_weights_are_not_overwritten(remedy: Remedy) -> None:
    net = nn.ModuleDict({"a": nn.LSTM(INPUTS, H), "b": nn.LSTM(INPUTS, H)})
    for parameter in net["a"].parameters():
        parameter.requires_grad_(False)
    before = copy.deepcopy(net["a"].state_dict())
    kind = type(remedy)
    named = kind("a.l0", 9) if kind is Chrono else kind("a.l0")
    with pytest.raises(CarouselError, match=r"does not fit a\.l0: its .* is frozen"):
        named.apply(net)
    remedy.apply(net)  # to what it fits
    assert all(torch.equal(before[key], own) for key, own in net["a"].state_dict().items())
    nn.ModuleDict({"b": net["b"]}).requires_grad_(False)
    with pytest.raises(CarouselError, match="is frozen"):
        remedy.apply(net)


@pytest.mark.parametrize("remedy", [Flossing(""), PascanuOmega("")])
def test_frozen_weights_take_no_extra_gradient(remedy: Remedy) -> None:
    net = model_of("LSTM").requires_grad_(False)
    with pytest.raises(CarouselError, match=r"is frozen .* and takes no gradient"):
        remedy.apply(net)


class Cells(nn.Module):
    """Cells at attributes that are named like layers."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.l1 = kind(2, 12)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for x_t in x:
            state = self.l1(x_t, state)
        return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_that_is_named_like_a_layer(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = Cells(kind)
    x = torch.randn(40, 4, 2)
    flow = carousel.measure(net, lambda: net(x).square().sum())
    finding = carousel.diagnose(flow, 35)[0]
    offered = [each for each in finding.remedies if each.in_model]
    assert "orthogonal" in {each.name for each in offered}
    assert "lstm" not in {each.name for each in offered}
    for remedy in offered:
        applied, pasted = copy.deepcopy(net), copy.deepcopy(net)
        assert remedy.layer == "l1"
        remedy.apply(applied)
        exec(remedy.code(), {"model": pasted})  # noqa: S102 - this is what its user does
        assert all(map(torch.equal, applied.parameters(), pasted.parameters()))
        assert not all(map(torch.equal, applied.parameters(), net.parameters()))
