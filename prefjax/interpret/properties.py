"""What is known of a text without any model of people: numbers a reader could check.

    style      how it is written: lengths, punctuation, classes of words (`prefjax.encoders.style`)
    content    whether it mentions a word, for the words that many texts share
    own        columns of the user, such as attributes that somebody measured

An axis is correlated with them, and where no judge is at hand the best of them is its label.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse, stats
from sklearn.feature_extraction.text import CountVectorizer

from prefjax.encoders import STYLE_NAMES, style
from prefjax.interpret.axes import Axes, center_by_group
from prefjax.types import Array


class Properties(NamedTuple):
    """Known properties of all responses.

    Attributes:
        names: What each column is, such as "question marks".
        values: One row a response.
        poles: What more and less of each is called, such as ("verbose", "concise"); by default
            "more question marks" and "less question marks".
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "response property"]
    poles: tuple[tuple[str, str], ...] | None = None

    def poles_of(self, index: int) -> tuple[str, str]:
        """What more and less of a property is called.

        Args:
            index: Which property.
        """
        name = self.names[index]
        return self.poles[index] if self.poles else (f"more {name}", f"less {name}")

    def label(self, index: int, sign: float) -> str:
        """The label "X vs. Y" of an axis that rises with a property, or falls with it.

        Args:
            index: Which property.
            sign: Positive if the axis rises with it.
        """
        more, less = self.poles_of(index)
        return f"{more} vs. {less}" if sign > 0 else f"{less} vs. {more}"


def own_properties(
    values: Float[Array, "response property"],
    names: Sequence[str],
    poles: Sequence[tuple[str, str]] | None = None,
) -> Properties:
    """Columns that the user brings.

    Args:
        values: One row a response.
        names: Name of each column.
        poles: What more and less of each is called.

    Raises:
        ValueError: A number is not finite, or there is not one name a column.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"{len(names)} names for properties of shape {values.shape}")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise ValueError(f"property {names[bad[0][1]]!r} of response {bad[0][0]} is not finite")
    return Properties(tuple(names), values, None if poles is None else tuple(poles))


def style_properties(texts: Sequence[str]) -> Properties:
    """How texts are written; columns that are the same for all texts are left out.

    Args:
        texts: One a response.
    """
    values = np.stack([style(text) for text in texts]).astype(np.float64)
    varies = np.ptp(values, axis=0) > 0
    names = tuple(name for name, kept in zip(STYLE_NAMES, varies, strict=True) if kept)
    return Properties(names, values[:, varies])


def content_properties(
    texts: Sequence[str], *, max_words: int = 150, min_share: float = 0.02, max_share: float = 0.5
) -> Properties:
    """Whether each text mentions a word, for words that neither few nor most texts have.

    Args:
        texts: One a response.
        max_words: Most words, the commonest.
        min_share: Share of the texts that must have a word.
        max_share: Share of the texts that may have it.
    """
    reader = CountVectorizer(
        binary=True, stop_words="english", token_pattern=r"(?u)\b[^\W\d_]{3,}\b"
    )
    try:
        counts = reader.fit_transform(texts)
    except ValueError:  # no word is left
        return Properties((), np.zeros((len(texts), 0)))
    counts = np.asarray(sparse.csr_array(counts).todense(), np.float64)
    share = counts.mean(axis=0)
    usable = np.flatnonzero((share >= max(min_share, 3 / len(texts))) & (share <= max_share))
    chosen = np.sort(usable[np.argsort(-share[usable], kind="stable")][:max_words])
    words = reader.get_feature_names_out()[chosen]
    poles = tuple((f"mentions “{word}”", f"does not mention “{word}”") for word in words)
    return Properties(tuple(f"mentions “{word}”" for word in words), counts[:, chosen], poles)


def join_properties(*parts: Properties) -> Properties:
    """Several tables side by side.

    Args:
        parts: Of the same responses.
    """
    return Properties(
        names=tuple(name for part in parts for name in part.names),
        values=np.concatenate([part.values for part in parts], axis=1),
        poles=tuple(part.poles_of(index) for part in parts for index in range(len(part.names))),
    )


def correlations(axes: Axes, properties: Properties) -> Float[np.ndarray, "property axis"]:
    """Spearman correlation of each property with each axis, both centered by prompt.

    Args:
        axes: From `make_axes`.
        properties: Of the same responses.
    """
    ranks = [
        stats.rankdata(table, axis=0)
        for table in (center_by_group(properties.values, axes.group), axes.features)
    ]
    first, second = (rank - rank.mean(axis=0) for rank in ranks)
    scale = np.linalg.norm(first, axis=0)[:, None] * np.linalg.norm(second, axis=0)[None]
    return (first.T @ second) / np.maximum(scale, np.finfo(float).tiny)
