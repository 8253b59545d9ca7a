"""The register of a sentence: contractions and choice of words.

Material is written in a neutral register without contractions. A formal sentence swaps words for
stiffer ones, an informal one contracts and swaps words for everyday ones
(``phrases/register.toml``).
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

from prefjax.data.attributes.material import read_toml

NUM_VARIANTS = 4
"""How many variants :func:`rephrase` can give of one sentence in one register."""


class _Swaps:
    """Word swaps of one kind compiled to a single expression."""

    def __init__(self, table: Mapping[str, Sequence[str]]):
        self._choices = list(table.values())
        alternatives = "|".join(f"({key})" for key in table)
        self._pattern = re.compile(rf"\b(?:{alternatives})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str, variant: int) -> str:
        def swap(match: re.Match[str]) -> str:
            choices = self._choices[(match.lastindex or 1) - 1]
            word = choices[variant % len(choices)]
            return word[0].upper() + word[1:] if match[0][0].isupper() else word

        return self._pattern.sub(swap, text)


@cache
def _swaps(kind: str) -> _Swaps:
    return _Swaps(read_toml("phrases", "register.toml")[kind])


@cache
def _proper() -> frozenset[str]:
    return frozenset(read_toml("phrases", "register.toml")["proper"])


@lru_cache(maxsize=65536)
def rephrase(text: str, register: str, variant: int) -> str:
    """Put a neutral text into another register.

    Args:
        text: Text without contractions.
        register: ``"formal"``, ``"plain"`` (as it is), ``"contracted"`` or ``"informal"``.
        variant: Which alternative of each swapped word, in ``[0, NUM_VARIANTS)``.

    Returns:
        The text in that register.
    """
    if register == "formal":
        return _swaps("formal")(text, variant)
    if register == "informal":
        text = _swaps("informal")(text, variant)
    return text if register == "plain" else _swaps("contract")(text, variant)


def lower_first(text: str) -> str:
    """Lower the first letter so that the text can follow a comma; names keep their capital.

    Args:
        text: A sentence.

    Returns:
        The sentence with a small first letter unless it opens with a name, ``I`` or an acronym.
    """
    word = re.split(r"[^\w]", text, maxsplit=1)[0]
    keeps = word in _proper() or word == "I" or (len(word) > 1 and not word[1:].islower())
    return text if keeps or not word else text[0].lower() + text[1:]
