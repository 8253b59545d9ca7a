"""Polis, Bowling Green 2018: votes of citizens on each other's short public statements.

Agree (+1), pass (0) or disagree (−1). Data was gathered using the Polis software
(compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with Attribution to The Computational
Democracy Project: https://compdemocracy.org/case-studies/2018-kentucky.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming, read_parquet, source_folder, texts
from prefjax.data.votes import votes_to_comparisons

NAME = "polis_bowling_green"
SOURCE = "GitHub compdemocracy/openData"
_FILES = ("votes.parquet", "statements.parquet")


def load(folder: Path | None = None, *, passes: Literal["drop", "half"] = "drop") -> Dataset:
    """Load the votes as comparisons against the zero baseline.

    Args:
        folder: Holds ``votes.parquet(user, statement, vote)`` and ``statements.parquet(statement,
            text)``; ``PREFJAX_DATA/polis_bowling_green`` if None.
        passes: Whether a pass is dropped or a tie.

    Returns:
        1,943 voters (2,031 with those who only passed), 896 statements, 148,399 votes without the
        passes; one empty prompt.

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is damaged or of another schema.
    """
    folder = source_folder(NAME, folder, _FILES, SOURCE)
    votes = read_parquet(
        folder / "votes.parquet", {"user": "number", "statement": "number", "vote": "number"}
    )
    statements = read_parquet(
        folder / "statements.parquet", {"statement": "number", "text": "text"}
    ).sort_by("statement")
    vote = votes["vote"].to_numpy()
    kept = np.ones(len(vote), dtype=bool) if passes == "half" else vote != 0
    names, user = np.unique(votes["user"].to_numpy()[kept], return_inverse=True)
    known = statements["statement"].to_numpy()
    statement = votes["statement"].to_numpy()[kept]
    with naming(folder):
        unknown = np.setdiff1d(statement, known)
        if len(unknown):
            raise ValueError(f"votes on statements without a text: {unknown[:5].tolist()}.")
        return Dataset(
            name=NAME,
            comparisons=votes_to_comparisons(
                user, np.searchsorted(known, statement), vote[kept], passes=passes
            ),
            responses=texts(statements, "text"),
            prompt_of=np.zeros(len(known), dtype=np.int32),
            prompts=("",),
            users=tuple(str(name) for name in names.tolist()),
            meta={
                "licence": "CC BY 4.0, attribution to The Computational Democracy Project",
                "source": SOURCE,
                "simulated": False,
            },
        )
