"""What each remedy does, held against the same done by hand; and its code against itself."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.diagnosis.remedied import INPUTS, H, Net, inputs, model_of, output_of
from tests.tolerances import assert_close
from torch import Tensor, nn

import carousel
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

CODES = [
    (ForgetBias("rnn.l1_reverse", 1.5), "LSTM deep"),
    (ForgetBias("rnn", 1.5), "LSTM deep"),
    (ForgetBias("", 1.5), "own cifg"),
    (ForgetBias("cell", 1.5), "LSTMCell"),
    (Chrono("rnn.l0", 30), "GRU"),
    (Chrono("", 30), "LSTM deep"),
    (Chrono("", 30), "tied"),
    (Orthogonal("rnn.l1", 0.9, seed=4), "RNN deep"),
    (Orthogonal("", 0.9, seed=4), "own peephole"),
    (Identity("rnn.l0_reverse", 0.5), "RNN deep"),
    (Identity("l0", 0.5), "bare RNN"),
    (Orthogonal("", 0.9, seed=4), "tied"),
    (SwapToLSTM("rnn.l0", 10), "RNN"),
    (SwapToLSTM("rnn", seed=4), "RNN deep"),
    (SwapToLSTM(""), "own RNN"),
    (SwapToLSTM("rnn.l0"), "RNN no bias"),
]


@pytest.mark.parametrize(("remedy", "name"), CODES)
def test_the_code_does_what_the_remedy_does(remedy: Remedy, name: str) -> None:
    pasted, applied = model_of(name), model_of(name)
    remedy.apply(applied)
    exec(remedy.code(), {"model": pasted})  # noqa: S102 - this is what its user does
    for (parameter, one), other in zip(
        pasted.named_parameters(), applied.parameters(), strict=True
    ):
        assert torch.equal(one, other), parameter
    assert any(
        not torch.equal(*pair) if pair[0].shape == pair[1].shape else True
        for pair in zip(applied.parameters(), model_of(name).parameters(), strict=True)
    )
    assert torch.equal(output_of(pasted, inputs()), output_of(applied, inputs()))


def test_the_code_of_a_module_without_a_name() -> None:
    net = nn.Sequential(nn.LSTM(INPUTS, H))
    exec(ForgetBias("0.l0", 2.0).code(), {"model": net})  # noqa: S102
    assert (net[0].bias_ih_l0 + net[0].bias_hh_l0)[H : 2 * H].tolist() == [2.0] * H


LONG = "encoder.blocks.0.recurrent.l0_reverse"


@pytest.mark.parametrize("layer", ["", "rnn.l0", LONG, f"networks.first.{LONG}"])
def test_all_code_is_python_of_less_than_88_columns(layer: str) -> None:
    for remedy in (
        Clipping(max_norm=0.5),
        CarryState(layer),
        StateDtype(layer),
        StateDtype(layer, "float64"),
        SwapToLSTM(layer, 10),
        TruncationLength(layer, 5),
        PascanuOmega(layer, 0.123456789),
        Flossing(layer, 2, 0.123456789, 1000, 16),
        Chrono(layer, 1234.5678, 3),
        ForgetBias(layer, 1.23456789012345),
        Orthogonal(layer, 0.123456789),
        Identity(layer, 0.123456789),
    ):
        compile(remedy.code(), remedy.name, "exec")
        assert all(len(line) < 88 for line in remedy.code().splitlines()), remedy.code()


def test_code_leaves_out_what_is_as_usual() -> None:
    assert Flossing("lstm.l0").code() == (
        "from carousel.diagnosis.remedies import Flossing\n\n"
        "remedy = Flossing(layer='lstm.l0')\n"
        "applied = remedy.apply(model)  # acts before each optimizer.step()\n"
        "...  # the training loop, as it is\n"
        "applied.undo()"
    )
    assert SwapToLSTM("rnn.l0", 10).code() == (
        "from carousel.diagnosis.remedies import SwapToLSTM\n\n"
        "# before the optimizer is built\n"
        "SwapToLSTM(layer='rnn.l0', lag_steps=10).apply(model)"
    )
    assert Chrono("encoder.blocks.recurrent.l0_reverse", 50).code() == (
        "import carousel\nimport torch\n\n"
        "carousel.init.chrono_(\n"
        "    model.encoder.blocks.recurrent,\n"
        "    50,\n"
        "    torch.Generator().manual_seed(0),\n"
        '    layer="l0_reverse",\n'
        ")"
    )


def test_the_pasted_lstm_answers_as_the_rnn_did() -> None:
    net = model_of("RNN")
    exec(SwapToLSTM("rnn.l0").code(), {"model": net})  # noqa: S102 - this is what its user does
    _, h = net.rnn(inputs())
    assert isinstance(h, Tensor)


def test_a_forget_bias_for_a_lag_is_ln_of_the_lag_less_one() -> None:
    assert torch.sigmoid(torch.tensor(ForgetBias.for_lag("", 100).value)) == pytest.approx(0.99)
    with pytest.raises(CarouselError, match="at least 2 steps, got 1"):
        ForgetBias.for_lag("", 1)


def gradients(net: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters())))


def by_hand_in_chunks(rnn: nn.Module, x: Tensor, steps: int, time: int) -> Tensor:
    outputs, state = [], None
    for chunk in x.split(steps, dim=time):
        output, state = rnn(chunk, state)
        outputs.append(output)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
    return torch.cat(outputs, dim=time)


@pytest.mark.parametrize("name", ["LSTM", "LSTM stack", "LSTM batch first", "GRU", "own RNN"])
def test_truncation_is_that_of_a_loop_that_detaches(name: str) -> None:
    net, x = model_of(name, torch.float64), inputs().double()
    time = 1 if net.rnn.batch_first else 0
    expected = by_hand_in_chunks(net.rnn, x, 3, time)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).double()
    wanted = gradients(net, (weights * expected).sum())
    full = gradients(net, (weights * net(x)).sum())
    TruncationLength("", 3).apply(net)
    found = gradients(net, (weights * net(x)).sum())
    assert torch.equal(net(x), expected)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
    assert any(not torch.allclose(one, other) for one, other in zip(found, full, strict=True))


def test_truncation_of_unbatched_and_refusal_of_packed_input() -> None:
    net = model_of("LSTM")
    x = inputs()
    plain = net(x[:, 0])
    TruncationLength("", 5).apply(net)
    assert torch.allclose(net(x[:, 0]), plain, atol=1e-6)
    packed = nn.utils.rnn.pack_sequence([x[:, 0]])
    with pytest.raises(CarouselError, match="needs a padded tensor"):
        net.rnn(packed)


def test_a_truncated_layer_is_watched_with_its_cuts() -> None:
    net = model_of("LSTM")
    TruncationLength("", 4).apply(net)
    flow = carousel.measure(net, lambda: net(inputs()).square().sum())
    assert flow["rnn.l0"].cuts == (4, 8)
    assert flow["rnn.l0"].steps == 12


def test_the_truncation_length_for_a_bias_comes_from_the_flow() -> None:
    net = model_of("LSTM", torch.float64)
    flow = carousel.measure(net, lambda: net(inputs().double()).square().sum())
    remedy = TruncationLength.for_bias(flow, "rnn.l0", 0.2)
    assert remedy.steps == flow["rnn.l0"].truncation_length(0.2, how="chunks")
    assert "20%" in remedy.sentence()


@pytest.mark.parametrize("name", ["LSTM", "GRU", "own RNN"])
def test_a_carried_state_is_that_of_the_call_before(name: str) -> None:
    net = model_of(name)
    first, second = inputs()[:5], inputs()[5:]
    whole = net(inputs())
    applied = CarryState("").apply(net)
    net(first)
    carried = net(second)
    assert torch.allclose(carried, whole[5:], atol=1e-6)
    assert torch.equal(net(second[:, :2]), model_of(name)(second[:, :2]))  # another batch: anew
    net(first)
    net.eval()
    assert torch.equal(net(second), model_of(name)(second))
    applied.undo()
    assert torch.equal(net(second), model_of(name)(second))


def test_the_gradient_does_not_cross_a_carried_state() -> None:
    net = model_of("LSTM")
    CarryState("").apply(net)
    x = inputs()[:5].requires_grad_()
    net(x)
    net(inputs()[5:]).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "own LSTM", "LSTM deep", "LSTMCell"])
def test_a_wider_state_computes_what_the_wide_module_computes(name: str) -> None:
    net = model_of(name).to(torch.bfloat16)
    wide = copy.deepcopy(net).float()
    x = inputs().bfloat16()
    StateDtype("", "float32").apply(net)
    found = output_of(net, x)
    assert found.dtype == torch.bfloat16
    if name != "LSTMCell":  # its state is rounded between the steps of the loop
        assert torch.equal(found, output_of(wide, x.float()).bfloat16())
    packed = nn.utils.rnn.pack_sequence([x[:, 0], x[:4, 1]])
    if hasattr(net, "rnn"):
        assert net.rnn(packed)[0].data.dtype == torch.bfloat16


def test_a_wider_state_under_autocast() -> None:
    net = model_of("LSTM")
    expected = net(inputs())
    StateDtype("", "float32").apply(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(inputs()), expected)


@pytest.mark.parametrize("name", ["RNN", "RNN deep", "RNN no bias", "bare RNN", "own RNN"])
def test_an_lstm_in_the_place_of_an_rnn(name: str) -> None:
    net = model_of(name)
    own = dict(model_of(name).named_parameters())
    before = list(net.parameters())
    applied = SwapToLSTM("", 20 if name != "RNN no bias" else None).apply(net)
    module = getattr(net, "rnn", net)
    assert isinstance(module, (nn.LSTM, carousel.LSTM))
    assert module.hidden_size == H
    for parameter, tensor in net.named_parameters():
        assert torch.equal(tensor[2 * H : 3 * H], own[parameter])  # the gate g
    assert applied.notes == (
        "An optimizer that was built before holds the old parameters: build it anew.",
    )
    assert not {id(p) for p in before} & {id(p) for p in net.parameters()}
    output, h_n = module(inputs())
    assert isinstance(h_n, Tensor)
    assert output.shape == model_of(name)(inputs())[0].shape if name == "bare RNN" else True
    assert torch.equal(module(inputs(), torch.zeros_like(h_n))[0], output)
    with pytest.raises(CarouselError, match="a state other than zero was handed to it"):
        module(inputs(), h_n)
    flow = carousel.measure(net, lambda: output_of(net, inputs()).square().sum())
    assert {layer.kind for layer in flow.layers.values()} == {"LSTM"}


def test_hooks_on_a_swapped_module_go_on() -> None:
    net = model_of("RNN")
    calls = []
    net.rnn.register_forward_hook(lambda *_: calls.append(1))
    applied = SwapToLSTM("").apply(net)
    net(inputs())
    applied.undo()
    net(inputs())
    assert calls == [1, 1]


def stepped(net: nn.Module, lr: float = 1.0) -> list[Tensor]:
    """Return the gradients that an optimizer got to see."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    before = [p.detach().clone() for p in net.parameters()]
    output_of(net, inputs()).square().sum().backward()
    optimizer.step()
    return [(b - p.detach()) / lr for b, p in zip(before, net.parameters(), strict=True)]


