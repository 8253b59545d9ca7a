"""A text as one row of tokens: what the encoders share that read tokens within a window."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prefjax.encoders.contract import Lengths, Text


class Row(NamedTuple):
    """Tokens of one text.

    Attributes:
        before: Tokens before the response, shared by all responses to a prompt.
        after: Tokens from the response on; never empty unless the whole text is.
        cut: Tokens were left out to fit the window.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    cut: bool


class RowEncoder:
    """Base of the encoders that read a text as one row of tokens, which ``_rows`` makes."""

    def _rows(self, texts: Sequence[Text]) -> list[Row]:
        raise NotImplementedError

    def lengths(self, texts: Sequence[Text]) -> Lengths:
        """Tokens that would be read of each text, and which texts would be cut.

        Args:
            texts: Texts, or pairs of prompt and response.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate.
        """
        rows = self._rows(texts)
        return Lengths(
            np.array([len(row.before) + len(row.after) for row in rows], np.int64),
            np.array([row.cut for row in rows], bool),
        )
