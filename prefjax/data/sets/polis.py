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
from prefjax.data.sets._prepare import find_file, require, write_columns
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.shared_items import SharedItemsConfig
from prefjax.data.sources import open_source
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


def prepare(upstream: Path, folder: Path) -> None:
    """Make the files that `load` reads from ``participants-votes.csv`` and ``comments.csv``.

    The former has a row for each participant and a column for each statement: 1 agree, −1 disagree,
    0 pass, empty not seen.

    Args:
        upstream: Holds the two files of the source's folder
            ``american-assembly.bowling-green``.
        folder: Where to write.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a file is of another schema.
    """
    wide = open_source(find_file(upstream, "participants-votes.csv", SOURCE))
    comments = open_source(find_file(upstream, "comments.csv", SOURCE))
    with naming(wide.where):
        columns = [name for name in wide.names if name.isdigit()]
        if "participant" not in wide.names or not columns:
            raise ValueError(f"expected participant and a column a statement, found {wide.names}.")
        people = np.array(wide.values("participant"), np.int32)
        votes = np.array(
            [[np.nan if cell is None else float(cell) for cell in wide.values(c)] for c in columns]
        ).T
        row, column = np.nonzero(~np.isnan(votes))  # by participant, in the order of the columns
        vote = votes[row, column]
        if not np.isin(vote, (-1, 0, 1)).all():
            raise ValueError("a vote is none of -1, 0, 1.")
    with naming(comments.where):
        names = require(comments, ("comment-id", "comment-body"))
        statement = np.array(comments.values(names[0]), np.int64)
    write_columns(
        folder / _FILES[0],
        user=people[row],
        statement=np.array(columns, np.int32)[column],
        vote=vote.astype(np.int8),
    )
    write_columns(folder / _FILES[1], statement=statement, text=comments.values(names[1]))


SET = NamedSet(
    name=NAME,
    load=load,
    protocol=SharedItemsConfig(
        group="response", by_label=True, num_new_users=213, min_each_label=10, min_train=5
    ),
    label=LABEL,
    license=LICENSE,
    source=SOURCE,
    prepare=prepare,
    upstream="american-assembly.bowling-green/participants-votes.csv and comments.csv",
    digest="359702bd296faa40667db85804abb3ad52d87b5fd0ace90a80868f44baaf6659",
)
