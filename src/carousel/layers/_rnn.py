"""The simple recurrent network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from carousel.cells import Cell, cell_named
from carousel.layers._checks import check_options
from carousel.layers._recurrent import Recurrent

__all__ = ["RNN"]

NONLINEARITIES = ("tanh", "relu", "sigmoid", "identity")


class RNN(Recurrent):
    """``torch.nn.RNN``, faster, and with two more nonlinearities.

        h_t = phi(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

    Arguments, defaults, parameters and ``state_dict`` are those of ``torch.nn.RNN``.

    Args:
        nonlinearity: phi: "tanh", "relu", "sigmoid" or "identity".
        checkpoint: keep the states of every n-th step only, and compute the rest again in
            backward; True chooses n.

    Raises:
        ValueError: an option that does not exist; a size that cannot be.
        TypeError: an option of the wrong type.

    Example:
        >>> import torch, carousel
        >>> rnn = carousel.RNN(3, 5, nonlinearity="sigmoid")
        >>> output, h_n = rnn(torch.randn(7, 2, 3))
        >>> output.shape, h_n.shape
        (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    """

    nonlinearity: str

    def __init__(  # noqa: PLR0913, PLR0917 - torch's arguments, in torch's order
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
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
        check_options("RNN", options)
        self.nonlinearity = nonlinearity
        self.checkpoint = checkpoint
        torch_knows = nonlinearity in ("tanh", "relu")
        nn.RNNBase.__init__(
            self,
            f"RNN_{nonlinearity.upper()}" if torch_knows else "RNN_TANH",  # for the weights' shape
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
        self.mode = f"RNN_{nonlinearity.upper()}"

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; torch's ``mode`` follows the nonlinearity."""
        super().__setattr__(name, value)
        if name == "nonlinearity" and "mode" in vars(self):
            self.mode = f"RNN_{value.upper()}"

    def _check_option(self, name: str, value: object) -> None:
        super()._check_option(name, value)
        if name == "nonlinearity" and value not in NONLINEARITIES:
            raise ValueError(
                f"Unknown nonlinearity {value!r}. Select one of: {', '.join(NONLINEARITIES)}."
            )

    @property
    def cell(self) -> Cell:
        """The recurrence of each layer."""
        return cell_named(f"RNN {self.nonlinearity}")

    def extra_repr(self) -> str:
        """The options that are not as they are by default."""
        shown = super().extra_repr()
        other = self.nonlinearity != "tanh"
        return shown + (f", nonlinearity={self.nonlinearity!r}" if other else "")
