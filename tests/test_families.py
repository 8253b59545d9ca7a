"""Every family through the same contract, on one tiny set of people with prompts."""

from dataclasses import fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.basis import make_problem, stack_problems, standardize
from prefjax.families import REGISTRY, gather, get_family, make_answers, no_answers, score
from prefjax.types import Comparisons, UserBatch

USERS, RESPONSES, INPUTS, CONTEXTS, PAIRS, ANSWERS = 6, 12, 5, 3, 8, 4


def draw(seed=0):
    """Hard labels of people with rewards of their own; two responses a prompt."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(RESPONSES, INPUTS)).astype(np.float32)
    context = np.repeat(rng.normal(size=(RESPONSES // 2, CONTEXTS)), 2, axis=0).astype(np.float32)
    user = np.repeat(np.arange(USERS), PAIRS)
    first = rng.integers(RESPONSES, size=len(user))
    second = first ^ 1
    weight = rng.normal(size=(USERS, INPUTS))
    gap = embeddings[first] - embeddings[second]
    label = np.sum(weight[user] * gap, axis=1) > 0
    rows = Comparisons(user, first, second, label.astype(np.float32), np.ones(len(user)))
    return rows, embeddings, context


def ask(seed=1, users=2):
    """Some answers of new people, the last of them masked and NaN."""
    rng = np.random.default_rng(seed)
    first = rng.integers(RESPONSES, size=(users, ANSWERS + 1))
    mask = np.arange(ANSWERS + 1)[None] < np.full((users, 1), ANSWERS)
    return UserBatch(
        first=first,
        second=first ^ 1,
        label=rng.integers(2, size=first.shape).astype(np.float32),
        sample_weight=np.ones(first.shape, np.float32),
        mask=mask,
    )


ROWS, EMBEDDINGS, CONTEXT = draw()
BATCH = ask()
make = partial(make_problem, num_users=USERS)


def answers_of(problem, batch, embeddings=EMBEDDINGS):
    return gather(standardize(problem.standardizer, embeddings), batch, CONTEXT)


def run(family, key, data, answers, config):
    """Logits of the answered pairs, turned round too, with and without having heard the answers."""
    params = family.fit(key, data, config)
    silent = answers._replace(sample_weight=jnp.zeros_like(answers.sample_weight))
    nobody = jax.tree.map(jnp.zeros_like, answers)
    people = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), answers, silent, nobody)
    states = jax.vmap(family.adapt, in_axes=(None, 0, None))(params, people, config)
    turned = answers._replace(first=answers.second, second=answers.first)
    pairs = (turned, answers, answers, answers)
    size = len(answers.label)
    states = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:size], leaf]), states)
    logits = score(family, params, states, jax.tree.map(lambda *x: jnp.concatenate(x), *pairs))
    names = "turned", "personal", "unheard", "population"
    return {
        **{name: logits[i * size : (i + 1) * size] for i, name in enumerate(names)},
        "diagnostics": family.diagnostics(params, data, config),
    }


HEAVY = {"pref", "pref-map", "clusters", "vpl", "p-rlhf", "pal-b"}
"""Families whose programs take long to compile."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in REGISTRY
    ],
)
def family(request):
    return get_family(request.param)


@pytest.fixture(scope="module")
def program(family):
    """One compiled program for every test of a family."""
    compiled = jax.jit(partial(run, family))

    def call(rows=ROWS, embeddings=EMBEDDINGS, batch=BATCH, seed=0, answers=None, num_users=USERS):
        data = make_problem(rows, embeddings, num_users=num_users, context=CONTEXT)
        answers = answers_of(data, batch, embeddings) if answers is None else answers
        return jax.device_get(compiled(jax.random.key(seed), data, answers, family.config))

    return call


@pytest.fixture(scope="module")
def base(program):
    return program()


def kept(logits, batch=BATCH):
    return logits[batch.mask]


def test_turning_a_pair_round_turns_the_logit(base):
    assert np.all(np.isfinite(base["personal"]))
    np.testing.assert_allclose(base["turned"], -base["personal"], atol=2e-5, rtol=2e-5)


