"""A family and a tiny world for the checks of `prefjax.lab.check`."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.basis import Problem, make_problem, standardize
from prefjax.families import Answers, Family, gather, score
from prefjax.types import Comparisons, UserBatch

NUM_USERS, NUM_RESPONSES, NUM_INPUTS, NUM_CONTEXTS, NUM_PAIRS, NUM_ANSWERS = 6, 12, 5, 3, 8, 4
SPARE_USERS, SPARE_RESPONSES = 2, 4
ALL_USERS, ALL_RESPONSES = NUM_USERS + SPARE_USERS, NUM_RESPONSES + SPARE_RESPONSES


class World(NamedTuple):
    """What a family is fitted to and asked; people and responses beyond those used are spare.

    Attributes:
        rows: Comparisons of the training people.
        embeddings: One row a response.
        context: Embedding of each response's prompt; two responses share one.
        batch: Some answers of new people, the last of each masked.
    """

    rows: Comparisons
    embeddings: Float[np.ndarray, "response input"]
    context: Float[np.ndarray, "response context"]
    batch: UserBatch


def make_world(seed: int = 0) -> World:
    """Hard labels of people with rewards of their own, and random answers of new people.

    Args:
        seed: Seed of everything.
    """
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(ALL_RESPONSES, NUM_INPUTS)).astype(np.float32)
    prompts = rng.normal(size=(ALL_RESPONSES // 2, NUM_CONTEXTS)).astype(np.float32)
    user = np.repeat(np.arange(NUM_USERS), NUM_PAIRS)
    first = rng.integers(NUM_RESPONSES, size=len(user))
    first[:NUM_RESPONSES] = np.arange(NUM_RESPONSES)  # every response is compared
    second = first ^ 1
    taste = rng.normal(size=(NUM_USERS, NUM_INPUTS))
    gap = embeddings[first] - embeddings[second]
    label = (np.sum(taste[user] * gap, axis=1) > 0).astype(np.float32)
    rows = Comparisons(user, first, second, label, np.ones(len(user), np.float32))
    asked = rng.integers(NUM_RESPONSES, size=(2, NUM_ANSWERS + 1))
    batch = UserBatch(
        first=asked,
        second=asked ^ 1,
        label=rng.integers(2, size=asked.shape).astype(np.float32),
        sample_weight=np.ones(asked.shape, np.float32),
        mask=np.tile(np.arange(NUM_ANSWERS + 1) < NUM_ANSWERS, (2, 1)),
    )
    return World(rows, embeddings, np.repeat(prompts, 2, axis=0), batch)


def renumber(
    world: World,
    user: Int[np.ndarray, " user"],
    response: Int[np.ndarray, " response"],
    filler: float,
) -> World:
    """The same world where other people and responses are the spare ones.

    Args:
        world: From `make_world`.
        user: New ids of the ``NUM_USERS`` people with rows, ascending, below ``ALL_USERS``.
        response: New ids of the ``NUM_RESPONSES`` compared responses, ascending.
        filler: What the embeddings and contexts of the spare responses hold.
    """
    rows, batch = world.rows, world.batch
    tables = []
    for table in (world.embeddings, world.context):
        moved = np.full_like(table, filler)
        moved[response] = table[:NUM_RESPONSES]
        tables.append(moved)
    rows = rows._replace(
        user=user[rows.user], first=response[rows.first], second=response[rows.second]
    )
    batch = batch._replace(first=response[batch.first], second=response[batch.second])
    return World(rows, tables[0], tables[1], batch)


@partial(jax.jit, static_argnames=("family",))
def run(key: Any, problem: Problem, answers: Answers, config: Any, *, family: Family) -> Any:
    """Logits of the answered pairs: of both orders, and before anything is answered."""
    params = family.fit(key, problem, config)
    weightless = answers._replace(sample_weight=jnp.zeros_like(answers.sample_weight))
    empty = jax.tree.map(jnp.zeros_like, answers)
    people = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), answers, weightless, empty)
    states = jax.vmap(family.adapt, in_axes=(None, 0, None))(params, people, config)
    reverse = answers._replace(first=answers.second, second=answers.first)
    pairs = (reverse, answers, answers, answers)
    size = len(answers.label)
    states = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:size], leaf]), states)
    logits = score(family, params, states, jax.tree.map(lambda *x: jnp.concatenate(x), *pairs))
    names = "reversed", "personal", "weightless", "population"
    return {
        **{name: logits[i * size : (i + 1) * size] for i, name in enumerate(names)},
        "diagnostics": family.diagnostics(params, problem, config),
    }


class Subject:
    """A family under checks, and what it predicts of a world.

    Args:
        family: Which.
        tolerance: How far predictions may differ where only rounding differs. Adam follows
            rounding for as many steps as it takes; exact solves do not.

    Attributes:
        family: Which.
        world: What it is fitted to.
        base: Its predictions there.
    """

    def __init__(self, family: Family, tolerance: float = 2e-2):
        self.family, self.tolerance = family, tolerance
        self.world = make_world()
        self.base = self.predict(self.world)

    def problem(self, world: World, num_users: int = ALL_USERS) -> Problem:
        """The problem of a world."""
        return make_problem(
            world.rows, world.embeddings, num_users=num_users, context=world.context
        )

    def answers(self, world: World, problem: Problem) -> Answers:
        """The answers of a world's new people."""
        assert problem.standardizer is not None
        inputs = standardize(problem.standardizer, world.embeddings)
        return gather(inputs, world.batch, world.context)

    def predict(
        self, world: World, answers: Answers | None = None, num_users: int = ALL_USERS
    ) -> dict[str, Any]:
        """Logits of the answered pairs after those answers, before, and reversed."""
        problem = self.problem(world, num_users)
        answers = self.answers(world, problem) if answers is None else answers
        return self.run(jax.random.key(0), problem, answers)

    def run(self, key: Any, problem: Problem, answers: Answers) -> dict[str, Any]:
        """The same for given arrays."""
        found = run(key, problem, answers, self.family.config, family=self.family)
        return jax.device_get(found)


def valid(logits: Any, batch: UserBatch) -> np.ndarray:
    """The logits of pairs under the mask."""
    return np.asarray(logits)[batch.mask]


def assert_same(subject: Subject, world: World, tolerance: float = 1e-4) -> None:
    """Predictions of another form of the same world are those of the world."""
    found = subject.predict(world)
    for name in ("population", "personal"):
        np.testing.assert_allclose(
            found[name][:, :NUM_ANSWERS],
            subject.base[name][:, :NUM_ANSWERS],
            atol=tolerance,
            rtol=tolerance,
            err_msg=f"{name} predictions changed",
        )
