"""What every test runs under: two cores, no leftover hooks, scratch memory that starts as NaN."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from torch.nn.modules import module as torch_module

settings.register_profile("same each time", derandomize=True, deadline=None)
settings.load_profile("same each time")
torch.set_num_threads(1)  # pytest -n 2 has the cores already


def pytest_configure(config: pytest.Config) -> None:
    """Let torch's own remark about its CPU route for proj_size pass; it is said once a process."""
    config.addinivalue_line(
        "filterwarnings", "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
    )


@pytest.fixture(autouse=True)
def _clean_torch() -> Iterator[None]:
    """Fill fresh memory with NaN during a test, and leave torch's global switches as they were."""
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_rng_state())
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.set_rng_state(before[1])


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    """Fail the test that leaves a global hook behind, not the one that meets it."""
    yield
    hooks = [value for name, value in vars(torch_module).items() if name.startswith("_global_")]
    left = [hook for hook in hooks if isinstance(hook, dict) and hook]
    for hook in left:
        hook.clear()
    assert not left, "a global hook stays: leave the watcher, or undo the remedy"
