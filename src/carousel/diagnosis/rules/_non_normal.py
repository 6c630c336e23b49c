"""Non-normal amplification: a step that enlarges some directions, though all die out in the end.

    sigma_1(J) > 1 > rho(J)

The gradient then first grows and only later decays, which a horizon alone does not show.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined] # torch does not list it

from carousel.diagnosis._finding import Finding
from carousel.diagnosis._foreseen import few_sequences
from carousel.diagnosis._numbers import number
from carousel.diagnosis._subject import Subject
from carousel.flow import LayerFlow

__all__ = ["non_normal"]

# sigma_1 of one step. torch's default matrices have 2 / sqrt(3) = 1.15 beside rho = 0.58, and LSTMs
# with chrono biases 1.13 on (h, c): that much is ordinary.
TWICE = 2.0
PLACES = 3  # steps that are looked at, spread over the sequence; the median counts
SEQUENCES = 1  # the longest: all of them would take minutes
MOST_STATE = 256  # numbers in the state; larger Jacobians take seconds, and are passed over
SOURCE = "Kerg et al. 2019; Goldman 2009; Ganguli, Huh & Sompolinsky 2008"


def non_normal(subject: Subject) -> Iterator[Finding]:
    """A finding for each layer whose step Jacobians amplify before they contract."""
    for layer in subject.layers:
        size = layer.h.shape[-1] + (0 if layer.c is None else layer.c.shape[-1])
        if layer.steps < 2 or size > MOST_STATE:
            continue
        found = _sigma_and_rho(few_sequences(layer, SEQUENCES), size)
        if found is None:
            continue
        sigma, rho = found
        if not sigma > TWICE or not rho < 1:
            continue
        yield Finding(
            rule="non-normal",
            severity="info",
            layer=layer.name,
            sentence=(
                f"One step back enlarges some gradients {number(sigma)} times (sigma_1 of its "
                f"Jacobian), though in the long run all shrink (its spectral radius is "
                f"{number(rho)}): they grow first and vanish later."
            ),
            evidence={"largest_singular_value": sigma, "spectral_radius": rho},
            threshold=TWICE,
            source=SOURCE,
        )


def _sigma_and_rho(layer: LayerFlow, size: int) -> tuple[float, float] | None:
    """Medians over a few steps and the sequences that reach them."""
    last = int(layer.lengths.min()) - 1
    steps = sorted({max(1, last * k // (PLACES + 1)) for k in range(1, PLACES + 1)})
    if last < 1:
        return None
    sigmas: list[Tensor] = []
    rhos: list[Tensor] = []
    for step in steps:
        forward = layer.direction == "forward"
        at = step if forward else step - 1
        try:  # all values: in one round, without more
            product = layer.jacobian_product(step - 1, step, size)
            rhos.append(layer.eigenvalues(at).abs()[:, 0])
        except LinAlgError:  # numbers beyond what LAPACK converges on
            return None
        sigmas.append(product.log10_norm)
    sigma, rho = torch.stack(sigmas), torch.stack(rhos)
    if not bool((sigma.isfinite() & rho.isfinite()).all()):
        return None
    return 10 ** float(sigma.median()), float(rho.median())
