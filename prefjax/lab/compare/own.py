"""Somebody's own preferences as a set to compare on, with the protocol that fits them.

Where most of what people judged was judged by others as well, people share items: half of what a
new person judged asks, the other half scores (`split_shared_items`). Where nearly every prompt is
one person's own, new people are scored on prompts that nobody saw (`four_cells`), and text is all
that is known of a response.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from prefjax.data import Dataset, NamedSet, NewPromptsConfig, SharedItemsConfig, read
from prefjax.data import split_shared_items as cut
from prefjax.data.same_text import GroupKind, describe_group, group_responses
from prefjax.lab.compare.draws import HELD_OUT, MOST_ANSWERS, MOST_HELD_OUT, Source
from prefjax.lab.compare.sources import SOURCES, real
from prefjax.lab.compare.store import NAME
from prefjax.types import BASELINE

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
        ValueError: Fewer than ``FEWEST_NEW`` people could be held out.
    """
    rows = dataset.comparisons
    votes = bool((rows.second == BASELINE).all())
    kind: GroupKind = "prompt" if dataset.num_prompts > 1 else "response"
    group = group_responses(dataset, kind)
    largest = int(np.argmax(np.bincount(group[rows.first])))
    share = float(np.mean(group[rows.first] == largest))
    if dataset.num_prompts > 1 and share > LARGEST_GROUP:
        raise ValueError(
            f"{share:.0%} of the rows of {dataset.name!r} belong together and cannot be divided "
            f"({describe_group(dataset, np.flatnonzero(group == largest))}); leave such a text out"
        )
    seen = np.unique(np.stack([group[rows.first], rows.user]), axis=1)
    people = np.bincount(seen[0], minlength=int(group.max()) + 1)
    shared = np.mean(people[group[rows.first]] >= SHARED_BY)
    per_user = np.bincount(rows.user, minlength=dataset.num_users)
    if shared < SHARED_ROWS:
        num_new = round(HELD_OUT * np.sum(per_user > 0))
        if num_new < FEWEST_NEW:
            raise ValueError(
                f"{np.sum(per_user > 0)} people are too few: a fifth of them is held out as new, "
                f"and fewer than {FEWEST_NEW} say nothing"
            )
        return NewPromptsConfig(tolerance=0.1)
    for enough in _ANSWERS:
        config = SharedItemsConfig(
            group=kind,
            by_label=votes,
            num_new_users=int(np.clip(HELD_OUT * np.sum(per_user >= 2 * enough), 1, MOST_HELD_OUT)),
            min_each_label=min(enough, 5) if votes else 0,
            min_answers=enough,
            min_tests=enough,
            max_answers=MOST_ANSWERS,
        )
        while config.num_new_users >= FEWEST_NEW:
            if _can_be_cut(dataset, config):
                return config
            smaller = int(0.7 * config.num_new_users)
            config = SharedItemsConfig(**{**vars(config), "num_new_users": smaller})
    raise ValueError(
        f"{dataset.name!r} has {np.sum(per_user > 0)} people with a median of "
        f"{np.median(per_user[per_user > 0]):.0f} comparisons; at least {FEWEST_NEW} people must "
        f"have {2 * _ANSWERS[-1]} or more about different "
        f"{'prompts' if kind == 'prompt' else 'responses'}"
    )


def own_sources(
    sets: Mapping[str, NamedSet],
) -> Mapping[str, Callable[[str, int], Source]]:
    """``source(encoder, seed)`` of every set by name, those of the package included.

    Args:
        sets: Own ones by name.
    """
    return {**SOURCES, **{name: partial(real, record) for name, record in sets.items()}}


def make_own(sets: Mapping[str, NamedSet], dataset: str, encoder: str, seed: int) -> Source:
    """`make_source` that knows own sets as well; bind ``sets`` for ``make=`` of `run_cells`."""
    return own_sources(sets)[dataset](encoder, seed)


def _given(dataset: Dataset, folder: Any = None) -> Dataset:
    """The loader of a set that is there already."""
    del folder
    return dataset


def _can_be_cut(dataset: Dataset, config: SharedItemsConfig) -> bool:
    """Whether enough people qualify, whatever the seed; the inner draw needs some as well."""
    try:
        for seed in range(3):
            cut(dataset, config, seed=seed)
    except ValueError:
        return False
    return True
