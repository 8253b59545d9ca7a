"""Simulated people who are served real responses of a language model, one seed of it.

The common part of the experiments on alignment. A world of simulated people (the Attributes world)
is cut into known and new people, seen and new prompts; base rewards are fitted to what the known
people chose among the written responses to the seen prompts; the new people answer questions about
those. A language model then answers the new prompts, the base rewards describe its texts, and the
simulated judge of the world, with the new person's true weights, compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA

from prefjax import basis, lm, person
from prefjax.align import pad_prompts
from prefjax.align.judges import AttributeJudge
from prefjax.basis import EMConfig
from prefjax.basis.heads import linear_params
from prefjax.data.attributes import (
    ChoiceConfig,
    WorldConfig,
    choose,
    make_world,
    measure,
    split_world,
)
from prefjax.encoders import chat_prompt, fit_hashed
from prefjax.person import InterviewConfig, ResponsePool
from prefjax.types import Array, Gaussian, PRNGKey, RewardBasis

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

    Attributes:
        world: The simulated world.
        split: Its known and new people, seen and new prompts.
        weights: True weights of the new people.
        names: Names of the new people, the personas of the judge.
        prompts: Texts of the new prompts.
        seen_prompts: Texts of the seen prompts.
    """

    def __init__(self, config: SimulationConfig, seed: int):
        self.config, self._key = config, jax.random.key(seed)
        self.world = make_world(config.world, seed)
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
        return AttributeJudge(people, config=self.config.world.choice)

    def true_reward(self, texts: Sequence[str]) -> Float[np.ndarray, "user response"]:
        """True utility of texts to every new person, in the units of the world."""
        return self.weights @ measure(texts).T.astype(np.float32)


def sample_texts(
    key: PRNGKey,
    model: lm.LanguageModel,
    prompts: Sequence[str],
    num_samples: int,
    *,
    system: Sequence[str] | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 104,
) -> list[list[str]]:
    """Responses of a language model to each prompt, by its chat template and its own policy.

    Args:
        key: Random key.
        model: The language model, with a tokenizer.
        prompts: Texts that are answered.
        num_samples: Responses to each prompt.
        system: System text of each prompt; none by default.
        max_new_tokens: Most tokens of a response; what is longer is cut.
        batch_size: Responses drawn together.

    Raises:
        ValueError: If there is no prompt, or one leaves too little of the model's window; it is
            named.
    """
    asked = [
        chat_prompt(prompt, *([] if system is None else [system[index]]))
        for index, prompt in enumerate(prompts)
    ]
    rows = [model.tokenizer.encode(turns, add_special_tokens=False) for turns in asked]
    pad_prompts(rows, model.config, max_new_tokens)  # refuses what does not fit
    turns = [prompt for prompt in asked for _ in range(num_samples)]
    batch_size = min(batch_size, len(turns))
    texts: list[str] = []
    for start in range(0, len(turns), batch_size):
        batch = turns[start : start + batch_size]
        # A short last batch is filled up, so that one shape is compiled.
        filled = batch + batch[:1] * (batch_size - len(batch))
        drawn = lm.complete(
            jax.random.fold_in(key, start),
            model,
            filled,
            max_new_tokens=max_new_tokens,
        )
        texts += drawn.texts[: len(batch)]
    return [texts[i : i + num_samples] for i in range(0, len(texts), num_samples)]
