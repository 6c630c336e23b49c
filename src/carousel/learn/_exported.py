"""What an exported page can show without a server, part by part."""

from __future__ import annotations

from typing import Any

from carousel.learn._settings import Settings

__all__ = ["EXPORTED"]

# The name of an endpoint and what it is asked: computed by `carousel learn --export`.
EXPORTED: tuple[tuple[str, Any], ...] = (("explore", Settings()),)
