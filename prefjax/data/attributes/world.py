"""The Attributes world: simulated people compare answers that differ in seven attributes.

Responses are written from the material of this package (`realize`) or are real answers of language
models (`pool`); the judge measures their attributes in the text (`judge`), and a user with weights
w prefers by ``g = (w + common taste)·(a_first − a_second)`` with noise and order bias (`choice`).
The common taste is what all users share; it is small, so that a model of the population is little
better than chance.
"""

import json
from dataclasses import asdict, dataclass, field

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax.data.attributes.choice import ChoiceConfig, choose
from prefjax.data.attributes.judge import measure
from prefjax.data.attributes.material import ATTRIBUTES, Prompt, load_prompts
from prefjax.data.attributes.people import gaussian_users, trait_users
from prefjax.data.attributes.realize import realize
from prefjax.data.dataset import Dataset
from prefjax.types import Array, Comparisons


@dataclass(frozen=True)
class WorldConfig:
    """Size and noise of a simulated world.

    Attributes:
        num_prompts: How many of the prompts to use.
        responses_per_prompt: Responses written for each prompt.
        pairs_per_prompt: Distinct pairs of responses of a prompt that users may be shown.
        pairs_per_user: Pairs each user compares, drawn without replacement from all prompts.
        num_users: ``None`` for the 84 users of two traits, otherwise so many continuous users.
        test_fraction: Part of the prompts answered with the phrases reserved for tests.
        common_taste: Weight that every user has in addition, by attribute.
        choice: Noise of the answers.

    Raises:
        ValueError: If there is not one common taste for each attribute, or only one response.
    """

    num_prompts: int = 105
    responses_per_prompt: int = 24
    pairs_per_prompt: int = 60
    pairs_per_user: int = 240
    num_users: int | None = None
    test_fraction: float = 0.25
    common_taste: tuple[float, ...] = (0.0, 0.0, 0.0, 0.1, 0.2, 0.1, 0.1)
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)

    @property
    def test_length(self) -> int:
        """Entries to which a person's rows on test prompts are padded, for one shape in all seeds.

        Twice the number expected; the few rows beyond it are left out.
        """
        return round(2 * self.test_fraction * self.pairs_per_user)

    def __post_init__(self):
        if len(self.common_taste) != len(ATTRIBUTES):
            raise ValueError(
                f"common_taste needs {len(ATTRIBUTES)} numbers, one for each of {ATTRIBUTES}; "
                f"got {len(self.common_taste)}."
            )
        if self.responses_per_prompt < 2:
            raise ValueError(
                f"responses_per_prompt must be at least 2, since people compare responses to the "
                f"same prompt; got {self.responses_per_prompt}."
            )


DEFAULT_WORLD = WorldConfig()


@dataclass(frozen=True, eq=False)
class World:
    """A simulated data set and the truth behind it, for oracles.

    Attributes:
        dataset: Comparisons and texts.
        weights: True weights of each user, the common taste included.
        attributes: Attributes of each response as the judge measures them.
        test_prompt: Prompts that are answered with the phrases reserved for tests.
        config: What it was made from.
    """

    dataset: Dataset
    weights: Float[np.ndarray, "user attribute"]
    attributes: Float[np.ndarray, "response attribute"]
    test_prompt: Bool[np.ndarray, " prompt"]
    config: WorldConfig

    @property
    def seen(self) -> Int[np.ndarray, "prompt response"]:
        """Responses of each prompt that is not a test prompt: the pool of questions."""
        return self._responses_of(~self.test_prompt)

    @property
    def unseen(self) -> Int[np.ndarray, "prompt response"]:
        """Responses of each test prompt: what new people may be served."""
        return self._responses_of(self.test_prompt)

    def _responses_of(self, prompts: np.ndarray) -> np.ndarray:
        own = np.flatnonzero(prompts[self.dataset.prompt_index])
        return own.reshape(-1, self.config.responses_per_prompt)

    def utility_gap(self) -> Float[np.ndarray, " pair"]:
        """True utility of the first minus that of the second response, row by row."""
        rows = self.dataset.comparisons
        return utility_gap(self.weights, self.attributes, rows.user, rows.first, rows.second)


def utility_gap(
    weights: Float[np.ndarray, "user attribute"],
    attributes: Float[np.ndarray, "response attribute"],
    user: Int[Array, " pair"],
    first: Int[Array, " pair"],
    second: Int[Array, " pair"],
) -> Float[np.ndarray, " pair"]:
    """True utility gaps, ``w_u·(a_first − a_second)``.

    Args:
        weights: Weights of the users.
        attributes: Measured attributes of the responses.
        user: User of each pair.
        first: First response of each pair.
        second: Second response of each pair.

    Returns:
        The gap of each pair, in units of utility.
    """
    gap = attributes[np.asarray(first)] - attributes[np.asarray(second)]
    return np.einsum("pk,pk->p", weights[np.asarray(user)], gap)


