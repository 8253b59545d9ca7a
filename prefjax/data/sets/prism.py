"""PRISM: people from 75 countries talk with language models and rate their answers, 1 to 100.

In the first turn of a conversation a person reads up to four models' answers and rates each; later
turns show two answers of the chosen model. A comparison is two answers of one turn whose ratings
differ. The published files write ``EMPTY STRING`` where a model said nothing; that is no answer and
is left out. A text that a turn shows twice counts once, with the mean of its ratings. CC BY 4.0 for
what people wrote, CC BY-NC 4.0 for the models' answers.

References:
    H. R. Kirk et al., "The PRISM Alignment Dataset", arXiv 2404.16019.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.json

from prefjax.data.dataset import Dataset
from prefjax.data.files import Kind, check_table, naming
from prefjax.data.hub import hub_folder
from prefjax.data.names import report_near_equal
from prefjax.data.repeats import mean_of_each
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.split import NewPromptsConfig
from prefjax.data.votes import check_scale, ratings_to_comparisons

NAME = "prism"
REPOSITORY = "HannahRoseKirk/prism-alignment"
FILE = "utterances.jsonl"
LICENSE = "CC BY 4.0 (people), CC BY-NC 4.0 (models)"
SOURCE = f"Hugging Face hub {REPOSITORY}"
LABEL = (
    '1: the person rated the first answer higher. Who gave 90 to "good" and 10 to "bad" in one '
    'turn has label 1 in the row ("good", "bad").'
)
SCALE = (1.0, 100.0)
PLACEHOLDER = "EMPTY STRING"
"""Stands in the published files for an answer without a word."""
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("conversation_id", pa.string()),
        ("turn", pa.int64()),
        ("within_turn_id", pa.int64()),
        ("user_prompt", pa.string()),
        ("model_response", pa.string()),
        ("score", pa.int64()),
        ("if_chosen", pa.bool_()),
    ]
)
"""The columns that are read; the file has more."""


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    turns: Literal["first", "all"] = "first",
    min_gap: float = 1.0,
    seed: int = 0,
) -> Dataset:
    """Load the rated answers as pairs.

    ``meta["conversation"]`` is the conversation of each response, the ``group`` that `four_cells`
    must not cut when later turns are in: they repeat what was said before. ``meta["num_empty"]``
    counts answers without a word, ``meta["num_averaged"]`` ratings of a text that its turn shows
    more than once.

    Args:
        folder: Holds ``utterances.jsonl``; ``PREFJAX_DATA/prism`` if None.
        revision: Commit of the hub to fetch the file from instead.
        turns: First turns, in which up to four models answer, or all.
        min_gap: Smallest difference of two ratings that makes a pair.
        seed: Seed of the orientation.

    Raises:
        FileNotFoundError: If the file is not there.
        OSError: If the hub cannot be reached.
        ValueError: If the file is damaged or of another schema, or a rating is outside 1 to 100.
    """
    folder = hub_folder(NAME, REPOSITORY, (FILE,), folder=folder, revision=revision)
    table = _read(folder / FILE)
    with naming(folder / FILE):
        check_scale(table["score"].to_numpy(), SCALE)
        order = np.lexsort([table[name].to_numpy() for name in ("within_turn_id", "turn")])
        columns = {name: table[name].to_pylist() for name in SCHEMA.names}
        rows = [{name: values[row] for name, values in columns.items()} for row in order.tolist()]
        by_conversation: dict[str, list[dict]] = {}
        for row in rows:
            by_conversation.setdefault(row["conversation_id"], []).append(row)
        prompts, prompt_index, shown, num_averaged = [], [], [], 0
        for conversation in by_conversation.values():
            for prompt, answers in _turns(conversation, turns):
                score = mean_of_each(
                    np.array([row["model_response"] for row in answers], object),
                    np.array([row["score"] for row in answers]),
                )
                once = {
                    row["model_response"]: {**row, "score": mean}
                    for row, mean in zip(answers, score.tolist(), strict=True)
                }
                num_averaged += len(answers) - len(once)
                prompt_index += [len(prompts)] * len(once)
                shown += once.values()
                prompts.append(prompt)
        if not shown:
            raise ValueError("no turn has an answer with a word.")
        report_near_equal({row["user_id"] for row in shown})
        names, user = np.unique([row["user_id"] for row in shown], return_inverse=True)
        _, talk = np.unique([row["conversation_id"] for row in shown], return_inverse=True)
        pairs = ratings_to_comparisons(
            user,
            np.arange(len(shown)),
            np.array([row["score"] for row in shown], np.float32),
            min_gap=min_gap,
            prompt_index=np.array(prompt_index, np.int32),
            seed=seed,
        )
        num_empty = sum(_is_empty(row) for row in rows)
        if len(pairs.user) == 0:
            raise ValueError(
                f"no turn has two answers with ratings {min_gap:g} apart; {num_empty} answers "
                "without a word are left out."
            )
        return Dataset(
            name=NAME,
            comparisons=pairs,
            responses=tuple(row["model_response"] for row in shown),
            prompt_index=np.array(prompt_index, np.int32),
            prompts=tuple(prompts),
            users=tuple(names.tolist()),
            meta=describe(
                LICENSE,
                SOURCE,
                LABEL,
                revision=revision,
                conversation=talk.tolist(),
                num_empty=num_empty,
                num_averaged=num_averaged,
            ),
        )


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)


def _read(path: Path) -> pa.Table:
    """The columns of the schema; a list where a text belongs is refused."""
    options = pyarrow.json.ParseOptions(
        explicit_schema=SCHEMA, unexpected_field_behavior="ignore", newlines_in_values=False
    )
    kinds: dict[str, Kind] = {
        name: "text" if SCHEMA.field(name).type == pa.string() else "number"
        for name in SCHEMA.names
    }
    try:
        table = pyarrow.json.read_json(path, parse_options=options)
    except pa.ArrowInvalid as error:
        expected = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise ValueError(
            f"{path} cannot be read as lines of JSON ({error}); expected columns {expected}."
        ) from error
    return check_table(table, path, kinds)


def _is_empty(row: dict) -> bool:
    return row["model_response"].strip() in ("", PLACEHOLDER)


def _turns(conversation: list[dict], turns: str) -> list[tuple[str, list[dict]]]:
    """What was said before each turn, with the answers to it that have a word."""
    said, shown = "", []
    for turn in sorted({row["turn"] for row in conversation}):
        rows = [row for row in conversation if row["turn"] == turn]
        prompt = said + rows[0]["user_prompt"]
        answers = [row for row in rows if not _is_empty(row)]
        if answers and (turn == 0 or turns == "all"):
            shown.append((prompt, answers))
        chosen = [row["model_response"] for row in answers if row["if_chosen"]]
        said = "\n\n".join([prompt, *chosen[:1], ""])
    return shown
