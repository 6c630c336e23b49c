"""``python -m carousel`` is the command ``carousel``."""

from carousel.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
