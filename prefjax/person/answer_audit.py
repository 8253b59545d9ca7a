"""Who answers at random, and which answers a person would not give again: with a model, out of it.

People are cut into parts; each part is judged by a basis that was fitted to the others, several
times with other cuts. The evidence of a person's answers over a coin (`prefjax.person.evidence`)
has a rank among simulated people of the same population who answer the same questions. It would be
uniform if the model were right; it never is, so the ranks of all people, on the scale of a normal
deviate, are centered at their median and divided by their spread (the empirical null: what is
unusual among these people). The p-value is that of the lower tail. Simulated coins on the same
questions say how many would be found. An answer is contradicted if in every cut the probability of
its label, given the person's other answers, is small.

Nothing is removed. A person with a taste that the basis does not hold looks like a coin, too; look
at the answers before you leave anybody out.

References:
    B. Efron, "Large-scale simultaneous hypothesis testing: the choice of a null hypothesis",
    Journal of the American Statistical Association 99 (2004); R. Kass, A. Raftery, "Bayes
    factors", ibid. 90 (1995).
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm

from prefjax import basis as bases
from prefjax.basis import EMConfig, SearchConfig
from prefjax.data.cut import select_rows
from prefjax.data.group import group_by_user
from prefjax.person.evidence import Judged, judge_person
from prefjax.person.items import bucket
from prefjax.types import BASELINE, Array, Comparisons, PRNGKey, UserBatch

STRONG = 3.0
"""Evidence, in nats, with which nobody is flagged: "strong" in the scale of Kass and Raftery."""
_HIGHEST = 1 - 1e-6
"""Rank beyond which a normal deviate says nothing."""
_SMALLEST_SPREAD = 0.1
"""Of normal deviates; guards against people who are all the same."""


@dataclass(frozen=True)
class AnswerAuditConfig:
    """How people and answers are judged.

    Attributes:
        false_alarms: Share of people who answer as the population does that may be flagged.
        max_probability: Largest probability of a label, in every cut, that is contradicted.
        min_rows: Decided answers that a person must have to be judged.
        max_rows: Answers of a person that are used; later ones are left out.
        num_parts: Parts into which people are cut.
        num_cuts: How often they are cut anew.
        num_simulations: Simulated people for each p-value.
        fit: Settings of every fit.
        search: Candidate penalties, chosen once.
    """

    false_alarms: float = 0.05
    max_probability: float = 0.05
    min_rows: int = 10
    max_rows: int = 256
    num_parts: int = 4
    num_cuts: int = 2
    num_simulations: int = 99
    fit: EMConfig = EMConfig()
    search: SearchConfig = SearchConfig()

    def __post_init__(self):
        if not 0 < self.false_alarms < 1 or not 0 < self.max_probability < 0.5:
            raise ValueError("false_alarms must lie in (0, 1), max_probability in (0, 1/2)")
        if self.num_parts < 2 or self.num_cuts < 1:
            raise ValueError("at least two parts and one cut are needed")
        if self.num_simulations < 1 / self.false_alarms - 1:
            raise ValueError(
                f"{self.num_simulations} simulations cannot tell {self.false_alarms:g}; "
                f"at least {round(1 / self.false_alarms) - 1} are needed"
            )


class AnswerAudit(NamedTuple):
    """People and answers as judged by fits that had not seen them.

    Attributes:
        num_rows: Decided answers of each person.
        evidence: By how many nats the population explains a person better than a coin; NaN where
            there are too few answers.
        p_value: Share of people like these with so little evidence; NaN likewise.
        is_random: Flagged: p-value at most ``false_alarms``, and no strong evidence for a person.
        power: Share of coins on the same questions that would be flagged; NaN likewise.
        probability: Probability of each row's label given the person's other answers, the largest
            of all cuts; NaN for ties and rows that were not used.
        is_contradicted: Rows with a probability at most ``max_probability``.
        num_confident: Rows of which every cut is that sure, whatever the label.
        num_expected: Contradicted rows that are to be expected if the probabilities are right.
        false_alarms: The share that was asked for.
    """

    num_rows: Int[np.ndarray, " user"]
    evidence: Float[np.ndarray, " user"]
    p_value: Float[np.ndarray, " user"]
    is_random: Bool[np.ndarray, " user"]
    power: Float[np.ndarray, " user"]
    probability: Float[np.ndarray, " row"]
    is_contradicted: Bool[np.ndarray, " row"]
    num_confident: int
    num_expected: float
    false_alarms: float


def audit_answers(
    key: PRNGKey,
    comparisons: Comparisons,
    embeddings: Float[Array, "response input"] | None,
    *,
    num_users: int,
    num_responses: int | None = None,
    config: AnswerAuditConfig = AnswerAuditConfig(),
) -> AnswerAudit:
    """Judge every person by fits to others, and every answer by the person's other answers.

    Args:
        key: Seed of the cuts, of the fits and of the simulated people.
        comparisons: Everybody's rows; ties are left out.
        embeddings: One row a response; None for free factors, where many people answered about the
            same responses.
        num_users: Number of people.
        num_responses: Number of responses; needed without embeddings.
        config: How.

    Returns:
        The findings.

    Raises:
        ValueError: A row or an embedding is not legal, or too few people have enough answers.
    """
    rows = Comparisons(*(np.asarray(column) for column in comparisons))
    decided = np.flatnonzero((rows.label != 0.5) & (rows.sample_weight > 0))
    told = select_rows(rows, decided)
    num_rows = np.bincount(told.user, minlength=num_users)
    judged = num_rows >= config.min_rows
    if judged.sum() < 2 * config.num_parts:
        raise ValueError(
            f"{int(judged.sum())} people have {config.min_rows} decided answers; at least "
            f"{2 * config.num_parts} are needed to judge some by a fit to the others"
        )
    sizes = {"num_users": num_users, "num_responses": num_responses}
    problem = bases.make_problem(told, embeddings, **sizes)
    penalties = bases.fit(key, problem, config=config.fit, search_config=config.search)[2].penalties
    batch, place = _padded(told, num_users, config.max_rows)
    results = []
    for cut in range(config.num_cuts):
        cut_key = jax.random.fold_in(key, cut)
        part = np.asarray(jax.random.permutation(cut_key, num_users)) % config.num_parts
        others = [select_rows(told, part[told.user] != one) for one in range(config.num_parts)]
        stacked = bases.stack_problems(others, [embeddings] * config.num_parts, **sizes)
        for one in range(config.num_parts):
            fitted = bases.fit_block(
                cut_key,
                jax.tree.map(lambda leaf, one=one: leaf[one], stacked),
                penalties,
                config=config.fit,
            )[0]
            people = np.flatnonzero(part == one)
            results.append((people, _judge(cut_key, fitted, embeddings, batch, people, config)))
    return _collect(results, rows, decided, place, num_rows, judged, config)


def _padded(told: Comparisons, num_users: int, max_rows: int) -> tuple[UserBatch, np.ndarray]:
    """Rows of each person in one padded size, and which row of ``told`` stands where, or −1."""
    longest = int(np.bincount(told.user, minlength=num_users).max())
    length = min(bucket(longest), max_rows)
    batch = group_by_user(told, num_users, length=length, longer="truncate")
    order = np.argsort(told.user, kind="stable")
    place = np.full(batch.mask.shape, -1)
    user = told.user[order]
    within = np.arange(len(user)) - np.searchsorted(user, user)
    inside = within < length
    place[user[inside], within[inside]] = order[inside]
    return batch, place


def _judge(key, fitted, embeddings, batch: UserBatch, people: np.ndarray, config) -> Judged:
    """The people of one part, padded to a common number so that programs are compiled once."""
    items = bases.apply(fitted.params, None if embeddings is None else jnp.asarray(embeddings))
    features, utility = np.asarray(items.features), np.asarray(items.utility)
    size = -(-len(batch.mask) // config.num_parts)
    padded = np.resize(people, size)
    first, second = batch.first[padded], batch.second[padded]
    baseline = second == BASELINE
    gap = features[first] - np.where(baseline[..., None], 0.0, features[second])
    offset = utility[first] - np.where(baseline, 0.0, utility[second])
    weight = np.where(batch.mask[padded], batch.sample_weight[padded], 0.0)
    keys = jax.random.split(key, size)
    judged = _judge_people(
        keys,
        gap.astype(np.float32),
        offset.astype(np.float32),
        batch.label[padded],
        weight.astype(np.float32),
        fitted.population,
        num_simulations=config.num_simulations,
        most=STRONG,
    )
    return Judged(*(np.asarray(leaf)[: len(people)] for leaf in judged))


@partial(jax.jit, static_argnames="num_simulations")
def _judge_people(keys, gap, offset, label, weight, population, *, num_simulations, most) -> Judged:
    one = partial(judge_person, population=population, num_simulations=num_simulations, most=most)
    return jax.lax.map(lambda person: one(*person), (keys, gap, offset, label, weight))


def _collect(results, rows, decided, place, num_rows, judged, config) -> AnswerAudit:
    """Mean over the cuts for people; for rows the cut that contradicts the least."""
    num_users, num_total = len(num_rows), len(rows.label)
    evidence, deviate = np.zeros(num_users), np.zeros(num_users)
    lowest, highest = np.full(num_total, np.inf), np.full(num_total, -np.inf)
    mean = np.zeros(num_total)
    for people, found in results:
        evidence[people] += found.evidence / config.num_cuts
        deviate[people] += norm.ppf(found.rank) / config.num_cuts
        used = place[people] >= 0
        row = decided[place[people][used]]
        probability = found.probability[used]
        lowest[row] = np.minimum(lowest[row], probability)
        highest[row] = np.maximum(highest[row], probability)
        mean[row] += probability / config.num_cuts
    center = np.median(deviate[judged])
    away = np.median(np.abs(deviate[judged] - center))
    spread = max(float(away / norm.ppf(0.75)), _SMALLEST_SPREAD)
    p_value = norm.cdf((deviate - center) / spread)
    power = np.zeros(num_users)
    for people, found in results:  # each cut has coins of its own: a mean of them would vary less
        coins = (norm.ppf(np.minimum(found.coin_rank, _HIGHEST)) - center) / spread
        is_found = norm.cdf(coins) <= config.false_alarms
        power[people] += np.mean(is_found, axis=1) / config.num_cuts
    seen = np.isfinite(lowest) & judged[rows.user]
    against = seen & (highest <= config.max_probability)
    sure = against | (seen & (lowest >= 1 - config.max_probability))
    evidence, p_value, power = (
        np.where(judged, values, np.nan) for values in (evidence, p_value, power)
    )
    return AnswerAudit(
        num_rows=num_rows,
        evidence=evidence,
        p_value=p_value,
        is_random=judged & (p_value <= config.false_alarms) & (evidence < STRONG),
        power=power,
        probability=np.where(seen, highest, np.nan),
        is_contradicted=against,
        num_confident=int(sure.sum()),
        num_expected=float(np.minimum(mean, 1 - mean)[sure].sum()),
        false_alarms=config.false_alarms,
    )


def describe_audit(audit: AnswerAudit, names: tuple[str, ...], most: int = 20) -> str:
    """The findings as text with a table of the people who are flagged.

    Args:
        audit: From `audit_answers`.
        names: Name of each person.
        most: Most rows of the table.

    Returns:
        Lines of Markdown.
    """
    judged = np.isfinite(audit.evidence)
    flagged = np.flatnonzero(audit.is_random)
    power = float(np.nanmean(audit.power)) if judged.any() else float("nan")
    lines = [
        f"{len(flagged):,} of {int(judged.sum()):,} people answer as a coin would; among people of "
        f"the population at most {audit.false_alarms:.0%} are to be expected, and {power:.0%} of "
        "coins would be found on these questions.",
        f"{int(audit.is_contradicted.sum()):,} answers are contradicted by everything else that "
        f"their person said, of {audit.num_confident:,} about which the model is sure; "
        f"{audit.num_expected:.1f} are to be expected if it is right.",
    ]
    if len(flagged):
        lines += ["", "| person | answers | evidence, nats | p |", "|---|---|---|---|"]
        for index in flagged[np.argsort(audit.evidence[flagged])][:most].tolist():
            lines.append(
                f"| {names[index]} | {audit.num_rows[index]} | {audit.evidence[index]:.1f} | "
                f"{audit.p_value[index]:.3f} |"
            )
        if len(flagged) > most:
            lines.append(f"| … {len(flagged) - most:,} more | | | |")
    return "\n".join(lines)
