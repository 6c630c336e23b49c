"""The gated recurrent unit in torch's form (cuDNN's ``reset_after``), gate order r, z, n."""

from carousel.cells.gru._equations import GRU

__all__ = ["GRU"]
