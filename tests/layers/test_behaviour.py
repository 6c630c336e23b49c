"""torch.nn's own behaviours: copies, dtypes, autocast, devices, hooks, functional calls."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from tests.tolerances import assert_close
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import carousel
from carousel import CarouselError

KINDS = {carousel.RNN: nn.RNN, carousel.GRU: nn.GRU, carousel.LSTM: nn.LSTM}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def pair(kind: type[nn.Module], *sizes: int, **options: object) -> tuple[nn.Module, nn.Module]:
    """One of ours and torch's with the same weights."""
    ours, theirs = kind(*sizes, **options), KINDS[kind](*sizes, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def ends(last: object) -> tuple[torch.Tensor, ...]:
    return last if isinstance(last, tuple) else (last,)


def test_the_ways_to_copy() -> None:
    lstm = carousel.LSTM(3, 5, 2, variant="peephole", gradient="1997", checkpoint=4)
    x = torch.randn(6, 2, 3)
    stored = io.BytesIO()
    torch.save(lstm, stored)
    stored.seek(0)
    others = {
        "deepcopy": copy.deepcopy(lstm),
        "pickle": pickle.loads(pickle.dumps(lstm)),  # noqa: S301 - our own bytes
        "torch.save": torch.load(stored, weights_only=False),
    }
    for other in others.values():
        assert repr(other) == repr(lstm)
        assert torch.equal(other(x)[0], lstm(x)[0])
        assert other.weight_hh_l0 is not lstm.weight_hh_l0
        other(x)[0].sum().backward()
        assert lstm.weight_hh_l0.grad is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@each_kind
def test_to_another_dtype(kind: type[nn.Module], dtype: torch.dtype) -> None:
    ours = kind(3, 5).to(dtype)
    wide = copy.deepcopy(ours).double()
    x = torch.randn(6, 2, 3, dtype=dtype)
    output, last = ours(x)
    assert {part.dtype for part in (output, *ends(last))} == {dtype}
    output.sum().backward()
    assert {p.grad.dtype for p in ours.parameters()} == {dtype}
    precision = torch.float64 if dtype == torch.float64 else torch.bfloat16
    assert_close(output, wide(x.double())[0], 6, precision, "output")


@each_kind
def test_moving_keeps_the_parameters_known(kind: type[nn.Module]) -> None:
    ours = kind(3, 5)
    ours.flatten_parameters()
    weight = ours.weight_ih_l0
    ours.double().float().cpu()
    assert [p.shape for p in ours.all_weights[0]] == [p.shape for p in ours.parameters()]
    assert ours.weight_ih_l0 is weight
    assert ours._flat_weights[0] is weight


@pytest.mark.parametrize("low_state", [None, False, True], ids=["", "state", "low state"])
@pytest.mark.parametrize(
    ("wide", "low_input"),
    [(torch.float32, False), (torch.float32, True), (torch.float64, False)],
    ids=["float32", "low input", "float64"],
)
@each_kind
def test_autocast_gives_the_dtypes_that_torch_gives(
    kind: type[nn.Module], wide: torch.dtype, *, low_input: bool, low_state: bool | None
) -> None:
    ours, theirs = pair(kind, 3, 5, 2, dtype=wide)
    low = torch.bfloat16
    x = torch.randn(6, 2, 3, dtype=low if low_input else wide)
    hx = None
    if low_state is not None:
        h = torch.randn(2, 2, 5, dtype=low if low_state and wide == torch.float32 else wide)
        hx = (h, h) if kind is carousel.LSTM else h
    found = []
    for layer in (ours, theirs):
        with torch.autocast("cpu", dtype=low):
            output, last = layer(x, hx)
            found.append((output, *ends(last)))
        output.float().sum().backward()
        assert layer.weight_hh_l0.grad.dtype == wide
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert_close(one, other, 6, low, "under autocast")


def test_backward_inside_autocast_is_as_exact() -> None:
    ours = carousel.GRU(3, 5, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            gradients.append(torch.autograd.grad(ours(x)[0].sum(), list(ours.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_ih_l1_reverse"])
@pytest.mark.parametrize(
    "parametrization",
    [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal],
)
@each_kind
def test_parametrizations(kind: type[nn.Module], parametrization: object, name: str) -> None:
    layers = pair(kind, 4, 4, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    results = []
    for layer in layers:
        torch.manual_seed(0)
        # In training mode spectral_norm moves on whenever it is read, and torch reads twice a call.
        parametrization(layer, name).eval()
        output, _ = layer(x)
        output.sum().backward()
        results.append([output, *(p.grad for p in layer.parameters())])
    for one, other in zip(*results, strict=True):
        assert_close(one, other, 5, torch.float64, "parametrized")


@each_kind
def test_a_parametrized_weight_is_read_once_a_call(kind: type[nn.Module]) -> None:
    class Counter(nn.Module):
        reads = 0

        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            self.reads += 1
            return 2 * weight

    layer = kind(3, 5, 2)
    for name in ("weight_ih_l0", "weight_hh_l1"):
        counter = Counter()
        nn.utils.parametrize.register_parametrization(layer, name, counter)
        before = counter.reads
        layer(torch.zeros(4, 2, 3))
        assert counter.reads == before + 1


@each_kind
def test_functional_call(kind: type[nn.Module]) -> None:
    layers = pair(kind, 3, 5, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    other = {name: torch.randn_like(p).requires_grad_() for name, p in layers[0].named_parameters()}
    results = []
    for layer in layers:
        output, _ = torch.func.functional_call(layer, other, (x,))
        results.append([output, *torch.autograd.grad(output.sin().sum(), list(other.values()))])
    for one, two in zip(*results, strict=True):
        assert_close(one, two, 5, torch.float64, "with other parameters")
    assert all(p.grad is None for p in layers[0].parameters())


# torch's own rules for forward mode are written with it.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@each_kind
def test_function_transforms(kind: type[nn.Module]) -> None:
    """torch.func: the gradient for each sequence on its own, and forward-mode derivatives."""
    layer = kind(3, 5, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(4, 6, 1, 3, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, weights, (rows,))[0].sin().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for b, rows in enumerate(x):
        expected = torch.autograd.grad(layer(rows)[0].sin().sum(), list(layer.parameters()))
        for name, wanted in zip(parameters, expected, strict=True):
            assert_close(each[name][b], wanted, 6, torch.float64, name)
    direction = torch.randn_like(x[0])
    _, tangent = torch.func.jvp(lambda rows: loss(parameters, rows), (x[0],), (direction,))
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x[0], direction)
        other = torch.autograd.forward_ad.unpack_dual(loss(parameters, dual)).tangent
    rows = x[0].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(parameters, rows), rows)
    assert_close(tangent, (gradient * direction).sum(), 6, torch.float64, "jvp")
    assert_close(other, tangent, 6, torch.float64, "forward mode")


def test_no_transform_of_the_truncated_gradient() -> None:
    layer = carousel.LSTM(3, 5, gradient="1997")
    with pytest.raises(CarouselError, match=r"truncated gradient of 1997.*torch\.func"):
        torch.func.grad(lambda x: layer(x)[0].sum())(torch.zeros(4, 2, 3))


@each_kind
def test_on_the_meta_device(kind: type[nn.Module]) -> None:
    layer = kind(3, 5, 2, bidirectional=True, device="meta")
    assert {p.device.type for p in layer.parameters()} == {"meta"}
    output, last = layer(torch.empty(7, 2, 3, device="meta"))
    assert output.shape == (7, 2, 10)
    assert all(part.shape == (4, 2, 5) and part.is_meta for part in ends(last))
    real = layer.to_empty(device="cpu")
    real.reset_parameters()
    assert real(torch.zeros(7, 2, 3))[0].isfinite().all()


@pytest.mark.parametrize("variant", ["1997", "peephole"])
def test_a_variant_on_the_meta_device(variant: str) -> None:
    with torch.device("meta"):
        layer = carousel.LSTM(3, 5, variant=variant)
        output, _ = layer(torch.empty(7, 2, 3))
    assert output.is_meta


@each_kind
def test_frozen_parameters(kind: type[nn.Module]) -> None:
    ours, theirs = pair(kind, 3, 5, 2, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    for layer in (ours, theirs):
        layer.requires_grad_(requires_grad=False)
        layer.bias_hh_l1.requires_grad_()
        layer(x)[0].square().sum().backward()
    assert [p.grad is None for p in ours.parameters()] == [
        p.grad is None for p in theirs.parameters()
    ]
    assert_close(ours.bias_hh_l1.grad, theirs.bias_hh_l1.grad, 5, torch.float64, "d_b_hh")


@each_kind
def test_inputs_of_any_stride(kind: type[nn.Module]) -> None:
    ours, theirs = pair(kind, 3, 5, batch_first=True, dtype=torch.float64)
    wide = torch.randn(6, 4, 2, 8, dtype=torch.float64)
    strided = {
        "transposed": wide[0].permute(1, 0, 2)[..., :3],
        "every other": wide[::2, :, 0, ::3],
        "expanded": wide[:1, :, 0, :3].expand(5, -1, -1),
        "reversed axes": wide[0, :, :, :3].permute(2, 1, 0).permute(2, 1, 0),
    }
    for name, x in strided.items():
        state = torch.randn(1, 1, 5, dtype=torch.float64).expand(1, x.shape[0], 5)
        hx = (state, state) if kind is carousel.LSTM else state
        up = torch.randn(1, 1, 1, dtype=torch.float64)
        results = []
        for layer in (ours, theirs):
            output, last = layer(x, hx)
            # sum() sends a gradient whose strides are all zero
            loss = (up * output).sum() + sum(end.sum() for end in ends(last))
            results.append([output, *torch.autograd.grad(loss, list(layer.parameters()))])
        for one, other in zip(*results, strict=True):
            assert_close(one, other, 4, torch.float64, name)


def test_packed_sequences_keep_their_order() -> None:
    sequences = [torch.randn(n, 3) for n in (2, 5, 3)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    output, _ = carousel.GRU(3, 4)(packed)
    assert isinstance(output, PackedSequence)
    assert output.batch_sizes is packed.batch_sizes
    assert output.sorted_indices is packed.sorted_indices
    assert output.unsorted_indices is packed.unsorted_indices


def test_hooks_and_names() -> None:
    layer, heard = carousel.LSTM(3, 4), []
    layer.register_forward_pre_hook(lambda *_: heard.append("before"))
    layer.register_forward_hook(lambda *_: heard.append("after"))
    layer.register_full_backward_hook(lambda *_: heard.append("backward"))
    layer(torch.randn(5, 2, 3, requires_grad=True))[0].sum().backward()
    assert heard == ["before", "after", "backward"]


def test_tensors_offloaded_between_the_passes() -> None:
    layer = carousel.LSTM(3, 5)
    x = torch.randn(6, 2, 3)
    plain = torch.autograd.grad(layer(x)[0].sum(), list(layer.parameters()))
    with torch.autograd.graph.save_on_cpu():
        offloaded = torch.autograd.grad(layer(x)[0].sum(), list(layer.parameters()))
    from torch.utils.checkpoint import checkpoint

    again = checkpoint(lambda rows: layer(rows)[0], x, use_reentrant=False)
    recomputed = torch.autograd.grad(again.sum(), list(layer.parameters()))
    for one, two, three in zip(plain, offloaded, recomputed, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@each_kind
def test_no_sequences_at_all(kind: type[nn.Module]) -> None:
    ours, theirs = pair(kind, 3, 5)
    output, last = ours(torch.empty(4, 0, 3))
    expected, _ = theirs(torch.empty(4, 0, 3))
    assert output.shape == expected.shape == (4, 0, 5)
    assert ends(last)[0].shape == (1, 0, 5)


@each_kind
def test_second_derivatives(kind: type[nn.Module]) -> None:
    """A gradient penalty: the derivative of a gradient's norm, against torch's own."""
    results = []
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    for layer in pair(kind, 3, 5, 2, bidirectional=True, dtype=torch.float64):
        output, _ = layer(x)
        (d_x,) = torch.autograd.grad(output.sin().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(d_x.square().sum(), list(layer.parameters())[:2]))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, 4, torch.float64, "second derivative")
