"""Every set of people that can be compared on, ready for the families: a name, an encoder, a seed.

``attributes`` is simulated: new people are tested on prompts, and phrasings, that nobody saw. In
the real sets the tests are items that training people met, never those of the person's answers.
`prefjax.lab.compare.represent` says what the families see of a response in either case.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType

import numpy as np

from prefjax.data import DATASETS, Dataset
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.data.protocol import PROTOCOLS, Protocol, load_protocol
from prefjax.data.sets import prism, tldr
from prefjax.data.split import four_cells, group_responses
from prefjax.encoders import encode_cached, get_encoder
from prefjax.lab.compare.draws import HELD, Draw, Part, Source, new_prompts, shared_items
from prefjax.lab.compare.represent import item_block, text_block
from prefjax.types import BASELINE, Array, Comparisons

TEXT_INPUTS = 64
"""Principal components of texts where text is all there is."""
ITEM_INPUTS = 16
"""Singular vectors, and principal components of texts, where people share items."""
CONTEXT_INPUTS = 16


@lru_cache(maxsize=2)
def encoder_of(name: str):
    """The encoder of a name, loaded once."""
    return get_encoder(name)


def encode(texts: Sequence[str], encoder: str) -> np.ndarray:
    """Embeddings of texts; all but the hashed ones are kept on disk."""
    if encoder == "hashed":
        return encoder_of(encoder).encode(texts)
    return encode_cached(encoder_of(encoder), texts)


def log_words(texts: Sequence[str]) -> np.ndarray:
    """log(1 + number of words) of every text."""
    return np.log1p([[len(text.split())] for text in texts]).astype(np.float32)


def contexts(dataset: Dataset, encoder: str) -> np.ndarray:
    """Embedding of every response's prompt, no column where there is one prompt or none."""
    if dataset.num_prompts < 2:
        return np.zeros((dataset.num_responses, 0), np.float32)
    embedding = encode(dataset.prompts, encoder)
    block = text_block(embedding, np.arange(len(embedding)), CONTEXT_INPUTS)
    return block[dataset.prompt_of]


def unseen_prompts(
    dataset: Dataset, is_new: Array, is_test: Array, group: Array, encoder: str, seed: int
) -> Source:
    """A set whose new people are tested on new prompts; text is all that is known of a response.

    Args:
        dataset: The set.
        is_new: Of every person, whether new.
        is_test: Of every response, whether its prompt is new.
        group: Of every response, what must not be cut: its prompt or its conversation.
        encoder: Name of an encoder.
        seed: Of the inner draw, in which a fifth of the people and of the groups is held out.
    """
    rng = np.random.default_rng(seed)
    embedding, context = encode(dataset.responses, encoder), contexts(dataset, encoder)
    outer = new_prompts(dataset.comparisons, is_new, is_test)
    groups = rng.permutation(np.unique(group[~is_test]))
    held = np.isin(group, groups[: max(round(HELD * len(groups)), 1)])
    chosen = rng.permutation(outer.num_users)[: max(round(HELD * outer.num_users), 1)]
    inner = new_prompts(outer.train, np.isin(np.arange(outer.num_users), chosen), held)

    def embed(part: Part) -> Draw:
        table = text_block(embedding, _shown(part.train), TEXT_INPUTS)
        return Draw(*part, embeddings=table, context=context, unit=np.asarray(group, np.int32))

    return Source(embed(outer), embed(inner), log_words(dataset.responses), votes=False)


def attributes(encoder: str, seed: int, world: WorldConfig | None = None) -> Source:
    """The simulated world; a fifth of the people and its test prompts are new.

    Args:
        encoder: Name of an encoder.
        seed: Of texts, people, noise and split.
        world: Size and noise; the defaults if None.
    """
    made = make_world(WorldConfig() if world is None else world, seed)
    num_users, prompt_of = len(made.weights), made.dataset.prompt_of
    order = np.random.default_rng(seed).permutation(num_users)
    is_new = np.isin(np.arange(num_users), order[: round(HELD * num_users)])
    is_test = made.test_prompt[prompt_of]
    return unseen_prompts(made.dataset, is_new, is_test, prompt_of, encoder, seed)


def from_hub(load: Callable[[], Dataset], encoder: str, seed: int) -> Source:
    """A set of the hub, below ``PREFJAX_DATA``: a fifth of the people and of the prompts is new.

    Args:
        load: Loader of `prefjax.data.sets.prism` or `prefjax.data.sets.tldr`.
        encoder: Name of an encoder.
        seed: Of the split.

    Raises:
        FileNotFoundError: The files are not there; the message says where to put them.
    """
    dataset = load()
    talk = dataset.meta.get("conversation")
    group = group_responses(dataset, "prompt") if talk is None else np.asarray(talk)
    split = four_cells(dataset, groups=group, seed=seed)
    is_new = np.isin(np.arange(dataset.num_users), split.new_users)
    return unseen_prompts(dataset, is_new, split.is_new_response, group, encoder, seed)


def real(name: str, encoder: str, seed: int) -> Source:
    """A real set below ``PREFJAX_DATA``, by its protocol.

    Args:
        name: Of the set.
        encoder: Name of an encoder.
        seed: Of people, items and pairs.

    Raises:
        FileNotFoundError: The files are not there; the message says where to put them.
    """
    dataset, outer = load_protocol(name, seed=seed)
    unit = PROTOCOLS[name].unit if name in PROTOCOLS else "response"
    inner = shared_items(dataset, outer.train, outer.train_users, unit, seed)
    embedding, context = encode(dataset.responses, encoder), contexts(dataset, encoder)
    votes = bool((outer.train.second == BASELINE).all())
    units = outer.unit.astype(np.int32)

    def table(rows: Comparisons, num_users: int) -> np.ndarray:
        blocks = [
            text_block(embedding, _shown(rows), ITEM_INPUTS),
            item_block(rows, num_users, units, ITEM_INPUTS),
        ]
        return np.concatenate(blocks, axis=1)

    def embed(protocol: Protocol) -> Draw:
        num_users = len(protocol.train_users)
        return Draw(
            train=protocol.train,
            num_users=num_users,
            answers=protocol.answers,
            tests=protocol.tests,
            users=protocol.new_users,
            embeddings=table(protocol.train, num_users),
            context=context,
            unit=protocol.unit.astype(np.int32),
        )

    again = partial(table, num_users=len(outer.train_users))
    return Source(embed(outer), embed(inner), log_words(dataset.responses), votes, again)


SOURCES: Mapping[str, Callable[[str, int], Source]] = MappingProxyType(
    {
        "attributes": attributes,
        **{name: partial(real, name) for name in DATASETS},
        prism.NAME: partial(from_hub, prism.load),
        tldr.NAME: partial(from_hub, tldr.load),
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


def _shown(rows) -> Array:
    """Responses that training rows show."""
    second = rows.second[rows.second != BASELINE]
    return np.unique(np.concatenate([rows.first, second]))
