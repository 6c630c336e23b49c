"""The recurrence as an operator of torch: every rule that torch asks of one, for every cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tests.cells.setting import FLOAT64, KINDS, LSTMS, Setting, kind_id
from tests.oracles import step_of
from tests.tolerances import assert_close, tolerance

from carousel import CarouselError
from carousel.cells import CELLS, Run, Saved, _ops, recording, recurrence
from carousel.cells._plain import plain_backward, plain_forward
from carousel.cells._recording import Passage
from carousel.cells._run import INPUTS, Arriving, Gradients, Passed

LAYOUTS = ("time first", "batch first", "packed")
SIZES = [3, 2, 2, 1]  # of the packed layout
STEPS, BATCH = len(SIZES), SIZES[0]
ENGINES = {"plain": (plain_forward, plain_backward), "chosen": _ops.ENGINE}


@pytest.fixture(params=list(ENGINES), autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test runs on the plain equations and on what would be chosen here."""
    monkeypatch.setattr(_ops, "ENGINE", ENGINES[request.param])
    return request.param


class Problem:
    """A run in one layout, with random upstream gradients at every step and at both ends."""

    def __init__(
        self,
        kind: tuple[str, bool],
        layout: str,
        *,
        reverse: bool = False,
        hidden: int = 5,
        steps: int = STEPS,
    ) -> None:
        self.setting = setting = Setting(
            kind[0], projected=kind[1], steps=steps, batch=BATCH, hidden=hidden
        )
        self.layout, self.reverse = layout, reverse
        self.sizes = SIZES if layout == "packed" else [BATCH] * steps
        self.lengths = [sum(size > b for size in self.sizes) for b in range(BATCH)]
        self.leaves = {
            name: tensor.requires_grad_()
            for name, tensor in {
                "x": self.laid(setting.x),
                **vars(setting.weights),
                "h_0": setting.h0,
                "c_0": setting.c0 if setting.cell.has_c else None,
            }.items()
            if tensor is not None
        }
        self.up_end_h, self.up_end_c = torch.randn_like(setting.h0), torch.randn_like(setting.c0)

    def laid(self, rows: torch.Tensor) -> torch.Tensor:
        """[T, B, ..] in the layout of this problem."""
        if self.layout == "batch first":
            return rows.transpose(0, 1).contiguous()
        if self.layout == "packed":
            return torch.cat([row[:size] for row, size in zip(rows, self.sizes, strict=True)])
        return rows.clone()

    @property
    def run(self) -> Run:
        leaves = self.leaves
        weights = replace(self.setting.weights, **{k: v for k, v in leaves.items() if k in PARAMS})
        return Run(
            cell=self.setting.cell,
            weights=weights,
            x=leaves["x"],
            h_0=leaves["h_0"],
            c_0=leaves.get("c_0"),
            batch_sizes=torch.tensor(self.sizes) if self.layout == "packed" else None,
            reverse=self.reverse,
            batch_first=self.layout == "batch first",
        )

    def arguments(self, keep_every: int = 1, **changes: object) -> tuple[object, ...]:
        """What the op is called with."""
        run = replace(self.run, **changes)
        tensors = [self.leaves.get(name) for name in INPUTS]
        options = (run.cell.name, run.reverse, run.batch_first, run.truncated, keep_every)
        return (*tensors, run.batch_sizes, *options)

    def loss(self, output: torch.Tensor, h_n: torch.Tensor, c_n: torch.Tensor | None) -> object:
        total = (self.laid(self.setting.up_h) * output).sum() + (self.up_end_h * h_n).sum()
        return total if c_n is None else total + (self.up_end_c * c_n).sum()

    def loop(self, *, truncated: bool = False) -> tuple[torch.Tensor, ...]:
        """The oracle: each sequence on its own through a loop; output [T, B, P], h_n, c_n."""
        setting, leaves = self.setting, self.leaves
        tensors = {name: leaves[own] for own, name in NAMES.items() if own in leaves}
        rows = self.padded(leaves["x"])
        outputs, ends = [], []
        for b, length in enumerate(self.lengths):
            h, c = leaves["h_0"][b], leaves["c_0"][b] if setting.cell.has_c else None
            steps = [torch.zeros_like(h)] * setting.steps
            order = range(length)
            for t in reversed(order) if self.reverse else order:
                step = step_of(setting.oracle, tensors, rows[t, b], h, c, truncated=truncated)
                h, c = step.h, step.c
                steps[t] = h
            outputs.append(torch.stack(steps))
            ends.append((h, c))
        h_n = torch.stack([h for h, _ in ends])
        c_n = torch.stack([c for _, c in ends]) if setting.cell.has_c else None
        return self.laid(torch.stack(outputs, dim=1)), h_n, c_n

    def padded(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows in this layout as [T, B, ..], zero where a sequence has ended."""
        if self.layout == "batch first":
            return rows.transpose(0, 1)
        if self.layout == "packed":
            missing = [rows.new_zeros(BATCH - size, *rows.shape[1:]) for size in self.sizes]
            steps = zip(rows.split(self.sizes), missing, strict=True)
            return torch.stack([torch.cat(pair) for pair in steps])
        return rows

    def gradients(self, loss: torch.Tensor, **options: object) -> dict[str, torch.Tensor]:
        found = torch.autograd.grad(loss, list(self.leaves.values()), **options)
        return dict(zip(self.leaves, found, strict=True))


NAMES = {
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "b_ih": "bias_ih",
    "b_hh": "bias_hh",
    "w_hr": "weight_hr",
    "peephole": "weight_peephole",
}
PARAMS = tuple(NAMES)
some_layout = pytest.mark.parametrize("layout", LAYOUTS)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=kind_id)
each_way = pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])


@pytest.mark.parametrize("keep_every", [1, 2, 9])
@each_way
@some_layout
@every_kind
def test_against_a_loop(
    kind: tuple[str, bool], layout: str, *, reverse: bool, keep_every: int
) -> None:
    problem = Problem(kind, layout, reverse=reverse)
    wanted, found = problem.loop(), recurrence(problem.run, keep_every)
    for name, one, other in zip(("output", "h_n", "c_n"), found, wanted, strict=True):
        if other is None:
            assert one is None
        else:
            assert_close(one, other, STEPS, FLOAT64, name)
    expected = problem.gradients(problem.loss(*wanted))
    for name, gradient in problem.gradients(problem.loss(*found)).items():
        assert_close(gradient, expected[name], STEPS, FLOAT64, f"d_{name}")


@pytest.mark.parametrize("keep_every", [1, 2])
@some_layout
@pytest.mark.parametrize("name", LSTMS)
def test_the_truncated_gradient(name: str, layout: str, keep_every: int) -> None:
    problem = Problem((name, False), layout, reverse=layout == "packed")
    full = problem.gradients(problem.loss(*recurrence(problem.run, keep_every)))
    found = recurrence(replace(problem.run, truncated=True), keep_every)
    loop = problem.loop(truncated=True)
    expected = problem.gradients(problem.loss(*loop), materialize_grads=True)  # none at h_0
    for leaf, gradient in problem.gradients(problem.loss(*found)).items():
        assert_close(gradient, expected[leaf], STEPS, FLOAT64, f"d_{leaf}")
    assert not torch.allclose(full["w_ih"], expected["w_ih"]), "nothing was cut"


@pytest.mark.parametrize("keep_every", [1, 3])
@every_kind
def test_opcheck(kind: tuple[str, bool], keep_every: int) -> None:
    layout = LAYOUTS[(KINDS.index(kind) + keep_every) % 3]
    problem = Problem(kind, layout, reverse=layout != "time first")
    op = torch.ops.carousel.recurrence.default
    torch.library.opcheck(op, problem.arguments(keep_every))
    with torch.no_grad():
        torch.library.opcheck(op, problem.arguments(0), test_utils="test_faketensor")


@pytest.mark.parametrize("totals", ["", "full", "norms"], ids=["", "totals", "norms"])
@pytest.mark.parametrize("kind", [("RNN tanh", False), ("GRU", False), ("LSTM peephole", True)])
def test_opcheck_of_backward(kind: tuple[str, bool], *, totals: str) -> None:
    problem = Problem(kind, "packed")
    with torch.no_grad():
        arguments = problem.arguments()
        output, _, _, *kept = torch.ops.carousel.recurrence.default(*arguments)
        needs = [name in problem.leaves and name != "b_hh" for name in INPUTS]
        torch.library.opcheck(
            torch.ops.carousel.recurrence_backward.default,
            (torch.ones_like(output), None, None, output, *kept, *arguments, needs, totals),
            test_utils=("test_schema", "test_faketensor"),
        )


@every_kind
def test_second_derivatives(kind: tuple[str, bool]) -> None:
    layout = LAYOUTS[KINDS.index(kind) % 3]
    problem = Problem(kind, layout, reverse=layout == "packed", hidden=3)
    names, leaves = list(problem.leaves), list(problem.leaves.values())
    run = problem.run

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        new = dict(zip(names, tensors, strict=True))
        weights = replace(run.weights, **{name: new[name] for name in PARAMS if name in new})
        changed = replace(run, weights=weights, x=new["x"], h_0=new["h_0"], c_0=new.get("c_0"))
        return tuple(part for part in recurrence(changed) if part is not None)

    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


def test_the_truncated_gradient_has_no_derivative() -> None:
    problem = Problem(("LSTM", False), "time first")
    loss = problem.loss(*recurrence(replace(problem.run, truncated=True)))
    with pytest.raises(CarouselError, match=r"truncated gradient of 1997.*no derivative"):
        problem.gradients(loss, create_graph=True)


@pytest.mark.parametrize("used", ["output", "h_n", "c_n"])
def test_what_nobody_uses_brings_no_zeros(used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was used arrives; the kernel is not handed zeros for the rest."""
    arrived: list[Arriving] = []
    forward, backward = _ops.ENGINE

    def listening(run: Run, passed: Passed, arriving: Arriving, *rest: object) -> Gradients:
        arrived.append(arriving)
        return backward(run, passed, arriving, *rest)

    monkeypatch.setattr(_ops, "ENGINE", (forward, listening))
    problem = Problem(("LSTM", False), "time first")
    parts = dict(zip(("output", "h_n", "c_n"), recurrence(problem.run), strict=True))
    parts[used].sum().backward()
    (arriving,) = arrived
    for name in parts:
        assert (getattr(arriving, name) is None) == (name != used)


@pytest.mark.parametrize("name", INPUTS)
def test_only_gradients_that_are_needed(name: str) -> None:
    problem = Problem(("LSTM peephole", True), "packed")
    expected = problem.gradients(problem.loss(*problem.loop()))[name]
    for other, leaf in problem.leaves.items():
        leaf.requires_grad_(other == name)
    problem.loss(*recurrence(problem.run)).backward()
    for other, leaf in problem.leaves.items():
        assert (leaf.grad is None) == (other != name)
    assert_close(problem.leaves[name].grad, expected, STEPS, FLOAT64, f"d_{name}")


def test_nothing_is_kept_without_a_gradient() -> None:
    problem = Problem(("LSTM", False), "time first")
    with torch.no_grad():
        output, _, _ = recurrence(problem.run)
        *_, gates, _, c, starts = torch.ops.carousel.recurrence.default(*problem.arguments(0))
    assert not output.requires_grad
    assert gates.numel() == c.numel() == starts.numel() == 0
    with pytest.raises(CarouselError, match="keep_every=0 keeps nothing"):
        torch.ops.carousel.recurrence.default(*problem.arguments(0))


def test_the_graph_can_be_used_twice() -> None:
    problem = Problem(("GRU", False), "batch first")
    loss = problem.loss(*recurrence(problem.run))
    first = problem.gradients(loss, retain_graph=True)
    second = problem.gradients(loss)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_changed_output_is_noticed() -> None:
    problem = Problem(("LSTM", False), "time first")
    output, _, _ = recurrence(problem.run)
    output.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@some_layout
@every_kind
def test_states_can_be_detached_in_place(kind: tuple[str, bool], layout: str) -> None:
    """As in a loop over chunks of a long sequence: no result is a view of another."""
    for part in recurrence(Problem(kind, layout).run):
        if part is not None:
            assert part.requires_grad
            assert not part.detach_().requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["RNN tanh", "GRU", "LSTM peephole"])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    problem = Problem((name, False), "time first")
    half = {leaf: tensor.detach().to(dtype) for leaf, tensor in problem.leaves.items()}
    results = {}
    for wide in (False, True):
        for leaf, tensor in half.items():
            value = tensor.float() if wide else tensor.clone()
            problem.leaves[leaf] = value.requires_grad_()
        found = recurrence(problem.run)
        results[wide] = (found, problem.gradients(problem.loss(*found)))
    for half_part, part in zip(results[False][0], results[True][0], strict=True):
        if part is not None:
            assert half_part.dtype == dtype
            assert torch.equal(half_part, part.to(dtype)), "rounded more than once"
    for leaf, gradient in results[False][1].items():
        assert gradient.dtype == dtype
        wanted = results[True][1][leaf]
        limit = tolerance(torch.bfloat16, STEPS) * float(wanted.abs().max())
        assert float((gradient.float() - wanted).abs().max()) < limit


