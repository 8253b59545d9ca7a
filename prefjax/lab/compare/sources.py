"""Every set of people that can be compared on, ready for the families: a name, an encoder, a seed.

``attributes`` is simulated, and so is ``attributes-small``, which has fewer texts: new people are
tested on prompts, and phrasings, that nobody saw. In the real sets the tests are items that
training people met, never those of the person's answers.
`prefjax.lab.compare.represent` says what the families see of a response in either case.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from prefjax.data import SETS, Dataset, NamedSet, SharedItemsConfig, Split
from prefjax.data.answer_repeats import noise_ceiling
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.encoders import (
    SumEncoder,
    TokenEncoder,
    encode_cached,
    encode_responses,
    fit_encoder,
    get_encoder,
)
from prefjax.io import digest_json
from prefjax.lab.compare.draws import (
    HELD_OUT,
    MOST_ANSWERS,
    Draw,
    Source,
    cut_prompts,
    hold_out_people,
    simulated_people,
    true_accuracy,
)
from prefjax.lab.compare.represent import item_block, text_block
from prefjax.types import BASELINE, Array, Comparisons

TEXT_INPUTS = 64
"""Principal components of texts where text is all there is."""
ITEM_INPUTS = 16
"""Singular vectors, and principal components of texts, where people share items."""
CONTEXT_INPUTS = 16
SMALL_WORLD = WorldConfig(num_prompts=36, responses_per_prompt=10, pairs_per_prompt=40)
"""360 texts, for encoders that read a few hundred tokens a second."""
View: TypeAlias = Literal["items", "text", "free"]


@lru_cache(maxsize=2)
def encoder_of(name: str):
    """The encoder of a name, loaded once."""
    return get_encoder(name)


def encode(texts: Sequence[str], encoder: str) -> np.ndarray:
    """Embeddings of texts by themselves; those of encoders that read tokens are kept on disk."""
    made = encoder_of(encoder)
    parts = made.parts if isinstance(made, SumEncoder) else (made,)
    blocks = [
        encode_cached(part, texts) if isinstance(part, TokenEncoder) else part.encode(texts)
        for part in parts
    ]
    return made.join(blocks) if isinstance(made, SumEncoder) else blocks[0]


def text_inputs(
    dataset: Dataset, encoder: str, num_inputs: int, fit_to: Sequence[str] | None = None
) -> Callable[[Array], np.ndarray]:
    """What families see of the texts of a set, by the responses that define the components.

    Args:
        dataset: The set.
        encoder: Specification of an encoder.
        num_inputs: Principal components of each block of the embedding.
        fit_to: Texts to which a hashed encoder is fitted; it has seen none by default.
    """
    made = encoder_of(encoder)
    if fit_to is not None:
        made = fit_encoder(made, list(fit_to))
    embedding = encode_responses(made, dataset)
    blocks = made.widths if isinstance(made, SumEncoder) else ()
    return partial(text_block, embedding, width=num_inputs, blocks=blocks)


def described(dataset: Dataset, encoder: str, view: str) -> str:
    """Digest of texts, encoder and view, which decide the embeddings of given rows."""
    fingerprint = "" if view == "free" else encoder_of(encoder).fingerprint
    prompt_index = dataset.prompt_index.tolist()
    return digest_json([dataset.responses, dataset.prompts, prompt_index, fingerprint, view])


def log_words(texts: Sequence[str]) -> np.ndarray:
    """log(1 + number of words) of every text."""
    return np.log1p([[len(text.split())] for text in texts]).astype(np.float32)


def contexts(dataset: Dataset, encoder: str) -> np.ndarray:
    """Embedding of every response's prompt, no column where there is one prompt or none."""
    if dataset.num_prompts < 2:
        return np.zeros((dataset.num_responses, 0), np.float32)
    embedding, made = encode(dataset.prompts, encoder), encoder_of(encoder)
    blocks = made.widths if isinstance(made, SumEncoder) else ()
    block = text_block(embedding, np.arange(len(embedding)), CONTEXT_INPUTS, blocks=blocks)
    return block[dataset.prompt_index]


def unseen_prompts(
    dataset: Dataset,
    new_users: np.ndarray,
    is_test: np.ndarray,
    group: np.ndarray,
    encoder: str,
    seed: int,
    *,
    num_inputs: int = TEXT_INPUTS,
    max_answers: int = MOST_ANSWERS,
) -> Source:
    """A set whose new people are tested on new prompts; text is all that is known of a response.

    Args:
        dataset: The set.
        new_users: Indices of the people who are new.
        is_test: Whether the prompt of each response is new.
        group: Group of each response, which is not cut: its prompt or its conversation.
        encoder: Specification of an encoder.
        seed: Seed of the inner draw, in which a fifth of the people and of the groups is held out.
        num_inputs: Principal components of the texts.
        max_answers: Answers that are kept of a new person.
    """
    rng = np.random.default_rng(seed)
    inputs = text_inputs(dataset, encoder, num_inputs)
    context = contexts(dataset, encoder)

    outer = cut_prompts(
        dataset.comparisons, dataset.num_users, new_users, is_test, group, max_answers
    )
    groups = rng.permutation(np.unique(group[~is_test]))
    held_out = np.isin(group, groups[: max(round(HELD_OUT * len(groups)), 1)])
    num_known = len(outer.known_users)
    chosen = rng.permutation(num_known)[: max(round(HELD_OUT * num_known), 1)]
    inner = cut_prompts(outer.train, num_known, chosen, held_out, group, max_answers)

    def embed(split: Split) -> Draw:
        return Draw(split, embeddings=inputs(shown(split.train)), context=context)

    return Source(
        embed(outer),
        embed(inner),
        log_words(dataset.responses),
        votes=False,
        described=described(dataset, encoder, f"{num_inputs} inputs"),
    )


