"""The one base error of the package. Only the command line turns it into an exit code."""

__all__ = ["CarouselError", "kind_of"]


class CarouselError(Exception):
    """Something that was asked for cannot be done.

    The message says what was expected, what came, and what to do next.
    """


def kind_of(thing: object) -> str:
    """What a thing is, for a message: "an int", "a Linear", "the class Linear", "None"."""
    if thing is None:
        return "None"
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    name = type(thing).__name__
    spelled = name[:2].isupper()  # an LSTM, an RNN, but a GRU
    vowel = name[0] in "AEFHILMNORSX" if spelled else name[0].lower() in "aeiou"
    return f"{'an' if vowel else 'a'} {name}"
