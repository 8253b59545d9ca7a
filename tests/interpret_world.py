"""A world whose axes are known: people who weigh one of three properties of the responses."""

from typing import NamedTuple

import numpy as np

from prefjax.basis.heads import linear_params
from prefjax.data import Dataset, Split, split_new_prompts
from prefjax.interpret import Axes, Properties, make_axes, own_properties
from prefjax.types import Comparisons, Gaussian, RewardBasis

NUM_FACTORS, NUM_PROMPTS, SIZE, NUM_USERS = 3, 48, 6, 96
NUM_KNOWN = 60
POLES = (("long", "short"), ("warm", "cold"), ("funny", "dry"))


class PlantedAxes(NamedTuple):
    axes: Axes
    basis: RewardBasis
    people: Gaussian
    embeddings: np.ndarray
    dataset: Dataset
    split: Split
    properties: Properties


def make_world(seed=0, *, shuffled=False):
    """Three properties, mixed in the basis, behind four columns that nobody cares for."""
    rng = np.random.default_rng(seed)
    num_responses = NUM_PROMPTS * SIZE
    values = rng.normal(size=(num_responses, NUM_FACTORS)) * np.array([1.2, 1.0, 0.8])[None]
    noise = rng.normal(size=(num_responses, 4))
    embeddings = np.concatenate([values, noise], axis=1).astype(np.float32)
    weights = np.eye(NUM_FACTORS)[np.arange(NUM_USERS) % NUM_FACTORS]
    weights *= rng.choice((-2.0, 2.0), size=(NUM_USERS, 1))
    prompt = np.repeat(np.arange(NUM_PROMPTS), SIZE).astype(np.int32)
    user = np.repeat(np.arange(NUM_USERS), 60).astype(np.int32)
    place = rng.integers(NUM_PROMPTS, size=len(user))
    one = rng.integers(SIZE, size=len(user))
    other = (one + rng.integers(1, SIZE, size=len(user))) % SIZE
    first, second = place * SIZE + one, place * SIZE + other
    logit = np.einsum("rk,rk->r", values[first] - values[second], weights[user])
    label = (rng.random(len(user)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    if shuffled:
        user = rng.permutation(user)
    rows = Comparisons(
        user,
        first.astype(np.int32),
        second.astype(np.int32),
        label,
        np.ones(len(user), np.float32),
    )
    dataset = Dataset(
        name="planted",
        comparisons=rows,
        responses=tuple(f"response {i} of $prompt <{i // SIZE}> 😀" for i in range(num_responses)),
        prompt_index=prompt,
        prompts=tuple(f"prompt {i}" for i in range(NUM_PROMPTS)),
        users=tuple(f"w{i}" for i in range(NUM_USERS)),
        meta={},
    )
    num_known = NUM_KNOWN
    split = split_new_prompts(
        rows,
        known_users=np.arange(num_known),
        new_users=np.arange(num_known, NUM_USERS),
        is_new_response=prompt < 16,
        group=prompt,
    )
    # The basis spans the properties in some gauge, as a fit would leave it.
    mixing = np.linalg.qr(rng.normal(size=(NUM_FACTORS, NUM_FACTORS)))[0]
    mixing = mixing @ np.diag([0.5, 1.0, 2.0])
    kernel = np.zeros((embeddings.shape[1], NUM_FACTORS + 1), np.float32)
    kernel[:NUM_FACTORS, :NUM_FACTORS] = mixing
    kernel[3, -1] = 0.1
    own = weights[:num_known] @ np.linalg.inv(mixing).T
    covariance = own.T @ own / num_known
    spread = np.tile(1e-3 * np.eye(NUM_FACTORS), (num_known, 1, 1))
    people = Gaussian(own.astype(np.float32), spread.astype(np.float32))
    population = Gaussian(
        np.zeros(NUM_FACTORS, np.float32), ((covariance + covariance.T) / 2).astype(np.float32)
    )
    basis = RewardBasis(linear_params(kernel), population, np.ones((), np.float32))
    axes = make_axes(basis, people, embeddings, prompt, shown=~split.is_new_response)
    properties = own_properties(values, ("length", "warmth", "humor"), POLES)
    return PlantedAxes(axes, basis, people, embeddings, dataset, split, properties)
