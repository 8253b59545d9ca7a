"""Polis, Bowling Green 2018: votes of citizens on each other's short public statements.

Agree (+1), pass (0) or disagree (−1); who votes again on a statement replaces the earlier vote, a
pass included. Data was gathered using the Polis software
(compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with Attribution to The Computational
Democracy Project: https://compdemocracy.org/case-studies/2018-kentucky.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming, read_parquet, source_folder, texts
from prefjax.data.repeats import last_of_each
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.shared_items import SharedItemsConfig
from prefjax.data.votes import votes_to_comparisons

NAME = "polis_bowling_green"
SOURCE = "GitHub compdemocracy/openData"
LICENSE = "CC BY 4.0, attribution to The Computational Democracy Project"
LABEL = (
    '1: the voter agrees with the statement, 0: disagrees. Voter 0 agrees with "Most local '
    'officials run for office to serve the public good." and disagrees with "Harsher sentences for '
    'drug users would help combat the opioid epidemic."'
)
_FILES = ("votes.parquet", "statements.parquet")


def load(folder: Path | None = None, *, passes: Literal["drop", "half"] = "drop") -> Dataset:
    """Load the votes as comparisons against the zero baseline.

    Args:
        folder: Holds ``votes.parquet(user, statement, vote)`` in the order of time and
            ``statements.parquet(statement, text)``; ``PREFJAX_DATA/polis_bowling_green`` if None.
        passes: Whether a pass is dropped or a tie.

    Returns:
        1,943 voters (2,031 with those who only passed), 896 statements, 148,399 votes without the
        passes; one empty prompt. ``meta["num_replaced"]`` counts votes that a later one replaced.

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is damaged or of another schema.
    """
    folder = source_folder(NAME, folder, _FILES, SOURCE)
    votes = read_parquet(
        folder / "votes.parquet", {"user": "integer", "statement": "integer", "vote": "integer"}
    )
    statements = read_parquet(
        folder / "statements.parquet", {"statement": "integer", "text": "text"}
    ).sort_by("statement")
    vote = votes["vote"].to_numpy()
    last = last_of_each(votes["user"].to_numpy(), votes["statement"].to_numpy())
    valid = last if passes == "half" else last & (vote != 0)
    names, user = np.unique(votes["user"].to_numpy()[valid], return_inverse=True)
    known = statements["statement"].to_numpy()
    statement = votes["statement"].to_numpy()[valid]
    with naming(folder):
        if len(np.unique(known)) < len(known):
            raise ValueError("statements.parquet lists a statement twice.")
        unknown = np.setdiff1d(statement, known)
        if len(unknown):
            raise ValueError(f"votes on statements without a text: {unknown[:5].tolist()}.")
        return Dataset(
            name=NAME,
            comparisons=votes_to_comparisons(
                user, np.searchsorted(known, statement), vote[valid], passes=passes
            ),
            responses=texts(statements, "text"),
            prompt_index=np.zeros(len(known), dtype=np.int32),
            prompts=("",),
            users=tuple(str(name) for name in names.tolist()),
            meta=describe(LICENSE, SOURCE, LABEL, num_replaced=int(np.sum(~last))),
        )


SET = NamedSet(
    name=NAME,
    load=load,
    protocol=SharedItemsConfig(
        group="response", by_label=True, num_new_users=213, min_each_label=10, min_train=5
    ),
    label=LABEL,
    license=LICENSE,
    source=SOURCE,
)
