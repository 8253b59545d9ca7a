"""A data set: who preferred which of two texts, and the texts.

The comparisons name users, responses and prompts by index; the texts and the external names of
users are looked up by that index. A response belongs to one prompt, ``prompt_index[response]``;
data without prompts (jokes, statements) has the single prompt ``""``. A vote or a rating of one
response alone has ``second = BASELINE`` and needs no text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from prefjax.data.validate import (
    find_bad_text,
    same_response_rows,
    validate_comparisons,
    validate_ids,
)
from prefjax.types import Comparisons


@dataclass(frozen=True, eq=False)
class Dataset:
    """Comparisons and the texts behind their ids; checked when it is built.

    Attributes:
        name: Short name of the data set, as in results.
        comparisons: Rows in NumPy, int32 ids and float32 numbers.
        responses: Text of each response.
        prompt_index: Prompt index of each response, int32.
        prompts: Text of each prompt; ``("",)`` where there is none.
        users: External name of each user, all different.
        meta: License, source, what label 1 means (``label``), ``simulated``, counts of what a
            loader left out, and whatever else the source says; JSON types. ``split``, if there,
            names the part of a published split for each row, ``observation`` the choice among
            several of which the row is a part.

    Raises:
        ValueError: If a row is not legal (:func:`prefjax.data.validate.validate_comparisons`) or
            compares a response with itself, a response has no legal prompt, a text or name is no
            text or holds half a character or NUL, or two users share a name.
    """

    name: str
    comparisons: Comparisons
    responses: tuple[str, ...]
    prompt_index: Int[np.ndarray, " response"]
    prompts: tuple[str, ...]
    users: tuple[str, ...]
    meta: Mapping[str, Any]

    def __post_init__(self):
        if len(self.prompt_index) != len(self.responses):
            raise ValueError(
                f"Data set {self.name!r} has {len(self.responses)} responses but "
                f"{len(self.prompt_index)} entries in prompt_index."
            )
        for field, texts in (
            ("responses", self.responses),
            ("prompts", self.prompts),
            ("users", self.users),
        ):
            bad = find_bad_text(texts)
            if bad is not None:
                raise ValueError(f"{field}[{bad[0]}] of data set {self.name!r} {bad[1]}.")
        if len(self._user_ids) != len(self.users):
            twice = next(user for row, user in enumerate(self.users) if self._user_ids[user] != row)
            raise ValueError(f"Data set {self.name!r} has two users named {twice!r}.")
        prompt_index = validate_ids(self.prompt_index, len(self.prompts), name="prompt_index")
        comparisons = validate_comparisons(self.comparisons, self.num_users, self.num_responses)
        same = same_response_rows(comparisons)
        if len(same):
            raise ValueError(
                f"{len(same)} rows of data set {self.name!r} compare a response with itself, first "
                f"rows {same[:5].tolist()}; leave them out."
            )
        object.__setattr__(self, "prompt_index", prompt_index)
        object.__setattr__(self, "comparisons", comparisons)

    @property
    def num_users(self) -> int:
        """Number of users, with or without rows."""
        return len(self.users)

    @property
    def num_responses(self) -> int:
        """Number of responses, compared or not."""
        return len(self.responses)

    @property
    def num_prompts(self) -> int:
        """Number of prompts; 1 where there is only the empty one."""
        return len(self.prompts)

    @cached_property
    def group(self) -> Int[np.ndarray, " response"]:
        """Group of each response that no split may tear apart: its conversation, or its prompt."""
        talks = self.meta.get("conversation")
        if talks is None:
            return self.prompt_index
        return np.unique(np.asarray(talks), return_inverse=True)[1].astype(np.int32)

    @cached_property
    def _user_ids(self) -> dict[str, int]:
        return {user: index for index, user in enumerate(self.users)}

    @cached_property
    def _response_ids(self) -> dict[tuple[str, str], int]:
        prompts = (self.prompts[prompt] for prompt in self.prompt_index.tolist())
        keys = zip(prompts, self.responses, strict=True)
        return {key: index for index, key in enumerate(keys)}

    def user_id(self, name: str) -> int:
        """Index of the user with this external name.

        Args:
            name: External name, as in ``users``.

        Returns:
            The index that comparisons use.

        Raises:
            KeyError: If no user has this name.
        """
        if name not in self._user_ids:
            raise KeyError(f"Data set {self.name!r} has no user {name!r}.")
        return self._user_ids[name]

    def response_id(self, text: str, prompt: str = "") -> int:
        """Index of the response with this text under this prompt.

        Args:
            text: The text of the response, exactly.
            prompt: The text of its prompt, exactly.

        Returns:
            The index that comparisons use; the last one if the text is there twice.

        Raises:
            KeyError: If the prompt has no such response.
        """
        if (prompt, text) not in self._response_ids:
            raise KeyError(
                f"Data set {self.name!r} has no response {text[:60]!r} to prompt {prompt[:60]!r}."
            )
        return self._response_ids[prompt, text]

    def select(self, rows: Shaped[np.ndarray, " row"]) -> "Dataset":
        """The same users and texts with only some of the comparisons.

        Args:
            rows: Indices of rows, in the order wanted, or a mask over all rows.

        Returns:
            A data set in which every id means what it meant.

        Raises:
            ValueError: If no row is selected.
        """
        meta = self.meta
        for name in ("split", "observation"):
            if name in meta:
                meta = {**meta, name: np.asarray(meta[name])[rows].tolist()}
        return replace(
            self,
            comparisons=Comparisons(*(column[rows] for column in self.comparisons)),
            meta=meta,
        )