def test_clipping_scales_the_gradient_of_all_parameters() -> None:
    net = model_of("LSTM")
    plain = stepped(copy.deepcopy(net))
    Clipping(max_norm=0.25).apply(net)
    found = stepped(net)
    norm = torch.cat([g.flatten() for g in plain]).norm()
    assert norm > 0.25
    for one, other in zip(found, plain, strict=True):
        assert torch.allclose(one, other * 0.25 / norm, rtol=1e-4, atol=1e-6)


def test_clipping_leaves_other_models_and_what_is_small_alone() -> None:
    net, other = model_of("LSTM"), model_of("GRU")
    plain, small = stepped(copy.deepcopy(other)), stepped(copy.deepcopy(net))
    applied = Clipping(max_norm=1e6).apply(net)
    assert all(torch.equal(a, b) for a, b in zip(stepped(other), plain, strict=True))
    assert applied.acted == 0
    assert all(torch.equal(a, b) for a, b in zip(stepped(net), small, strict=True))
    assert applied.acted == 1


def test_the_percentile_is_that_of_the_finite_norms() -> None:
    fitted = Clipping(percentile=50).fitted([3.0, 1.0, float("inf"), 2.0, 0.0])
    assert fitted.max_norm == 2.0
    assert fitted.fitted([100.0]) is fitted
    with pytest.raises(CarouselError, match="got 1 of which none is finite and above zero"):
        Clipping().fitted([float("nan")])
    with pytest.raises(CarouselError, match="percentile from 0 to 100, got 101"):
        Clipping(percentile=101).fitted([1.0])


