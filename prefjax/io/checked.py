"""What comes from outside, refused by name: texts, JSON objects, safetensors.

One error for each, that says which file or text it is and what is wrong with it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open


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


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file, in UTF-8.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is not JSON, or holds something else than an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}, not an object.")
    return values


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """A file of safetensors, for as long as the block lasts; nothing is unpickled.

    Args:
        path: The file.

    Yields:
        ``safetensors.safe_open`` of it, for NumPy.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is damaged, or cut short.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged or cut short ({error}); its size is {path.stat().st_size} bytes. "
            "Copy or download it again."
        ) from error


_EXPONENTS = {"bfloat16": 0x7F80, "float16": 0x7C00}


def check_finite(array: np.ndarray, name: str) -> None:
    """Refuses numbers that are not finite.

    Args:
        array: float32, float16 or bfloat16.
        name: What the error calls it.

    Raises:
        ValueError: Some are NaN or infinite; the message counts them.
    """
    mask = _EXPONENTS.get(array.dtype.name)  # NumPy tests these types number by number
    bad = ~np.isfinite(array) if mask is None else (array.view(np.uint16) & mask) == mask
    if bad.any():
        place = np.unravel_index(int(np.argmax(bad)), array.shape)
        raise ValueError(
            f"{name} has {np.count_nonzero(bad)} of {array.size} numbers that are not finite, the "
            f"first at {[int(index) for index in place]}. Copy or download it again."
        )
