"""The gated recurrent unit."""

from __future__ import annotations

import torch
from torch import nn

from carousel.cells import Cell, cell_named
from carousel.layers._checks import check_options
from carousel.layers._recurrent import Recurrent

__all__ = ["GRU"]


class GRU(Recurrent):
    """``torch.nn.GRU``, faster.

        r, z = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr), likewise z
        n    = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
        h_t  = (1 - z) * n + z * h_{t-1}

    Arguments, defaults, parameters and ``state_dict`` are those of ``torch.nn.GRU``.

    Args:
        checkpoint: keep the states of every n-th step only, and compute the rest again in
            backward; True chooses n.

    Raises:
        ValueError: an option that does not exist; a size that cannot be.
        TypeError: an option of the wrong type.

    Example:
        >>> import torch, carousel
        >>> gru = carousel.GRU(3, 5, batch_first=True)
        >>> output, h_n = gru(torch.randn(2, 7, 3))
        >>> output.shape, h_n.shape
        (torch.Size([2, 7, 5]), torch.Size([1, 2, 5]))
    """

    def __init__(  # noqa: PLR0913, PLR0917 - torch's arguments, in torch's order
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        checkpoint: bool | int = False,
        **options: object,
    ) -> None:
        check_options("GRU", options)
        self.checkpoint = checkpoint
        nn.RNNBase.__init__(
            self,
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )

    @property
    def cell(self) -> Cell:
        """The recurrence of each layer."""
        return cell_named("GRU")
