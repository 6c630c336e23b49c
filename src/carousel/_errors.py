"""The one base error of the package. Only the command line turns it into an exit code."""

__all__ = ["CarouselError"]


class CarouselError(Exception):
    """Something that was asked for cannot be done.

    The message says what was expected, what came, and what to do next.
    """
