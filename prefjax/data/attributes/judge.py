"""A judge that measures the seven attributes in any English text.

It reads the text and nothing else. Per text the raw scores are

- length: log(number of words);
- formality: share of contractable places left whole, stiff minus casual words, word length;
- elicitation: questions that address the reader, plus invitations minus closed doors;
- enthusiasm: exclamation marks and delighted minus muted words;
- the others: words and phrases of one pole minus those of the other,

where a count c in a text of n words enters as ``log(1 + c / √max(1, n/100))``, so that neither one
word more nor a long text decides alone. Raw scores are standardized by constants
(``scale.toml``: mean and deviation over a large pool of simulated responses; another pool can bring
its own) and saturate: ``a = 2 tanh(z / 2)``, in (-2, 2).
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.data.attributes.material import ATTRIBUTES, read_toml

_WORD = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*")
_CONTRACTION = re.compile(r"\b\w+(?:n't|'(?:re|ll|ve|d|m))\b|\b(?:it|that|there|what|here|let)'s\b")
_WHOLE = re.compile(
    r"\b(?:(?:do|does|did|is|are|was|were|has|have|could|would|should|will) not|cannot"
    r"|(?:it|that|there) is|(?:you|they|we) are|(?:you|they|it|i|we) will|i am|let us)\b"
)
_QUESTION = re.compile(r"[^.!?\n:]*\?")
_ADDRESS = re.compile(r"\b(?:you|your|yours|we|i)\b")
_EXCLAMATION = re.compile(r"!+")


class _Lexicon(NamedTuple):
    words: dict[str, tuple[int, ...]]
    stems: tuple[tuple[str, int], ...]
    phrases: dict[str, tuple[tuple[tuple[str, ...], int], ...]]


@cache
def _lexicon() -> _Lexicon:
    """Entries by first word; slot ``2k`` is the plus and ``2k + 1`` the minus of attribute k."""
    words: dict[str, tuple[int, ...]] = {}
    stems: list[tuple[str, int]] = []
    phrases: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for name, poles in read_toml("lexicon.toml").items():
        for offset, pole in enumerate(("plus", "minus")):
            slot = 2 * ATTRIBUTES.index(name) + offset
            for entry in poles[pole]:
                parts = tuple(_WORD.findall(entry))
                if entry.endswith("*") and len(parts) == 1:
                    stems.append((parts[0], slot))
                elif len(parts) == 1:
                    words[parts[0]] = (*words.get(parts[0], ()), slot)
                else:
                    phrases.setdefault(parts[0], []).append((parts, slot))
    longest_first = {
        first: tuple(sorted(rows, key=lambda row: -len(row[0]))) for first, rows in phrases.items()
    }
    return _Lexicon(words, tuple(stems), longest_first)


@lru_cache(maxsize=262144)
def _slots(word: str) -> tuple[int, ...]:
    lexicon = _lexicon()
    return lexicon.words.get(word) or tuple(
        {slot: None for stem, slot in lexicon.stems if word.startswith(stem)}
    )


def _count(words: list[str]) -> list[int]:
    """How often each pole of each attribute is heard."""
    counts = [0] * (2 * len(ATTRIBUTES))
    phrases = _lexicon().phrases
    taken = [-1] * len(ATTRIBUTES)
    for place, word in enumerate(words):
        for parts, slot in phrases.get(word, ()):
            end = place + len(parts)
            if taken[slot // 2] < place and tuple(words[place:end]) == parts:
                counts[slot] += 1
                taken[slot // 2] = end - 1
        for slot in _slots(word):
            if taken[slot // 2] < place:
                counts[slot] += 1
    return counts


def _raw_scores(text: str) -> list[float]:
    text = text.replace("’", "'").lower()
    words = _WORD.findall(text)
    num_words = max(1, len(words))
    damp = max(1.0, num_words / 100) ** -0.5
    counts = [count * damp for count in _count(words)]
    whole, contracted = len(_WHOLE.findall(text)), len(_CONTRACTION.findall(text))
    questions = [match for match in _QUESTION.findall(text) if _ADDRESS.search(match)]
    counts[2 * ATTRIBUTES.index("elicitation")] += 1.5 * len(questions) * damp
    counts[2 * ATTRIBUTES.index("enthusiasm")] += len(_EXCLAMATION.findall(text)) * damp
    scores = np.log1p(counts[0::2]) - np.log1p(counts[1::2])
    scores[0] = np.log(num_words)
    scores[1] += (whole - 2.0 * contracted) / (whole + contracted + 2.0)
    scores[1] += 0.3 * (sum(map(len, words)) / num_words - 4.5)
    return scores.tolist()


def raw_scores(texts: Iterable[str]) -> Float[np.ndarray, "response attribute"]:
    """Raw scores of the attributes, in the order of ``ATTRIBUTES``.

    Args:
        texts: Any English texts.

    Returns:
        The scores before standardization (units as in the module docstring).
    """
    rows = [_raw_scores(text) for text in texts]
    return np.array(rows, float).reshape(len(rows), len(ATTRIBUTES))


class Scale(NamedTuple):
    """Constants that standardize raw scores.

    Attributes:
        mean: Mean raw score of a pool of texts.
        deviation: Standard deviation over the pool.
    """

    mean: Float[np.ndarray, " attribute"]
    deviation: Float[np.ndarray, " attribute"]


def fit_scale(raw: Float[np.ndarray, "response attribute"]) -> Scale:
    """Constants of a pool of texts.

    Args:
        raw: Raw scores of the pool.

    Returns:
        Mean and deviation by attribute; a deviation of 0 becomes 1.
    """
    deviation = raw.std(axis=0)
    return Scale(raw.mean(axis=0), np.where(deviation > 0, deviation, 1.0))


@cache
def default_scale() -> Scale:
    """The constants stored in ``scale.toml``, of simulated responses."""
    scale = read_toml("scale.toml")
    return Scale(np.array(scale["mean"]), np.array(scale["deviation"]))


def saturate(
    raw: Float[np.ndarray, "response attribute"], scale: Scale
) -> Float[np.ndarray, "response attribute"]:
    """Standardize raw scores and bound them, ``2 tanh(z / 2)``.

    Args:
        raw: Raw scores.
        scale: What to standardize by.

    Returns:
        Attributes in (-2, 2).
    """
    return 2.0 * np.tanh((raw - scale.mean[None]) / (2.0 * scale.deviation[None]))


def measure(texts: Iterable[str]) -> Float[np.ndarray, "response attribute"]:
    """The attributes of texts as the judge perceives them, on the default scale.

    Args:
        texts: Any English texts.

    Returns:
        Attributes in (-2, 2); 0 is the mean of the simulated pool and about ±0.9 one deviation.
    """
    return saturate(raw_scores(texts), default_scale())
