"""Layers in other processes: data-parallel training, and workers that were forked."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.utils.data import DataLoader, Dataset

import carousel

RANK = """
import os
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import carousel

rank, store = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
layer = carousel.LSTM(3, 5, 2, variant="peephole").double()
x = torch.randn(4, 2, 6, 3, dtype=torch.float64)  # of each rank, two sequences in two parts
parallel = DistributedDataParallel(layer)
parallel(x[:, rank])[0].square().mean().backward()
single = carousel.LSTM(3, 5, 2, variant="peephole").double()
single.load_state_dict(layer.state_dict())
((single(x[:, 0])[0].square().mean() + single(x[:, 1])[0].square().mean()) / 2).backward()
for one, other in zip(layer.parameters(), single.parameters(), strict=True):
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-12)
distributed.barrier()  # nobody leaves while the other still needs it
os._exit(0)  # gloo's threads end with the process: torn down one by one they sometimes abort it
"""


def test_distributed_data_parallel(tmp_path: object) -> None:
    """Two ranks see the mean of both gradients."""
    arguments = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen(
            [*arguments, str(rank), str(tmp_path / "store")], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=120)
        assert rank.returncode == 0, errors


class Encoded(Dataset):
    """Each item is what a layer makes of it, inside the worker."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.x = torch.randn(6, 4, 2, 3)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, item: int) -> torch.Tensor:
        x = self.x[item]
        loss = self.layer(x)[0].sum()
        (gradient,) = torch.autograd.grad(loss, self.layer.weight_hh_l0)
        return gradient


# Python warns of a fork beside threads, which torch has started before.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_in_a_worker_after_fork() -> None:
    if "fork" not in mp.get_all_start_methods():
        pytest.skip("this system does not fork")
    layer = carousel.LSTM(3, 5)
    data = Encoded(layer)
    here = torch.stack([data[place] for place in range(len(data))])
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert torch.equal(torch.cat(list(loader)), here)
