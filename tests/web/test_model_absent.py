"""Your model where none is served: what stands there to be copied works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from web_pages import Visit


def test_the_example_runs_as_it_is_shown(visit: Visit, tmp_path: Path) -> None:
    page = visit("model")
    code = page.get_by_role("region", name="Code: a factory").inner_text()
    command = page.get_by_role("region", name="Code: the command").inner_text().split()
    assert command[:2] == ["carousel", "check"]
    assert command[-1] == "--web"
    (tmp_path / "nets.py").write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", *command[:-1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr  # as the findings have it
    assert "LSTM" in ran.stdout
