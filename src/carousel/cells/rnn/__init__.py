"""The simple recurrent network of Elman, with four nonlinearities."""

from carousel.cells.rnn._equations import RNN

__all__ = ["RNN"]
