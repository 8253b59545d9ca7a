"""UKPConvArg: which of two arguments on one side of a debate convinces a crowd worker more.

The prompt is the topic: a debate and a side, 32 of them, which are the folds of published results.
CC BY 4.0, UKP Lab, TU Darmstadt.

References:
    I. Habernal and I. Gurevych, "Which argument is more convincing?", ACL 2016;
    E. Simpson and I. Gurevych, "Scalable Bayesian preference learning for crowds", Machine
    Learning 109 (2020).
"""

from pathlib import Path
from typing import Literal

import numpy as np

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming, read_parquet, source_folder, texts
from prefjax.data.repeats import last_of_each
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.shared_items import SharedItemsConfig
from prefjax.data.validate import validate_comparisons
from prefjax.types import Comparisons

NAME = "ukpconvarg"
SOURCE = "GitHub UKPLab/acl2016-convincing-arguments"
LICENSE = "CC BY 4.0 (UKP Lab)"
LABEL = (
    "1: the worker finds the first argument more convincing. Worker 2415 chose argument 4 over "
    "argument 27, which was shown first: the row (27, 4) has label 0."
)


def load(
    folder: Path | None = None,
    *,
    part: Literal["crowd_full", "crowdsample"] = "crowd_full",
    ties: Literal["drop", "half"] = "drop",
) -> Dataset:
    """Load the judgments in the order in which the workers saw the arguments.

    Args:
        folder: Holds ``crowd_full.parquet`` or ``crowdsample.parquet`` (user, arg_1, arg_2, choice
            1, 2 or 0 for a tie) and ``arguments.parquet(arg_id, topic, text)``;
            ``PREFJAX_DATA/ukpconvarg`` if None.
        part: All judgments, or the published sample of one judgment a pair.
        ties: Whether "equally convincing" is dropped or has label ½.

    Returns:
        3,801 workers with a decided judgment, 1,052 arguments on 32 topics, 65,340 decided
        judgments; 3,815 and 84,445 with ties. ``meta["num_replaced"]`` counts judgments of a pair
        that its worker judged again later in the file, ``meta["num_same_text"]`` those of two
        arguments with one text, which stay in so that the counts are the published ones.

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is damaged or of another schema.
    """
    file = f"{part}.parquet"
    folder = source_folder(NAME, folder, (file, "arguments.parquet"), SOURCE)
    rows = read_parquet(
        folder / file, dict.fromkeys(("user", "arg_1", "arg_2", "choice"), "integer")
    )
    arguments = read_parquet(
        folder / "arguments.parquet", {"arg_id": "integer", "topic": "text", "text": "text"}
    )
    choice = rows["choice"].to_numpy()
    one, two = rows["arg_1"].to_numpy(), rows["arg_2"].to_numpy()
    last = last_of_each(rows["user"].to_numpy(), np.minimum(one, two), np.maximum(one, two))
    valid = last if ties == "half" else last & (choice != 0)
    names, user = np.unique(rows["user"].to_numpy()[valid], return_inverse=True)
    topic = arguments["topic"].combine_chunks().dictionary_encode()
    with naming(folder):
        if not np.array_equal(arguments["arg_id"].to_numpy(), np.arange(arguments.num_rows)):
            raise ValueError("arguments.parquet must list arg_id from 0 in order.")
        wrong = np.flatnonzero(~np.isin(choice, (0, 1, 2)))
        if len(wrong):
            raise ValueError(f"{file} row {wrong[0]} has a choice other than 0, 1, 2.")
        comparisons = validate_comparisons(
            Comparisons(
                user=user,
                first=one[valid],
                second=two[valid],
                label=np.select([choice == 1, choice == 2], [1.0, 0.0], 0.5)[valid],
                sample_weight=np.ones(valid.sum()),
            ),
            len(names),
            arguments.num_rows,
        )
        same = np.unique(texts(arguments, "text"), return_inverse=True)[1]
        num_same_text = np.sum(same[comparisons.first] == same[comparisons.second])
        return Dataset(
            name=NAME,
            comparisons=comparisons,
            responses=texts(arguments, "text"),
            prompt_index=topic.indices.to_numpy(),
            prompts=tuple(topic.dictionary.to_pylist()),
            users=tuple(str(name) for name in names.tolist()),
            meta=describe(
                LICENSE,
                SOURCE,
                LABEL,
                num_replaced=int(np.sum(~last)),
                num_same_text=int(num_same_text),
            ),
        )


SET = NamedSet(
    name=NAME,
    load=load,
    protocol=SharedItemsConfig(num_new_users=150, min_answers=10, min_tests=10),
    label=LABEL,
    license=LICENSE,
    source=SOURCE,
)
