"""The cases as data: every combination of options that a recurrent module can be run with.

A Case is only a description. ``Problem`` turns it into a module with weights under which the
dynamics neither die nor explode, random non-zero states, and a random upstream gradient at every
step.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
RAGGED = ("no", "sorted", "unsorted", "unbatched")
STATES = ("none", "given", "requires_grad")
LOSSES = ("output", "h_n", "c_n", "all")

# Standard deviation of a weight matrix is gain / sqrt(fan_in).
GAIN = {"rnn_tanh": 1.3, "rnn_relu": 1.3, "lstm": 1.5, "gru": 1.5}


@dataclass(frozen=True)
class Case:
    """One way of running a recurrent module. The id names what differs from the plainest way."""

    cell: str
    layers: int = 1
    bidirectional: bool = False
    batch_first: bool = False
    bias: bool = True
    projected: bool = False
    ragged: str = "no"
    state: str = "none"
    dropout: float = 0.0
    losses: tuple[str, ...] = ("output", "h_n", "all")
    steps: int = 4
    batch: int = 3
    hidden: int = 5
    inputs: int = 2

    @property
    def id(self) -> str:
        """Return the name under which pytest shows the case."""
        words = [self.cell, str(self.layers)]
        words += ["bi"] * self.bidirectional + ["bf"] * self.batch_first
        words += ["nobias"] * (not self.bias) + ["proj"] * self.projected
        words += [self.ragged] * (self.ragged != "no") + [self.state] * (self.state != "none")
        words += ["drop"] * (self.dropout > 0)
        default = {"steps": 4, "batch": 3, "hidden": 5}
        words += [
            f"{k[0].upper()}{getattr(self, k)}" for k in default if getattr(self, k) != default[k]
        ]
        return "-".join(words)

    @property
    def seed(self) -> int:
        """Return a seed that depends on the case alone, not on the order of the tests."""
        return zlib.crc32(self.id.encode())

    @property
    def directions(self) -> int:
        """Return 2 for a bidirectional module, else 1."""
        return 1 + self.bidirectional

    @property
    def state_size(self) -> int:
        """Return the size of h: proj_size where there is one, else hidden_size."""
        return 2 if self.projected else self.hidden

    @property
    def layer_names(self) -> list[str]:
        """Return torch's suffixes, in torch's order: l0, l0_reverse, l1, ..."""
        suffixes = ("", "_reverse")[: self.directions]
        return [f"l{k}{suffix}" for k in range(self.layers) for suffix in suffixes]


def _losses(cell: str) -> tuple[str, ...]:
    return LOSSES if cell == "lstm" else tuple(name for name in LOSSES if name != "c_n")


def _turn(case: Case, losses: tuple[str, ...]) -> str:
    turn = STATES.index(case.state) + case.bias + 2 * case.batch_first + case.layers
    return losses[turn % len(losses)]


def grid() -> list[Case]:
    """Return the cross product of the options at tiny sizes: 900 cases.

    Three thrifts: dropout between the layers is on in the stacks of two; stacks are either without
    bias or not batch_first, in turns; each case has one kind of loss, such that all kinds meet all
    other options. ``few`` and ``sizes`` have all kinds of loss.
    """
    kinds = [(cell, False) for cell in CELLS] + [("lstm", True)]
    depths = [(1, 0.0), (2, 0.4), (3, 0.0)]
    flags = (False, True)
    product = itertools.product(kinds, depths, flags, flags, flags, RAGGED, STATES)
    cases = [
        Case(
            cell=cell,
            layers=layers,
            bidirectional=bidirectional,
            batch_first=batch_first,
            bias=bias,
            projected=projected,
            ragged=ragged,
            state=state,
            dropout=dropout,
        )
        for (
            (cell, projected),
            (layers, dropout),
            bidirectional,
            batch_first,
            bias,
            ragged,
            state,
        ) in product
        # An unbatched input has no batch axis, so batch_first changes nothing but its name.
        if not (ragged == "unbatched" and batch_first)
        and (layers == 1 or ragged == "unbatched" or bias != batch_first)
    ]
    return [replace(case, losses=(_turn(case, _losses(case.cell)),)) for case in cases]


def sizes() -> list[Case]:
    """Return cases at the edges of the shapes: T=1, B=1, and an H that no vector width divides."""
    plain = [Case(cell=cell, losses=_losses(cell), state="given") for cell in CELLS]
    plain.append(replace(plain[2], projected=True))
    shapes = [(1, 1, 5), (1, 3, 5), (5, 1, 5), (1, 1, 1), (7, 2, 13), (6, 4, 3)]
    return [
        replace(case, steps=steps, batch=batch, hidden=hidden, layers=layers, bidirectional=both)
        for case, (steps, batch, hidden), layers, both in itertools.product(
            plain, shapes, (1, 2), (False, True)
        )
        if not (case.projected and hidden < 3)
    ]


def long() -> list[Case]:
    """Return cases of more steps than any block of a scan, ragged and not."""
    shapes = [(64, "no"), (65, "no"), (131, "unsorted"), (200, "no")]
    cases = [
        Case(cell=cell, steps=steps, batch=3, hidden=3, ragged=ragged, state="given")
        for cell in CELLS
        for steps, ragged in shapes
    ]
    cases.append(Case(cell="lstm", steps=131, hidden=3, projected=True, state="given"))
    cases.append(
        Case(cell="gru", steps=131, hidden=3, layers=2, bidirectional=True, ragged="sorted")
    )
    return cases


def few() -> list[Case]:
    """Return one rich case for each cell and each raggedness, for tests that need not see all."""
    rich = [
        Case(cell=cell, layers=2, bidirectional=True, state="requires_grad", losses=_losses(cell))
        for cell in CELLS
    ]
    rich.append(replace(rich[2], projected=True))
    return [replace(case, ragged=ragged) for case in rich for ragged in RAGGED]


def random_weights_(module: nn.Module, cell: str, generator: torch.Generator) -> None:
    """Fill the parameters so that neither the states nor the gradients die or explode."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            value = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if "bias" in name:
                value *= 0.3
                if cell == "lstm":  # a forget gate around 0.73
                    rows = parameter.shape[0] // 4
                    value[rows : 2 * rows] += 0.5
                if cell == "rnn_relu":  # most units alive
                    value = value.abs()
            else:
                value *= GAIN[cell] / parameter.shape[1] ** 0.5
            parameter.copy_(value)


