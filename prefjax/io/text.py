"""What a text must be so that it can be written: a string that UTF-8 can hold."""

from typing import Any


def check_text(text: Any, name: str) -> None:
    """Refuses what is not a string, or holds half of a character.

    Args:
        text: What should be a text; the empty string is one.
        name: What the error calls it, such as ``Text 3``.

    Raises:
        TypeError: It is not a string.
        ValueError: It has a lone surrogate, half of a character that was cut or decoded wrongly.

    >>> check_text("naïve 🙂", "Text 0")
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} is {type(text).__name__}, not a string: {text!r:.60}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has a lone surrogate at character {error.start}; it was cut or decoded "
            "wrongly. Encode it to UTF-16 with errors='surrogatepass' and decode it with "
            "errors='replace' to repair it."
        ) from error
