"""Keeping standard output for the command's own answer."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["foreign_output_to_stderr"]


@contextlib.contextmanager
def foreign_output_to_stderr() -> Iterator[None]:
    """Send to standard error what a user's code, or a program that it starts, prints meanwhile."""
    with contextlib.ExitStack() as undo:
        try:
            out, err = sys.stdout.fileno(), sys.stderr.fileno()
        except (OSError, ValueError, AttributeError):
            pass  # the streams are not files, under a test runner for instance
        else:
            sys.stdout.flush()
            kept = os.dup(out)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, out)
            os.dup2(err, out)
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield
