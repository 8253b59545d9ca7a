"""The verdict of an evaluation: gains with intervals, the nulls beside them, and what follows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefjax.lab.compare import LENGTH_ONLY, Cell

WORTH = 0.005
"""Smallest gain in AUC that pays: of two hundred pairs, one more in the right order."""
AFTER = 20
"""Answers after which the verdict is read, or the most that people gave."""
MOST_OF_IT = 0.8
"""Part of the gain that is called most of it."""
CONTROLS = ("wrong-user", "shuffled-users")
REVERSED = "reversed-answers"
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
    final = last_gain(gains)
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


def last_gain(gains: Sequence[Gain]) -> Gain:
    """The gain that the verdict reads.

    Args:
        gains: By number of answers.
    """
    return max((gain for gain in gains if gain.num_answers <= AFTER), key=lambda g: g.num_answers)
