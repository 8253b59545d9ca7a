"""From whatever a person is asked about to a padded pool of questions, and back to what is shown.

Questions can be about the responses to one prompt, about several prompts with responses of each, as
texts or as embeddings, or about a pool of features. A question that was answered is not asked
again: texts are known again by themselves, in whatever pool they stand, other pools as a whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Int

from prefjax.data.messages import is_messages, read_prompt, read_response
from prefjax.io import digest_arrays
from prefjax.person.answers import Question, Response, Shown
from prefjax.person.checks import check_pool
from prefjax.person.items import bucket
from prefjax.person.pools import PairPool, Pool, ResponsePool
from prefjax.person.reading import Reader, is_texts, joined
from prefjax.types import Array

Places: TypeAlias = tuple[int, int, int]
"""Prompt, first and second response of a question; a pair of a `PairPool` is (0, pair, −1)."""


class Candidates(NamedTuple):
    """Responses by prompt, as they were passed, or a pool of features.

    Attributes:
        prompts: Text of each prompt, None where none was given.
        counts: Number of responses of each prompt.
        responses: All of them, prompt after prompt: texts, or an array of embeddings.
        pool: The padded pool.
    """

    prompts: Sequence[str | None]
    counts: Int[np.ndarray, " prompt"]
    responses: Any
    pool: Pool

    @property
    def has_texts(self) -> bool:
        """Whether the responses are texts."""
        return is_texts(self.responses)

    def digest(self) -> str:
        """Name of a pool that is not of texts."""
        if self.responses is None:
            return digest_arrays(*(np.asarray(part) for part in self.pool if part is not None))
        return digest_arrays(self.counts, np.asarray(self.responses))

    def shown(self, places: Places) -> Shown | None:
        """What the question of some places shows."""
        if self.responses is None:
            return None
        prompt, *pair = places
        start = int(np.sum(self.counts[:prompt]))
        first, second = (self.responses[start + place] for place in pair)
        if not self.has_texts:
            first, second = (np.array(one, np.float32) for one in (first, second))
        return Shown(self.prompts[prompt], first, second)

    def places(self, shown: Shown) -> Iterable[Places]:
        """Where in this pool of texts two responses stand that were shown."""
        for prompt, text in enumerate(self.prompts):
            if (text or "") != (shown.prompt or ""):
                continue
            start = int(np.sum(self.counts[:prompt]))
            texts = self.responses[start : start + self.counts[prompt]]
            pair = (shown.first, shown.second)
            one, other = ([i for i, text in enumerate(texts) if text == part] for part in pair)
            yield from ((prompt, min(i, j), max(i, j)) for i in one for j in other)

    def question(self, index: int) -> Question:
        """The question of a number in the pool."""
        if isinstance(self.pool, PairPool):
            return Question(index, -1, 0, index)
        width = self.pool.mask.shape[1]
        rest, second = divmod(index, width)
        prompt, first = divmod(rest, width)
        shown = self.shown((prompt, first, second)) if self.has_texts else None
        return Question(first, second, prompt, index, shown)

    def index(self, places: Places) -> int:
        """The number of a question in the pool."""
        prompt, first, second = places
        if isinstance(self.pool, PairPool):
            return first
        width = self.pool.mask.shape[1]
        return (prompt * width + first) * width + second


def make_candidates(pool: Any, responses: Any, reader: Reader, num_factors: int) -> Candidates:
    """Reads whatever a person is to be asked about.

    Args:
        pool: As in `Person.ask`.
        responses: Responses to the prompt ``pool``; None where ``pool`` is all there is.
        reader: Gives φ and t.
        num_factors: J of the person.

    Raises:
        ValueError: It is no pool, or has no two responses to one prompt.
    """
    if responses is not None:
        return _padded([(pool, responses)], reader)
    if isinstance(pool, PairPool | ResponsePool):
        check_pool(pool, num_factors)
        return Candidates((), np.zeros(0, int), None, pool)
    if isinstance(pool, str):
        raise ValueError("ask() of a prompt also takes its candidates: ask(prompt, candidates)")
    if isinstance(pool, Mapping):
        return _padded(list(pool.items()), reader)
    if _is_pairs(pool):
        return _padded(list(pool), reader)
    if is_texts(as_responses(pool)):
        return _padded([(None, pool)], reader)
    table = np.asanyarray(pool)
    if table.ndim not in (2, 3):
        raise ValueError(
            f"a pool of embeddings has shape (response, input) or (prompt, response, input), got "
            f"{table.shape}"
        )
    table = table[None] if table.ndim == 2 else table
    counts = np.full(len(table), table.shape[1])
    return _pad((None,) * len(table), counts, table.reshape(-1, table.shape[-1]), reader)


def as_prompt(prompt: Any) -> str | None:
    """A prompt as one text, as `prefjax.data.read` makes it.

    Args:
        prompt: A text, a list of messages with role and content, or None.

    Raises:
        ValueError: It is something else.
    """
    if prompt is None or isinstance(prompt, str):
        return prompt
    if is_messages(prompt):
        return read_prompt(prompt, "prompt", "the question").text
    raise ValueError(f"a prompt is a text or a list of messages, got {type(prompt).__name__}")


def as_response(response: Any) -> Response:
    """One response as a text or an embedding.

    Args:
        response: A text, a list of one message, or an embedding.
    """
    if isinstance(response, str) or is_messages(response):
        return as_responses(response)[0]
    return np.asanyarray(response, np.float32)


def as_responses(responses: Any) -> Any:
    """Responses as texts or embeddings.

    Args:
        responses: One text or a sequence of them, any of which may be a list of one message; or
            embeddings, which are returned as they are.

    Raises:
        ValueError: A response has messages of others.
    """
    if isinstance(responses, str) or is_messages(responses):
        responses = [responses]
    is_list = isinstance(responses, Sequence) and not isinstance(responses, np.ndarray)
    if is_list and any(is_messages(one) for one in responses):
        responses = [
            read_response(one, "response", f"response {place}")
            for place, one in enumerate(responses)
        ]
    return [str(text) for text in responses] if is_texts(responses) else responses


def prompts_of(prompt: Any, responses: Any) -> tuple[list[str] | None, Any, str | None]:
    """Prompt of every text, the responses, and the prompt: of ``f(responses)`` or ``f(prompt, …)``.

    Args:
        prompt: A prompt, or the responses where ``responses`` is None.
        responses: Responses to it.
    """
    if responses is None:
        prompt, responses = None, prompt
    prompt, responses = as_prompt(prompt), as_responses(responses)
    if is_texts(responses):
        return [prompt or ""] * len(responses), responses, prompt
    return None, responses, prompt


def one_or_several(prompt: Any, response: Any) -> tuple[list[str] | None, Any, bool]:
    """Prompts and responses as of `prompts_of`, and whether it was one response, not a list.

    Args:
        prompt: A prompt, or the response where ``response`` is None.
        response: One text or embedding, or several.
    """
    prompts, responses, _ = prompts_of(prompt, response)
    one = prompt if response is None else response
    is_one = isinstance(one, str) or is_messages(one) or (prompts is None and np.ndim(one) == 1)
    if is_one and prompts is None:
        responses = np.asanyarray(responses)[None]
    return prompts, responses, is_one


def _is_pairs(pool: Any) -> bool:
    """Whether it lists prompts with their responses."""
    return (
        isinstance(pool, Sequence)
        and len(pool) > 0
        and all(
            isinstance(one, tuple)
            and len(one) == 2
            and (one[0] is None or isinstance(one[0], str) or is_messages(one[0]))
            and not isinstance(one[1], str)
            for one in pool
        )
    )


def _padded(groups: Sequence[tuple[Any, Any]], reader: Reader) -> Candidates:
    """A pool of prompts with their responses."""
    if not groups:
        raise ValueError("the pool has no prompt")
    for _, responses in groups:
        if isinstance(responses, str):
            raise ValueError("candidates are a sequence of texts, not one text")
    groups = [(as_prompt(prompt), as_responses(responses)) for prompt, responses in groups]
    kinds = {is_texts(responses) for _, responses in groups}
    if len(kinds) > 1:
        raise ValueError("some prompts of the pool have texts and others embeddings")
    prompts = tuple(prompt for prompt, _ in groups)
    counts = np.array([len(responses) for _, responses in groups])
    if kinds == {True}:
        flat: Any = [text for _, responses in groups for text in responses]
    else:
        flat = joined([responses for _, responses in groups], np.concatenate)
    return _pad(prompts, counts, flat, reader)


def _pad(
    prompts: Sequence[str | None], counts: Int[np.ndarray, " prompt"], flat: Any, reader: Reader
) -> Candidates:
    """Reads all responses at once and pads prompts and responses to a few sizes."""
    if not len(counts) or counts.max() < 2:
        raise ValueError("a question needs two responses to one prompt; no prompt has two")
    owner = np.repeat(np.arange(len(counts)), counts)
    items = reader(flat, [prompts[int(index)] or "" for index in owner] if is_texts(flat) else None)
    most = int(counts.max())
    if len(counts) == 1:
        shape = 1, bucket(most)
    else:  # pairs grow with the square of the responses, so that padding these finely pays
        shape = bucket(len(counts)), max(4, 1 << (most - 1).bit_length())
    if shape[0] * shape[1] ** 2 >= 1 << 31:
        raise ValueError(
            f"the pool has {len(counts)} prompts with up to {most} responses: more pairs than can "
            "be counted; ask from fewer"
        )
    mask = np.arange(shape[1])[None] < np.pad(counts, (0, shape[0] - len(counts)))[:, None]

    def placed(values: Array) -> np.ndarray:
        table = np.zeros((*shape, *np.shape(values)[1:]), np.float32)
        table[mask] = values
        return table

    features, utility, spread = jax.tree.map(placed, items)
    return Candidates(prompts, counts, flat, ResponsePool(features, utility, mask, spread))
