"""Hooks on a live model; what they heard becomes traces."""

from carousel.trace._modules import find_recurrent, refuse_compiled, spec_of
from carousel.trace._recorder import Recorder
from carousel.trace._replay import turner
from carousel.trace._trace import Trace

__all__ = ["Recorder", "Trace", "find_recurrent", "refuse_compiled", "spec_of", "turner"]
