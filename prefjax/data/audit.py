"""Leaks fail loudly: what a score must not rest on, checked on the rows that give the score.

1. **Shared text, users or rows across the cells of a split**, exactly or after normalization.
2. **Order.** Over decided pairs, the share of rows in which the first response wins, and in which
   the one with the smaller id wins. Far from ½, position or id gives the label away.
3. **Format.** For a mark f(text) ∈ {0, 1} of how a text was written down (a printed list, quotes
   around it, a stray space, an encoding fault), over distinct pairs of texts

       AUC_f = ½ + (wins − losses) / 2n,    rate_f = max(wins, losses) / (wins + losses),

   where a win is the preferred text having the mark and the other not. Chosen texts that come from
   another rendering than rejected ones have one of the two far from chance.

A finding needs an effect beyond a threshold and a two-sided binomial test below ``max_p``: with
millions of rows every difference is significant, with twenty none is large.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from prefjax.data.cut import CELLS, Cell, Split
from prefjax.data.dataset import Dataset
from prefjax.data.marks import MARKS
from prefjax.data.same_text import normalize_text
from prefjax.types import BASELINE, Comparisons


class LeakError(ValueError):
    """A split or a data set gives the label away, or shares what must be new."""


@dataclass(frozen=True)
class AuditConfig:
    """When a regularity counts as a leak.

    Attributes:
        max_order_gap: Largest distance from ½ of the share in which first, or the smaller id, wins.
        max_format_gap: Largest distance from ½ of a mark's AUC over all pairs.
        max_format_rate: Largest share of the preferred side among pairs that differ in a mark.
        min_texts: Distinct texts with a mark, texts without, and pairs that differ, for a finding.
        max_p: Largest p-value of a finding.
    """

    max_order_gap: float = 0.1
    max_format_gap: float = 0.2
    max_format_rate: float = 0.9
    min_texts: int = 20
    max_p: float = 1e-6


class FormatFinding(NamedTuple):
    """How far one mark predicts the label.

    Attributes:
        auc: Over all distinct pairs, ties ½.
        num_differing: Distinct pairs of which exactly one text has the mark.
        rate: Share of the more frequent outcome among those.
        num_texts: Distinct texts with the mark or without it in those, whichever are fewer.
    """

    auc: float
    num_differing: int
    rate: float
    num_texts: int


class Report(NamedTuple):
    """What an audit without a leak saw.

    Attributes:
        num_pairs: Decided pairs of two responses.
        num_same_text: Those of them whose two responses have one text: they say nothing.
        first_wins: Share of them in which the first is preferred; NaN without pairs.
        smaller_id_wins: Share in which the smaller id is preferred; NaN without pairs.
        formats: Finding for each mark.
    """

    num_pairs: int
    num_same_text: int
    first_wins: float
    smaller_id_wins: float
    formats: Mapping[str, FormatFinding]


def audit(
    dataset: Dataset, split: Split | None = None, config: AuditConfig | None = None
) -> Report:
    """Check a data set, and a split of it, for leaks.

    Args:
        dataset: The data set.
        split: A split of it; None to check order and format only.
        config: Thresholds; the defaults if None.

    Returns:
        The figures that were checked.

    Raises:
        LeakError: At the first leak, with what leaks and an example.
    """
    config = AuditConfig() if config is None else config
    if split is not None:
        audit_split(dataset, split)
    rows = dataset.comparisons
    decided = np.flatnonzero((rows.second != BASELINE) & (rows.label != 0.5))
    first, second = np.asarray(rows.first)[decided], np.asarray(rows.second)[decided]
    wins = np.asarray(rows.label)[decided] > 0.5
    first_wins = _check_order(wins, "the first response of a pair", config)
    smaller = _check_order((first < second) == wins, "the response with the smaller id", config)
    formats, leaks = find_formats(dataset, config)
    if leaks:
        raise LeakError(leaks[0])
    _, text = np.unique(dataset.responses, return_inverse=True)
    return Report(
        num_pairs=len(decided),
        num_same_text=int(np.sum(text[first] == text[second])),
        first_wins=first_wins,
        smaller_id_wins=smaller,
        formats=formats,
    )


def audit_split(dataset: Dataset, split: Split) -> None:
    """Check that new people are new, and that what they are scored on shares nothing with the rest.

    Args:
        dataset: The data set behind the response and user ids.
        split: A split of it by either cutter.

    Raises:
        LeakError: If a new user is known, a row is in two cells, a test of a user has a text that
            the same user's calibration has, or, where groups are new, a text of a new group is
            seen.
    """
    both = np.intersect1d(split.known_users, split.new_users)
    if len(both):
        name = dataset.users[both[0]]
        raise LeakError(f"{len(both)} new users are also known users, first {name!r}.")
    _audit_rows(dataset, split)
    _, text = np.unique([normalize_text(text) for text in dataset.responses], return_inverse=True)
    answered, tested = (_texts_of(rows, text) for rows in (split.calibration, split.test))
    if split.is_new_response.any():
        _audit_new_groups(dataset, split)
    shared = np.intersect1d(answered, tested)
    if len(shared):
        row, code = divmod(int(shared[0]), int(text.max()) + 1)
        example = dataset.responses[int(np.flatnonzero(text == code)[0])]
        raise LeakError(
            f"{len(shared)} texts are both answered and tested by one user, first by user "
            f"{split.new_users[row]}: {example[:80]!r}."
        )


def _texts_of(rows: Comparisons, text: np.ndarray) -> np.ndarray:
    """A number for each text that a user compares."""
    is_pair = rows.second != BASELINE
    users = np.concatenate([rows.user, rows.user[is_pair]])
    codes = text[np.concatenate([rows.first, rows.second[is_pair]])]
    return users.astype(np.int64) * (int(text.max()) + 1) + codes


def _audit_rows(dataset: Dataset, split: Split) -> None:
    keys = []
    for cell in CELLS:
        rows = getattr(split, cell)
        users = split.known_users if cell in ("train", "validation") else split.new_users
        place = np.stack([users[rows.user], rows.first, rows.second], axis=1)
        keys.append(np.unique(place, axis=0))  # a judgment may be there twice, in one cell
    every, times = np.unique(np.concatenate(keys), axis=0, return_counts=True)
    if (times > 1).any():
        user, first, second = every[times > 1][0].tolist()
        raise LeakError(
            f"A row of user {dataset.users[user]!r} on responses {first} and {second} is in two "
            "cells of the split."
        )


def _audit_new_groups(dataset: Dataset, split: Split) -> None:
    def used(*cells: Cell) -> np.ndarray:
        rows = [getattr(split, cell) for cell in cells]
        ids = np.unique(np.concatenate([column for r in rows for column in (r.first, r.second)]))
        return ids[ids != BASELINE]

    seen, new = used("train", "calibration"), used("validation", "test")
    _check_shared(dataset.responses, seen, new, "response")
    # Prompts were cut if every prompt lies in one group.
    pairs = np.unique(np.stack([dataset.prompt_index, split.group]), axis=1)
    if len(pairs[0]) == len(np.unique(dataset.prompt_index)):
        before, after = (np.unique(dataset.prompt_index[ids]) for ids in (seen, new))
        _check_shared(dataset.prompts, before, after, "prompt")


def _check_shared(texts: tuple[str, ...], seen: np.ndarray, new: np.ndarray, what: str) -> None:
    for manner, key in (("exactly", str), ("after normalization", normalize_text)):
        known = {key(texts[index]) for index in seen.tolist()}
        shared = [index for index in new.tolist() if key(texts[index]) in known]
        if shared:
            raise LeakError(
                f"{len(shared)} {what} texts of new groups are also seen ({manner}), first "
                f"{what} {shared[0]}: {texts[shared[0]][:80]!r}."
            )


def _check_order(wins: np.ndarray, what: str, config: AuditConfig) -> float:
    if len(wins) == 0:
        return float("nan")
    num_wins = int(wins.sum())
    rate = num_wins / len(wins)
    if abs(rate - 0.5) > config.max_order_gap and binomtest(num_wins, len(wins)).pvalue < (
        config.max_p
    ):
        raise LeakError(
            f"The order gives the label away: {what} is preferred in {rate:.1%} of {len(wins)} "
            f"decided pairs. Randomize positions and ids."
        )
    return rate


def find_formats(
    dataset: Dataset, config: AuditConfig | None = None
) -> tuple[Mapping[str, FormatFinding], tuple[str, ...]]:
    """How far each mark of how a text was written down predicts the label.

    Args:
        dataset: The data set.
        config: Thresholds; the defaults if None.

    Returns:
        The finding for each mark, and a sentence for each that gives the label away.
    """
    config = AuditConfig() if config is None else config
    rows = dataset.comparisons
    decided = np.flatnonzero((rows.second != BASELINE) & (rows.label != 0.5))
    first, second = np.asarray(rows.first)[decided], np.asarray(rows.second)[decided]
    wins = np.asarray(rows.label)[decided] > 0.5
    found = {
        name: _find_format(dataset, first, second, wins, name, mark, config)
        for name, mark in MARKS.items()
    }
    return (
        MappingProxyType({name: finding for name, (finding, _) in found.items()}),
        tuple(leak for _, leak in found.values() if leak),
    )


def _find_format(
    dataset: Dataset,
    first: np.ndarray,
    second: np.ndarray,
    wins: np.ndarray,
    name: str,
    mark: Callable[[str], bool],
    config: AuditConfig,
) -> tuple[FormatFinding, str]:
    """The finding, and a sentence if it is a leak."""
    marked = np.array([mark(text) for text in dataset.responses], dtype=np.int8)
    preferred, rejected = np.where(wins, first, second), np.where(wins, second, first)
    differs = marked[preferred] != marked[rejected]
    # A pair judged by many people is one pair of renderings, decided by the majority.
    with_mark = np.where(marked[preferred] > 0, preferred, rejected)[differs].astype(np.int64)
    without = np.where(marked[preferred] > 0, rejected, preferred)[differs]
    sign = np.where(marked[preferred[differs]] > 0, 1, -1)
    _, inverse = np.unique(with_mark * dataset.num_responses + without, return_inverse=True)
    margin = np.bincount(inverse, weights=sign)
    num_wins, num_losses = int((margin > 0).sum()), int((margin < 0).sum())
    num_differing = num_wins + num_losses
    low, high = np.minimum(first, second), np.maximum(first, second)
    num_pairs = len(np.unique(low.astype(np.int64) * dataset.num_responses + high))
    auc = 0.5 + (num_wins - num_losses) / (2 * num_pairs) if num_pairs else 0.5
    rate = max(num_wins, num_losses) / num_differing if num_differing else 0.5
    num_texts = min(len(np.unique(with_mark)), len(np.unique(without)))
    finding = FormatFinding(auc=auc, num_differing=num_differing, rate=rate, num_texts=num_texts)
    enough = min(num_differing, num_texts) >= config.min_texts
    large = abs(auc - 0.5) > config.max_format_gap or rate > config.max_format_rate
    if enough and large and binomtest(num_wins, num_differing).pvalue < config.max_p:
        side = "preferred" if num_wins > num_losses else "rejected"
        example = dataset.responses[int(with_mark[0])]
        return finding, (
            f"The format gives the label away: in {rate:.1%} of {num_differing} pairs that differ "
            f"in it, the text with {name} is the {side} one (AUC {auc:.2f} over all pairs), for "
            f"example {example[:80]!r}. Render both sides the same way."
        )
    return finding, ""
