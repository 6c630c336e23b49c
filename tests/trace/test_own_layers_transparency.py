"""Watching our own layers changes nothing, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tests.cases import Case
from tests.oracles import assert_flow, references
from tests.tolerances import assert_identical
from tests.trace.own_layers import CELLS, Own, flow_of, heard, rich
from torch import nn

import carousel
from carousel.cells import offered_to
from carousel.trace import _recorder
from carousel.trace._recorded import Heard, Listener

FLOAT32, FLOAT64 = torch.float32, torch.float64
FEW = ("lstm", "lstm_peephole", "gru", "rnn_tanh")
each_cell = pytest.mark.parametrize("cell", FEW)


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Only reference counting frees anything within the test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_bit_identical(cell: str, dtype: torch.dtype) -> None:
    cases = [
        rich(cell, ragged="unsorted", dropout=0.4),
        rich(cell, batch_first=True, bidirectional=False),
        Case(cell=cell, ragged="unbatched", bias=False),
    ]
    if "lstm" in cell:
        cases.append(rich(cell, projected=True))
    for case in cases:
        problem = Own(case, dtype=dtype)
        for loss in ("output", "h_n", "all"):
            plain = problem.everything(loss)
            with carousel.watch(problem.module):
                assert_identical(problem.everything(loss), plain)
            assert_identical(problem.everything(loss), plain)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("options", [{}, {"gradient": "1997"}], ids=["full", "1997"])
@pytest.mark.parametrize("cell", CELLS)
def test_training_is_bit_identical(cell: str, options: dict, every: int) -> None:
    """Eight steps of Adam over chunks with detached state and dropout: losses and weights."""
    if options and "lstm" not in cell:
        pytest.skip("the LSTM's alone")

    def train(*, watched: bool) -> list[torch.Tensor]:
        case = Case(cell=cell, layers=2, dropout=0.4, state="given", steps=4)
        problem = Own(case, dtype=FLOAT32, options=options)
        optimizer = torch.optim.Adam(problem.module.parameters(), lr=0.01)
        torch.manual_seed(0)
        losses = []
        context = carousel.watch(problem.module, every=every) if watched else torch.enable_grad()
        with context as watcher:
            state = problem.state
            for _ in range(8):
                output, state = problem.module(problem.x, state)
                optimizer.zero_grad()
                loss = (problem.w_output * output).sum()
                loss.backward()
                if watched:
                    assert watcher.flow["l1"].d_h.abs().max() > 0
                optimizer.step()
                losses.append(loss.detach())
                parts = state if isinstance(state, tuple) else (state,)
                parts = tuple(part.detach() for part in parts)
                state = parts if isinstance(state, tuple) else parts[0]
        return [*losses, *(parameter.detach().clone() for parameter in problem.module.parameters())]

    for one, other in zip(train(watched=True), train(watched=False), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_that_checkpoints_itself_is_bit_identical(cell: str) -> None:
    problem = Own(rich(cell, steps=9), dtype=FLOAT32, options={"checkpoint": True})
    plain = problem.everything("all")
    with carousel.watch(problem.module):
        assert_identical(problem.everything("all"), plain)


# What is kept, and for how long.


def output_of(problem: Own) -> torch.Tensor:
    torch.manual_seed(0)
    output = problem.module(problem.input, problem.state)[0]
    return output if isinstance(output, torch.Tensor) else output.data


def alive(references: list[weakref.ref]) -> list[bool]:
    return [reference() is not None for reference in references]


def heard_now() -> int:
    """How many runs are held by anybody."""
    return sum(type(thing) is Heard for thing in gc.get_objects())


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("checkpointing", [False, True])
@each_cell
def test_a_graph_is_freed_after_backward(cell: str, *, checkpointing: bool) -> None:
    problem = Own(rich(cell), options={"checkpoint": checkpointing})
    for loss in ("all", "h_n"):
        before, kept = heard_now(), []
        for _ in range(3):
            results = problem.call()
            kept += [weakref.ref(result) for result in results if result is not None]
            problem.loss_of(loss, *results).backward()
            del results
        assert not any(alive(kept))
        with carousel.watch(problem.module) as watcher:
            for _ in range(3):
                results = problem.call()
                kept += [weakref.ref(result) for result in results if result is not None]
                problem.loss_of(loss, *results).backward()
                del results
            assert not any(alive(kept))
            assert heard_now() - before <= 4, "more than the runs of the last pass"
            assert len(watcher.flow) == 4
        del watcher
        assert heard_now() == before


@pytest.mark.usefixtures("no_gc")
@each_cell
def test_a_graph_that_is_never_followed_back_is_freed(cell: str) -> None:
    problem = Own(rich(cell))
    before, kept = heard_now(), []
    with carousel.watch(problem.module):
        for _ in range(3):
            results = problem.call()
            kept += [weakref.ref(result) for result in results if result is not None]
            loss = problem.loss_of("all", *results)
            del results, loss
        assert not any(alive(kept))
        assert heard_now() == before


@pytest.mark.usefixtures("no_gc")
@each_cell
def test_a_differentiable_pass_is_freed_after_the_watcher(cell: str) -> None:
    """What arrives under create_graph has a graph, which leads back to the run."""
    problem = Own(rich(cell))
    before = heard_now()
    with carousel.watch(problem.module) as watcher:
        results = problem.call()
        kept = [weakref.ref(result) for result in results if result is not None]
        value = problem.loss_of("all", *results)
        (first,) = torch.autograd.grad(value, problem.h0, create_graph=True)
        (first**2).sum().backward()
        del results, value, first
    del watcher
    assert not any(alive(kept))
    assert heard_now() == before


@pytest.mark.usefixtures("no_gc")
def test_chunks_are_freed_as_they_go() -> None:
    """A stream with detached state: nothing of earlier chunks is held but by the last pass."""
    problem = Own(Case(cell="lstm_peephole", layers=2, state="given", steps=5))
    before = heard_now()
    with carousel.watch(problem.module):
        state = problem.state
        for _ in range(10):
            output, state = problem.module(problem.x, state)
            output.sum().backward()
            state = tuple(part.detach() for part in state)
            del output
            assert heard_now() - before <= 2


# Offers.


def fail(*_: object) -> None:
    raise RuntimeError("planned")


def runs_of(module: nn.Module, x: torch.Tensor) -> bool:
    """Whether a call of a module that is not watched is heard by anybody."""
    before = heard_now()
    output = module(x)[0]
    found = heard_now() > before
    del output
    return found


@each_cell
def test_nothing_is_heard_without_a_watcher(cell: str) -> None:
    problem = Own(Case(cell=cell))
    assert not runs_of(problem.module, problem.x)
    with carousel.watch(problem.module):
        assert runs_of(problem.module, problem.x)
    assert not runs_of(problem.module, problem.x)


@pytest.mark.parametrize("where", ["input", "pre-hook", "parameter"])
@each_cell
def test_an_exception_inside_the_forward(cell: str, where: str) -> None:
    """Nothing stays on offer, to another module or to the same one later."""
    problem, other = Own(Case(cell=cell, state="given")), Own(Case(cell="lstm_cifg"))
    expected, _ = references(problem, "all")
    with carousel.watch(problem.module) as watcher:
        handle = None
        if where == "pre-hook":
            handle = problem.module.register_forward_pre_hook(fail)
        weight = problem.module.weight_hh_l0
        if where == "parameter":
            del problem.module.weight_hh_l0
        with pytest.raises((RuntimeError, AttributeError)):
            problem.module(problem.x[..., :1] if where == "input" else problem.x)
        if where == "parameter":
            problem.module.weight_hh_l0 = weight
        if handle is not None:
            handle.remove()
        assert not runs_of(other.module, other.x)
        with heard():
            problem.loss("all").backward()
            assert_flow(watcher.flow, expected, FLOAT64)
        with pytest.raises(RuntimeError):
            problem.module(problem.x[..., :1])
    assert offered_to(problem.module) is None
    assert not runs_of(problem.module, problem.x)


def test_an_offer_is_for_one_thread() -> None:
    watched, other = Own(rich("gru")), Own(Case(cell="gru"))
    found: list[bool] = []

    def elsewhere(*_: object) -> None:
        before = heard_now()
        thread = threading.Thread(target=lambda: found.append(other.module(other.x) is not None))
        thread.start()
        thread.join()
        found.append(heard_now() == before)

    watched.module.register_forward_pre_hook(elsewhere)
    expected, _ = references(watched, "all")
    with heard():
        flow = flow_of(watched.module, lambda: watched.loss("all"))
    assert_flow(flow, expected, FLOAT64)
    assert found == [True, True]


def test_a_layer_that_a_hook_calls() -> None:
    """Another own layer runs between the offer and the forward it is for."""
    watched, other = Own(rich("gru")), Own(Case(cell="lstm"))
    watched.module.register_forward_pre_hook(lambda *_: other.module(other.x) and None)
    expected, _ = references(watched, "all")
    flow = flow_of(watched.module, lambda: watched.loss("all"))
    assert_flow(flow, expected, FLOAT64)


@pytest.mark.parametrize("case", ["checkpoint", "frozen", "heard", "given dropout"])
def test_weights_that_change_when_they_are_read(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """spectral_norm takes a step of its power iteration at each reading in training."""
    options: dict[str, object] = {"checkpoint": {"checkpoint": 2}}.get(case, {})
    if case == "given dropout":
        options = {"num_layers": 2, "dropout": 0.5}
        monkeypatch.setattr(_recorder, "masks_readable", lambda _: False)
        monkeypatch.setattr(Listener, "forward", lambda *_: None)
    torch.manual_seed(0)
    layer = carousel.GRU(2, 5, dtype=FLOAT64, **options)
    nn.utils.parametrizations.spectral_norm(layer, "weight_hh_l0", eps=1e-6)
    if case == "frozen":
        layer.requires_grad_(requires_grad=False)
    twin = copy.deepcopy(layer)
    x = torch.randn(6, 3, 2, dtype=FLOAT64)
    for _ in range(2):
        with torch.no_grad() if case == "frozen" else contextlib.nullcontext():
            plain = twin(x)[0]
        with carousel.watch(layer) as watcher:
            output, _ = layer(x)
            output.square().sum().backward()
        if case != "given dropout":
            assert torch.equal(plain, output)
        assert_identical(dict(layer.named_buffers()), dict(twin.named_buffers()))
        flow = watcher.flow["l0"]
        assert flow.certificate <= flow.certificate_limit
        assert_identical(dict(layer.named_buffers()), dict(twin.named_buffers()))


# The model as an object.


class Model(nn.Module):
    """A model that can be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = Own(rich("lstm_peephole")).module


