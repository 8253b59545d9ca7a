"""New people asked about pairs of samples: any, the best, or one of which a side was steered."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax import metrics, person
from prefjax.align import question_pair, steering_weights
from prefjax.data.attributes import ChoiceConfig, choose, measure
from prefjax.lab.simulation import Simulation
from prefjax.numerics import positive_inverse
from prefjax.person import get_rule, score
from prefjax.person.inference import infer
from prefjax.types import Array, FeatureGap, Gaussian, Items, PRNGKey, RewardBasis

SOURCES = ("random", "pool", "steered", "all")


@dataclass(frozen=True)
class PairConfig:
    """Where the pair of a question comes from.

    Attributes:
        source: A name in ``SOURCES``.
        num_pool: Samples in the pool.
        num_steered: Steered responses, each the best of an equal part of the other samples.
        rule: How pairs are scored, a name in `prefjax.person.RULES`.
    """

    source: str
    num_pool: int
    num_steered: int
    rule: str


def find_pair(key: PRNGKey, belief: Gaussian, items: Items, *, config: PairConfig):
    """The pair that a source asks about, among the samples of one prompt.

    Args:
        key: Random key of rules that draw.
        belief: What is known of the person's weights.
        items: φ and t of the samples, those of the pool first.
        config: The source.

    Returns:
        Both indices, and whether a steered response is among them.
    """
    features, utility = items.features, items.utility
    source, num_steered = config.source, config.num_steered
    num_pool, generated = len(utility) if source == "all" else config.num_pool, None
    index = jnp.arange(len(utility))
    if source == "steered":
        weights = steering_weights(belief.covariance, 1.0, num_steered)
        tried = features[num_pool:].reshape(num_steered, -1, features.shape[1])
        best = jnp.argmax(jnp.einsum("ktj,kj->kt", tried, weights), axis=1)
        new = num_pool + jnp.arange(num_steered) * tried.shape[1] + best
        index, generated = jnp.append(index[:num_pool], new), items.at(new)
    rule = get_rule("random" if source == "random" else config.rule)
    pair = question_pair(key, belief, items.at(slice(num_pool)), generated, rule=rule)
    return index[pair.first], index[pair.second], pair.generated


@partial(jax.jit, static_argnames=("num_questions", "config", "choice"))
def _interview_all(
    key: PRNGKey,
    basis: RewardBasis,
    items: Items,
    quality: Float[Array, "prompt response attribute"],
    weights: Float[Array, "user attribute"],
    *,
    num_questions: int,
    config: PairConfig,
    choice: ChoiceConfig,
):
    """Weights, information and whether a side was steered, [user, question], by one source."""
    settings = {"prior": basis.population, "posterior_scale": basis.posterior_scale}

    def one(user, own):
        keys = jax.random.split(jax.random.fold_in(key, user), 3)
        order = jax.random.permutation(keys[0], len(quality))[:num_questions]

        def refit(rows):
            return infer(*rows, **settings)

        def step(rows, n):
            fit, p = refit(rows), order[n]
            belief = Gaussian(fit.weights, positive_inverse(fit.hessian))
            one_prompt = items.at(p)
            first, second, steered = find_pair(
                jax.random.fold_in(keys[1], n), belief, one_prompt, config=config
            )
            gap = one_prompt.at(first).gap_to(one_prompt.at(second))
            true_gap = quality[p, first] - quality[p, second]
            question = jax.tree.map(lambda part: jnp.asarray(part)[None], gap)
            information = score(keys[1], question, belief, rule=config.rule)[0]
            # Noise of the person and the question: every source gets the same one.
            noise = jax.random.fold_in(keys[2], n)
            label = choose(noise, true_gap @ own, choice)
            rows = jax.tree.map(lambda column, x: column.at[n].set(x), rows, (gap, label, 1.0))
            return rows, (refit(rows).weights, information, steered)

        zeros = jnp.zeros(num_questions)
        blank = jnp.zeros((num_questions, items.features.shape[2]))
        start = FeatureGap(blank, zeros, zeros), zeros, zeros
        return jax.lax.scan(step, start, jnp.arange(num_questions))[1]

    return jax.vmap(one)(jnp.arange(len(weights)), weights)


def ask(
    sim: Simulation,
    basis: RewardBasis,
    samples: list[list[str]],
    *,
    num_answers: tuple[int, ...],
    num_pool: int,
    num_steered: int,
    rule: str,
    seed: int,
) -> dict[tuple[str, int, str], Float[np.ndarray, "user 1"]]:
    """AUC, information and share of steered pairs by source, number of answers and metric.

    Args:
        sim: People who are asked.
        basis: Base rewards and the population of weights.
        samples: Samples of a language model for each seen prompt.
        num_answers: Where interviews are read off; as many questions as the largest are asked.
        num_pool: Samples in the pool of a question; from the others come the steered ones.
        num_steered: Steered responses to a prompt.
        rule: How the best pair is found, a name in `prefjax.person.RULES`.
        seed: Seed of the order of prompts and the noise of answers.
    """
    pool = sim.pool(basis, samples)
    quality = measure([text for row in samples for text in row]).astype(np.float32)
    quality = quality.reshape(*pool.utility.shape, -1)
    tests = sim.split.by_user("test", sim.config.world.test_length)
    written = person.describe(basis, sim.embed(sim.world.dataset.responses))
    gap, offset = (
        np.asarray(x)[tests.first] - np.asarray(x)[tests.second]
        for x in (written.features, written.utility)
    )
    measured = {}
    for source in SOURCES:
        weights, information, steered = map(
            np.asarray,
            _interview_all(
                jax.random.key(seed), basis, Items(pool.features, pool.utility, pool.spread),
                quality, sim.weights, num_questions=max(num_answers),
                config=PairConfig(source, num_pool, num_steered, rule),
                choice=sim.config.world.choice,
            ),
        )  # fmt: skip
        for n in num_answers:
            logit = np.einsum("upj,uj->up", gap, weights[:, n - 1]) + offset
            by_metric = {
                "auc_user": jax.vmap(metrics.auc)(logit, tests.label, tests.sample_weight > 0),
                "information": information[:, :n].mean(1),
                "share_steered": steered[:, :n].mean(1),
            }
            for metric, values in by_metric.items():
                measured[source, n, metric] = np.asarray(values)[:, None]
    return measured
