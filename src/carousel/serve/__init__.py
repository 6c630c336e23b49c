"""The page: a server on this machine, for one person."""

from carousel.serve._app import application
from carousel.serve._export import export
from carousel.serve._run import serve

__all__ = ["application", "export", "serve"]
