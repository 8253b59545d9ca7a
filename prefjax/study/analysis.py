"""Numbers of a study: win rates with intervals over people, and whether they can be believed.

A person's win rate in an arm is the mean over its test trials of 1 (what the arm shows was
preferred to the default), ½ (no preference) and 0; a study's is the mean over people with Student's
t interval over them, inside [0, 1]. Repeats, practice and attention checks do not enter it. People
who did not reach the end are counted and left out.

The power of a study with n people whose win rates have the standard deviation s to find an effect d
above ½ is that of the two-sided t test, ``P(|T| > t_{n−1})`` with T noncentral t of n − 1 degrees
of freedom and noncentrality ``d √n / s``. The effect is the one that was planned, never the one
that was found: that would only restate the p-value.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from prefjax import metrics
from prefjax.metrics import Agreement, Interval
from prefjax.person.inference import predict
from prefjax.study._export import COMPARED, StudyExport
from prefjax.study.config import PowerConfig
from prefjax.study.design import ARMS
from prefjax.types import Gaussian

MOST_PEOPLE = 100_000
"""Where the search for the number of people that is needed ends."""


class Power(NamedTuple):
    """What a study of this size can find.

    Attributes:
        num: People.
        deviation: Standard deviation of their win rates in the personal arm.
        power: Probability to find the planned effect.
        needed: People for the planned power.
        detectable: Smallest effect that is found with the planned power.
    """

    num: int
    deviation: float
    power: float
    needed: int
    detectable: float


class Analysis(NamedTuple):
    """Everything that the report says.

    Attributes:
        num_people: People by how they ended.
        win_rate: By arm.
        careful: The same without people who failed two attention checks.
        difference: Personal minus other arm, and personal minus default arm, paired by person.
        by_person: Win rate of each person in each arm, [arm, person].
        ties: Share of "no preference" in test trials, by arm.
        accuracy: Share of test choices that the belief after n answers predicts, n = 0, 1, ….
        nll: Negative log-likelihood of these, in nats.
        repeats: Agreement of repeats with their trials.
        repeats_interval: Share of repeats with the same verdict, over people.
        left: Share of choices for the left side, ties ½, by kind of trial.
        failed_checks: People by the number of failed attention checks.
        seconds: Quartiles of the seconds of a trial, by kind.
        minutes: Quartiles of the minutes from consent to end.
        dropped_after: Answers given by those who neither finished nor withdrew nor were screened
            out.
        late: Adaptive questions that were drawn because choosing took too long, and all of them.
        power: What the study can find.
    """

    num_people: dict[str, int]
    win_rate: dict[str, Interval]
    careful: dict[str, Interval]
    difference: dict[str, Interval]
    by_person: Float[np.ndarray, "arm person"]
    ties: dict[str, float]
    accuracy: Interval
    nll: Interval
    repeats: Agreement
    repeats_interval: Interval
    left: dict[str, Interval]
    failed_checks: dict[int, int]
    seconds: dict[str, tuple[float, float, float]]
    minutes: tuple[float, float, float]
    dropped_after: list[int]
    late: tuple[int, int]
    power: Power


def analyze(study: StudyExport, power: PowerConfig) -> Analysis:
    """Computes all numbers.

    Args:
        study: The export.
        power: What was planned, with the level of all intervals.

    Raises:
        ValueError: Nobody has finished.
    """
    done = [row["participant"] for row in study.participants if row["end"] == "complete"]
    if not done:
        raise ValueError("nobody has finished yet; python -m prefjax.study status says who began")
    place = {name: index for index, name in enumerate(done)}
    trials = [row for row in study.trials if row["participant"] in place]
    tests = [row for row in trials if row["kind"] == "test"]
    by_person = win_rates(tests, done)
    failed = {row["participant"]: row["failed_checks"] for row in study.participants}
    careful = np.array([failed[name] < 2 for name in done])
    level = power.level

    def interval(values: np.ndarray) -> Interval:
        return metrics.mean_interval(values, level=level, bounds=(0.0, 1.0))

    shown = [k for k, rates in enumerate(by_person) if not np.isnan(rates).all()]
    accuracy, nll = _learning_curve(study, done, tests)
    counts = np.unique([failed[name] for name in done], return_counts=True)
    ended = [row["end"] or "unfinished" for row in study.participants]
    return Analysis(
        num_people={end: ended.count(end) for end in dict.fromkeys(["complete", *ended])},
        win_rate={ARMS[k]: interval(by_person[k]) for k in shown},
        careful={ARMS[k]: interval(by_person[k][careful]) for k in shown},
        difference={
            f"personal − {ARMS[k]}": metrics.paired_difference(
                by_person[0], by_person[k], level=level, bounds=(-1.0, 1.0)
            )
            for k in shown[1:]
        },
        by_person=by_person,
        ties={
            ARMS[k]: float(np.mean([row["win"] == 0.5 for row in tests if row["arm"] == ARMS[k]]))
            for k in shown
        },
        accuracy=metrics.mean_interval(accuracy, level=level, bounds=(0.0, 1.0)),
        nll=metrics.mean_interval(nll, level=level),
        repeats=metrics.agreement(*_repeats(trials)[:2]),
        repeats_interval=_clustered(*_repeats(trials), place, level),
        left={
            kind: _left([row for row in trials if row["kind"] == kind], place, level)
            for kind in COMPARED
            if any(row["kind"] == kind for row in trials)
        },
        failed_checks={int(n): int(count) for n, count in zip(*counts, strict=True)},
        seconds={
            kind: _quartiles([row["seconds"] for row in trials if row["kind"] == kind])
            for kind in ("practice", *COMPARED, "attention")
            if any(row["kind"] == kind for row in trials)
        },
        minutes=_quartiles(
            [
                (row["end_at"] - row["consent_at"]) / 60
                for row in study.participants
                if row["participant"] in place
            ]
        ),
        dropped_after=sorted(row["num_answers"] for row in study.participants if not row["end"]),
        late=(
            sum(row["origin"] == "random_late" for row in study.trials),
            sum(row["kind"] == "adaptive" for row in study.trials),
        ),
        power=find_power(by_person[0], power),
    )


def win_rates(
    tests: Sequence[dict[str, Any]], people: Sequence[str]
) -> Float[np.ndarray, "arm person"]:
    """Win rate of each person in each arm, NaN where there is none.

    Args:
        tests: Test trials of these people.
        people: Their names.
    """
    place = {name: index for index, name in enumerate(people)}
    user = np.array([place[row["participant"]] for row in tests], int)
    win = np.array([row["win"] for row in tests], float)
    arm = np.array([row["arm"] for row in tests])
    return np.stack([_means(win[arm == name], user[arm == name], len(people)) for name in ARMS])


def find_power(win_rate: Float[np.ndarray, " person"], config: PowerConfig) -> Power:
    """Power of a study from the spread of its people, for the effect that was planned.

    Args:
        win_rate: Win rate of each person in the personal arm.
        config: Effect, level and power that were planned.

    >>> found = find_power(np.array([0.5, 0.6, 0.7, 0.8]), PowerConfig(effect=0.1))
    >>> found.num, round(found.deviation, 3), found.needed
    (4, 0.129, 16)
    """
    values = win_rate[~np.isnan(win_rate)]
    count, deviation = len(values), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
    if not deviation > 0:
        return Power(count, deviation, np.nan, 0, np.nan)
    needed = 2
    while needed < MOST_PEOPLE and power_of(needed, config.effect, deviation, config.level) < (
        config.power
    ):
        needed += 1
    low, high = 0.0, 10.0 * deviation
    for _ in range(60):
        middle = (low + high) / 2
        if power_of(count, middle, deviation, config.level) < config.power:
            low = middle
        else:
            high = middle
    return Power(
        num=count,
        deviation=deviation,
        power=power_of(count, config.effect, deviation, config.level),
        needed=needed,
        detectable=high,
    )


def power_of(num: int, effect: float, deviation: float, level: float) -> float:
    """Probability that the two-sided t test finds an effect.

    Args:
        num: People, at least 2.
        effect: Mean above ½.
        deviation: Standard deviation over people.
        level: Coverage of the interval that shall leave out ½.

    >>> round(power_of(28, 0.17, 0.25, 0.95), 2)
    0.93
    """
    limit = stats.t.ppf(0.5 + level / 2, num - 1)
    noncentrality = effect * np.sqrt(num) / deviation
    return float(
        stats.nct.sf(limit, num - 1, noncentrality) + stats.nct.cdf(-limit, num - 1, noncentrality)
    )


def _means(value: np.ndarray, user: np.ndarray, count: int) -> np.ndarray:
    """Mean of each person's rows, NaN without any."""
    means = metrics.user_means(value, user)
    return np.concatenate([means, np.full(count - len(means), np.nan)])


