"""The long short-term memory and its variants."""

from __future__ import annotations

import math

import torch
from torch import nn

from carousel.cells import Cell, cell_named
from carousel.cells.lstm import VARIANTS
from carousel.layers._recurrent import Recurrent

__all__ = ["LSTM"]

SQUASHED = "1997 squashed"  # a row of the table that an option chooses
CHOICES = {
    "variant": tuple(name for name in VARIANTS if name != SQUASHED),
    "squashers": ("tanh", "1997"),
    "gradient": ("full", "1997"),
}
# torch gives a mode its number of gates, and with that the rows of the weights.
MODE_OF_GATES = {3: "GRU", 4: "LSTM"}


class LSTM(Recurrent):
    """``torch.nn.LSTM``, faster, and with its relatives.

        i, f, o = sigmoid(W x_t + W h_{t-1} + b), each with its own W and b;  g = tanh(..) likewise
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t),  or W_hr (o * tanh(c_t)) with a projection

    Arguments, defaults, parameters and ``state_dict`` are those of ``torch.nn.LSTM``. A variant
    with fewer gates has fewer rows in its weights, in the order i, f, g, o; one with peepholes has
    ``weight_peephole_l{k}`` [K, H], a row for each gate that sees c, in the order i, f, o.

    Args:
        variant: "forget": torch's (Gers et al. 2000). "1997": without forget gate. "peephole": i
            and f see c_{t-1}, o sees c_t (Greff et al. 2015, "vanilla"). "cifg": f = 1 - i.
            Greff's ablations of "peephole": "nig", "nfg", "nog" without a gate, "niaf", "noaf"
            without the input's or the output's activation function.
        squashers: "tanh", or for the variant "1997" the paper's own, "1997": g = 4 sigmoid - 2 and
            2 sigmoid(c) - 1 in the place of tanh(c).
        gradient: "full", or "1997": truncated as in Hochreiter & Schmidhuber 1997; what leaves the
            cell through its gates goes no further back.
        checkpoint: keep the states of every n-th step only, and compute the rest again in
            backward; True chooses n.

    Raises:
        ValueError: an option that does not exist; a size that cannot be.
        TypeError: an option of the wrong type.

    Example:
        >>> import torch, carousel
        >>> lstm = carousel.LSTM(3, 5, variant="peephole")
        >>> output, (h_n, c_n) = lstm(torch.randn(7, 2, 3))
        >>> output.shape, c_n.shape, lstm.weight_peephole_l0.shape
        (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]), torch.Size([3, 5]))
    """

    variant: str = "forget"
    squashers: str = "tanh"
    gradient: str = "full"

    def __init__(  # noqa: PLR0913, PLR0917 - torch's arguments, in torch's order
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        variant: str = "forget",
        squashers: str = "tanh",
        gradient: str = "full",
        checkpoint: bool | int = False,
    ) -> None:
        self.variant, self.squashers, self.gradient = variant, squashers, gradient
        self.checkpoint = checkpoint
        nn.RNNBase.__init__(
            self,
            MODE_OF_GATES[len(self.cell.gates)],
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device=device,
            dtype=dtype,
        )
        self.mode = "LSTM"
        if self.cell.peepholes:
            self._add_peepholes(device, dtype)

    @property
    def cell(self) -> Cell:
        """The recurrence of each layer."""
        name = SQUASHED if self.squashers == "1997" else self.variant
        return cell_named(VARIANTS[name].cell_name)

    @property
    def truncated(self) -> bool:
        """Whether backward follows the truncated gradient of 1997."""
        return self.gradient == "1997"

    def _check_option(self, name: str, value: object) -> None:
        super()._check_option(name, value)
        if name not in CHOICES:
            return
        if name == "variant" and "mode" in vars(self) and value != self.variant:
            _check_choices(**{**self._chosen(), name: value})
            raise AttributeError(
                f"The variant of this LSTM is {self.variant!r} since it was built, and its weights "
                f"have the shapes of that. Build another: carousel.LSTM(.., variant={value!r})."
            )
        _check_choices(**{**self._chosen(), name: value})

    def _chosen(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in CHOICES}

    def extra_repr(self) -> str:
        """The options that are not as they are by default."""
        shown = super().extra_repr()
        for name, (default, *_) in CHOICES.items():
            value = getattr(self, name)
            shown += f", {name}={value!r}" if value != default else ""
        return shown

    def _add_peepholes(self, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        """A weight for each layer and direction, drawn as torch draws the others."""
        limit = 1.0 / math.sqrt(self.hidden_size)
        rows = len(self.cell.peepholes)
        for names in self._all_weights:
            suffix = names[0].removeprefix("weight_ih_")
            weight = torch.empty(rows, self.hidden_size, device=device, dtype=dtype)
            nn.init.uniform_(weight, -limit, limit)
            setattr(self, f"weight_peephole_{suffix}", nn.Parameter(weight))
            names.append(f"weight_peephole_{suffix}")
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        self._init_flat_weights()


def _check_choices(**chosen: object) -> None:
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(
                f"Unknown {name} {value!r}. Select one of: {', '.join(CHOICES[name])}."
            )
    if chosen["squashers"] == "1997" and chosen["variant"] != "1997":
        raise ValueError(
            "squashers='1997' belongs to variant='1997'; the variant "
            f"{chosen['variant']!r} has its own. Leave squashers out."
        )
