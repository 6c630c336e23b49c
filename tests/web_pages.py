"""How the tests look at the page: its modes, and what opens it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

MODES = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "reduced motion": {"reduced_motion": "reduce"},
    "forced colours": {"forced_colors": "active"},
}

Visit = Callable[..., Page]
