"""Initialisations of a recurrent module, in place: of torch.nn's modules and cells and of ours."""

from carousel.init._biases import chrono_, forget_bias_
from carousel.init._matrices import identity_, orthogonal_

__all__ = ["chrono_", "forget_bias_", "identity_", "orthogonal_"]