def test_without_answers_everybody_is_the_population(base):
    np.testing.assert_array_equal(base["unheard"], base["population"])


def test_answers_are_heard(family, base):
    """By all but Bradley–Terry; and by MiCRo unless its alarm says that the heads have merged."""
    moved = np.abs(base["personal"] - base["population"])[BATCH.mask].max()
    deaf = family.name == "bradley-terry" or base["diagnostics"].get("head_spread", 1.0) < 1e-2
    assert (moved > 1e-3) == (not deaf)


def test_the_order_of_rows_and_of_answers_means_nothing(program, base):
    rng = np.random.default_rng(2)
    order, places = rng.permutation(len(ROWS.user)), np.append(rng.permutation(ANSWERS), ANSWERS)
    rows = Comparisons(*(column[order] for column in ROWS))
    batch = UserBatch(*(column[:, places] for column in BATCH))
    mixed = program(rows, batch=batch)
    np.testing.assert_allclose(mixed["personal"], base["personal"][:, places], atol=1e-4, rtol=1e-4)


def test_masked_rows_equal_deleted_rows_whatever_they_hold(program, base):
    padded = Comparisons(*(np.concatenate([column, column[:3]]) for column in ROWS))
    padded.sample_weight[-3:], padded.label[-3:] = 0, np.nan
    np.testing.assert_array_equal(program(padded)["personal"], base["personal"])
    answers = answers_of(make(ROWS, EMBEDDINGS), BATCH)
    hidden = ~BATCH.mask
    broken = answers._replace(
        first=jnp.where(hidden[..., None], jnp.nan, answers.first),
        context=jnp.where(hidden[..., None], jnp.nan, answers.context),
        label=jnp.where(hidden, jnp.nan, answers.label),
    )
    masked = program(answers=broken)
    np.testing.assert_array_equal(kept(masked["personal"]), kept(base["personal"]))


