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
from prefjax.data.sets._prepare import write_columns
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


def prepare(upstream: Path, folder: Path) -> None:
    """Make the files that `load` reads from the votes of all crowd workers, a file a topic.

    Rows are tab-separated: ``arg1_arg2``, worker, ``a1``, ``a2`` or ``equal``, both texts. Workers
    are numbered in the order of their names, arguments in that of topic and name.

    Args:
        upstream: Holds the folders ``UKPConvArgCrowd-new-CSV…`` and
            ``UKPConvArgCrowdSample-new-CSV…`` of ``data/argument_data``, at any depth.
        folder: Where to write.

    Raises:
        FileNotFoundError: If there are no such files.
        ValueError: If a file is of another schema.
    """
    full = _read_topics(upstream, "UKPConvArgCrowd-new-CSV*")
    sample = _read_topics(upstream, "UKPConvArgCrowdSample-new-CSV*")
    texts_of: dict[tuple[str, str], str] = {}
    for topic, one, other, _, _, shown in full:
        for name, text in zip((one, other), shown, strict=True):
            texts_of.setdefault((topic, name), text)
    arguments = {key: place for place, key in enumerate(sorted(texts_of))}
    workers = {name: place for place, name in enumerate(sorted({row[3] for row in full}))}
    for file, rows in (("crowd_full.parquet", full), ("crowdsample.parquet", sample)):
        write_columns(
            folder / file,
            user=np.array([workers[row[3]] for row in rows], np.int32),
            topic=[row[0] for row in rows],
            arg_1=np.array([arguments[row[0], row[1]] for row in rows], np.int64),
            arg_2=np.array([arguments[row[0], row[2]] for row in rows], np.int64),
            choice=np.array([_CHOICES[row[4]] for row in rows], np.int64),
        )
    write_columns(
        folder / "arguments.parquet",
        arg_id=np.arange(len(arguments)),
        topic=[topic for topic, _ in arguments],
        arg=[name for _, name in arguments],
        text=[texts_of[key] for key in arguments],
    )


_CHOICES = {"a1": 1, "a2": 2, "equal": 0}


def _read_topics(upstream: Path, name: str) -> list[tuple[str, str, str, str, str, list[str]]]:
    """Topic, both arguments, worker, label and both texts of every row."""
    files = sorted(upstream.glob(f"**/{name}/*.csv"), key=lambda path: path.stem)
    if not files:
        raise FileNotFoundError(f"There is no {name}/*.csv below {upstream} (from {SOURCE}).")
    rows = []
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            cells = line.split("\t")
            if not line.strip() or (number == 1 and "_" not in cells[0]):
                continue  # a header
            if len(cells) != 5 or cells[2] not in _CHOICES or cells[0].count("_") != 1:
                raise ValueError(
                    f"{path} line {number}: expected arg1_arg2, worker, a1 / a2 / equal and two "
                    f"texts, tab-separated, got {line[:80]!r}."
                )
            one, other = cells[0].split("_")
            rows.append((path.stem, one, other, cells[1], cells[2], cells[3:]))
    return rows


SET = NamedSet(
    name=NAME,
    load=load,
    protocol=SharedItemsConfig(num_new_users=150, min_answers=10, min_tests=10),
    label=LABEL,
    license=LICENSE,
    source=SOURCE,
    prepare=prepare,
    upstream="data/argument_data/UKPConvArgCrowd-new-CSV-copy and UKPConvArgCrowdSample-new-CSV",
    digest="5eb5f023273f697209fc0c2c88f3c16d0825f895b1b2e394c6e81ae6670b6860",
)
