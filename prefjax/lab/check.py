"""Whether a family of reward models keeps its contract, on one tiny set of people with prompts.

    failures = check_family(FAMILY)          # {} if it keeps it, else check -> what went wrong

A check is a function of a `Subject`, a family with one compiled program around it, and raises an
AssertionError; tests run them one by one from ``CHECKS``. All of ``CHECKS`` but the last use arrays
of one shape, so that a family is compiled once.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from prefjax.basis import stack_problems
from prefjax.families import Family
from prefjax.lab.check_subject import (
    ALL_RESPONSES,
    ALL_USERS,
    NUM_ANSWERS,
    NUM_USERS,
    Subject,
    assert_same,
    make_world,
    renumber,
    run,
    valid,
)
from prefjax.types import Comparisons, UserBatch


def check_antisymmetric(subject: Subject) -> None:
    """Reversing a pair reverses its logit, and every logit is finite."""
    base = subject.base
    assert np.all(np.isfinite(base["personal"])), "a prediction is not finite"
    np.testing.assert_allclose(base["reversed"], -base["personal"], atol=2e-5, rtol=2e-5)


def check_population_without_answers(subject: Subject) -> None:
    """Without answers everybody is the population."""
    np.testing.assert_array_equal(subject.base["weightless"], subject.base["population"])


def check_order(subject: Subject) -> None:
    """The order of rows and of answers means nothing."""
    world, rng = subject.world, np.random.default_rng(2)
    order = rng.permutation(len(world.rows.user))
    place = np.append(rng.permutation(NUM_ANSWERS), NUM_ANSWERS)
    rows = Comparisons(*(column[order] for column in world.rows))
    batch = UserBatch(*(column[:, place] for column in world.batch))
    mixed = subject.predict(world._replace(rows=rows, batch=batch))
    expected = subject.base["personal"][:, place]
    np.testing.assert_allclose(mixed["personal"], expected, atol=1e-4, rtol=1e-4)


def check_masked_is_deleted(subject: Subject) -> None:
    """Rows and answers of weight 0 equal deleted ones, whatever they hold."""
    world, base = subject.world, subject.base
    padded = Comparisons(*(np.concatenate([column, column[:3]]) for column in world.rows))
    padded.sample_weight[-3:], padded.label[-3:] = 0, np.nan
    found = subject.predict(world._replace(rows=padded))
    np.testing.assert_array_equal(found["personal"], base["personal"])
    answers = subject.answers(world, subject.problem(world))
    hidden = ~world.batch.mask
    broken = answers._replace(
        first=jnp.where(hidden[..., None], jnp.nan, answers.first),
        context=jnp.where(hidden[..., None], jnp.nan, answers.context),
        label=jnp.where(hidden, jnp.nan, answers.label),
    )
    found = subject.predict(world, broken)
    np.testing.assert_array_equal(
        valid(found["personal"], world.batch), valid(base["personal"], world.batch)
    )


def check_spare_people_and_responses(subject: Subject) -> None:
    """People and responses without rows change nothing, wherever they stand and whatever they hold.

    Between the others as after them; a spare embedding may be huge or no number.
    """
    user, response = np.array([0, 2, 3, 4, 6, 7]), np.delete(np.arange(ALL_RESPONSES), [0, 3, 8, 9])
    for filler in (0.0, 1e6, np.nan):
        assert_same(subject, renumber(subject.world, user, response, filler))


def check_weight_is_repetition(subject: Subject) -> None:
    """A row of weight 2 is the row twice; so is an answer of a new person."""
    world = subject.world
    rows = Comparisons(*(np.concatenate([column, column]) for column in world.rows))
    rows = rows._replace(sample_weight=0.5 * rows.sample_weight)
    assert_same(subject, world._replace(rows=rows))
    batch = UserBatch(*(np.array(column) for column in world.batch))
    for column in batch:
        column[:, -1] = column[:, 0]
    batch.sample_weight[:, [0, -1]] = 0.5
    assert_same(subject, world._replace(batch=batch))


def check_orientation(subject: Subject) -> None:
    """Which response of a row stands first means nothing."""
    rows = subject.world.rows
    swap = np.arange(len(rows.user)) % 3 == 0
    rows = rows._replace(
        first=np.where(swap, rows.second, rows.first),
        second=np.where(swap, rows.first, rows.second),
        label=np.where(swap, 1 - rows.label, rows.label).astype(np.float32),
    )
    assert_same(subject, subject.world._replace(rows=rows))


def check_unit_and_origin(subject: Subject) -> None:
    """A global scale and an offset of embeddings and contexts change no prediction."""
    world = subject.world
    for scale, offset in ((1024.0, 0.0), (3e-4, 0.0), (1.0, 2.0), (70.0, -90.0)):
        moved = world._replace(
            embeddings=scale * world.embeddings + offset, context=scale * world.context + offset
        )
        assert_same(subject, moved, subject.tolerance)


def check_same_seed(subject: Subject) -> None:
    """The same seed gives the same bits."""
    jax.tree.map(np.testing.assert_array_equal, subject.predict(subject.world), subject.base)


def check_soft_labels(subject: Subject) -> None:
    """Ties are legal and finite; an answer with y is the answer reversed with 1 − y."""
    world, batch = subject.world, subject.world.batch
    tie = np.full(len(world.rows.label), 0.5, np.float32)
    tied = subject.predict(world._replace(rows=world.rows._replace(label=tie)))
    assert np.all(np.isfinite(tied["personal"])), "a prediction from ties alone is not finite"
    unsure = batch._replace(label=np.full(batch.label.shape, 0.5, np.float32))
    soft = subject.predict(world._replace(batch=unsure))
    size = [np.abs(valid(out["personal"], batch)).mean() for out in (soft, subject.base)]
    assert np.all(np.isfinite(soft["personal"])), "a prediction after unsure answers is not finite"
    assert size[0] < 1.5 * size[1], "unsure answers make surer predictions than sure ones"
    likely = np.linspace(0.1, 0.9, batch.label.size, dtype=np.float32).reshape(batch.label.shape)
    first, second = (np.where(likely < 0.5, *pair) for pair in (batch[1::-1], batch[:2]))
    reverse = batch._replace(first=first, second=second, label=np.maximum(likely, 1 - likely))
    ours = subject.predict(world._replace(batch=batch._replace(label=likely)))["personal"]
    theirs = subject.predict(world._replace(batch=reverse))["personal"]
    theirs = np.where(likely < 0.5, -1, 1) * theirs
    same = (valid(logits, batch) for logits in (theirs, ours))
    np.testing.assert_allclose(*same, atol=1e-4, rtol=1e-4)


def check_config_grid(subject: Subject) -> None:
    """At most eight settings, all different, that share one program."""
    grid = subject.family.config_grid(subject.family.config)
    assert 1 <= len(grid) <= 8, f"{len(grid)} settings"
    assert len({jax.tree.structure(config) for config in grid}) == 1, "what is static differs"
    assert len({hash(config) for config in grid}) == len(grid), "some settings are the same"


def check_many_people_without_rows(subject: Subject) -> None:
    """Three hundred people without rows change nothing; compiles another program."""
    found = subject.predict(subject.world, num_users=NUM_USERS + 300)
    for name in ("population", "personal"):
        np.testing.assert_allclose(found[name], subject.base[name], atol=1e-4, rtol=1e-4)


def check_one_answer(subject: Subject) -> None:
    """One person with one row is enough for a finite fit; compiles another program."""
    world = subject.world
    one = world._replace(rows=Comparisons(*(column[:1] for column in world.rows)))
    found = subject.predict(one, num_users=1)
    assert np.all(np.isfinite(found["personal"])), "a prediction is not finite"
    np.testing.assert_allclose(found["reversed"], -found["personal"], atol=2e-5, rtol=2e-5)


def check_seeds_side_by_side(subject: Subject) -> None:
    """Fits of several problems under ``vmap`` are those fits one by one; compiles two programs."""
    family, worlds = subject.family, (subject.world, make_world(1))
    fewer = Comparisons(*(column[:-5] for column in worlds[1].rows))
    problem = stack_problems(
        [worlds[0].rows, fewer],
        [world.embeddings for world in worlds],
        num_users=ALL_USERS,
        context=[world.context for world in worlds],
    )
    keys = jax.random.split(jax.random.key(0))
    answers = subject.answers(subject.world, subject.problem(subject.world))
    together = jax.vmap(partial(run, family=family), in_axes=(0, 0, None, None))
    together = together(keys, problem, answers, family.config)["personal"]
    for seed in range(2):
        part = jax.tree.map(lambda leaf, seed=seed: leaf[seed], problem)
        alone = subject.run(keys[seed], part, answers)["personal"]
        same = (valid(logits, subject.world.batch) for logits in (together[seed], alone))
        np.testing.assert_allclose(*same, atol=1e-4, rtol=1e-4)


CHECKS: Mapping[str, Callable[[Subject], None]] = {
    "antisymmetric": check_antisymmetric,
    "population without answers": check_population_without_answers,
    "order of rows": check_order,
    "masked is deleted": check_masked_is_deleted,
    "spare people and responses": check_spare_people_and_responses,
    "weight is repetition": check_weight_is_repetition,
    "orientation of pairs": check_orientation,
    "unit and origin": check_unit_and_origin,
    "same seed": check_same_seed,
    "soft labels": check_soft_labels,
    "config grid": check_config_grid,
    "many people without rows": check_many_people_without_rows,
}
"""What every family keeps, by name."""

SLOW_CHECKS: Mapping[str, Callable[[Subject], None]] = {
    "one answer": check_one_answer,
    "seeds side by side": check_seeds_side_by_side,
}
"""What every family keeps and takes a program of its own to see."""


def check_family(family: Family, *, slow: bool = False) -> dict[str, str]:
    """Runs the contract's checks on a family and says what failed.

    Args:
        family: Any, registered or not. It is compiled for a world of a few people, which takes
            seconds.
        slow: Run ``SLOW_CHECKS`` too, each of which compiles the family again.

    Returns:
        What went wrong, by the name of the check; empty if the family keeps its contract.

    Examples:
        >>> from prefjax.families import get_family
        >>> check_family(get_family("bradley-terry"))
        {}
    """
    try:
        subject = Subject(family)
    except Exception as error:
        return {"runs at all": f"{type(error).__name__}: {error}"}
    failures = {}
    for name, check in {**CHECKS, **(SLOW_CHECKS if slow else {})}.items():
        try:
            check(subject)
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {str(error).strip()}"
    return failures