def attributes(
    encoder: str,
    seed: int,
    world: WorldConfig | None = None,
    *,
    new_users: float = HELD_OUT,
    num_inputs: int = TEXT_INPUTS,
    max_answers: int = MOST_ANSWERS,
) -> Source:
    """The simulated world; a part of the people and its test prompts are new.

    Args:
        encoder: Specification of an encoder.
        seed: Seed of texts, people, noise and split.
        world: Size and noise; the defaults if None.
        new_users: Part of the people who are new.
        num_inputs: Principal components of the texts.
        max_answers: Recorded answers that are kept of a new person.
    """
    made = make_world(WorldConfig() if world is None else world, seed)
    num_users, prompt_index = len(made.weights), made.dataset.prompt_index
    order = np.random.default_rng(seed).permutation(num_users)
    is_test = made.test_prompt[prompt_index]
    is_new = np.sort(order[: round(new_users * num_users)])
    sizes = {"num_inputs": num_inputs, "max_answers": max_answers}
    source = unseen_prompts(made.dataset, is_new, is_test, prompt_index, encoder, seed, **sizes)
    people = simulated_people(made, is_new)
    ceiling = true_accuracy(people, source.draw.tests)
    return source._replace(people=people, ceiling=ceiling)


@lru_cache(maxsize=2)
def _divided(record: NamedSet, seed: int, folder: Path | None) -> tuple[Dataset, Split]:
    """The set and its split, read once for all views of it."""
    return record.split(seed=seed, folder=folder)


def real(
    record: NamedSet,
    encoder: str,
    seed: int,
    folder: Path | None = None,
    *,
    view: View = "items",
    num_inputs: int = ITEM_INPUTS,
) -> Source:
    """A real set below ``PREFJAX_DATA``, divided by its protocol.

    Args:
        record: The set.
        encoder: Specification of an encoder.
        seed: Seed of people, items and pairs.
        folder: Where the set lies, if not below ``PREFJAX_DATA``.
        view: What the families see of an item that people share: ``items``, its text and what the
            training people made of it; ``text``, its text alone, to which the hashed encoder is
            fitted; ``free``, which item it is.
        num_inputs: Principal components of the texts.

    Raises:
        FileNotFoundError: The files are not there; the message says where to put them.
    """
    dataset, outer = _divided(record, seed, folder)
    ceiling = noise_ceiling(dataset.comparisons)
    if outer.is_new_response.any():
        source = unseen_prompts(
            dataset, outer.new_users, outer.is_new_response, outer.group, encoder, seed
        )
        return source._replace(ceiling=ceiling)
    # Ratings are of responses; a published split has new responses and does not come here.
    protocol = record.protocol
    kind = protocol.group if isinstance(protocol, SharedItemsConfig) else "response"
    inner = hold_out_people(dataset, outer.train, outer.known_users, kind, seed)
    is_free = view == "free"
    fit_to = dataset.responses if view == "text" else None
    inputs = None if is_free else text_inputs(dataset, encoder, num_inputs, fit_to)
    context = np.zeros((dataset.num_responses, 0)) if is_free else contexts(dataset, encoder)

    def table(rows: Comparisons, num_users: int) -> np.ndarray | None:
        if inputs is None:
            return None
        text = inputs(shown(rows))
        if view == "text":
            return text
        return np.concatenate([text, item_block(rows, num_users, outer.group, ITEM_INPUTS)], axis=1)

    def embed(split: Split) -> Draw:
        return Draw(split, embeddings=table(split.train, len(split.known_users)), context=context)

    return Source(
        embed(outer),
        embed(inner),
        log_words(dataset.responses),
        votes=bool((outer.train.second == BASELINE).all()),
        embed=partial(table, num_users=len(outer.known_users)),
        ceiling=ceiling,
        described=described(dataset, encoder, view if is_free else f"{view}, {num_inputs} inputs"),
    )


SOURCES: Mapping[str, Callable[[str, int], Source]] = MappingProxyType(
    {
        "attributes": attributes,
        "attributes-small": partial(attributes, world=SMALL_WORLD),
        **{name: partial(real, record) for name, record in SETS.items()},
    }
)
"""The sets by name."""


def make_source(name: str, encoder: str, seed: int) -> Source:
    """One set, encoder and seed.

    Raises:
        ValueError: There is no such set; the message lists the names.
    """
    if name not in SOURCES:
        raise ValueError(f"there is no data set {name!r}; there are {', '.join(SOURCES)}")
    return SOURCES[name](encoder, seed)


def shown(rows: Comparisons) -> Array:
    """Responses that some row shows, in ascending order."""
    second = rows.second[rows.second != BASELINE]
    return np.unique(np.concatenate([rows.first, second]))
