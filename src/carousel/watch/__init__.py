"""Hooks on a live model; what they heard becomes traces."""

from carousel.watch._recorder import Recorder
from carousel.watch._replay import turner
from carousel.watch._trace import Trace

__all__ = ["Recorder", "Trace", "turner"]
