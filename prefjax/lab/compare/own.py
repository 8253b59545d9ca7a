"""Somebody's own preferences as a set to compare on, with the protocol that fits them.

Where most of what people judged was judged by others as well, people share items: half of what a
new person judged asks, the other half scores (`split_shared_items`). What an item is like is told
by its text and by what training people made of it; by its text alone where only the prompts are
shared and the responses are everybody's own. Where nearly every prompt is one person's own, new
people are scored on prompts that nobody saw (`four_cells`), and text is all that is known of a
response.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from prefjax.data import Dataset, NamedSet, NewPromptsConfig, SharedItemsConfig, read
from prefjax.data import split_shared_items as cut
from prefjax.data.same_text import GroupKind, describe_group, group_responses
from prefjax.lab.compare.draws import HELD_OUT, MOST_ANSWERS, MOST_HELD_OUT, Source
from prefjax.lab.compare.sources import SOURCES, TEXT_INPUTS, make_source, real
from prefjax.lab.compare.store import NAME
from prefjax.types import BASELINE, Array

SHARED_BY = 3
"""People who judged something, from which it counts as shared."""
SHARED_ROWS = 0.7
"""Share of the rows about shared things from which people share items."""
LARGEST_GROUP = 0.9
"""Share of the rows in one group of prompts beyond which nothing can be held out."""
_ANSWERS = (10, 5, 3, 2)
"""Answers, and tests, that a new person must have: the largest that enough people have."""
FEWEST_NEW = 5
"""New people below whom nothing can be told."""


def own_set(data: Any, name: str | None = None) -> NamedSet:
    """Own preferences as a set with a protocol.

    Args:
        data: A data set, or what `prefjax.data.read` reads.
        name: Name in results; that of the data set by default.

    Raises:
        ValueError: The data cannot be read, the name is that of a set of the package, or too few
            people judged enough; the message says what is missing.
    """
    dataset = read(data)
    name = name or "".join(c if NAME.fullmatch(f"a{c}") else "-" for c in dataset.name).lstrip("-.")
    if not name or name in SOURCES:
        raise ValueError(f"{dataset.name!r} cannot name a set of your own; name the file otherwise")
    return NamedSet(
        name=name,
        load=partial(_given, dataset),
        protocol=fitting_protocol(dataset),
        label=str(dataset.meta.get("label", "1: the first response was preferred")),
        license=str(dataset.meta.get("license", "")),
        source=str(dataset.meta.get("source", dataset.name)),
    )


def fitting_protocol(dataset: Dataset) -> SharedItemsConfig | NewPromptsConfig:
    """How people and items of a data set are divided.

    Args:
        dataset: Any.

    Raises:
        ValueError: Fewer than ``FEWEST_NEW`` people could be held out, or nearly all rows belong to
            one group.
    """
    rows = dataset.comparisons
    kind: GroupKind = "prompt" if dataset.num_prompts > 1 else "response"
    group = group_responses(dataset, kind)
    shown = group[rows.first]
    largest = int(np.argmax(np.bincount(shown)))
    share = float(np.mean(shown == largest))
    if dataset.num_prompts > 1 and share > LARGEST_GROUP:
        raise ValueError(
            f"{share:.0%} of the rows of {dataset.name!r} belong together and cannot be divided "
            f"({describe_group(dataset, np.flatnonzero(group == largest))}); leave such a text out"
        )
    if _is_shared(shown, rows.user):
        return _halves(dataset, kind)
    num_people = len(np.unique(rows.user))
    if round(HELD_OUT * num_people) < FEWEST_NEW:
        raise ValueError(
            f"{num_people} people are too few: a fifth of them is held out as new, and fewer than "
            f"{FEWEST_NEW} say nothing. Fit a model and read gain, gain_low and gain_high of its "
            "report, which are of people held out from the search"
        )
    return NewPromptsConfig(tolerance=0.1)


def _halves(dataset: Dataset, kind: GroupKind) -> SharedItemsConfig:
    """The protocol of shared items that asks most of a new person and still finds enough people."""
    rows = dataset.comparisons
    votes = bool((rows.second == BASELINE).all())
    per_user = np.bincount(rows.user, minlength=dataset.num_users)
    for enough in _ANSWERS:
        num_new = int(np.clip(HELD_OUT * np.sum(per_user >= 2 * enough), 0, MOST_HELD_OUT))
        while num_new >= FEWEST_NEW:
            config = SharedItemsConfig(
                group=kind,
                by_label=votes,
                num_new_users=num_new,
                min_each_label=min(enough, 5) if votes else 0,
                min_answers=enough,
                min_tests=enough,
                max_answers=MOST_ANSWERS,
            )
            if _can_be_cut(dataset, config):
                return config
            num_new = int(0.7 * num_new)
    given = per_user[per_user > 0]
    raise ValueError(
        f"{dataset.name!r} has {len(given)} people with a median of {np.median(given):.0f} "
        f"comparisons. A fifth is held out as new people, and fewer than {FEWEST_NEW} say nothing: "
        f"{round(FEWEST_NEW / HELD_OUT)} people must have {2 * _ANSWERS[-1]} or more comparisons "
        f"about different {kind}s. Of fewer, fit a model and read its report: gain, gain_low and "
        "gain_high are of people held out from the search"
    )


def make_own(sets: Mapping[str, NamedSet], dataset: str, encoder: str, seed: int) -> Source:
    """`make_source` that knows own sets as well; bind ``sets`` for ``make=`` of `run_cells`.

    Args:
        sets: Own sets by name.
        dataset: One of them, or a name in ``SOURCES``.
        encoder: Specification of an encoder.
        seed: Seed of people, items and pairs.

    Raises:
        ValueError: There is no such set.
    """
    if dataset not in sets:
        return make_source(dataset, encoder, seed)
    record = sets[dataset]
    if _shares_responses(record.load(None)):
        return real(record, encoder, seed)
    return real(record, encoder, seed, view="text", num_inputs=TEXT_INPUTS)


def _shares_responses(dataset: Dataset) -> bool:
    """Whether most of what was shown was judged by several people, who then say what it is like."""
    rows = dataset.comparisons
    shown, user = np.concatenate([rows.first, rows.second]), np.tile(rows.user, 2)
    is_response = shown != BASELINE
    return _is_shared(shown[is_response], user[is_response])


def _is_shared(shown: Array, user: Array) -> bool:
    """Whether most of what was shown to these people was judged by several of them."""
    judged = np.unique(np.stack([shown, user]), axis=1)[0]
    return bool(np.mean(np.bincount(judged)[shown] >= SHARED_BY) >= SHARED_ROWS)


def _given(dataset: Dataset, folder: Any = None) -> Dataset:
    """The loader of a set that is there already."""
    del folder
    return dataset


def _can_be_cut(dataset: Dataset, config: SharedItemsConfig) -> bool:
    """Whether enough people qualify under several seeds of the halves."""
    try:
        for seed in range(3):
            cut(dataset, config, seed=seed)
    except ValueError:
        return False
    return True