def draw_style(rng: np.random.Generator) -> Float[np.ndarray, " attribute"]:
    """A recipe: uniform length; every other attribute is neutral or, half of the time, marked."""
    strength = rng.uniform(0.4, 1.0, len(ATTRIBUTES)) * rng.choice((-1.0, 1.0), len(ATTRIBUTES))
    style = np.where(rng.random(len(ATTRIBUTES)) < 0.5, strength, 0.0)
    style[0] = rng.uniform(-1.0, 1.0)
    return style


def write_responses(
    prompt: Prompt, num_responses: int, rng: np.random.Generator, *, split: str = "train"
) -> tuple[list[str], Float[np.ndarray, "response attribute"]]:
    """Different responses to one prompt, each in a style of its own.

    Args:
        prompt: What is asked.
        num_responses: How many.
        rng: Source of styles and words.
        split: Which reserved part of the phrases to use, ``"train"`` or ``"test"``.

    Returns:
        The texts, all different, and their recipes.
    """
    styles: dict[str, Float[np.ndarray, " attribute"]] = {}
    while len(styles) < num_responses:
        style = draw_style(rng)
        styles.setdefault(realize(prompt, style, rng, split=split), style)
    return list(styles), np.stack(list(styles.values()))


def simulate_comparisons(
    seed: int,
    prompt_index: Int[np.ndarray, " response"],
    attributes: Float[np.ndarray, "response attribute"],
    weights: Float[np.ndarray, "user attribute"],
    config: WorldConfig = DEFAULT_WORLD,
) -> Comparisons:
    """Let simulated users compare pairs of responses to the same prompt.

    Args:
        seed: Source of pairs and noise.
        prompt_index: Prompt of each response.
        attributes: Attributes of each response.
        weights: True weights of each user.
        config: Number of pairs, noise of the answers.

    Returns:
        ``pairs_per_user`` rows for each user, or all pairs where there are fewer.
    """
    rng = np.random.default_rng(seed)
    first, second = [], []
    for prompt in np.unique(prompt_index):
        responses = rng.permutation(np.flatnonzero(prompt_index == prompt))
        low, high = np.triu_indices(len(responses), 1)
        shown = rng.permutation(len(low))[: config.pairs_per_prompt]
        swapped = rng.random(len(shown)) < 0.5
        first.append(responses[np.where(swapped, high[shown], low[shown])])
        second.append(responses[np.where(swapped, low[shown], high[shown])])
    first, second = np.concatenate(first), np.concatenate(second)
    num_pairs = min(config.pairs_per_user, len(first))
    pair = np.concatenate(
        [rng.choice(len(first), num_pairs, replace=False) for _ in range(len(weights))]
    )
    user = np.repeat(np.arange(len(weights)), num_pairs)
    gap = utility_gap(weights, attributes, user, first[pair], second[pair])
    label = choose(jax.random.key(seed), gap.astype(np.float32), config.choice)
    return Comparisons(
        user=user.astype(np.int32),
        first=first[pair].astype(np.int32),
        second=second[pair].astype(np.int32),
        label=np.asarray(label, np.float32),
        sample_weight=np.ones(len(user), np.float32),
    )


def make_world(config: WorldConfig = DEFAULT_WORLD, seed: int = 0) -> World:
    """Write the responses, measure them, and let the simulated users compare them.

    Args:
        config: Sizes and noise.
        seed: Source of everything random; the same seed gives the same world.

    Returns:
        The data set and the truth behind it.

    Raises:
        ValueError: If more prompts are asked for than there are.
    """
    material = load_prompts()
    if not 1 <= config.num_prompts <= len(material):
        raise ValueError(
            f"num_prompts must be in [1, {len(material)}], the number of prompts written for this "
            f"world; got {config.num_prompts}."
        )
    rng = np.random.default_rng(seed)
    chosen = [material[index] for index in rng.permutation(len(material))[: config.num_prompts]]
    test_prompt = np.zeros(len(chosen), bool)
    test_prompt[: round(config.test_fraction * len(chosen))] = True
    responses: list[str] = []
    for prompt, is_test in zip(chosen, test_prompt.tolist(), strict=True):
        split = "test" if is_test else "train"
        responses += write_responses(prompt, config.responses_per_prompt, rng, split=split)[0]
    prompt_index = np.repeat(np.arange(len(chosen), dtype=np.int32), config.responses_per_prompt)
    attributes = measure(responses)
    weight, users = (
        trait_users() if config.num_users is None else gaussian_users(config.num_users, rng)
    )
    weight = weight + np.array(config.common_taste)[None]
    dataset = Dataset(
        name="attributes",
        comparisons=simulate_comparisons(seed, prompt_index, attributes, weight, config),
        responses=tuple(responses),
        prompt_index=prompt_index,
        prompts=tuple(prompt.question for prompt in chosen),
        users=users,
        meta={
            "simulated": True,
            "license": "Apache-2.0",
            "source": "written for prefjax; answers and people are simulated",
            "seed": int(seed),
            "config": json.loads(json.dumps(asdict(config))),
            "test_prompts": np.flatnonzero(test_prompt).tolist(),
        },
    )
    return World(dataset, weight, attributes, test_prompt, config)