class Listener:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.saved: list[Saved] = []
        self.passages: list[Passage] = []

    def forward(self, saved: Saved) -> Listener:
        self.saved.append(saved)
        return self

    def backward(self, passage: Passage) -> None:
        self.passages.append(passage)


class NormListener:
    """A sink that keeps the norms alone."""

    def __init__(self) -> None:
        self.heard: list[torch.Tensor] = []

    def forward(self, saved: Saved) -> NormListener:
        assert saved.passed.output is not None
        return self

    def norms(self, norms: torch.Tensor) -> None:
        self.heard.append(norms)


@pytest.mark.parametrize("keep_every", [1, 3])
@some_layout
@every_kind
def test_recording(kind: tuple[str, bool], layout: str, keep_every: int) -> None:
    """What a sink hears is what the oracle's autograd says; nothing else changes by a bit."""
    problem = Problem(kind, layout, reverse=layout == "packed")
    quiet = problem.gradients(problem.loss(*recurrence(problem.run, keep_every)))
    listener = Listener()
    with recording(listener):
        found = recurrence(problem.run, keep_every)
    loss = problem.loss(*found)
    assert not listener.passages
    heard = problem.gradients(loss, retain_graph=True)
    problem.gradients(2.0 * loss, retain_graph=True)
    assert all(torch.equal(quiet[name], heard[name]) for name in quiet)
    (saved,), (passage, twice) = listener.saved, listener.passages
    assert torch.equal(saved.passed.output, found[0])
    assert saved.keep_every == keep_every
    assert (saved.passed.c is None) == (keep_every > 1 or not problem.setting.cell.has_c)
    d_h, d_c = totals(problem)
    assert_close(passage.d_h, d_h, STEPS, FLOAT64, "d_h")
    assert_close(twice.d_h, 2.0 * d_h, STEPS, FLOAT64, "d_h of the second pass")
    if d_c is None:
        assert passage.d_c is None
        assert passage.d_c_0 is None
    else:
        assert_close(passage.d_c, d_c, STEPS, FLOAT64, "d_c")
        assert torch.equal(passage.d_c_0, quiet["c_0"])
    assert torch.equal(passage.d_h_0, quiet["h_0"])
    assert_close(passage.d_a.flatten(-2) @ problem.leaves["w_ih"], quiet["x"], STEPS, FLOAT64, "x")
    again = problem.gradients(loss, create_graph=True)
    assert_close(again["x"], quiet["x"], STEPS, FLOAT64, "d_x, differentiable")
    assert_close(listener.passages[2].d_h, d_h, STEPS, FLOAT64, "d_h, differentiable")


