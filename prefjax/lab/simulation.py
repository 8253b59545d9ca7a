"""Simulated people who are served real responses of a language model, one seed of it.

The common part of the experiments on alignment. A world of simulated people (the Attributes world)
is cut into known and new people, seen and new prompts; base rewards are fitted to what the known
people chose among the written responses to the seen prompts; the new people answer questions about
those. A language model then answers the new prompts, the base rewards describe its texts, and the
simulated judge of the world, with the new person's true weights, compares them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA

from prefjax import basis, lm, person
from prefjax.align import Ask, SampleConfig, sample
from prefjax.align.judges import AttributeJudge
from prefjax.basis import EMConfig
from prefjax.basis.heads import linear_params
from prefjax.data.attributes import ChoiceConfig, WorldConfig, choose, make_world, split_world
from prefjax.data.attributes.judge import Scale, default_scale, fit_scale, raw_scores, saturate
from prefjax.data.attributes.pool import TextPool, make_pool_world
from prefjax.data.attributes.world import World
from prefjax.encoders import fit_hashed
from prefjax.lab.stored import stored
from prefjax.person import InterviewConfig, ResponsePool
from prefjax.types import Array, Gaussian, PRNGKey, RewardBasis

BRIEF = "You are a helpful assistant. Keep every answer short, one to three sentences."
"""A system text for a real model, so that some responses end within 60 tokens."""

_ridge_losses = jax.jit(person.ridge_losses)


@dataclass(frozen=True)
class SimulationConfig:
    """One seed of simulated people.

    Attributes:
        world: Size and noise of the world.
        new_users: Share of the people who are new.
        num_factors: J of PReF.
        num_inputs: Principal components of the text embedding that PReF sees.
        num_own_inputs: Those of them that a model of one person alone sees.
        own_ridges: Candidate ridges of that model; known people on new prompts choose.
        own_answers: Answers of a known person from which that choice is made.
        num_questions: Questions to every new person.
        rule: How the questions are chosen, a name in `prefjax.person.RULES`.

    Raises:
        ValueError: If a model of one person is to see more components than there are.
    """

    world: WorldConfig = field(default_factory=WorldConfig)
    new_users: float = 0.2
    num_factors: int = 6
    num_inputs: int = 256
    num_own_inputs: int = 32
    own_ridges: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    own_answers: int = 20
    num_questions: int = 40
    rule: str = "d_optimal"

    def __post_init__(self):
        if not 1 <= self.num_own_inputs <= self.num_inputs:
            raise ValueError(
                f"num_own_inputs must lie in [1, {self.num_inputs}], got {self.num_own_inputs}"
            )


@partial(jax.jit, static_argnames=("choice", "config"))
def _interview_all(
    key: PRNGKey,
    basis: RewardBasis,
    pool: ResponsePool,
    truth: ResponsePool,
    weights: Float[Array, "user attribute"],
    *,
    choice: ChoiceConfig,
    config: InterviewConfig,
) -> Gaussian:
    """Interviews of all people, who answer by their true weights on the attributes in ``truth``."""

    def one(user: Int[Array, ""], own: Float[Array, " attribute"]) -> Gaussian:
        ask_key, answer_key = jax.random.split(jax.random.fold_in(key, user))

        def answer(_, index):
            # Noise of the person and the question: every method gets the same answer.
            noise = jax.random.fold_in(answer_key, index)
            return choose(noise, person.gap_at(truth, index).features @ own, choice)

        return person.interview(
            ask_key, pool, answer, basis.population, config, basis.posterior_scale
        ).beliefs

    return jax.vmap(one)(jnp.arange(len(weights)), weights)


class Simulation:
    """Worlds, people and base rewards of one seed; see the module docstring.

    Args:
        config: Sizes.
        seed: Seed of texts, people, split and noise.
        world: A world of other texts, whose sizes and noise are those of ``config.world``.
        scale: What the judge standardizes attributes by; by default that of written responses.

    Attributes:
        world: The simulated world.
        split: Its known and new people, seen and new prompts.
        weights: True weights of the new people.
        names: Names of the new people, the personas of the judge.
        prompts: Texts of the new prompts.
        seen_prompts: Texts of the seen prompts.
    """

    def __init__(
        self,
        config: SimulationConfig,
        seed: int,
        *,
        world: World | None = None,
        scale: Scale | None = None,
    ):
        self.config, self._key, self._scale = config, jax.random.key(seed), scale
        self.world = make_world(config.world, seed) if world is None else world
        self.split = split_world(self.world, new_users=config.new_users, seed=seed)
        dataset, is_test = self.world.dataset, self.world.test_prompt
        self.weights = self.world.weights[self.split.new_users].astype(np.float32)
        self.names = [dataset.users[user] for user in self.split.new_users]
        self.prompts = [dataset.prompts[i] for i in np.flatnonzero(is_test)]
        self.seen_prompts = [dataset.prompts[i] for i in np.flatnonzero(~is_test)]
        seen = ~is_test[dataset.prompt_index]
        texts = [text for text, use in zip(dataset.responses, seen, strict=True) if use]
        self._encoder = fit_hashed(texts)
        raw = self._encoder.encode(dataset.responses)
        width = min(config.num_inputs, int(seen.sum()))
        self._axes = PCA(width, svd_solver="covariance_eigh").fit(raw[seen])
        self._embeddings = self._axes.transform(raw).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "response input"]:
        """Principal components of texts; encoder and axes are those of the seen prompts."""
        return self._axes.transform(self._encoder.encode(texts)).astype(np.float32)

    def pool(self, model: RewardBasis, texts: Sequence[Sequence[str]]) -> ResponsePool:
        """Responses to prompts as a basis describes them, as many to each prompt."""
        items = person.describe(model, self.embed([text for row in texts for text in row]))
        shape = len(texts), len(texts[0])
        items = items.at(np.arange(shape[0] * shape[1]).reshape(shape))
        return ResponsePool(items.features, items.utility, np.ones(shape, bool), items.spread)

    def fit_pref(self) -> RewardBasis:
        """The default fit to what the known people chose on the seen prompts."""
        return self.fit_known()[0]

    def fit_known(self) -> tuple[RewardBasis, Gaussian]:
        """`fit_pref`, and what it found of the known people."""
        problem = basis.make_problem(
            self.split.train,
            self._embeddings,
            num_users=len(self.split.known_users),
            group=self.world.dataset.prompt_index,
        )
        config = EMConfig(num_factors=self.config.num_factors)
        return basis.fit(self._key, problem, config=config)[:2]

    def fit_own(self) -> RewardBasis:
        """Text features for a model of one person alone, its ridge chosen on known people."""
        width = self.config.num_own_inputs
        scale = np.sqrt(np.mean(np.sum(np.square(self._embeddings[:, :width]), axis=1)))
        features = jnp.asarray(self._embeddings[:, :width] / scale)
        practice = self.split.by_user("train", self.config.own_answers)
        validation = self.split.by_user("validation", self.config.world.test_length)
        asked, tested = (features[b.first] - features[b.second] for b in (practice, validation))
        ridges = jnp.asarray(self.config.own_ridges)
        losses = _ridge_losses(asked, practice, tested, validation, ridges)
        ridge = self.config.own_ridges[int(np.argmin(losses))]
        kernel = np.eye(self._embeddings.shape[1], width, dtype=np.float32) / scale
        head = jnp.pad(kernel, [(0, 0), (0, 1)])  # no shared utility
        population = person.ridge_prior(width, ridge)
        return RewardBasis(linear_params(head), population, jnp.ones(()))

    def interview(self, model: RewardBasis) -> Gaussian:
        """What is known of every new person, [user, step], after 0, 1, … answers.

        Everybody is asked about written responses to the seen prompts.

        Args:
            model: Base rewards and the population of weights.
        """
        seen = self.world.seen
        items, mask = person.describe(model, self._embeddings).at(seen), np.ones(seen.shape, bool)
        attributes = self.world.attributes.astype(np.float32)[seen]
        beliefs = _interview_all(
            self._key,
            model,
            ResponsePool(items.features, items.utility, mask, items.spread),
            ResponsePool(attributes, np.zeros(seen.shape, np.float32), mask),
            self.weights,
            choice=self.config.world.choice,
            config=InterviewConfig(num_questions=self.config.num_questions, rule=self.config.rule),
        )
        return jax.tree.map(np.asarray, beliefs)

    def judge(self) -> AttributeJudge:
        """The simulated judge, who answers for the new people by their true weights."""
        people = dict(zip(self.names, self.weights, strict=True))
        return AttributeJudge(people, config=self.config.world.choice, scale=self._scale)

    def true_reward(self, texts: Sequence[str]) -> Float[np.ndarray, "user response"]:
        """True utility of texts to every new person, in the units of the world."""
        scale = default_scale() if self._scale is None else self._scale
        return self.weights @ saturate(raw_scores(texts), scale).T.astype(np.float32)


def simulate_own(
    config: SimulationConfig,
    seed: int,
    seen: tuple[Sequence[str], Sequence[Sequence[str]]],
    new: tuple[Sequence[str], Sequence[Sequence[str]]],
) -> Simulation:
    """A simulation whose people compare a language model's own responses, as many to each prompt.

    So base rewards and questions are about what people are served later. The judge standardizes
    attributes by the responses to the seen prompts: people notice the differences among what is on
    offer (`prefjax.data.attributes.make_pool_world`).

    Args:
        config: Sizes; of its world people, pairs and noise are used.
        seed: Seed of people, split and noise.
        seen: Prompts that the model answered, and its responses to each.
        new: The same of the new prompts; of more responses to one the last are taken.

    Raises:
        ValueError: If a seen prompt has more or fewer responses than the first, or a new one has
            fewer; it is named.
    """
    prompts, count = [*seen[0], *new[0]], len(seen[1][0])
    texts = [*seen[1], *(own[-count:] for own in new[1])]
    for place, own in enumerate(texts):
        if len(own) != count:
            raise ValueError(f"Prompt {place} has {len(own)} responses, the first has {count}.")
    flat = tuple(text for own in texts for text in own)
    index = np.repeat(np.arange(len(prompts), dtype=np.int32), count)
    pool = TextPool(tuple(prompts), flat, index, ("",) * len(flat))
    is_new = np.arange(len(prompts)) >= len(seen[0])
    sizes = replace(config.world, num_prompts=len(prompts), responses_per_prompt=count)
    scale = fit_scale(
        raw_scores([text for text, i in zip(flat, index, strict=True) if not is_new[i]])
    )
    world = replace(make_pool_world(pool, sizes, seed, scale=scale), test_prompt=is_new)
    return Simulation(replace(config, world=sizes), seed, world=world, scale=scale)


def sample_texts(
    model: lm.LanguageModel,
    prompts: Sequence[str],
    num_samples: int,
    *,
    seed: int,
    system: Sequence[str] | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 104,
    kept: Path | None = None,
) -> list[list[str]]:
    """Texts that `prefjax.align.sample` draws, as many to each prompt.

    Args:
        model: The language model, with a tokenizer.
        prompts: Texts that are answered.
        num_samples: Responses to each prompt.
        seed: Source of the responses.
        system: System text of each prompt; none by default.
        max_new_tokens: Most tokens of a response; what is longer is cut.
        batch_size: Responses drawn together.
        kept: Folder in which they are kept, so that nothing is drawn twice; None keeps nothing.

    Raises:
        ValueError: If a prompt leaves too little of the model's window; it is named.
    """
    told = [None] * len(prompts) if system is None else system
    asks = [Ask(prompt, text) for prompt, text in zip(prompts, told, strict=True)]
    config = SampleConfig(max_new_tokens=max_new_tokens, seed=seed)

    def draw() -> dict[str, np.ndarray]:
        drawn = sample(model, asks, num_samples, config=config, batch_size=batch_size)
        for index, failure in enumerate(drawn.failures):
            if failure:
                raise ValueError(f"Prompt {index}: {failure}.")
        return {"texts": np.array([[one.text for one in own] for own in drawn.samples])}

    about = {"asks": asks, "num_samples": num_samples, "settings": asdict(config)}
    return stored(kept, about, draw, model=model.directory)["texts"].tolist()
