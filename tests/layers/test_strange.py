"""Strange calls: what torch.nn allows, ours allow, with the same numbers and gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from tests.tolerances import assert_close
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import carousel

STEPS, BATCH, INPUTS, UNITS = 6, 4, 5, 5
KINDS = {carousel.RNN: nn.RNN, carousel.GRU: nn.GRU, carousel.LSTM: nn.LSTM}
FORMS: dict[str, dict[str, object]] = {
    "plain": {},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
}
Usage = Callable[[nn.Module], list[Tensor | None]]
USAGES: dict[str, Usage] = {}


def usage(function: Usage) -> Usage:
    USAGES[function.__name__] = function
    return function


def draw(layer: nn.Module, steps: int = STEPS, batch: int = BATCH, scale: float = 1.0) -> Tensor:
    shape = (batch, steps) if layer.batch_first else (steps, batch)
    return torch.randn(*shape, INPUTS, dtype=torch.float64) * scale


def rows(layer: nn.Module) -> int:
    return layer.num_layers * (2 if layer.bidirectional else 1)


def as_state(layer: nn.Module, state: Tensor) -> object:
    return (state, state) if isinstance(layer, (nn.LSTM, carousel.LSTM)) else state


def parts(result: object) -> list[Tensor]:
    if isinstance(result, PackedSequence):
        return [result.data]
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result for tensor in parts(part)]  # type: ignore[attr-defined]


def followed(layer: nn.Module, result: object, *leaves: Tensor) -> list[Tensor | None]:
    """The results, and the gradients of everything after a backward pass."""
    tensors = parts(result)
    sum((tensor.sin() + tensor.square()).sum() for tensor in tensors).backward()
    return [*tensors, *(leaf.grad for leaf in leaves), *(p.grad for p in layer.parameters())]


# The input.


@usage
def one_step(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer, steps=1).requires_grad_()
    return followed(layer, layer(x), x)


@usage
def one_sequence_of_one_step(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer, 1, 1).requires_grad_()
    return followed(layer, layer(x), x)


@usage
def no_sequences(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer, batch=0).requires_grad_()
    return followed(layer, layer(x), x)


@usage
def repeated_without_memory(layer: nn.Module) -> list[Tensor | None]:
    x = torch.randn(1, 1, INPUTS, dtype=torch.float64, requires_grad=True)
    return followed(layer, layer(x.expand(draw(layer).shape)), x)


@usage
def every_other_number(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer).repeat(2, 2, 2).requires_grad_()
    return followed(layer, layer(x[::2, ::2, ::2]), x)


@usage
def huge_numbers(layer: nn.Module) -> list[Tensor | None]:
    return followed(layer, layer(draw(layer, scale=1e150)))


@usage
def equal_lengths_packed(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer).requires_grad_()
    lengths = torch.full((BATCH,), STEPS)
    first = layer.batch_first
    packed = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
    return followed(layer, layer(packed), x)


@usage
def lengths_of_one_packed(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer).requires_grad_()
    state = torch.randn(rows(layer), BATCH, UNITS, dtype=torch.float64, requires_grad=True)
    lengths, first = torch.tensor([1, STEPS, 1, 2]), layer.batch_first
    packed = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
    return followed(layer, layer(packed, as_state(layer, state)), x, state)


# States.


@usage
def one_tensor_as_input_and_as_states(layer: nn.Module) -> list[Tensor | None]:
    x = torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64, requires_grad=True)
    state = as_state(layer, x[: rows(layer)])
    return followed(layer, layer(x.transpose(0, 1) if layer.batch_first else x, state), x)


@usage
def a_gradient_on_the_state_alone(layer: nn.Module) -> list[Tensor | None]:
    layer.requires_grad_(requires_grad=False)
    state = torch.randn(1, 1, UNITS, dtype=torch.float64, requires_grad=True)
    shared = as_state(layer, state.expand(rows(layer), BATCH, UNITS))
    return followed(layer, layer(draw(layer), shared), state)


@usage
def a_last_state_changed_in_place(layer: nn.Module) -> list[Tensor | None]:
    result = layer(draw(layer))
    parts(result)[-1].mul_(2)
    return followed(layer, result)


# Weights.


@usage
def the_same_weight_twice(layer: nn.Module) -> list[Tensor | None]:
    layer.weight_hh_l0 = layer.weight_ih_l0
    return followed(layer, layer(draw(layer)))


@usage
def the_same_weight_in_both_directions(layer: nn.Module) -> list[Tensor | None]:
    if layer.bidirectional:
        layer.weight_hh_l0_reverse = layer.weight_hh_l0
        layer.weight_hh_l1 = layer.weight_hh_l0
    return followed(layer, layer(draw(layer)))


@usage
def weights_that_are_views(layer: nn.Module) -> list[Tensor | None]:
    whole = torch.cat([p.detach().flatten() for p in layer.parameters()]).requires_grad_()
    pieces = whole.split([p.numel() for p in layer.parameters()])
    named = zip(layer.named_parameters(), pieces, strict=True)
    weights = {name: piece.view_as(p) for (name, p), piece in named}
    result = torch.func.functional_call(layer, weights, (draw(layer),))
    return followed(layer, result, whole)


@usage
def half_of_the_weights_frozen(layer: nn.Module) -> list[Tensor | None]:
    for number, parameter in enumerate(layer.parameters()):
        parameter.requires_grad_(number % 2 == 1)
    return followed(layer, layer(draw(layer)))


@usage
def hooks_on_the_weights(layer: nn.Module) -> list[Tensor | None]:
    for parameter in layer.parameters():
        parameter.register_hook(lambda gradient: gradient * 2)
    return followed(layer, layer(draw(layer)))


# Backward passes.


@usage
def three_passes_through_one_graph(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer).requires_grad_()
    loss = layer(x)[0].square().sum()
    for kept in (True, True, False):
        loss.backward(retain_graph=kept)
    return [x.grad, *(p.grad for p in layer.parameters())]


@usage
def gradients_of_a_few(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer).requires_grad_()
    loss = layer(x)[0].square().sum()
    some = list(layer.parameters())
    return [*grad(loss, [some[1]], retain_graph=True), *grad(loss, [x, some[0]])]


@usage
def a_pass_on_another_thread(layer: nn.Module) -> list[Tensor | None]:
    loss = layer(draw(layer))[0].square().sum()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    return [p.grad for p in layer.parameters()]


@usage
def passes_side_by_side(layer: nn.Module) -> list[Tensor | None]:
    inputs = [draw(layer).requires_grad_() for _ in range(4)]
    found: dict[int, list[Tensor]] = {}

    def work(number: int) -> None:
        for _ in range(3):
            loss = layer(inputs[number])[0].square().sum()
            found[number] = list(grad(loss, [inputs[number], *layer.parameters()]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [gradient for number in range(4) for gradient in found[number]]


@usage
def a_pass_within_a_hook(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer)
    output = layer(x)[0]

    def more(gradient: Tensor) -> Tensor:
        with torch.enable_grad():
            (inner,) = grad(layer(x)[0].square().sum(), [layer.weight_hh_l0])
        return gradient + inner.sum()

    output.register_hook(more)
    return followed(layer, output)


@usage
def checkpointed_by_torch(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer).requires_grad_()
    output = checkpoint(lambda x: layer(x)[0], x, use_reentrant=True)
    return followed(layer, output, x)


@usage
def many_gradients_at_once(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer).requires_grad_()
    output = layer(x)[0]
    came = torch.randn(3, *output.shape, dtype=torch.float64)
    wanted = [x, *layer.parameters()]
    return list(grad(output, wanted, came, is_grads_batched=True, retain_graph=True))


@usage
def a_jacobian_at_once(layer: nn.Module) -> list[Tensor | None]:
    x = draw(layer, steps=3, batch=1)
    jacobian = torch.autograd.functional.jacobian
    return [jacobian(lambda x: layer(x)[0].sum((0, 1)), x, vectorize=True)]


@pytest.fixture
def _one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's own kernels under vmap
@pytest.mark.usefixtures("_one_seed")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", USAGES)
def test_as_torch(name: str, kind: type[nn.Module], form: str) -> None:
    options = {"dtype": torch.float64, **FORMS[form]}
    theirs = KINDS[kind](INPUTS, UNITS, **options)
    ours = kind(INPUTS, UNITS, **options)
    ours.load_state_dict(theirs.state_dict())
    found = []
    for layer in (theirs, ours):
        torch.manual_seed(1)
        found.append(USAGES[name](layer))
    expected, actual = found
    assert any(tensor is not None for tensor in expected)
    assert len(actual) == len(expected)
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert (one is None) == (other is None), number
        if one is not None and other is not None:
            assert_close(one, other, STEPS, torch.float64, f"{name}, number {number}")


@pytest.mark.parametrize("shape", [(0, 0, INPUTS), (0, 2, INPUTS), (0, INPUTS)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_steps(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    for layer in (KINDS[kind](INPUTS, UNITS), kind(INPUTS, UNITS)):
        with pytest.raises(RuntimeError, match=r"(?i)sequence length"):
            layer(torch.zeros(shape))


@pytest.mark.parametrize("options", [{}, {"checkpoint": 2}, {"gradient": "1997"}], ids=str)
def test_vmap_is_a_loop(options: dict[str, object]) -> None:
    """torch.func.vmap, whose rule torch's own layers do not have, over inputs and over weights."""
    layer = carousel.LSTM(INPUTS, UNITS, 2, dtype=torch.float64, variant="peephole", **options)
    x = torch.randn(3, STEPS, BATCH, INPUTS, dtype=torch.float64)
    many = torch.randn(3, *layer.weight_hh_l0.shape, dtype=torch.float64)

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight_hh_l0": weight}, (x,))[0]

    for in_dims in ((0, None), (None, 0), (0, 0)):
        taken = (x if in_dims[0] == 0 else x[0], many if in_dims[1] == 0 else many[0])
        found = torch.func.vmap(run, in_dims)(*taken)
        for number in range(3):
            one = run(
                *(t[number] if dim == 0 else t for t, dim in zip(taken, in_dims, strict=True))
            )
            assert torch.equal(found[number], one)
        layer.zero_grad()
        found.square().sum().backward()
        by_vmap = layer.weight_ih_l0.grad
        layer.zero_grad()
        for number in range(3):
            one = run(
                *(t[number] if dim == 0 else t for t, dim in zip(taken, in_dims, strict=True))
            )
            one.square().sum().backward()
        assert_close(by_vmap, layer.weight_ih_l0.grad, STEPS, torch.float64, "d_weight_ih_l0")


def test_many_gradients_at_once_of_the_truncated() -> None:
    layer = carousel.LSTM(INPUTS, UNITS, gradient="1997")
    output = layer(torch.randn(STEPS, BATCH, INPUTS))[0]
    came = torch.randn(3, *output.shape)
    with pytest.raises(carousel.CarouselError, match="is_grads_batched=True"):
        grad(output, layer.weight_hh_l0, came, is_grads_batched=True)
