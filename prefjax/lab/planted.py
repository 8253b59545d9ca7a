"""Simulated people over Gaussian embeddings, in any shape: nothing is written, all is planted.

    s = κ (w_u + w̄)·B(e_a − e_b),    e ~ N(0, I),    P(a) = σ(s)

B holds J orthonormal directions; people are w_u ~ N(0, I / J), or ± one of a few group centers; w̄
is what everybody shares. A pair is two responses to one prompt; a part of the prompts is new.
Useful where the Attributes world, which writes its texts, is too small: thousands of prompts,
hundreds of answers, planted groups, or as many or as few people as a question needs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from prefjax.lab.compare.draws import HELD_OUT, Draw, Source, cut_prompts
from prefjax.types import Array, Comparisons


@dataclass(frozen=True)
class PlantedConfig:
    """Shape and noise.

    Attributes:
        num_users: People, the new ones included.
        num_prompts: Prompts, the new ones included.
        responses_per_prompt: Responses of each.
        num_inputs: Length of an embedding.
        num_factors: J.
        rows_per_user: Rows of each person on seen prompts.
        tests_per_user: Rows of each person on new prompts.
        sharpness: κ, the standard deviation of a person's own logit over pairs, about.
        shared: Length of w̄; a person's own weights have length 1.
        num_groups: Groups of people who want the same; 0 for people of their own.
        new_users: Part of the people who are new.
    """

    num_users: int = 200
    num_prompts: int = 100
    responses_per_prompt: int = 20
    num_inputs: int = 32
    num_factors: int = 6
    rows_per_user: int = 60
    tests_per_user: int = 60
    sharpness: float = 2.0
    shared: float = 0.5
    num_groups: int = 0
    new_users: float = HELD_OUT


class Planted(NamedTuple):
    """A source and its truth.

    Attributes:
        source: What `make_cases` takes.
        weights: w_u + w̄ of every person, in input space.
        group: Group of every person; all 0 where people are of their own.
        is_new: Whether each person is new.
    """

    source: Source
    weights: Float[np.ndarray, "user input"]
    group: Int[np.ndarray, " user"]
    is_new: Array


def make_planted(config: PlantedConfig, seed: int) -> Planted:
    """Draws a world; the same shapes for every seed.

    Raises:
        ValueError: There are fewer directions than factors, or nobody is new.
    """
    if config.num_factors > config.num_inputs:
        raise ValueError(
            f"{config.num_factors} factors need as many inputs; there are {config.num_inputs}"
        )
    rng = np.random.default_rng(seed)
    num_new = round(config.new_users * config.num_users)
    if not 0 < num_new < config.num_users:
        raise ValueError(f"{num_new} of {config.num_users} people are new; some must be, not all")
    basis, _ = np.linalg.qr(rng.standard_normal((config.num_inputs, config.num_factors)))
    group = np.zeros(config.num_users, np.int32)
    if config.num_groups:
        centers, _ = np.linalg.qr(rng.standard_normal((config.num_factors, config.num_factors)))
        group = rng.permutation(np.arange(config.num_users) % config.num_groups).astype(np.int32)
        signs = np.where(np.arange(config.num_groups) % 2, -1.0, 1.0)[:, None]
        own = (signs * centers[np.arange(config.num_groups) // 2])[group]
    else:
        own = rng.standard_normal((config.num_users, config.num_factors))
        own /= np.sqrt(config.num_factors)
    shared = rng.standard_normal(config.num_factors)
    shared *= config.shared / np.linalg.norm(shared)
    weight = (own + shared[None]) @ basis.T
    size = config.responses_per_prompt
    num_responses = config.num_prompts * size
    embeddings = rng.standard_normal((num_responses, config.num_inputs)).astype(np.float32)
    num_test = max(round(0.25 * config.num_prompts), 1)
    num_seen, num_tests = config.rows_per_user, config.tests_per_user
    total = config.num_users * (num_seen + num_tests)
    new_row = np.tile(np.arange(num_seen + num_tests) >= num_seen, config.num_users)
    prompt = np.where(
        new_row,
        rng.integers(num_test, size=total),
        num_test + rng.integers(config.num_prompts - num_test, size=total),
    )
    one = rng.integers(size, size=total)
    other = (one + rng.integers(1, size, size=total)) % size
    first, second = prompt * size + one, prompt * size + other
    user = np.repeat(np.arange(config.num_users), num_seen + num_tests)
    gap = embeddings[first] - embeddings[second]
    logit = config.sharpness / np.sqrt(2) * np.einsum("rd,rd->r", gap, weight[user])
    rows = Comparisons(
        user=user.astype(np.int32),
        first=first.astype(np.int32),
        second=second.astype(np.int32),
        label=(rng.random(total) < 1 / (1 + np.exp(-logit))).astype(np.float32),
        sample_weight=np.ones(total, np.float32),
    )
    new_users = np.sort(rng.permutation(config.num_users)[:num_new])
    of_prompt = np.repeat(np.arange(config.num_prompts), size)
    prompt_index = of_prompt.astype(np.int32)

    outer = cut_prompts(
        rows, config.num_users, new_users, of_prompt < num_test, prompt_index, num_seen
    )
    num_known = len(outer.known_users)
    chosen = np.sort(rng.permutation(num_known)[: max(round(HELD_OUT * num_known), 1)])
    is_held_out = np.isin(of_prompt, num_test + np.arange(max(config.num_prompts // 5, 1)))
    inner = cut_prompts(outer.train, num_known, chosen, is_held_out, prompt_index)
    context = np.zeros((num_responses, 0), np.float32)
    draws = (Draw(split, embeddings, context) for split in (outer, inner))
    length = np.zeros((num_responses, 1), np.float32)
    source = Source(*draws, length=length, votes=False)
    is_new = np.isin(np.arange(config.num_users), new_users)
    return Planted(source, weight, group, is_new)