def test_pickled_copied_and_moved_while_watched() -> None:
    model = Model()
    problem = Own(rich("lstm_peephole"))
    problem.module = model.inside
    expected = {f"inside.{name}": ref for name, ref in references(problem, "all")[0].items()}
    plain, names = pickle.dumps(model), set(vars(model.inside))
    with carousel.watch(model) as watcher:
        problem.loss("all").backward()
        model.zero_grad()
        assert pickle.dumps(model) == plain
        assert set(vars(model.inside)) == names
        twin = copy.deepcopy(model)
        assert not runs_of(twin.inside, problem.x)
        problem.loss("h_n", twin.inside).backward()
        loaded = pickle.loads(plain)  # noqa: S301
        problem.loss("h_n", loaded.inside).backward()
        model.to(FLOAT32).to(FLOAT64)
        model.load_state_dict(twin.state_dict())
        assert_flow(watcher.flow, expected, FLOAT64)
        with heard():
            problem.loss("all").backward()
            assert_flow(watcher.flow, expected, FLOAT64)


def test_moved_to_another_dtype_between_two_passes() -> None:
    problem = Own(rich("gru"))
    single = Own(problem.case, dtype=FLOAT32)
    with carousel.watch(problem.module) as watcher:
        problem.loss("all").backward()
        assert watcher.flow["l0"].dtype == FLOAT64
        problem.module.to(FLOAT32)
        single.module = problem.module
        expected, _ = references(single, "all")
        with heard():
            single.loss("all").backward()
            assert_flow(watcher.flow, expected, FLOAT32)
        assert watcher.flow["l0"].dtype == FLOAT32


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_accelerated_while_watched(cell: str) -> None:
    """The module stays the same object, so the watcher goes on; from then on it is heard."""
    problem = Own(rich(cell))
    module = problem.module = problem.twin
    expected, _ = references(problem, "all")
    with carousel.watch(module) as watcher:
        problem.loss("all").backward()
        assert_flow(watcher.flow, expected, FLOAT64)
        assert carousel.accelerate(module) is module
        with heard():
            problem.loss("all").backward()
            assert_flow(watcher.flow, expected, FLOAT64)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_parametrized_weights(name: str) -> None:
    """The weights that the run used are those of the flow, and are not computed once more."""
    problem = Own(replace(rich("lstm_peephole"), state="given"))
    parametrize = getattr(nn.utils.parametrizations, name)
    parametrize(problem.module, "weight_hh_l0")

    def run(*, watched: bool) -> tuple[list[torch.Tensor], object]:
        module, flow = copy.deepcopy(problem.module), None
        with carousel.watch(module) if watched else torch.enable_grad() as watcher:
            for _ in range(2):
                loss = problem.loss("all", module)
                loss.backward()
                flow = watcher.flow if watched else None
        found = [loss.detach(), *(buffer.clone() for buffer in module.buffers())]
        return found + [parameter.grad.clone() for parameter in module.parameters()], flow

    with heard(2):
        found, flow = run(watched=True)
    for one, other in zip(found, run(watched=False)[0], strict=True):
        assert torch.equal(one, other)
    assert flow["l0"].certificate <= 1e-13
