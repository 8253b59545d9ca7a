"""Value Portrait: people rate five responses to each of eight prompts; all pairs of the five.

The personal signal is weak here: the hard mode. MIT license.

References:
    arXiv 2505.01015.
"""

import json
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming, read_parquet, source_folder, texts
from prefjax.data.repeats import last_of_each
from prefjax.data.sets._prepare import find_file, write_columns
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.shared_items import SharedItemsConfig
from prefjax.types import Comparisons

NAME = "value_portrait"
SOURCE = "GitHub holi-lab/ValuePortrait"
LICENSE = "MIT"
LABEL = (
    "1: the person rated the first response higher. Person 0 rated option 1 of prompt 1024 three "
    'points above option 2 ("No, you were just looking out for him. …"): whichever a coin put '
    "first, the row prefers option 1."
)
_FILES = ("pairs.parquet", "items.parquet")


def load(
    folder: Path | None = None, *, ties: Literal["drop", "half"] = "drop", seed: int = 0
) -> Dataset:
    """Load the pairs; which response comes first is drawn by a seeded coin.

    Args:
        folder: Holds ``pairs.parquet(user_id, prompt_id, option_1, option_2, choice)`` with choice
            1, 2 or 0 for a tie, and ``items.parquet(prompt_id, option, prompt, response)``;
            ``PREFJAX_DATA/value_portrait`` if None.
        ties: Whether equal ratings are dropped or have label ½.
        seed: Seed of the orientation.

    Returns:
        559 people, 104 prompts × 5 responses, 34,261 decided pairs of 48,640.
        ``meta["num_replaced"]`` counts pairs that stand again later in the file.

    Raises:
        FileNotFoundError: If the files are not there.
        ValueError: If a file is damaged or of another schema.
    """
    folder = source_folder(NAME, folder, _FILES, SOURCE)
    pairs = read_parquet(
        folder / "pairs.parquet",
        {
            "user_id": "integer",
            "prompt_id": "text",
            "option_1": "integer",
            "option_2": "integer",
            "choice": "integer",
        },
    )
    items = read_parquet(
        folder / "items.parquet",
        {"prompt_id": "text", "option": "integer", "prompt": "text", "response": "text"},
    )
    item_keys = list(zip(items["prompt_id"].to_pylist(), items["option"].to_pylist(), strict=True))
    response_of = {key: index for index, key in enumerate(item_keys)}
    prompt = items["prompt_id"].combine_chunks().dictionary_encode()
    prompt_index = prompt.indices.to_numpy()
    prompt_text = dict(zip(prompt_index.tolist(), items["prompt"].to_pylist(), strict=True))
    names, user = np.unique(pairs["user_id"].to_numpy(), return_inverse=True)
    choice = pairs["choice"].to_numpy()
    with naming(folder):
        if len(response_of) < len(item_keys):
            raise ValueError("items.parquet lists an option of a prompt twice.")
        different = set(zip(prompt_index.tolist(), items["prompt"].to_pylist(), strict=True))
        if len(different) > len(prompt_text):
            raise ValueError("items.parquet gives one prompt_id two texts.")
        sides = [
            [
                response_of.get(key, -1)
                for key in zip(
                    pairs["prompt_id"].to_pylist(), pairs[option].to_pylist(), strict=True
                )
            ]
            for option in ("option_1", "option_2")
        ]
        one, two = np.asarray(sides, dtype=np.int32)
        unknown = np.flatnonzero((one < 0) | (two < 0) | ~np.isin(choice, (0, 1, 2)))
        if len(unknown):
            raise ValueError(
                f"pairs.parquet row {unknown[0]} names an option that items.parquet lacks, or a "
                f"choice other than 0, 1, 2."
            )
        last = last_of_each(user, np.minimum(one, two), np.maximum(one, two))
        valid = last if ties == "half" else last & (choice != 0)
        swap = np.random.default_rng(seed).random(len(choice)) < 0.5
        label = np.select([choice == 1, choice == 2], [1.0, 0.0], 0.5)
        return Dataset(
            name=NAME,
            comparisons=Comparisons(
                user=user[valid],
                first=np.where(swap, two, one)[valid],
                second=np.where(swap, one, two)[valid],
                label=np.where(swap, 1.0 - label, label)[valid],
                sample_weight=np.ones(valid.sum()),
            ),
            responses=texts(items, "response"),
            prompt_index=prompt_index,
            prompts=tuple(prompt_text[index] for index in range(len(prompt_text))),
            users=tuple(str(name) for name in names.tolist()),
            meta=describe(LICENSE, SOURCE, LABEL, num_replaced=int(np.sum(~last))),
        )


def prepare(upstream: Path, folder: Path) -> None:
    """Make the files that `load` reads from ``survey.json`` and ``query-response-tagged.json``.

    Args:
        upstream: Holds the files, at any depth: the survey, a list of blocks of
            ``{portrait_id: [{option_id, data: [[rating, user], …]}]}``, and the texts, a list of
            ``{portrait_id, content {title, text}, outputs [{id, content}]}``.
        folder: Where to write.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a file is of another schema.
    """
    survey = find_file(upstream, "survey.json", SOURCE, within="main")
    tagged = find_file(upstream, "query-response-tagged.json", SOURCE)
    with naming(survey):
        ratings: dict[tuple[str, str], dict[int, float]] = {}
        try:
            for block in json.loads(survey.read_text(encoding="utf-8")):
                for portrait, options in block.items():
                    for option in options:
                        for rating, who in option["data"]:
                            key = (str(who), str(portrait))
                            ratings.setdefault(key, {})[int(option["option_id"])] = rating
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"is no survey as described ({error!r}).") from error
        names = sorted({who for who, _ in ratings}, key=lambda name: (len(name), name))
        numbers = {name: place for place, name in enumerate(names)}
        pairs = [
            (numbers[who], portrait, one, other, given[one] - given[other])
            for (who, portrait), given in sorted(
                ratings.items(), key=lambda entry: (numbers[entry[0][0]], entry[0][1])
            )
            for one, other in combinations(sorted(given), 2)
        ]
    with naming(tagged):
        try:
            items = [
                (str(entry["portrait_id"]), int(answer["id"]), entry["content"], answer["content"])
                for entry in json.loads(tagged.read_text(encoding="utf-8"))
                for answer in entry["outputs"]
            ]
            prompts = [content["text"] for _, _, content, _ in items]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"is no list of texts as described ({error!r}).") from error
    user, prompt, first, second, gap = (list(column) for column in zip(*pairs, strict=True))
    write_columns(
        folder / _FILES[0],
        user_id=np.array(user, np.int64),
        prompt_id=prompt,
        option_1=np.array(first, np.int64),
        option_2=np.array(second, np.int64),
        choice=np.select([np.array(gap) > 0, np.array(gap) < 0], [1, 2], 0).astype(np.int8),
    )
    write_columns(
        folder / _FILES[1],
        prompt_id=[portrait for portrait, *_ in items],
        option=np.array([option for _, option, *_ in items], np.int64),
        prompt=prompts,
        response=[answer for *_, answer in items],
    )


SET = NamedSet(
    name=NAME,
    load=load,
    protocol=SharedItemsConfig(num_new_users=150, min_answers=10, min_tests=10),
    label=LABEL,
    license=LICENSE,
    source=SOURCE,
    prepare=prepare,
    upstream=(
        "data/prolific/survey/main/survey.json and "
        "data/query-response-tagged/query-response-tagged.json"
    ),
    digest="3939ffc0571f7423a28eaeed00617ddd934e4000cef82c03a9e6e9f446d00cb2",
)
