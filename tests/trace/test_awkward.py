"""What users do to a model while it is watched, beyond calling it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import carousel
from carousel.flow import Horizon
from carousel.flow._horizon import horizon_of

FLOAT64 = torch.float64


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loss_before_which_a_later_one_has_vanished(
    kind: type[nn.RNNBase], dtype: torch.dtype
) -> None:
    """What comes from step 500 is far below the range at step 20; step 20's own loss is not."""
    torch.manual_seed(0)
    model = kind(2, 5).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("weight_hh"):
                parameter.mul_(0.01)
            if name.startswith("bias"):
                parameter.sub_(3.0)
    x = torch.randn(500, 3, 2, dtype=dtype)

    def flow(*losses: int) -> carousel.flow.LayerFlow:
        return carousel.measure(model, lambda: model(x)[0][list(losses)].sum())["l0"]

    both, early = flow(499, 20), flow(20)
    assert both.log10_norm("d_h")[21].max() < -30
    assert both.d_h.isfinite().all()
    gap = (both.log10_norm("d_h")[:21] - early.log10_norm("d_h")[:21]).abs().max()
    assert gap < (1e-5 if dtype == torch.float32 else 1e-12)


def test_a_cell_state_written_in_place() -> None:
    torch.manual_seed(0)
    cell, xs = nn.LSTMCell(3, 4).double(), torch.randn(5, 2, 3, dtype=FLOAT64)
    done = torch.tensor([False, True])

    def loss(*, in_place: bool) -> Tensor:
        h = c = torch.zeros(2, 4, dtype=FLOAT64)
        total = torch.zeros((), dtype=FLOAT64)
        for step, x in enumerate(xs):
            h, c = cell(x, (h, c))
            total = total + h.square().sum()
            if step == 2 and in_place:
                c[done] = 0
            elif step == 2:
                c = torch.where(done.unsqueeze(1), 0.0, c)
        return total

    written = carousel.measure(cell, lambda: loss(in_place=True))["cell"]
    chosen = carousel.measure(cell, lambda: loss(in_place=False))["cell"]
    assert torch.equal(written.d_c, chosen.d_c)
    assert written.d_c_injected.abs().max() == 0
    assert written.d_c.abs().min() < written.d_c.abs().max()


@pytest.mark.parametrize("every", [1, 2])
def test_reentrant_checkpointing_is_one_pass(every: int) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({name: nn.GRU(3, 3) for name in "abc"}).double()
    x = torch.randn(5, 2, 3, dtype=FLOAT64)

    def loss(run: Callable[[Tensor], Tensor]) -> Tensor:
        return model["c"](run(model["a"](x)[0]))[0].square().sum()

    def middle(y: Tensor) -> Tensor:
        return model["b"](y)[0]

    plain = carousel.measure(model, lambda: loss(middle))
    with carousel.watch(model, every=every) as watcher:
        for _ in range(4):
            loss(partial(checkpoint, middle, use_reentrant=True)).backward()
            assert set(watcher.flow) == {"a.l0", "b.l0", "c.l0"}
    assert watcher.passes_recorded == 4 // every
    for name, layer in plain.layers.items():
        torch.testing.assert_close(watcher.flow[name].d_h, layer.d_h, rtol=1e-12, atol=1e-14)


def test_a_differentiated_gradient_is_noted() -> None:
    model, x = nn.RNN(3, 4).double(), torch.randn(5, 2, 3, dtype=FLOAT64, requires_grad=True)
    with carousel.watch(model) as watcher:
        (first,) = torch.autograd.grad(model(x)[0].square().sum(), x, create_graph=True)
        assert watcher.flow.notes == ()
        first.square().sum().backward()
        assert "create_graph" in watcher.flow.notes[0]
        model(x)[0].sum().backward()
    assert watcher.flow.notes == ()


@pytest.mark.parametrize("in_one_shot", [False, True])
def test_a_hook_of_the_users_is_heard(in_one_shot: bool) -> None:
    model, x = nn.LSTM(3, 4), torch.ones(5, 2, 3)

    def loss() -> Tensor:
        output, _ = model(x)
        output.register_hook(lambda gradient: gradient * 0)
        return output.sum()

    if in_one_shot:
        flow = carousel.measure(model, loss)
    else:
        with carousel.watch(model) as watcher:
            loss().backward()
        flow = watcher.flow
    assert flow["l0"].d_h.abs().max() == 0
    assert "hook of yours" in flow.notes[0]


