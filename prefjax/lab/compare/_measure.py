"""One family on one draw: choose its settings, fit it, and score new people by answers given.

The settings are among those of `Family.config_grid`, at most eight, from weak to strong: the last
one whose AUC for held-out training people, averaged over all numbers of answers, cannot be told
from the best (one standard error of the difference, over people). The family is then fitted to all
training people, and with the same settings to the nulls of `prefjax.lab.compare.cases`, and scored
by two controls that need no fit:

    wrong-user          the state that another new person's answers make, who is drawn: neighbours
                        in the data may be of one mind
    reversed-answers    the state that the opposite of a person's answers makes; the share of right
                        predictions that it changes (``flip_rate``) says how much of a prediction
                        comes from the person

Without answers every family is its own population model; `per-user` has none and is indifferent.

References:
    arXiv 2609.35109, reversed answers.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.basis import EMConfig
from prefjax.families import Family, get_family
from prefjax.lab.compare.cases import NULLS, Case, Cases
from prefjax.lab.compare.questions import RECORDED
from prefjax.lab.compare.scoring import (
    Measured,
    diagnose,
    fit,
    flip_rate_of,
    scores_of,
    states_of,
)
from prefjax.types import Array, PRNGKey

REVERSED = "reversed-answers"
CONTROLS = ("wrong-user", *NULLS, REVERSED)


def partners(seed: int, num_people: int) -> np.ndarray:
    """Another person for everybody, each for one: the next in a random circle.

    Args:
        seed: Of the circle.
        num_people: At least two, or nobody has another.

    >>> bool(np.any(partners(0, 7) == np.arange(7)))
    False
    """
    circle = np.random.default_rng(seed).permutation(num_people)
    found = np.empty(num_people, int)
    found[circle] = np.roll(circle, 1)
    return found


def another(states: Any, partner: np.ndarray) -> Any:
    """Every person with the state of a partner; padding lends none."""

    def lend(leaf: Array) -> jax.Array:
        order = np.arange(leaf.shape[1])
        order[: len(partner)] = partner
        return jnp.asarray(leaf)[:, order]

    return jax.tree.map(lend, states)


def strongest(auc: Float[np.ndarray, "config user"]) -> int:
    """The last config whose mean is within one standard error of the best, in pairs over people.

    People without both labels among their tests are NaN and do not count; nor does a config that is
    NaN for everybody.
    """
    counted = auc[:, ~np.isnan(auc).all(axis=0)]
    if not counted.size:
        return len(auc) - 1
    mean = np.nan_to_num(counted.mean(axis=1), nan=-np.inf)
    lost = counted[np.argmax(mean)][None] - counted
    error = lost.std(axis=1) / np.sqrt(counted.shape[1])
    return int(np.flatnonzero(lost.mean(axis=1) <= error)[-1])


def as_given(family: Family, config: Any = None) -> Family:
    """The family at given settings, none of which is chosen on held-out people.

    Args:
        family: Which.
        config: Settings; those of the family if None.
    """
    config = family.config if config is None else config
    return family._replace(config=config, config_grid=_only)


def with_factors(name: str, num_factors: int, **settings: Any) -> Family:
    """PReF with J base rewards, at its own settings.

    Args:
        name: ``pref`` or ``pref-map``.
        num_factors: J.
        settings: Further fields of the family's config.
    """
    family = get_family(name)
    em = EMConfig(num_factors=num_factors)
    return as_given(family, replace(family.config, em=em, **settings))


def _only(config: Any) -> tuple[Any, ...]:
    return (config,)


def choose(
    key: PRNGKey, family: Family, case: Case, num_answers: tuple[int, ...]
) -> tuple[Any, list[float]]:
    """The config that suits held-out training people, and the mean AUC of every config.

    A family with one config needs no fit here; the list is then empty.

    Args:
        key: Seed of the fits.
        family: Which.
        case: The inner draw.
        num_answers: The numbers of answers that are averaged over.
    """
    grid = family.config_grid(family.config)
    if len(grid) == 1:
        return grid[0], []
    tuned = []
    for config in grid:
        params = fit(key, family, case.data, config)
        states = states_of(key, family, params, case, num_answers, config=config)
        tuned.append(scores_of(family, params, states, case, num_answers).auc.mean(axis=0))
    auc = np.stack(tuned)
    return grid[strongest(auc)], [float(np.nanmean(row)) for row in auc]


def measure(
    key: PRNGKey,
    family: Family,
    cases: Cases,
    num_answers: tuple[int, ...],
    controls: tuple[str, ...] = CONTROLS,
    questions: tuple[str, ...] = (RECORDED,),
) -> tuple[dict[tuple[str, str], Measured], dict[str, Any]]:
    """All scores of one family on one draw.

    Args:
        key: Seed of the fits, and of questions that are drawn.
        family: Which.
        cases: From `make_cases`, with the controls.
        num_answers: After how many answers new people are scored.
        controls: Which of ``CONTROLS`` to run.
        questions: Rules by which new people are asked; one that the family cannot be asked by is
            left out. Under rules that choose, labels are neither shuffled nor reversed.

    Returns:
        Scores by rule and control, the family's own under the control ``""``; and what a cell
        remembers of the fit: the AUC of every config, the chosen config, and the diagnostics.
    """
    config, tuned = choose(key, family, cases.inner, num_answers)
    results: dict[tuple[str, str], Measured] = {}
    partner = partners(int(jax.random.key_data(key)[-1]), cases.outer.num_users)

    def add(control: str, params: Any, case: Case) -> None:
        for rule in questions:
            if control in ("shuffled-labels", REVERSED) and rule != RECORDED:
                continue
            states = states_of(
                key, family, params, case, num_answers, config=config, questions=rule
            )
            if states is None:
                continue
            results[rule, control] = scores_of(
                family, params, states, case, num_answers, keep_logits=control == ""
            )
            if control == "" and "wrong-user" in controls:
                wrong = another(states, partner)
                results[rule, "wrong-user"] = scores_of(family, params, wrong, case, num_answers)
            if control == "" and rule == RECORDED and REVERSED in controls:
                results[rule, REVERSED] = reverse(states)

    def reverse(states: Any) -> Measured:
        case = cases.outer
        answers = case.answers._replace(label=1 - case.answers.label)
        others = states_of(
            key, family, params, case._replace(answers=answers), num_answers, config=config
        )
        rate = flip_rate_of(family, params, states, others, case, num_answers)
        return scores_of(family, params, others, case, num_answers)._replace(flip_rate=rate)

    params = fit(key, family, cases.outer.data, config)
    add("", params, cases.outer)
    for name, case in cases.nulls.items():
        if name in controls:
            add(name, fit(key, family, case.data, config), case)
    diagnostics = diagnose(params, cases.outer.data, config, family=family)
    about = {
        "config_grid": tuned,
        "config": repr(config),
        "votes": bool(cases.outer.votes),
        "diagnostics": {name: float(value) for name, value in diagnostics.items()},
    }
    return results, about