def test_people_without_rows_change_nothing(program, base):
    more = program(num_users=USERS + 300)
    for name in ("population", "personal"):
        np.testing.assert_allclose(more[name], base[name], atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_bits(program, base):
    again = program()
    jax.tree.map(np.testing.assert_array_equal, again, base)


def test_soft_labels_lie_between_hard_ones(program, base):
    """Ties are legal and finite; an answer with y is the answer turned round with 1 − y."""
    tied = program(ROWS._replace(label=np.full(len(ROWS.label), 0.5, np.float32)))
    assert np.all(np.isfinite(tied["personal"]))
    unsure = BATCH._replace(label=np.full(BATCH.label.shape, 0.5, np.float32))
    soft = program(batch=unsure)
    strength = [np.abs(kept(out["personal"])).mean() for out in (soft, base)]
    assert np.all(np.isfinite(soft["personal"]))
    assert strength[0] < 1.5 * strength[1]
    likely = np.linspace(0.1, 0.9, BATCH.label.size, dtype=np.float32).reshape(BATCH.label.shape)
    first, second = (np.where(likely < 0.5, *pair) for pair in (BATCH[1::-1], BATCH[:2]))
    turned = BATCH._replace(first=first, second=second, label=np.maximum(likely, 1 - likely))
    ours = program(batch=BATCH._replace(label=likely))["personal"]
    theirs = np.where(likely < 0.5, -1, 1) * program(batch=turned)["personal"]
    np.testing.assert_allclose(kept(theirs), kept(ours), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_one_person_with_one_answer_is_enough(family):
    rows = Comparisons(*(column[:1] for column in ROWS))
    data = make_problem(rows, EMBEDDINGS, num_users=1, context=CONTEXT)
    answers = answers_of(data, BATCH)
    out = jax.jit(partial(run, family))(jax.random.key(0), data, answers, family.config)
    assert np.all(np.isfinite(out["personal"]))
    np.testing.assert_allclose(out["turned"], -out["personal"], atol=2e-5, rtol=2e-5)


@pytest.mark.slow
def test_seeds_side_by_side_are_seeds_one_by_one(family):
    others = draw(1)
    fewer = Comparisons(*(column[:-5] for column in others[0]))
    tables, contexts = [EMBEDDINGS, others[1]], [CONTEXT, others[2]]
    data = stack_problems([ROWS, fewer], tables, num_users=USERS, context=contexts)
    keys, answers = jax.random.split(jax.random.key(0)), answers_of(make(ROWS, EMBEDDINGS), BATCH)
    together = jax.vmap(partial(run, family), in_axes=(0, 0, None, None))
    together = jax.jit(together)(keys, data, answers, family.config)["personal"]
    alone = jax.jit(partial(run, family))
    for seed in range(2):
        part = jax.tree.map(lambda leaf, seed=seed: leaf[seed], data)
        one = alone(keys[seed], part, answers, family.config)["personal"]
        np.testing.assert_allclose(kept(together[seed]), kept(one), atol=1e-4, rtol=1e-4)


def test_nobody_asked_is_anybody_silent():
    family = get_family("per-user")
    params = family.fit(jax.random.key(0), make(ROWS, EMBEDDINGS), family.config)
    state = family.adapt(params, no_answers(INPUTS), family.config)
    np.testing.assert_array_equal(state, np.zeros(INPUTS))


def test_config_grid_are_at_most_eight_and_share_one_program():
    for family in REGISTRY.values():
        config_grid = family.config_grid(family.config)
        assert 1 <= len(config_grid) <= 8
        assert len({jax.tree.structure(trial) for trial in config_grid}) == 1
        assert len({hash(trial) for trial in config_grid}) == len(config_grid)


def test_no_family_takes_a_size_of_zero():
    """But where zero is a setting: hidden units of a linear map, rounds that are not run."""
    legal = {"hidden", "num_reassign"}
    for family in REGISTRY.values():
        for setting in fields(family.config):
            size = setting.metadata.get("static") and isinstance(setting.default, int | None)
            if size and (setting.name not in legal or family.name in ("vpl", "p-rlhf")):
                with pytest.raises(ValueError, match=f"{setting.name} must be at least 1, got 0"):
                    replace(family.config, **{setting.name: 0})


def test_no_family_takes_a_negative_or_infinite_number():
    for family in REGISTRY.values():
        for setting in fields(family.config):
            integer = isinstance(setting.default, int)
            if integer or not setting.metadata.get("static"):
                for wrong in (-1, np.float32(-1), np.nan, np.inf)[: 1 if integer else None]:
                    with pytest.raises(ValueError, match=f"{setting.name} must be "):
                        replace(family.config, **{setting.name: wrong})
    for name in ("lore", "gpm"):
        with pytest.raises(ValueError, match=r"temperature must be positive, got 0\.0"):
            replace(get_family(name).config, temperature=0.0)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no family 'lora'; the families are bradley-terry, "):
        get_family("lora")
    with pytest.raises(ValueError, match="every comparison has sample_weight 0: nothing can be"):
        make(ROWS._replace(sample_weight=np.zeros(len(ROWS.user))), EMBEDDINGS)
    with pytest.raises(ValueError, match=r"comparisons\.user must lie in \[0, 2\)"):
        make_problem(ROWS, EMBEDDINGS, num_users=2)
    broken = np.where(np.arange(RESPONSES)[:, None] == ROWS.first[0], np.nan, EMBEDDINGS)
    with pytest.raises(ValueError, match=rf"not finite, first rows \[{ROWS.first[0]}\]"):
        make(ROWS, broken)
    with pytest.raises(ValueError, match="context must have one row for each of the 12 responses"):
        make(ROWS, EMBEDDINGS, context=CONTEXT[:3])
    with pytest.raises(ValueError, match=r"1 contexts are not finite"):
        make(
            ROWS, EMBEDDINGS, context=np.where(np.arange(RESPONSES)[:, None] == 2, np.inf, CONTEXT)
        )
    with pytest.raises(ValueError, match=r"comparisons\.first must lie in \[0, 12\)"):
        make_answers(EMBEDDINGS, BATCH._replace(first=BATCH.first + RESPONSES))
    with pytest.raises(ValueError, match="num_basis must be at least 1, got 0"):
        type(get_family("lore").config)(num_basis=0)
