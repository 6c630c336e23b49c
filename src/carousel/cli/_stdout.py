"""Keeping standard output for the command's own answer."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["foreign_output_to_stderr"]

STDOUT, STDERR = 1, 2  # the descriptors, which programs that are started write to


@contextlib.contextmanager
def foreign_output_to_stderr() -> Iterator[None]:
    """Send to standard error what a user's code, or a program that it starts, prints meanwhile."""
    with contextlib.ExitStack() as undo:
        sys.stdout.flush()
        with contextlib.suppress(OSError):  # one of the two is closed: nothing to be redirected
            kept = os.dup(STDOUT)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, STDOUT)
            os.dup2(STDERR, STDOUT)
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield
