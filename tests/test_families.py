"""Every family through the same contract, on one tiny set of people with prompts."""

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.basis import make_problem
from prefjax.families import REGISTRY, gather, get_family, make_answers, no_answers
from prefjax.lab import check_family
from prefjax.lab.check import CHECKS, SLOW_CHECKS
from prefjax.lab.check_subject import ALL_RESPONSES, ALL_USERS, NUM_INPUTS, Subject, make_world
from prefjax.types import BASELINE

WORLD = make_world()
ROWS, EMBEDDINGS, CONTEXT, BATCH = WORLD
HEAVY = {"pref", "pref-map", "clusters", "vpl", "p-rlhf", "pal-b", "p-ttt", "mrm"}
"""Families whose programs take long to compile."""


def make(rows, embeddings, **options):
    return make_problem(rows, embeddings, num_users=ALL_USERS, **options)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in REGISTRY
    ],
)
def subject(request):
    """One compiled program for every check of a family."""
    return Subject(get_family(request.param))


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_family_keeps_its_contract(subject, check):
    check(subject)


@pytest.mark.slow
@pytest.mark.parametrize("check", SLOW_CHECKS.values(), ids=SLOW_CHECKS)
def test_every_family_keeps_its_contract_in_other_programs(subject, check):
    check(subject)


TOLD_APART = {"pref": {"penalty": 1.0}, "clusters": {"num_clusters": 2}}
"""Settings of the families that rightly find one population in a world of six people."""


def test_answers_are_learned_from(subject):
    """By all but those of one reward, and by MiCRo unless its diagnostics say heads have merged."""
    name, family = subject.family.name, subject.family
    if name in TOLD_APART:
        config = replace(family.config, **TOLD_APART[name])
        subject = Subject(family._replace(config=config))
    base = subject.base
    moved = np.abs(base["personal"] - base["population"])[BATCH.mask].max()
    deaf = (
        name in ("bradley-terry", "flip-noise")
        or base["diagnostics"].get("head_spread", 1.0) < 1e-2
    )
    assert (moved > 1e-3) == (not deaf)


BROKEN = {
    "order of rows": {
        "adapt": lambda w, answers, config: answers.sample_weight[0] * answers.label[0]
    },
    "antisymmetric": {"logit": lambda w, state, a, b, x: (a - b) @ w + 1.0},
    "population without answers": {
        "adapt": lambda w, answers, config: jnp.sum(answers.sample_weight) + answers.first[0, 0]
    },
    "masked is deleted": {"adapt": lambda w, answers, config: jnp.sum(answers.label)},
    "weight is repetition": {
        "adapt": lambda w, answers, config: jnp.sum(answers.sample_weight > 0).astype(float)
    },
    "spare people and responses": {
        "fit": lambda key, problem, config: jax.random.normal(key, (ALL_USERS, NUM_INPUTS))[
            jnp.argmax(problem.user_place[1:] >= 0)
        ]
    },
    "many people without rows": {
        "fit": lambda key, problem, config: jnp.ones(NUM_INPUTS) / len(problem.user_place)
    },
    "unit and origin": {
        "logit": lambda w, state, a, b, x: ((a - b) @ w) * (1 + state + jnp.sum(x**2))
    },
    "config grid": {"config_grid": lambda config: (config, config)},
}
"""Ways to break the contract, each by the check that must say so."""


def make_plain(**changes):
    """A family of one fixed reward, with some of its functions changed."""
    whole = get_family("bradley-terry")._replace(
        name="plain",
        fit=lambda key, problem, config: jnp.ones(NUM_INPUTS),
        adapt=lambda params, answers, config: jnp.zeros(()),
        logit=lambda params, state, a, b, x: ((a - b) @ params) * (1 + state),
    )
    return whole._replace(**changes)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_family_fails_the_check_of_what_it_breaks(name):
    with pytest.raises(AssertionError):
        CHECKS[name](Subject(make_plain(**BROKEN[name])))


def test_somebody_elses_family_is_told_what_fails():
    assert check_family(make_plain()) == {}
    failures = check_family(make_plain(config_grid=lambda config: (config, config)))
    assert failures == {"config grid": "AssertionError: some settings are the same"}

    def fit(key, problem, config):
        raise TypeError("no such attribute")

    assert check_family(make_plain(fit=fit)) == {"runs at all": "TypeError: no such attribute"}


def test_the_prompt_of_a_pair_does_not_depend_on_which_response_stands_first():
    across = BATCH._replace(second=(BATCH.first + 5) % ALL_RESPONSES)
    reverse = across._replace(first=across.second, second=across.first)
    one, other = (gather(EMBEDDINGS, batch, CONTEXT).context for batch in (across, reverse))
    np.testing.assert_array_equal(one, other)
    votes = gather(EMBEDDINGS, BATCH._replace(second=0 * BATCH.first + BASELINE), CONTEXT)
    np.testing.assert_array_equal(votes.context, CONTEXT[BATCH.first])


def test_no_answers_are_those_of_an_unknown_user():
    family = get_family("per-user")
    params = family.fit(jax.random.key(0), make(ROWS, EMBEDDINGS), family.config)
    state = family.adapt(params, no_answers(NUM_INPUTS), family.config)
    np.testing.assert_array_equal(state, np.zeros(NUM_INPUTS))


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
    with pytest.raises(ValueError, match=r"penalty must be at most 1e\+12, got 1e\+20"):
        replace(get_family("gpm").config, penalty=1e20)
    with pytest.raises(ValueError, match=r"penalty must be positive, got 0\.0"):
        replace(get_family("bradley-terry").config, penalty=0.0)
    for name in ("lore", "gpm"):
        with pytest.raises(ValueError, match=r"temperature must be positive, got 0\.0"):
            replace(get_family(name).config, temperature=0.0)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no family 'lora'; the families are bradley-terry, "):
        get_family("lora")
    with pytest.raises(ValueError, match="every comparison has sample_weight 0: nothing can be"):
        make(ROWS._replace(sample_weight=np.zeros(len(ROWS.user))), EMBEDDINGS)
    for weight, said in (
        (1e-38, "less than 1e-12; multiply"),
        (1e30, r"beyond 1e\+12 a single row"),
    ):
        with pytest.raises(ValueError, match=said):
            make(ROWS._replace(sample_weight=np.full(len(ROWS.user), weight)), EMBEDDINGS)
    with pytest.raises(ValueError, match=r"comparisons\.user must lie in \[0, 2\)"):
        make_problem(ROWS, EMBEDDINGS, num_users=2)
    broken = np.where(np.arange(ALL_RESPONSES)[:, None] == ROWS.first[0], np.nan, EMBEDDINGS)
    with pytest.raises(ValueError, match=rf"not finite, first rows \[{ROWS.first[0]}\]"):
        make(ROWS, broken)
    with pytest.raises(ValueError, match="context must have one row for each of the 16 responses"):
        make(ROWS, EMBEDDINGS, context=CONTEXT[:3])
    with pytest.raises(ValueError, match=r"1 contexts are not finite"):
        make(
            ROWS,
            EMBEDDINGS,
            context=np.where(np.arange(ALL_RESPONSES)[:, None] == 2, np.inf, CONTEXT),
        )
    with pytest.raises(ValueError, match=r"comparisons\.first must lie in \[0, 16\)"):
        make_answers(EMBEDDINGS, BATCH._replace(first=BATCH.first + ALL_RESPONSES))
    free = make_problem(ROWS, None, num_users=ALL_USERS, num_responses=ALL_RESPONSES)
    with pytest.raises(ValueError, match="families read embeddings and this problem has none"):
        REGISTRY["lore"].fit(jax.random.key(0), free, REGISTRY["lore"].config)
    with pytest.raises(ValueError, match="num_basis must be at least 1, got 0"):
        type(get_family("lore").config)(num_basis=0)
