"""Networks from settings: the same settings give the same network, whoever else asks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch

from carousel.learn import Network
from carousel.learn._settings import network


def weights(seed: int) -> torch.Tensor:
    return network(Network("lstm", hidden=16), 50, seed).get_parameter("weight_hh_l0").detach()


def test_two_requests_at_a_time_draw_what_each_draws_alone() -> None:
    seeds = [0, 1, 2, 3] * 64
    alone = {seed: weights(seed) for seed in set(seeds)}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(weights, seeds))
    for seed, one in zip(seeds, found, strict=True):
        assert torch.equal(one, alone[seed])
