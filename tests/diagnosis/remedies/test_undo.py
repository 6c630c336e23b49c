"""The way back: with gradients, in the right order, and what an applied remedy says of itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from tests.diagnosis.remedied import INPUTS, H, Net, inputs, model_of, output_of, snapshot
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from carousel import CarouselError
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


def backward(net: nn.Module) -> None:
    output_of(net, inputs()).square().sum().backward()


def gradients(net: nn.Module) -> list[Tensor | None]:
    return [p.grad if p.grad is None else p.grad.clone() for p in net.parameters()]


def equal(one: list[Tensor | None], other: list[Tensor | None]) -> bool:
    return len(one) == len(other) and all(
        a is b or (a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("remedy", "name"),
    [
        (StateDtype("", "float64"), "LSTM"),
        (StateDtype("rnn", "float64"), "RNN deep"),
        (Chrono("", 20), "LSTM"),
        (Orthogonal(""), "GRU"),
        (Identity("rnn.l0"), "RNN"),
        (SwapToLSTM("", 20), "RNN"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_gradients_come_back_as_they_were(remedy: Remedy, name: str, there: bool) -> None:
    net = model_of(name)
    if there:
        backward(net)
    own = [parameter.grad for parameter in net.parameters()]
    before, grads = snapshot(net), gradients(net)
    applied = remedy.apply(net)
    backward(net)
    applied.undo()
    now = snapshot(net)
    assert all(
        torch.equal(value, now[key]) if isinstance(value, Tensor) else value == now[key]
        for key, value in before.items()
    )
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert equal(grads, gradients(net))
    assert all(p.grad is grad for p, grad in zip(net.parameters(), own, strict=True))
    torch.optim.Adam(net.parameters()).step()  # which takes no gradient of another dtype
    backward(net)


def test_the_wrong_order_is_refused_and_nothing_is_put_back() -> None:
    net = model_of("LSTM")
    before = snapshot(net)
    first = Chrono("rnn.l0", 50).apply(net)
    second = ForgetBias("rnn", 1.0).apply(net)
    both = snapshot(net)
    with pytest.raises(CarouselError, match=r"ForgetBias.* was applied after Chrono.*later one"):
        first.undo()
    assert all(
        torch.equal(both[key], value) if isinstance(value, Tensor) else both[key] == value
        for key, value in snapshot(net).items()
    )
    with torch.no_grad():  # training in between is its user's right
        net.rnn.bias_ih_l0.add_(1.0)
    second.undo()
    first.undo()
    assert all(torch.equal(before[n], p) for n, p in net.named_parameters())


def test_remedies_that_do_not_meet_are_undone_in_any_order() -> None:
    net = model_of("LSTM stack")
    before = snapshot(net)
    lower = Chrono("rnn.l0", 50).apply(net)
    upper = Chrono("rnn.l1", 50).apply(net)
    cut = TruncationLength("rnn", 4).apply(net)
    lower.undo()
    cut.undo()
    upper.undo()
    assert all(torch.equal(before[n], p) for n, p in net.named_parameters())
    assert type(net.rnn) is nn.LSTM


def test_modules_that_share_a_weight_are_undone_in_order() -> None:
    net = model_of("tied")
    first = Orthogonal("first").apply(net)
    other = Orthogonal("other", seed=5).apply(net)
    with pytest.raises(CarouselError, match="Undo the later one first"):
        first.undo()
    other.undo()
    first.undo()


def test_a_weight_that_layers_share_comes_back() -> None:
    net = Net(nn.RNN(INPUTS, H, num_layers=2))
    net.rnn.weight_hh_l1 = net.rnn.weight_hh_l0
    before = net.rnn.weight_hh_l0.detach().clone()
    Orthogonal("rnn.l1").apply(net).undo()
    assert torch.equal(net.rnn.weight_hh_l0, before)


def test_a_remedy_whose_undo_was_dropped_bars_no_other() -> None:
    net = model_of("LSTM")
    before = snapshot(net)
    first = Chrono("rnn.l0", 50).apply(net)
    ForgetBias("rnn", 1.0).apply(net)
    first.undo()
    assert all(torch.equal(before[n], p) for n, p in net.named_parameters())


def test_a_class_that_was_changed_by_somebody_else_is_not_put_back() -> None:
    net = model_of("RNN")
    applied = SwapToLSTM("rnn").apply(net)
    nn.utils.parametrizations.orthogonal(net.rnn, "weight_hh_l0")
    with pytest.raises(CarouselError, match="has become a Parametrized"):
        applied.undo()


def test_an_applied_remedy_says_what_it_is() -> None:
    net = model_of("LSTM")
    applied = Chrono("rnn.l0", 50).apply(net)
    assert repr(applied) == "<Chrono(layer='rnn.l0', lag_steps=50, seed=0): in place>"
    applied.undo()
    assert repr(applied) == "<Chrono(layer='rnn.l0', lag_steps=50, seed=0): not in place>"


@pytest.mark.parametrize("kind", [Flossing, PascanuOmega])
def test_an_extra_loss_does_not_count_twice(kind: Callable[[str], Remedy]) -> None:
    net = model_of("LSTM stack")
    hooks = len(torch_optimizer._global_optimizer_pre_hooks)
    applied = kind("rnn.l0").apply(net)
    with pytest.raises(CarouselError, match=r"acts on rnn\.l0 already"):
        kind("").apply(net)
    upper = kind("rnn.l1").apply(net)
    other = kind("rnn.l0").apply(model_of("LSTM stack"))
    applied.undo()
    again = kind("rnn.l0").apply(net)
    for each in (upper, other, again):
        each.undo()
    assert len(torch_optimizer._global_optimizer_pre_hooks) == hooks


INTERRUPTED = {
    "clipping": (Clipping(max_norm=0.1), "LSTM"),
    "omega": (PascanuOmega("rnn.l0"), "LSTM"),
    "flossing": (Flossing("rnn.l0"), "LSTM"),
    "state-dtype": (StateDtype("rnn.l0", "float64"), "LSTM"),
    "carry-state": (CarryState("rnn.l0"), "LSTM"),
    "lstm": (SwapToLSTM("rnn.l0"), "RNN"),
}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupt_at_any_line_of_apply_leaves_nothing(name: str) -> None:
    remedy, kind = INTERRUPTED[name]
    net = model_of(kind)
    before, hooks = snapshot(net), len(torch_optimizer._global_optimizer_pre_hooks)
    line = 0
    while interrupted(lambda: remedy.apply(net), line):
        line += 1
        now = snapshot(net)
        assert all(
            torch.equal(value, now[key]) if isinstance(value, Tensor) else value == now[key]
            for key, value in before.items()
        ), line
        assert len(torch_optimizer._global_optimizer_pre_hooks) == hooks, line
        assert torch.is_grad_enabled(), line
    assert line > 10


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupt_at_any_line_of_undo_is_passed_on_when_all_is_back(name: str) -> None:
    remedy, kind = INTERRUPTED[name]
    net = model_of(kind)
    before, hooks = snapshot(net), len(torch_optimizer._global_optimizer_pre_hooks)
    line = 1  # the first comes before anything is begun
    while interrupted(remedy.apply(net).undo, line):
        line += 1
        now = snapshot(net)
        assert all(
            torch.equal(value, now[key]) if isinstance(value, Tensor) else value == now[key]
            for key, value in before.items()
        ), line
        assert len(torch_optimizer._global_optimizer_pre_hooks) == hooks, line
    assert line > 5


def interrupted(action: Callable[[], Any], at: int) -> bool:
    """Whether an interrupt at this line, counted inside the remedies, came before the end."""
    count = 0

    def inside(_: FrameType, event: str, __: Any) -> Any:
        nonlocal count
        if event == "line":
            if count == at:
                count += 1
                raise KeyboardInterrupt
            count += 1
        return inside

    def tracer(frame: FrameType, *_: Any) -> Any:
        return inside if "diagnosis/remedies" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        applied = action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    if applied is not None:
        applied.undo()
    return False


def test_train_or_eval_is_the_users() -> None:
    net = Net(nn.RNN(INPUTS, H))
    applied = SwapToLSTM("").apply(net)
    net.eval()
    applied.undo()
    assert not net.rnn.training