def _learning_curve(
    study: StudyExport, done: Sequence[str], tests: Sequence[dict[str, Any]]
) -> tuple[Float[np.ndarray, "person answer"], Float[np.ndarray, "person answer"]]:
    """How well each person's test choices follow from the belief after 0, 1, … answers."""
    final = {row["participant"]: row for row in study.participants}
    scale = study.study["posterior_scale"]
    accuracy, nll = [], []
    for name in done:
        own = [row for row in tests if row["participant"] == name]
        left, right = (np.array([row[side] for row in own]) for side in ("left", "right"))
        label = np.array([row["label"] for row in own])
        gap = study.items.at(left).gap_to(study.items.at(right))
        beliefs = [
            (row["mean"], row["covariance"])
            for row in study.trials
            if row["participant"] == name and row["kind"] == "adaptive"
        ]
        beliefs.append((final[name]["final_mean"], final[name]["final_covariance"]))
        means = np.array([mean for mean, _ in beliefs], np.float64)
        spread = np.array([covariance for _, covariance in beliefs], np.float64)
        spread = spread.reshape(*means.shape, -1)
        logit = np.stack(
            [predict(Gaussian(*belief), gap, scale) for belief in zip(means, spread, strict=True)]
        )
        # A tie is neither predicted nor missed; a prediction of exactly 0 is half right.
        is_right = np.where(logit == 0, 0.5, (logit > 0) == (label > 0.5)[None])
        accuracy.append(np.where(label[None] == 0.5, 0.5, is_right).mean(axis=1))
        nll.append(np.asarray(metrics.nll(logit, np.tile(label, (len(logit), 1)))).mean(axis=1))
    return np.array(accuracy, np.float64), np.array(nll, np.float64)


def _repeats(trials: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Wins of repeated trials, of their repeats, and whose they are."""
    wins = {(row["participant"], row["index"]): row["win"] for row in trials}
    repeats = [row for row in trials if row["kind"] == "repeat"]
    return (
        np.array([wins[row["participant"], row["source"]] for row in repeats], np.float64),
        np.array([row["win"] for row in repeats], np.float64),
        [row["participant"] for row in repeats],
    )


def _clustered(
    first: np.ndarray, second: np.ndarray, names: list[str], place: dict[str, int], level: float
) -> Interval:
    user = np.array([place[name] for name in names], int)
    same = (first == second).astype(float)
    return metrics.clustered_mean(same, user, level=level, bounds=(0.0, 1.0))


def _left(trials: Sequence[dict[str, Any]], place: dict[str, int], level: float) -> Interval:
    label = np.array([row["label"] for row in trials])
    user = np.array([place[row["participant"]] for row in trials])
    return metrics.clustered_mean(label, user, level=level, bounds=(0.0, 1.0))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(np.array(values, float), [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)
