"""What cannot be done is said at once: what was expected, what came, what to do next."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.cases import Case, Problem
from torch import Tensor, nn

import carousel
from carousel import CarouselError


class Model(nn.Module):
    """A recurrent layer and a head."""

    def __init__(self, *, device: str = "cpu") -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 5, device=device)
        self.head = nn.Linear(5, 1, device=device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, _ = self.lstm(x)
        return self.head(output[-1])


class OwnForward(nn.LSTM):
    """A subclass that computes something else."""

    def forward(self, x: torch.Tensor, hx: Any = None) -> Any:
        output, state = super().forward(x, hx)
        return 2 * output, state


X, Y = torch.ones(4, 3, 2), torch.zeros(3, 1)


def raises(*words: str) -> Any:
    """Expect a CarouselError whose message has all these words, in this order."""
    return pytest.raises(CarouselError, match="(?s)" + ".*".join(re.escape(word) for word in words))


def test_one_base_error() -> None:
    assert issubclass(CarouselError, Exception)
    assert not issubclass(CarouselError, (RuntimeError, ValueError))


# torch.compile's own imports use what torch itself has deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("start", [carousel.watch, lambda m: carousel.measure(m, (X, Y), len)])
class TestModels:
    """Models that cannot be watched are refused by watch and by measure alike."""

    def test_no_recurrent_module(self, start: Callable) -> None:
        with raises("Sequential", "no recurrent module", "LSTM", "Linear"):
            start(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))

    def test_no_module_at_all(self, start: Callable) -> None:
        with raises("torch.nn.Module", "Tensor"):
            start(torch.zeros(2))

    def test_meta_device(self, start: Callable) -> None:
        with raises("lstm.weight_ih_l0", "meta device", "(20, 2)", "to_empty"):
            start(Model(device="meta"))

    def test_compiled_model(self, start: Callable) -> None:
        with raises("compiled", "_orig_mod"):
            start(torch.compile(Model()))

    def test_compiled_part(self, start: Callable) -> None:
        model = nn.ModuleDict({"inside": torch.compile(nn.GRU(2, 3)), "other": nn.GRU(2, 3)})
        with raises("inside", "compiled"):
            start(model)

    def test_compiled_in_place(self, start: Callable) -> None:
        model = Model()
        model.lstm.compile()
        with raises("lstm", "compiled"):
            start(model)

    def test_own_forward(self, start: Callable) -> None:
        with raises("replace", "forward", "inside (OwnForward)", "torch.nn"):
            start(nn.ModuleDict({"inside": OwnForward(2, 3)}))


@pytest.mark.parametrize("every", [0, -1, 1.5, "2", None])
def test_every_that_is_no_count(every: Any) -> None:
    with raises("every", repr(every)):
        carousel.watch(Model(), every=every)


def test_flow_before_any_backward() -> None:
    model = Model()
    watcher = carousel.watch(model)
    with raises("No backward pass", "loss.backward()", "watcher.flow"):
        _ = watcher.flow
    with watcher:
        loss = model(X).sum()
        with raises("No backward pass"):
            _ = watcher.flow
        loss.backward()
    assert list(watcher.flow) == ["lstm.l0"]


def test_flow_of_a_pass_that_did_not_reach_the_module() -> None:
    model = Model()
    with carousel.watch(model) as watcher:
        model(X)
        model.head(torch.ones(3, 5)).sum().backward()
        with raises("No backward pass"):
            _ = watcher.flow


def test_flow_of_a_forward_without_gradients() -> None:
    model = Model()
    with carousel.watch(model) as watcher, torch.no_grad():
        model(X)
    with raises("gradients enabled"):
        _ = watcher.flow


def test_batch_that_does_not_fit() -> None:
    with raises(
        "did not accept the batch", "input.size(-1) must be equal to input_size", "[4, 3, 7]"
    ):
        carousel.measure(Model(), (torch.ones(4, 3, 7), Y), nn.functional.mse_loss)


def test_target_that_does_not_fit() -> None:
    with raises("did not accept the batch", "[4, 3, 2]", "[3, 4]"):
        carousel.measure(Model(), (X, torch.zeros(3, 4).long()), nn.functional.cross_entropy)


def test_the_cause_of_a_failed_batch_is_kept() -> None:
    with pytest.raises(CarouselError) as caught:
        carousel.measure(Model(), (torch.ones(4, 3, 7), Y), nn.functional.mse_loss)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("batch", [X, (X,), (X, Y, Y), {"x": X}])
def test_batch_that_is_no_pair(batch: Any) -> None:
    with raises("batch = (inputs, target)", "`model`"):
        carousel.measure(Model(), batch, nn.functional.mse_loss)


def test_loss_that_is_no_scalar() -> None:
    with raises("scalar", "[3, 1]"):
        carousel.measure(Model(), (X, Y), lambda output, target: output - target)


def test_loss_that_is_no_tensor() -> None:
    with raises("scalar", "float"):
        carousel.measure(Model(), (X, Y), lambda output, _: output.sum().item())


def test_loss_that_takes_no_gradient() -> None:
    with raises("does not depend", "detach"):
        carousel.measure(Model(), (X, Y), lambda output, _: output.detach().sum())


def test_loss_that_does_not_use_the_module() -> None:
    model = Model()
    with raises("No recurrent module of the model was called", "from its output"):
        carousel.measure(model, lambda: model.head(torch.ones(3, 5)).sum())


def test_loss_that_is_computed_already() -> None:
    model = Model()
    with raises("already computed", "lambda"):
        carousel.measure(model, model(X).sum())


def test_neither_batch_nor_closure() -> None:
    with raises("measure(model, batch, loss_fn)", "int"):
        carousel.measure(Model(), 3)


def test_loss_fn_that_cannot_be_called() -> None:
    with raises("loss_fn", "callable", "str"):
        carousel.measure(Model(), (X, Y), "mse")


def test_an_error_of_measure_leaves_no_hook() -> None:
    from torch.nn.modules import module as torch_module

    before = dict(torch_module._global_forward_hooks)
    with pytest.raises(CarouselError):
        carousel.measure(Model(), (torch.ones(4, 3, 7), Y), nn.functional.mse_loss)
    assert dict(torch_module._global_forward_hooks) == before


def test_unknown_names_list_the_known() -> None:
    problem = Problem(Case(cell="gru", layers=2))
    flow = carousel.measure(problem.module, lambda: problem.loss("all"))
    with raises("'l7'", "l0, l1"):
        flow["l7"]
    with raises("'d_x'", "d_h", "d_h_injected"):
        flow["l0"].norm("d_x")
    with raises("'d_c'", "d_h"):
        flow["l0"].log10_norm("d_c")
    with raises("'d_c'", "d_h"):
        flow["l0"].category("d_c")
    with raises("'nuclear'", "spectral", "frobenius"):
        flow["l0"].jacobian_norms("nuclear")


class TestWaysToMeasure:
    """The three forms of measure agree."""

    def test_forms(self) -> None:
        torch.manual_seed(0)
        model, x, y = Model(), torch.randn(4, 3, 2), torch.randn(3, 1)

        def of_model(model: nn.Module, batch: tuple) -> torch.Tensor:
            return nn.functional.mse_loss(model(batch[0]), batch[1])

        flows = [
            carousel.measure(model, (x, y), nn.functional.mse_loss),
            carousel.measure(model, [x, y], nn.MSELoss()),
            carousel.measure(model, (x, y), of_model),
            carousel.measure(model, lambda: of_model(model, (x, y))),
            carousel.measure(model, lambda: of_model(model, (x, y)).reshape(1)),
        ]
        assert flows[0]["lstm.l0"].d_h.abs().max() > 0
        for flow in flows:
            assert torch.equal(flow["lstm.l0"].d_h, flows[0]["lstm.l0"].d_h)

    def test_under_no_grad(self) -> None:
        model = Model()
        with torch.no_grad():
            flow = carousel.measure(model, (X, Y), nn.functional.mse_loss)
        assert flow["lstm.l0"].d_h.abs().max() > 0


def test_a_loss_that_was_sent_backward_already() -> None:
    lstm = torch.nn.LSTM(3, 4)

    def loss_fn(output: tuple[Tensor, object], _: object) -> Tensor:
        loss = output[0].square().sum()
        loss.backward()
        return loss

    with raises("return the loss without calling loss.backward()"):
        carousel.measure(lstm, (torch.randn(5, 2, 3), None), loss_fn)
