"""Whose answers tell little: repeats that disagree, one side always, position, form.

    repeats    D = share of pairs of answers to one question by one person that disagree;
               if an answer is flipped with probability ε, D = 2 ε (1 − ε), so
               ε = (1 − √(1 − 2 D)) / 2, and no model can be right more often than 1 − ε
    side       the first response always, and runs (`prefjax.data.answer_sides`)
    position   questions that a person answered in both orders: the same side twice, or the same
               response twice

Nothing is removed: the report has numbers and tables, and flags those whose p-value, times the
number of people tested, is below ``max_p``. Who answers at random leaves no trace here; that takes
a model (`prefjax.person.audit_answers`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.stats import binomtest

from prefjax.data.answer_counts import AnswerCounts, count_answers
from prefjax.data.answer_repeats import flip_rate
from prefjax.data.answer_sides import People, judge_sides
from prefjax.data.audit import AuditConfig, FormatFinding, find_formats
from prefjax.data.dataset import Dataset
from prefjax.data.observations import shared_winners


@dataclass(frozen=True)
class AnswersConfig:
    """When a person is flagged.

    Attributes:
        min_rows: Decided answers that a person must have to be tested.
        max_p: Largest p-value of a flag, after multiplication by the number of people tested: the
            probability that anybody at all is flagged in clean data.
        formats: When a mark of form counts as a leak.
    """

    min_rows: int = 10
    max_p: float = 0.05
    formats: AuditConfig = field(default_factory=AuditConfig)


class AnswersReport(NamedTuple):
    """What a look at the answers found.

    Attributes:
        people: Figures of every person.
        num_rows: Rows.
        num_ties: Rows without a preferred side.
        num_repeats: Pairs of answers of one person to the same question.
        num_disagree: Those of them that disagree.
        flip: ε; NaN without repeats.
        ceiling: 1 − ε, the accuracy of a perfect model.
        first_rate: Share of decided pairs in which the first is preferred; NaN without pairs.
        first_interval: Its 95 % interval (Wilson).
        num_swapped: Pairs of answers of one person to a question shown in both orders.
        num_same_side: Those of them that name the same side twice, so that position decided.
        num_shared: Rows that share a winner with another row of one choice (`shared_winners`).
        num_choices: Such choices.
        formats: How far each mark of form predicts the label; empty without texts.
        leaks: Sentences, one for each mark that counts as a leak.
        caveat: What the reader of the data says of them, such as that rows share a winner.
        names: Names or numbers of the people.
    """

    people: People
    num_rows: int
    num_ties: int
    num_repeats: int
    num_disagree: int
    flip: float
    ceiling: float
    first_rate: float
    first_interval: tuple[float, float]
    num_swapped: int
    num_same_side: int
    num_shared: int
    num_choices: int
    formats: Mapping[str, FormatFinding]
    leaks: tuple[str, ...]
    caveat: str
    names: Sequence[Any]

    @property
    def flagged(self) -> Int[np.ndarray, " flagged"]:
        """Indices of the people who are flagged for anything."""
        return np.flatnonzero(self.people.is_one_sided | self.people.is_patterned)


def inspect_answers(dataset: Dataset, config: AnswersConfig | None = None) -> AnswersReport:
    """Look at the answers of every person.

    Args:
        dataset: The data set; rows of a person in the order in which they were given.
        config: Thresholds; the defaults if None.

    Returns:
        Numbers; `describe_answers` makes a table of them.
    """
    config = AnswersConfig() if config is None else config
    counts = count_answers(dataset.comparisons, dataset.num_users)
    num_shared, num_choices = shared_winners(dataset)
    formats, leaks = find_formats(dataset, config.formats)
    return judge_answers(counts, dataset.users, config)._replace(
        num_shared=num_shared,
        num_choices=num_choices,
        formats=formats,
        leaks=leaks,
        caveat=str(dataset.meta.get("caveat", "")),
    )


def judge_answers(
    counts: AnswerCounts, names: Sequence[Any], config: AnswersConfig | None = None
) -> AnswersReport:
    """What counts say of people, where nothing is known of texts or of choices among several.

    Args:
        counts: Of every person.
        names: Names or numbers of the people.
        config: Thresholds; the defaults if None.
    """
    config = AnswersConfig() if config is None else config
    people = judge_sides(counts.people, config.min_rows, config.max_p)
    num_repeats, num_disagree = int(people.num_repeats.sum()), int(people.num_disagree.sum())
    flip = flip_rate(num_repeats, num_disagree)
    wins, pairs = int(counts.people.num_first_of_pairs.sum()), int(counts.people.num_pairs.sum())
    interval = (np.nan, np.nan)
    if pairs:
        low_high = binomtest(wins, pairs).proportion_ci(method="wilson")
        interval = (float(low_high.low), float(low_high.high))
    return AnswersReport(
        people=people,
        num_rows=counts.num_rows,
        num_ties=counts.num_ties,
        num_repeats=num_repeats,
        num_disagree=num_disagree,
        flip=flip,
        ceiling=1 - flip,
        first_rate=wins / pairs if pairs else float("nan"),
        first_interval=interval,
        num_swapped=counts.num_swapped,
        num_same_side=counts.num_same_side,
        num_shared=0,
        num_choices=0,
        formats={},
        leaks=(),
        caveat="",
        names=names,
    )


def describe_answers(report: AnswersReport, most: int = 20) -> str:
    """The report as text with a table of the people who are flagged.

    Args:
        report: From `inspect_answers`.
        most: Most rows of the table.

    Returns:
        Lines of Markdown.
    """
    lines = [f"{report.num_rows:,} rows of {len(report.names):,} people, {report.num_ties:,} ties."]
    if report.num_repeats:
        lines.append(
            f"Repeats: {report.num_disagree:,} of {report.num_repeats:,} disagree; a perfect model "
            f"is right in {report.ceiling:.1%}."
        )
    else:
        lines.append("Repeats: nobody answered a question twice, so the noise is not known.")
    if np.isfinite(report.first_rate):
        low, high = report.first_interval
        lines.append(
            f"Position: first preferred in {report.first_rate:.1%} ({low:.1%}–{high:.1%})."
        )
    if report.num_shared:
        lines.append(
            f"Shared winners: {report.num_shared:,} rows are parts of {report.num_choices:,} "
            "choices among several: one person, one prompt, the same winner. A file with one row a "
            "choice (responses with choice or rank) needs nothing: a fit counts each choice once. "
            "Pairs that were shown together are better written as such rows: taken as separate "
            "answers they say more than the person did, and limits come out too narrow."
        )
    if report.num_swapped:
        lines.append(
            f"Shown in both orders: the same side twice in {report.num_same_side:,} of "
            f"{report.num_swapped:,}."
        )
    clean = "no mark gives the label away" if report.formats else "there are no texts to look at"
    lines += [f"Form: {leak}" for leak in report.leaks] or [f"Form: {clean}."]
    if report.caveat:
        lines.append(f"Rows: {report.caveat}.")
    people, flagged = report.people, report.flagged
    if np.isnan(people.side_p).all():
        return "\n".join([*lines, "Nobody has enough pairs to be tested for a side or a pattern."])
    if len(flagged) == 0:
        return "\n".join([*lines, "Nobody always takes one side or follows a pattern."])
    lines += [
        f"{len(flagged):,} people always take one side or follow a pattern:",
        "",
        "| person | answers | first | p (side) | p (pattern) |",
        "|---|---|---|---|---|",
    ]
    worst = np.minimum(people.side_p, people.pattern_p)[flagged]
    for index in flagged[np.argsort(worst)][:most].tolist():
        lines.append(
            f"| {report.names[index]} | {people.num_rows[index]} | {people.first_rate[index]:.2f} "
            f"| {people.side_p[index]:.1g} | {people.pattern_p[index]:.1g} |"
        )
    if len(flagged) > most:
        lines.append(f"| … {len(flagged) - most:,} more | | | | |")
    return "\n".join(lines)
