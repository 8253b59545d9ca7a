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

`prefjax.lab.verdict.WORTH` was set with such numbers in view, so these sets do not test it. The
interval is over people and does not know that settings were chosen: on two draws of DICES they were
chosen so that nothing personal was left, and the verdict was "does not pay". Take five draws.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from prefjax.data import SETS, NamedSet
from prefjax.lab import plots, runs
from prefjax.lab.compare import (
    Plan,
    check,
    make_own,
    own_set,
    report,
    run_cells,
    tidy_rows,
)
from prefjax.lab.verdict import (
    CONTROLS,
    LITTLE,
    NOT,
    REVERSED,
    WORTH,
    Evaluation,
    Gain,
    judge,
    last_gain,
)

NUMBERS = (0, 1, 3, 5, 10, 20, 40)
CALIBRATED = 0.9, 1.1
"""Slopes of recalibration that are called calibrated."""


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
    tables = report(rows, cells, last_gain(found.gains).num_answers)
    result = runs.Result(rows=rows, summary=f"{describe(found)}\n\n{tables}")
    runs.save(folder, result)
    figure = plots.learning_curves(result.table.filter(pc.field("control").is_null()))
    figure.savefig(folder / "figure.png", dpi=200)
    return found


def describe(found: Evaluation) -> str:
    """The verdict in words, with its numbers.

    Args:
        found: From `evaluate`.
    """
    final = last_gain(found.gains)
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