@dataclass
class Problem:
    """A Case made concrete. Everything random is drawn in float64 on the CPU, then converted."""

    case: Case
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    salt: int = 0
    module: nn.Module = field(init=False)
    lengths: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        case = self.case
        generator = torch.Generator().manual_seed(case.seed + self.salt)
        sequences = 1 if case.ragged == "unbatched" else case.batch

        def draw(*shape: int) -> torch.Tensor:
            value = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return value.to(self.dtype).to(self.device)

        self.module = self._module(generator)
        self.lengths = self._lengths(sequences)
        rows = case.layers * case.directions
        self.x = draw(case.steps, sequences, case.inputs)  # time-major, padded, the user's order
        given = case.state != "none"
        self.h0 = 0.7 * draw(rows, sequences, case.state_size) if given else None
        self.c0 = (
            0.7 * draw(rows, sequences, case.hidden) if given and case.cell == "lstm" else None
        )
        # The upstream gradients: random at every step, unit, layer and sequence.
        self.w_output = draw(case.steps, sequences, case.directions * case.state_size)
        self.w_h_n = draw(rows, sequences, case.state_size)
        self.w_c_n = draw(rows, sequences, case.hidden)
        if case.state == "requires_grad":
            for state in (self.h0, self.c0):
                if state is not None:
                    state.requires_grad_()

    def _module(self, generator: torch.Generator) -> nn.Module:
        case = self.case
        options: dict = {
            "num_layers": case.layers,
            "bias": case.bias,
            "batch_first": case.batch_first,
            "bidirectional": case.bidirectional,
            "dropout": case.dropout,
        }
        kind: type[nn.Module] = {"lstm": nn.LSTM, "gru": nn.GRU}.get(case.cell, nn.RNN)
        if case.cell.startswith("rnn"):
            options["nonlinearity"] = case.cell.removeprefix("rnn_")
        if case.projected:
            options["proj_size"] = case.state_size
        module = kind(case.inputs, case.hidden, **options).to(self.dtype)
        random_weights_(module, case.cell, generator)
        return module.to(self.device)

    def _lengths(self, sequences: int) -> torch.Tensor:
        steps = self.case.steps
        if self.case.ragged == "sorted":
            pattern = [steps, max(1, steps - 2), 1]
        elif self.case.ragged == "unsorted":
            pattern = [max(1, steps - 2), steps, 1]
        else:
            pattern = [steps]
        return torch.tensor([pattern[b % len(pattern)] for b in range(sequences)])

    @property
    def state(self) -> object:
        """Return the initial state as the module takes it: None, h0, or (h0, c0)."""
        if self.h0 is None:
            return None
        parts = [self.h0] if self.c0 is None else [self.h0, self.c0]
        if self.case.ragged == "unbatched":
            parts = [part.squeeze(1) for part in parts]
        return tuple(parts) if self.case.cell == "lstm" else parts[0]

    @property
    def input(self) -> torch.Tensor | PackedSequence:
        """Return the input as the user would hand it over."""
        case = self.case
        if case.ragged == "unbatched":
            return self.x.squeeze(1)
        x = self.x.transpose(0, 1) if case.batch_first else self.x
        if case.ragged in ("sorted", "unsorted"):
            return pack_padded_sequence(
                x,
                self.lengths,
                batch_first=case.batch_first,
                enforce_sorted=case.ragged == "sorted",
            )
        return x

    def call(self, module: nn.Module | None = None) -> tuple:
        """Seed, then run the module as a user does: its output as it comes, h_n, c_n or None."""
        torch.manual_seed(self.case.seed)
        output, state = (module or self.module)(self.input, self.state)
        h_n, c_n = state if self.case.cell == "lstm" else (state, None)
        return output, h_n, c_n

    def loss_of(
        self, loss: str, output: object, h_n: torch.Tensor, c_n: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the scalar loss of a call's results. ``loss`` says which of them it uses."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        if loss in ("output", "all"):
            total = total + self._output_loss(output)
        if loss in ("h_n", "all"):
            w = self.w_h_n.squeeze(1) if self.case.ragged == "unbatched" else self.w_h_n
            total = total + (w * h_n).sum()
        if loss in ("c_n", "all") and c_n is not None:
            w = self.w_c_n.squeeze(1) if self.case.ragged == "unbatched" else self.w_c_n
            total = total + (w * c_n).sum()
        return total

    def _output_loss(self, output: object) -> torch.Tensor:
        case = self.case
        if isinstance(output, PackedSequence):
            if case.ragged == "sorted":  # one user pads again, the other works on the packed data
                padded, _ = pad_packed_sequence(
                    output, batch_first=case.batch_first, total_length=case.steps
                )
                w = self.w_output.transpose(0, 1) if case.batch_first else self.w_output
                return (w * padded).sum()
            w = pack_padded_sequence(self.w_output, self.lengths, enforce_sorted=False).data
            return (w * output.data).sum()
        w = self.w_output
        if case.ragged == "unbatched":
            w = w.squeeze(1)
        elif case.batch_first:
            w = w.transpose(0, 1)
        return (w * output).sum()

    def loss(self, loss: str = "all", module: nn.Module | None = None) -> torch.Tensor:
        """Run the module and return the loss."""
        return self.loss_of(loss, *self.call(module))

    def everything(self, loss: str) -> dict[str, object]:
        """Run forward and backward; return all that a user could compare, bit by bit."""
        for leaf in (*self.module.parameters(), self.h0, self.c0):
            if leaf is not None:
                leaf.grad = None
        output, h_n, c_n = self.call()
        after_forward = torch.get_rng_state()
        value = self.loss_of(loss, output, h_n, c_n)
        value.backward()
        found: dict[str, object] = {"loss": value.detach(), "rng after forward": after_forward}
        found["rng after backward"] = torch.get_rng_state()
        if isinstance(output, PackedSequence):
            for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
                found[name] = getattr(output, name)
            output = output.data
        for name, tensor in {"output": output, "h_n": h_n, "c_n": c_n}.items():
            if tensor is not None:
                found[name] = tensor.detach().clone()
                found[f"{name} stride"] = tensor.stride()
                found[f"{name} requires_grad"] = tensor.requires_grad
        for name, parameter in self.module.named_parameters():
            found[f"d_{name}"] = None if parameter.grad is None else parameter.grad.clone()
        for name, state in {"d_h0": self.h0, "d_c0": self.c0}.items():
            found[name] = None if state is None or state.grad is None else state.grad.clone()
        return found
