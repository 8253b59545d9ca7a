"""The worlds of the quickstart: every seed writes its own texts and draws its own people."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA

from prefjax import basis
from prefjax.basis import Rows
from prefjax.data.attributes import World, WorldConfig, make_world, split_world
from prefjax.encoders import encode_responses, get_encoder
from prefjax.types import Array, Comparisons, PRNGKey, UserBatch


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        num_seeds: Worlds, each with its own texts, people, split and noise.
        world: Size and noise of a world.
        new_users: Part of the people who are new.
        encoder: What reads the texts, a name for `get_encoder`.
        num_factors: J of PReF.
        num_inputs: Principal components of the text embedding that the head of PReF sees.
        num_own_inputs: Those that the model of one person alone sees.
        own_ridges: Candidate ridges of ``per-user``; training users on new prompts choose.
        own_answers: Answers of a training user from which that choice is made.
        num_answers: Where the curves are read off.
        num_candidates: Responses to a new prompt of which a person is served the best.
    """

    num_seeds: int = 10
    world: WorldConfig = field(default_factory=WorldConfig)
    new_users: float = 0.2
    encoder: str = "hashed"
    num_factors: int = 6
    num_inputs: int = 64
    num_own_inputs: int = 32
    own_ridges: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    own_answers: int = 20
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)
    num_candidates: int = 16


class Draw(NamedTuple):
    """One seed, the same shapes in every seed.

    Attributes:
        key: Drives fits, questions and answers.
        practice: A few answers of the training people on seen prompts.
        validation: Their answers on new prompts.
        test: Answers of the new people on new prompts.
        seen: Responses of each seen prompt, the pool of questions.
        unseen: Responses of each new prompt; the first is served to everybody by default.
        prompt_index: Prompt of every response.
        embeddings: What the methods know of every response.
        attributes: What the judge measured in it.
        weights: True weights of the new people.
    """

    key: PRNGKey
    practice: UserBatch
    validation: UserBatch
    test: UserBatch
    seen: Int[Array, "prompt response"]
    unseen: Int[Array, "prompt response"]
    prompt_index: Int[Array, " response"]
    embeddings: Float[Array, "response input"]
    attributes: Float[Array, "response attribute"]
    weights: Float[Array, "user attribute"]


def embed(world: World, config: Config) -> Float[np.ndarray, "response input"]:
    """Principal components of the text embeddings; training prompts alone define them."""
    is_test = world.test_prompt[world.dataset.prompt_index]
    embedding = encode_responses(get_encoder(config.encoder), world.dataset)
    width = min(max(config.num_inputs, config.num_own_inputs), int(np.sum(~is_test)))
    axes = PCA(width, svd_solver="covariance_eigh").fit(embedding[~is_test])
    return axes.transform(embedding).astype(np.float32)


def draw(config: Config, seed: int) -> tuple[Comparisons, Draw]:
    """Writes a world, encodes it, and cuts people and prompts into the four cells; host only."""
    world = make_world(config.world, seed)
    split = split_world(world, new_users=config.new_users, seed=seed)
    length = config.world.test_length
    return split.train, Draw(
        key=jax.random.key(seed),
        practice=split.by_user("train", config.own_answers),
        validation=split.by_user("validation", length),
        test=split.by_user("test", length),
        seen=world.seen,
        unseen=world.unseen,
        prompt_index=world.dataset.prompt_index,
        embeddings=embed(world, config),
        attributes=world.attributes.astype(np.float32),
        weights=world.weights[split.new_users].astype(np.float32),
    )


def stack(*trees):
    """The same tree with a leading axis over those given."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def at(tree, index):
    """One entry, or a slice, of a stacked tree."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], tree)


def draw_all(config: Config) -> tuple[Rows, Rows, Draw]:
    """All seeds, stacked."""
    trains, draws = zip(*(draw(config, seed) for seed in range(config.num_seeds)), strict=True)
    shuffle = np.random.default_rng(config.num_seeds).permutation
    nulls = [train._replace(user=shuffle(train.user)) for train in trains]
    num_responses = len(draws[0].attributes)
    rows = basis.stack_rows([*trains, *nulls], num_responses)
    half = len(trains)
    true, null = at(rows, slice(None, half)), at(rows, slice(half, None))
    return true, null, stack(*draws)