@pytest.mark.parametrize("keep_every", [1, 3])
@some_layout
@every_kind
def test_recording_norms(kind: tuple[str, bool], layout: str, keep_every: int) -> None:
    problem, listener = Problem(kind, layout, reverse=layout == "packed"), NormListener()
    quiet = problem.gradients(problem.loss(*recurrence(problem.run, keep_every)))
    with recording(listener):
        found = recurrence(problem.run, keep_every)
    heard = problem.gradients(problem.loss(*found))
    assert all(torch.equal(quiet[name], heard[name]) for name in quiet)
    (norms,) = listener.heard
    d_h, d_c = totals(problem)
    assert_close(norms[..., 0], d_h.norm(dim=-1), STEPS, FLOAT64, "the norm of d_h")
    wanted = torch.zeros_like(norms[..., 1]) if d_c is None else d_c.norm(dim=-1)
    assert_close(norms[..., 1], wanted, STEPS, FLOAT64, "the norm of d_c")


def totals(problem: Problem) -> tuple[torch.Tensor, torch.Tensor | None]:
    """dL/dh_t and dL/dc_t by autograd through a loop, in the problem's layout."""
    setting, leaves = problem.setting, problem.leaves
    tensors = {name: leaves[own] for own, name in NAMES.items() if own in leaves}
    x, up = problem.padded(leaves["x"]), setting.up_h
    d_h, d_c = torch.zeros_like(setting.up_h), torch.zeros_like(setting.up_c)
    for b, length in enumerate(problem.lengths):
        h, c = leaves["h_0"][b], leaves["c_0"][b] if setting.cell.has_c else None
        order = list(reversed(range(length))) if problem.reverse else list(range(length))
        states, loss = [], torch.zeros((), dtype=FLOAT64)
        for t in order:
            step = step_of(setting.oracle, tensors, x[t, b], h, c)
            h, c = step.h, step.c
            if c is not None:  # h depends on c, so that dL/dc_t counts the way through h_t
                c.retain_grad()
            h.retain_grad()
            states.append((t, h, c))
            loss = loss + (up[t, b] * h).sum()
        loss = loss + (problem.up_end_h[b] * h).sum()
        loss = loss if c is None else loss + (problem.up_end_c[b] * c).sum()
        loss.backward(inputs=[part for state in states for part in state[1:] if part is not None])
        for t, h_t, c_t in states:
            d_h[t, b] = h_t.grad
            if c_t is not None:
                d_c[t, b] = c_t.grad
    return problem.laid(d_h), problem.laid(d_c) if setting.cell.has_c else None


def test_a_sink_hears_only_its_own_block_and_thread() -> None:
    import threading

    problem, listener = Problem(("GRU", False), "time first"), Listener()
    with recording(listener):
        other = threading.Thread(target=recurrence, args=(problem.run,))
        other.start()
        other.join()
        with recording(None):
            recurrence(problem.run)
        with torch.no_grad():
            recurrence(problem.run)
        assert not listener.saved
        recurrence(problem.run)
    recurrence(problem.run)
    assert len(listener.saved) == 1


def test_every_cell_is_here() -> None:
    assert {name for name, _ in KINDS} == set(CELLS)
