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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from prefjax import basis, lm
from prefjax.align.judges import AttributeJudge
from prefjax.align.samples import pad_prompts
from prefjax.basis import EMConfig
from prefjax.data.attributes import WorldConfig, choose, make_world, measure, split_world
from prefjax.data.group import group_by_user
from prefjax.encoders import chat_prompt, fit_hashed
from prefjax.numerics import positive_inverse
from prefjax.person import ElicitConfig, ResponsePool, elicit, gap_at, ridge_losses
from prefjax.types import GaussianPrior, Items, PRNGKey


@dataclass(frozen=True)
class SimulationConfig:
    """One seed of simulated people.

    Attributes:
        world: Size and noise of the world.
        new_users: Part of the people who are new.
        num_factors: J of PReF.
        num_inputs: Principal components of the text embedding that PReF sees.
        num_own_inputs: Those that a model of one person alone sees.
        own_ridges: Candidate ridges of that model; known people on new prompts choose.
        own_answers: Answers of a known person from which that choice is made.
        num_questions: Questions to every new person.
        rule: How they are chosen.
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


class Basis(NamedTuple):
    """Linear rewards over the principal components of a text embedding, and a prior.

    Attributes:
        head: θ; the first columns are φ, the last is t.
        prior: Of the weights of a new person.
    """

    head: Float[np.ndarray, "input factor_and_utility"]
    prior: GaussianPrior

    def items(self, embeddings: Float[np.ndarray, "response input"]) -> Items:
        """φ and t of responses."""
        described = embeddings[:, : len(self.head)] @ self.head
        return Items(described[:, :-1], described[:, -1])


class Interviews(NamedTuple):
    """What is known of every new person after 0, 1, … answers."""

    weights: Float[np.ndarray, "user step factor"]
    covariance: Float[np.ndarray, "user step factor factor"]


class Simulation:
    """Worlds, people and base rewards of one seed; see the module docstring.

    Args:
        config: Sizes.
        seed: Of texts, people, split and noise.

    Attributes:
        world: The simulated world.
        split: Its known and new people, seen and new prompts.
        weight: True weights of the new people.
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
        width = max(config.num_inputs, config.num_own_inputs)
        self._axes = PCA(min(width, int(seen.sum())), svd_solver="covariance_eigh").fit(raw[seen])
        self._embeddings = self._axes.transform(raw).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "response input"]:
        """Principal components of texts; encoder and axes are those of the seen prompts."""
        return self._axes.transform(self._encoder.encode(texts)).astype(np.float32)

    def pool(self, basis: Basis, texts: Sequence[Sequence[str]]) -> ResponsePool:
        """Responses to prompts as a basis describes them, as many to each prompt."""
        items = basis.items(self.embed([text for row in texts for text in row]))
        shape = len(texts), len(texts[0])
        features = items.features.reshape(*shape, -1)
        return ResponsePool(features, items.utility.reshape(shape), np.ones(shape, bool))

    def fit_pref(self) -> Basis:
        """The default fit to what the known people chose on the seen prompts."""
        embeddings = self._embeddings[:, : self.config.num_inputs]
        rows = basis.make_rows(self.split.train, len(embeddings))
        program = partial(
            basis.fit,
            num_users=len(self.split.known_users),
            num_responses=len(embeddings),
            config=EMConfig(num_factors=self.config.num_factors),
        )
        unit = jnp.asarray(self.world.dataset.prompt_index)
        fitted, _ = jax.jit(program)(
            self._key, jax.tree.map(jnp.asarray, rows), jnp.asarray(embeddings), unit=unit
        )
        return jax.tree.map(np.asarray, Basis(fitted.head, fitted.prior))

    def fit_own(self) -> Basis:
        """Text features for a model of one person alone, its ridge chosen on known people."""
        width = self.config.num_own_inputs
        scale = np.sqrt(np.mean(np.sum(np.square(self._embeddings[:, :width]), axis=1)))
        features = jnp.asarray(self._embeddings[:, :width] / scale)
        practice = group_by_user(
            self.split.train,
            len(self.split.known_users),
            length=self.config.own_answers,
            longer="truncate",
        )
        validation = self.split.by_user("validation", self.config.world.test_length)
        asked, tested = (features[b.first] - features[b.second] for b in (practice, validation))
        ridges = jnp.asarray(self.config.own_ridges)
        losses = jax.jit(ridge_losses)(asked, practice, tested, validation, ridges)
        ridge = self.config.own_ridges[int(np.argmin(losses))]
        head = np.eye(width, width + 1, dtype=np.float32) / scale
        eye = np.eye(width, dtype=np.float32)
        return Basis(head, GaussianPrior(np.zeros(width, np.float32), ridge * eye))

    def interview(self, basis: Basis) -> Interviews:
        """Ask every new person about written responses to the seen prompts."""
        seen, choice = self.world.seen, self.config.world.choice
        items, mask = basis.items(self._embeddings), jnp.ones(self.world.seen.shape, bool)
        pool = ResponsePool(items.features[seen], items.utility[seen], mask)
        attributes = self.world.attributes.astype(np.float32)[seen]
        truth = ResponsePool(attributes, jnp.zeros(mask.shape), mask)
        config = ElicitConfig(num_questions=self.config.num_questions, rule=self.config.rule)

        @jax.jit
        @jax.vmap
        def every(person, weight):
            ask_key, answer_key = jax.random.split(jax.random.fold_in(self._key, person))

            def answer(_, index):
                # Noise of the person and the question: every method hears the same answer.
                key = jax.random.fold_in(answer_key, index)
                return choose(key, gap_at(truth, index).features @ weight, choice)

            path = elicit(ask_key, pool, answer, basis.prior, config)
            return path.weights, jax.vmap(positive_inverse)(path.hessian)

        found = every(jnp.arange(len(self.weights)), jnp.asarray(self.weights))
        return Interviews(*(np.asarray(array) for array in found))

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
        model: See ``lm.load``.
        prompts: Texts.
        num_samples: Responses to each.
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