def test_one_state_of_two_changed_and_given_by_keyword() -> None:
    torch.manual_seed(0)
    cell, xs = nn.LSTMCell(3, 4).double(), torch.randn(4, 2, 3, dtype=FLOAT64)

    def loss() -> Tensor:
        state = (torch.zeros(2, 4, dtype=FLOAT64),) * 2
        for x in xs:
            h, c = cell(x, hx=state)
            state = (h * 1.0, c)
        return h.sum()

    layer = carousel.measure(cell, loss)["cell"]
    assert layer.d_c_injected.abs().max() == 0
    assert layer.d_h_injected[:-1].abs().max() == 0
    assert layer.d_h_injected[-1].abs().min() == 1


def test_weights_are_copied_once_in_a_loop_by_keyword() -> None:
    cell = nn.GRUCell(3, 4)
    with carousel.watch(cell) as watcher:
        h = torch.zeros(2, 4)
        for _ in range(6):
            h = cell(torch.ones(2, 3), hx=h)
        h.sum().backward()
    assert len({id(call.weights) for call in watcher._last}) == 1


def test_functional_transforms_run_on_unheard() -> None:
    model, x = nn.LSTM(3, 4), torch.ones(5, 2, 3)
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,))[0].sum()

    expected = torch.func.grad(loss)(parameters)
    with carousel.watch(model):
        found = torch.func.grad(loss)(parameters)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_subclass_that_is_left_out_is_named() -> None:
    class Outputs(nn.LSTM):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[0]

    model = nn.ModuleDict({"own": Outputs(3, 4), "plain": nn.LSTM(3, 4)})
    flow = carousel.measure(model, lambda: model["plain"](torch.ones(5, 2, 3))[0].sum())
    assert "own (Outputs) was not watched" in flow.notes[0]


def test_no_counter_stays_on_outputs_that_are_not_recorded() -> None:
    model = nn.GRU(3, 4)
    with carousel.watch(model, every=3):
        model(torch.ones(5, 2, 3))[0].sum().backward()
        output, _ = model(torch.ones(5, 2, 3))
        assert output._backward_hooks
    assert not output._backward_hooks


def test_a_certificate_that_is_not_a_number_stays_one() -> None:
    model, x = nn.LSTM(2, 3), torch.randn(7, 1, 2)
    with carousel.watch(model) as watcher:
        first, state = model(x[:4])
        second, _ = model(x[4:], state)
        (first.sum() + second.sum()).backward()
    later = max(watcher._last, key=lambda call: call.serial)
    later.start = tuple(part * math.nan for part in later.start)
    layer = watcher.flow["l0"]
    assert not layer.certificate <= layer.certificate_limit


def test_the_layers_of_chaotic_stacks_are_met_exactly() -> None:
    """Where rounding grows, only the kernel that the module itself ran on gives its inside."""
    torch.manual_seed(0)
    model = nn.LSTM(8, 16, num_layers=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(15)
    x, h0 = torch.randn(60, 4, 8), torch.zeros(3, 4, 16, requires_grad=True)
    with carousel.watch(model) as watcher:
        model(x, (h0, torch.zeros(3, 4, 16)))[0][-1].square().sum().backward()
    for index, layer in enumerate(watcher.flow.layers.values()):
        assert layer.certificate <= layer.certificate_limit
        scale = h0.grad[index].abs().max()
        assert (layer.d_h0 - h0.grad[index]).abs().max() <= 1e-4 * scale


class TestHorizonOf:
    def test_sequences_without_a_way_back_are_counted(self) -> None:
        log = -0.01 * torch.arange(101.0, dtype=FLOAT64).unsqueeze(1).repeat(1, 10)
        log[5:, :3] = -math.inf
        horizon = horizon_of(log)
        assert horizon.kind == "decaying"
        assert horizon.left_out == 3
        assert str(horizon).endswith(": 3.")
        log[5:, :5] = -math.inf
        assert horizon_of(log).kind == "zero"
        assert horizon_of(log).lags == 5

    def test_a_reset_ends_the_product_and_not_the_memory(self) -> None:
        torch.manual_seed(0)
        cell = nn.LSTMCell(2, 4)

        def loss() -> Tensor:
            h = c = torch.zeros(1, 4)
            for step in range(120):
                h, c = cell(torch.randn(1, 2), (h, c))
                if step == 59:
                    h, c = h * 0, c * 0
            return h.sum()

        horizon = carousel.measure(cell, loss)["cell"].horizon()
        assert horizon.kind == "decaying"
        assert horizon.lags == 59

    def test_the_interval_covers_the_rate_about_as_often_as_it_says(self) -> None:
        covered = 0
        for seed in range(200):
            steps = torch.randn(
                160, 4, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64
            )
            low, high = horizon_of((0.3 * steps - 0.2).cumsum(0)).rate_interval
            covered += low <= -0.2 <= high
        assert 0.88 <= covered / 200 <= 0.99

    def test_nothing_is_said_where_nothing_was_left_out(self) -> None:
        assert Horizon("zero", -math.inf, (-math.inf, -math.inf), 3).left_out == 0
