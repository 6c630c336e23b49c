"""The command line. Nothing heavy loads with it: see ``_app.py``."""

from carousel.cli._app import app, main

__all__ = ["app", "main"]
