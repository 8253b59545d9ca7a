"""Does personalization pay on these preferences, and how many answers does it take?

New people are held out, a part of what they said asks and the other part scores
(`prefjax.lab.compare`). The gain is the AUC of the personal prediction minus that of the same fit
without answers, person by person, after n answers. With its 95 % interval over people,

    pays                            the lower limit is at least ``WORTH``
    does not pay                    the upper limit is below ``WORTH``
    pays a little or cannot tell    otherwise

Two nulls go with it. Another person's answers in place of one's own, and people shuffled before the
fit, must gain nothing: where they do, the gain is not of persons, and the verdict says so. Beside
it stands what is gained by a taste for the length of a response alone, which may be all of it.

``prefjax evaluate`` on sets of the package (hashed encoder, PReF, gain after 20 answers):

    polis_bowling_green    2 draws    +.064 [+.056, +.072]    pays
    jester5k               2 draws    +.014 [+.010, +.018]    pays
    dices350               5 draws    +.006 [+.002, +.009]    pays a little or cannot tell
    ukpconvarg             2 draws    −.000 [−.001, +.001]    does not pay

``WORTH`` was set with such numbers in view, so these sets do not test it. The interval is over
people and does not know that settings were chosen: on two draws of DICES they were chosen so that
nothing personal was left, and the verdict was "does not pay". Take five draws.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from prefjax.data import SETS, NamedSet
from prefjax.lab import plots, runs
from prefjax.lab.compare import (
    LENGTH_ONLY,
    Cell,
    Plan,
    check,
    make_own,
    own_set,
    report,
    run_cells,
    tidy_rows,
)

WORTH = 0.005
"""Smallest gain in AUC that pays: of two hundred pairs, one more in the right order."""
AFTER = 20
"""Answers after which the verdict is read, or the most that people gave."""
NUMBERS = (0, 1, 3, 5, 10, 20, 40)
MOST_OF_IT = 0.8
"""Part of the gain that is called most of it."""
CONTROLS = ("wrong-user", "shuffled-users")
REVERSED = "reversed-answers"
CALIBRATED = 0.9, 1.1
"""Slopes of recalibration that are called calibrated."""
PAYS, LITTLE, NOT = "pays", "pays a little or cannot tell", "does not pay"


class Gain(NamedTuple):
    """A gain in AUC over the population, or a slope, after some answers; with a 95 % interval."""

    num_answers: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


class Evaluation(NamedTuple):
    """What was found.

    Attributes:
        verdict: One of ``PAYS``, ``LITTLE``, ``NOT``.
        gains: Of the first family, by number of answers.
        controls: Gain of each null at the number of answers of the verdict.
        length: Gain of a personal taste for length alone at that number; None if it was not
            measured.
        auc: AUC of the population, and of the person after the answers of the verdict.
        calibration: Slope of the label on the predicted logit by number of answers; 1 is
            calibrated.
        first_told: Fewest answers after which the lower limit of the gain is above 0; None if none.
        most_of_it: Fewest answers with ``MOST_OF_IT`` of the gain; None where nothing is gained.
        hurt: Share of people whose AUC is below that of the population after the answers of the
            verdict, and the same with another person's answers.
        worst: AUC of the tenth of people that has the lowest, of the population and after them.
        flipped: Share of the right predictions that reversed answers change.
        accuracy: Share of decided comparisons that are predicted after them.
        ceiling: Accuracy of a perfect model under the noise of repeated answers; None where too few
            are repeated.
        num_people: New people, over all draws.
        protocol: How people and items were divided, in words.
        rows: Tidy results.
        cells: What ran.
    """

    verdict: str
    gains: Sequence[Gain]
    controls: Mapping[str, Gain]
    length: Gain | None
    auc: tuple[float, float]
    calibration: Sequence[Gain]
    first_told: int | None
    most_of_it: int | None
    hurt: tuple[float, float]
    worst: tuple[float, float]
    flipped: float
    accuracy: float
    ceiling: float | None
    num_people: int
    protocol: str
    rows: Sequence[Mapping[str, Any]]
    cells: Sequence[Cell]


def evaluate(
    data: Any,
    *,
    encoder: str = "hashed",
    families: tuple[str, ...] = ("pref", "bradley-terry"),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    folder: Path,
    say: Callable[[str], None] = print,
) -> Evaluation:
    """Evaluates families on preferences; what is finished in the folder is not computed again.

    Args:
        data: A set of the package by name, or whatever `prefjax.data.read` reads.
        encoder: Specification of the encoder.
        families: Names for `prefjax.families.get_family`; the first one decides.
        seeds: Draws of people and items.
        folder: Where finished cells lie, and the results: ``summary.md``, ``results.parquet`` and
            the learning curve ``figure.png``.
        say: Told about every cell that is computed.

    Raises:
        ValueError: The data cannot be read, too few people said enough, or nothing could be
            computed; the message says which.
    """
    known = isinstance(data, str) and data in SETS
    record = SETS[data] if known else own_set(data)
    own = {} if known else {record.name: record}
    numbers = _numbers(record)
    plan = Plan(families, (record.name,), (encoder,), seeds, numbers, (*CONTROLS, REVERSED))
    check(plan, own)
    make = partial(make_own, own)
    cells = run_cells(plan, folder, say=say, make=make)
    failed = [cell.about["error"] for cell in cells if "error" in cell.about]
    rows = tidy_rows(cells, numbers)
    method = cells[0].method
    if not any(row["method"] == method for row in rows):
        raise ValueError(f"{method} could not be evaluated: {failed[0] if failed else 'no result'}")
    found = judge(rows, cells, method, protocol_in_words(record))
    tables = report(rows, cells, _last(found.gains).num_answers)
    result = runs.Result(rows=rows, summary=f"{describe(found)}\n\n{tables}")
    runs.save(folder, result)
    figure = plots.learning_curves(result.table.filter(pc.field("control").is_null()))
    figure.savefig(folder / "figure.png", dpi=200)
    return found


def judge(
    rows: Sequence[Mapping[str, Any]], cells: Sequence[Cell], method: str, protocol: str
) -> Evaluation:
    """The verdict from tidy rows.

    Args:
        rows: From `prefjax.lab.compare.tidy_rows`.
        cells: What they sum up.
        method: The family that decides.
        protocol: How people and items were divided, in words.
    """
    own = [row for row in rows if row["method"] == method]

    def gains_of(control: str | None, of: str = method) -> list[Gain]:
        return [
            Gain(row["num_answers"], row["value"], row["low"], row["high"])
            for row in rows
            if row["metric"] == "minus_population"
            and (row["method"], row["control"]) == (of, control)
        ]

    gains = gains_of(None)
    final = _last(gains)
    at = final.num_answers
    controls = {
        name: gain for name in CONTROLS for gain in gains_of(name) if gain.num_answers == at
    }
    values = {(row["metric"], row["control"], row["num_answers"]): row["value"] for row in own}
    auc, worst = (
        (values[metric, None, 0], values[metric, None, at])
        for metric in ("auc_user", "worst_decile")
    )
    slopes = [
        Gain(row["num_answers"], row["value"], row["low"], row["high"])
        for row in own
        if row["metric"] == "calibration_slope"
    ]
    verdict = PAYS if final.low >= WORTH else NOT if final.high < WORTH else LITTLE
    told = [gain.num_answers for gain in gains if gain.num_answers and gain.low > 0]
    enough = [g.num_answers for g in gains if g.num_answers and g.value >= MOST_OF_IT * final.value]
    return Evaluation(
        verdict=verdict,
        gains=gains,
        controls=controls,
        length=next((g for g in gains_of(None, LENGTH_ONLY) if g.num_answers == at), None),
        auc=auc,
        calibration=slopes,
        first_told=min(told) if told else None,
        most_of_it=min(enough) if enough and final.low > 0 else None,
        hurt=(values["hurt_rate", None, at], values["hurt_rate", "wrong-user", at]),
        worst=worst,
        flipped=values["flip_rate", REVERSED, at],
        accuracy=values["accuracy", None, at],
        ceiling=values.get(("ceiling", None, None)),
        num_people=max(row["num_users"] for row in own),
        protocol=protocol,
        rows=rows,
        cells=cells,
    )


def describe(found: Evaluation) -> str:
    """The verdict in words, with its numbers.

    Args:
        found: From `evaluate`.
    """
    final = _last(found.gains)
    at = final.num_answers
    lines = [
        f"Personalization {found.verdict} on these preferences.",
        f"{found.num_people} new people, {found.protocol}. After {_count(at)} the AUC of the "
        f"personal prediction is {found.auc[1]:.3f}, that of the population {found.auc[0]:.3f}: "
        f"{final} person by person (95 % interval; a gain below {WORTH:.3f} is not worth it).",
    ]
    if found.verdict != NOT and found.first_told is not None:
        answers = f"The gain can be told from none after {_count(found.first_told)}"
        if found.most_of_it is not None:
            answers += f", and most of it is there after {_count(found.most_of_it)}"
        lines.append(f"{answers}.")
    elif found.verdict == LITTLE:
        lines.append("More people, or more answers of each, would tell.")
    if found.length is not None:
        lines.append(f"A taste for the length of a response alone gains {found.length}.")
    ceiling = "too few answers are repeated to know the ceiling"
    if found.ceiling is not None:
        ceiling = f"a perfect model could reach {found.ceiling:.3f} under the noise of repeats"
    lines.append(
        f"{found.hurt[0]:.0%} of the people are worse off than with the population "
        f"({found.hurt[1]:.0%} if they are given another person's answers). The tenth of them that "
        f"is predicted worst has an AUC of {found.worst[1]:.3f}, without answers "
        f"{found.worst[0]:.3f}. Reversed answers change {found.flipped:.0%} of the right "
        f"predictions. The accuracy is {found.accuracy:.3f}; {ceiling}."
    )
    slope = next((slope for slope in found.calibration if slope.num_answers == at), None)
    if slope is not None:
        lines.append(_believed(slope))
    alarms = [
        f"{name.replace('-', ' ')} {gain}"
        for name, gain in found.controls.items()
        if gain.low > 0 and gain.value >= 0.5 * max(final.value, 0) and gain.value > 0.001
    ]
    if alarms:
        lines.append(
            f"A control gains as well ({'; '.join(alarms)}): what is gained is not of persons, and "
            "the verdict above does not hold."
        )
    else:
        shown = "; ".join(f"{name.replace('-', ' ')} {g}" for name, g in found.controls.items())
        most = max(final.value, WORTH)
        told = all(gain.high < most for gain in found.controls.values())
        said = "gain nothing of it" if told else "are too uncertain to be told from the gain"
        lines.append(f"The controls {said}: {shown}.")
    return "\n".join(lines)


def _last(gains: Sequence[Gain]) -> Gain:
    """The gain that the verdict reads."""
    return max((gain for gain in gains if gain.num_answers <= AFTER), key=lambda g: g.num_answers)


def _believed(slope: Gain) -> str:
    """How far the probabilities can be believed, in words."""
    told = f"slope {slope.value:.2f} [{slope.low:.2f}, {slope.high:.2f}] after "
    told += f"{_count(slope.num_answers)}, 1 is calibrated"
    if slope.low <= CALIBRATED[1] and slope.high >= CALIBRATED[0]:
        return f"The predicted probabilities can be taken as they are ({told})."
    which = "too cautious" if slope.value > 1 else "too sure"
    return f"The predicted probabilities are {which}: read them as an order ({told})."


def protocol_in_words(record: NamedSet) -> str:
    """How a set is divided.

    Args:
        record: A set of the package or an own one.
    """
    name = type(record.protocol).__name__
    if name in ("SharedItemsConfig", "RatingsConfig"):
        return "asked about half of what they judged and scored on the other half"
    return "asked about known prompts and scored on prompts that nobody saw"


def _count(number: int | None) -> str:
    return "1 answer" if number == 1 else f"{number} answers"


def _numbers(record: NamedSet) -> tuple[int, ...]:
    """Numbers of answers that half of the new people gave, by the first draw."""
    _, split = record.split(seed=0)
    given = np.bincount(np.asarray(split.calibration.user), minlength=len(split.new_users))
    return tuple(number for number in NUMBERS if number <= np.median(given))
