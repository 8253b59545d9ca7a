"""New people asked about pairs of samples: any, the best, or one of which a side was steered."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax import logistic, metrics
from prefjax.align.question import question_pair, steering_weights
from prefjax.align.simulation import Basis, Simulation
from prefjax.data.attributes import choose, measure
from prefjax.numerics import positive_inverse
from prefjax.person import Belief, get_rule, score
from prefjax.types import FeatureGap

SOURCES = ("random", "pool", "steered", "all")


def find_pair(key, belief: Belief, features, utility, *, source, num_given, num_steered, rule):
    """The pair that a source asks about, among the samples of one prompt.

    Returns:
        Both indices, and whether a steered response is among them.
    """
    given, generated = len(utility) if source == "all" else num_given, None
    index = jnp.arange(len(utility))
    if source == "steered":
        weight = steering_weights(belief.covariance, 1.0, num_steered)
        tried = features[given:].reshape(num_steered, -1, features.shape[1])
        best = jnp.argmax(jnp.einsum("ktj,kj->kt", tried, weight), axis=1)
        new = given + jnp.arange(num_steered) * tried.shape[1] + best
        index, generated = jnp.append(index[:given], new), (features[new], utility[new])
    rule = get_rule("random" if source == "random" else rule)
    pair = question_pair(key, belief, features[:given], utility[:given], rule, generated)
    return index[pair.first], index[pair.second], pair.generated


def ask(
    sim: Simulation,
    basis: Basis,
    samples: list[list[str]],
    *,
    num_answers: tuple[int, ...],
    num_given: int,
    num_steered: int,
    rule: str,
    seed: int,
) -> dict[tuple[str, int, str], Float[np.ndarray, "user 1"]]:
    """AUC, information and share of steered pairs by source, number of answers and metric.

    Args:
        sim: People.
        basis: Base rewards and prior.
        samples: Of each seen prompt.
        num_answers: Where interviews are read off; as many questions as the largest are asked.
        num_given: Samples in the pool of a question; from the others come the steered ones.
        num_steered: Steered responses to a prompt.
        rule: How the best pair is found.
        seed: Of the order of prompts and the noise of answers.
    """
    pool, num = sim.pool(basis, samples), max(num_answers)
    quality = measure([text for row in samples for text in row]).astype(np.float32)
    quality = quality.reshape(*pool.utility.shape, -1)
    about = features, utility, _ = tuple(map(jnp.asarray, (*pool[:2], quality)))
    prior = jax.tree.map(jnp.asarray, basis.prior)

    def interview(source, person, taste):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), person), 3)
        order = jax.random.permutation(keys[0], len(samples))[:num]

        def refit(rows):
            return logistic.fit(*rows[:3], prior=prior, offset=rows[3])

        def step(rows, n):
            fit, p = refit(rows), order[n]
            belief = Belief(fit.weights, positive_inverse(fit.hessian))
            first, second, steered = find_pair(
                jax.random.fold_in(keys[1], n), belief, features[p], utility[p],
                source=source, num_given=num_given, num_steered=num_steered, rule=rule,
            )  # fmt: skip
            gap, offset, true_gap = (x[p, first] - x[p, second] for x in about)
            question = FeatureGap(gap[None], offset[None])
            information = score(keys[1], question, belief, rule=rule)[0]
            # Noise of the person and the question: every source hears the same one.
            noise = jax.random.fold_in(keys[2], n)
            label = choose(noise, true_gap @ taste, sim.config.world.choice)
            heard = (gap, label, 1.0, offset)
            rows = tuple(row.at[n].set(x) for row, x in zip(rows, heard, strict=True))
            return rows, (refit(rows).weights, information, steered)

        blank = jnp.zeros(num)
        start = jnp.zeros((num, features.shape[2])), blank, blank, blank
        return jax.lax.scan(step, start, jnp.arange(num))[1]

    tests = sim.split.by_user("test", sim.config.world.test_length)
    written = basis.items(sim.embed(sim.world.dataset.responses))
    gap, offset = (np.asarray(x)[tests.first] - np.asarray(x)[tests.second] for x in written)
    found = {}
    for source in SOURCES:
        every = jax.jit(jax.vmap(partial(interview, source)))
        weight, information, steered = map(
            np.asarray, every(jnp.arange(len(sim.weights)), jnp.asarray(sim.weights))
        )
        for n in num_answers:
            logit = np.einsum("upj,uj->up", gap, weight[:, n - 1]) + offset
            measured = {
                "auc_user": jax.vmap(metrics.auc)(logit, tests.label, tests.sample_weight > 0),
                "information": information[:, :n].mean(1),
                "share_steered": steered[:, :n].mean(1),
            }
            for metric, values in measured.items():
                found[source, n, metric] = np.asarray(values)[:, None]
    return found