def test_an_optimizer_with_a_closure_is_refused() -> None:
    net = model_of("LSTM")
    Clipping(max_norm=1.0).apply(net)

    def closure() -> Tensor:
        loss = net(inputs()).square().sum()
        loss.backward()
        return loss

    with pytest.raises(CarouselError, match=r"LBFGS makes its gradients inside step\(closure\)"):
        torch.optim.LBFGS(net.parameters()).step(closure)


def by_name(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["LSTM", "RNN", "GRU", "own RNN", "LSTM deep", "LSTMCell"])
@pytest.mark.parametrize("kind", ["omega", "flossing"])
def test_extra_losses_add_their_gradient_before_the_step(name: str, kind: str) -> None:
    """The sum of the loss's own gradient and of that of the module of flow."""
    net = model_of(name, torch.float64)
    x = inputs().double()
    plain = gradients_of(net, x)
    flow = carousel.measure(net, lambda: output_of(net, x).square().sum())
    remedy = PascanuOmega("", 0.5) if kind == "omega" else Flossing("", 2, 0.5)
    applied = remedy.apply(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    optimizer.zero_grad()
    output_of(net, x).square().sum().backward()
    optimizer.step()
    found = by_name(net)
    applied.undo()
    assert found.keys() == plain.keys()
    for layer in flow.layers.values():
        for parameter, extra in extra_of(layer, kind).items():
            path, _, suffix = layer.name.rpartition(".")
            full = f"cell.{parameter}" if name == "LSTMCell" else f"{path}.{parameter}_{suffix}"
            assert_close(
                found[full], plain[full] + 0.5 * extra, 12, torch.float64, f"{kind} {full}"
            )
            assert float(extra.abs().max()) > 0
            plain.pop(full)
    for rest, gradient in plain.items():
        assert torch.equal(found[rest], gradient), rest


def gradients_of(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    output_of(net, x).square().sum().backward()
    found = by_name(net)
    net.zero_grad()
    return found


def extra_of(layer: carousel.flow.LayerFlow, kind: str) -> dict[str, Tensor]:
    from carousel.diagnosis.remedies._flossing import flossing_gradient
    from carousel.diagnosis.remedies._stepping import PARAMETERS

    if kind == "omega":
        return {"weight_hh": carousel.flow.omega_gradient(layer.trace)[1]}
    found = flossing_gradient(layer.trace, 2, 8)[1]
    return {PARAMETERS[name]: gradient for name, gradient in found.items()}


def test_flossing_ends_after_its_steps() -> None:
    net = Net(nn.RNN(INPUTS, H))
    applied = Flossing("", 1, optimizer_steps=1).apply(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    found = []
    for _ in range(2):
        optimizer.zero_grad()
        net(inputs()).square().sum().backward()
        plain = by_name(net)
        optimizer.step()
        now = by_name(net)
        found.append(any(not torch.equal(plain[name], now[name]) for name in plain))
    assert found == [True, False]
    assert applied.acted == 1
    applied.undo()
