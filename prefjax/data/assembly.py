"""From judgments with texts to a data set with ids, in the order in which texts appear."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prefjax.data.dataset import Dataset
from prefjax.data.raw_columns import MISSING, RawColumns, Texts
from prefjax.data.validate import find_bad_text
from prefjax.types import BASELINE, Comparisons


def assemble(raw: RawColumns, *, name: str, meta: Mapping[str, Any], seed: int = 0) -> Dataset:
    """Give users, prompts and responses their ids.

    Args:
        raw: The judgments.
        name: Name of the data set.
        meta: What else is known.
        seed: Seed of which response comes first, where the source has the preferred one first.

    Returns:
        A data set. Rows whose two texts are the same say nothing and are left out, with a warning;
        ``meta["num_same_text"]`` counts them. ``meta["messages"]`` has the messages of prompts that
        came as such, ``meta["conversation"]`` the conversation of each response, ``meta["split"]``
        the part of a published split in which each row lies, ``meta["observation"]`` which rows
        are one choice among several (`prefjax.data.choices`).

    Raises:
        ValueError: If there is no row, a value is missing, or a text holds half a character or NUL.
    """
    if raw.num_rows == 0:
        raise ValueError("There are no comparisons: at least one row is needed.")
    for column in ("user", "prompt", "response_a"):
        _check_texts(column, raw.texts[column], raw)
    nothing = Texts((), np.full(raw.num_rows, MISSING, np.int32))
    second_texts = raw.texts.get("response_b", nothing)
    _check_texts("response_b", second_texts, raw, nullable=True)
    meta = {**meta, **raw.meta}
    prompt, label = raw.texts["prompt"], raw.numbers["label"]
    first, second, texts = _one_table(raw.texts["response_a"], second_texts, raw.shown)
    if not raw.is_ordered:
        swap = (np.random.default_rng(seed).random(raw.num_rows) < 0.5) & (second != MISSING)
        first, second = np.where(swap, second, first), np.where(swap, first, second)
        label = np.where(swap, 1.0 - label, label)
    prompts, response, keys = _number_responses(prompt, first, second, len(texts), raw, texts)
    rows = Comparisons(
        user=raw.texts["user"].index,
        first=response[: raw.num_rows],
        second=response[raw.num_rows :],
        label=label,
        sample_weight=raw.numbers.get(
            "weight", raw.numbers.get("sample_weight", np.ones(raw.num_rows))
        ),
    )
    prompt_index = keys // max(len(texts), 1)
    if raw.messages:
        said = [raw.messages.get(text) for text in prompts]
        meta["messages"] = [None if turn is None else list(turn) for turn in said]
    if "conversation" in raw.texts:
        talk = raw.texts["conversation"]
        of_row = [*talk.values, None]
        names = [of_row[index] for index in talk.index.tolist()]
        of_prompt = join_conversations(names, prompt.index, prompts)
        meta["conversation"] = [of_prompt[index] for index in prompt_index.tolist()]
    same = np.flatnonzero(rows.first == rows.second)
    if "split" in raw.texts:
        part = raw.texts["split"]
        meta["split"] = [part.values[index] for index in np.delete(part.index, same).tolist()]
    if "observation" in meta:
        meta["observation"] = np.delete(meta["observation"], same).tolist()
    if len(same):
        meta["num_same_text"] = len(same)
        _report_same(same, raw)
    return Dataset(
        name=name,
        comparisons=Comparisons(*(np.delete(column, same) for column in rows)),
        responses=tuple(texts[index] for index in keys % max(len(texts), 1)),
        prompt_index=prompt_index,
        prompts=prompts,
        users=raw.texts["user"].values,
        meta=meta,
    )


def join_conversations(
    names: Sequence[str | None], prompt: Int[np.ndarray, " row"], prompts: Sequence[str]
) -> list[str]:
    """One name for all conversations that share a prompt, for each prompt.

    Args:
        names: Conversation of each row; None where it is not known.
        prompt: Prompt of each row.
        prompts: Texts of the prompts.

    Returns:
        A name for each prompt; prompts of equal name lie in one group.
    """
    place: dict[str, int] = {}
    known = [place.setdefault(name, len(place)) if name is not None else MISSING for name in names]
    talk = np.array(known, np.int64)
    has_talk = talk != MISSING
    num_nodes = len(prompts) + len(place)
    edges = coo_array(
        (np.ones(has_talk.sum()), (np.asarray(prompt)[has_talk], len(prompts) + talk[has_talk])),
        shape=(num_nodes, num_nodes),
    )
    _, component = connected_components(edges, directed=False)
    label: dict[int, str] = {}
    for name, index in place.items():
        label.setdefault(int(component[len(prompts) + index]), _short(name))
    return [
        label.setdefault(int(component[index]), _short(f"opening: {text}"))
        for index, text in enumerate(prompts)
    ]


def _short(name: str) -> str:
    """A long name, such as an opening, by its digest."""
    return name if len(name) <= 64 else f"opening {hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _one_table(
    first: Texts, second: Texts, shown: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Both columns as places in one table of texts; −1 where a row has no second."""
    place = {text: index for index, text in enumerate(first.values)}
    of_second = [place.setdefault(text, len(place)) for text in second.values]
    for _, text in shown:
        place.setdefault(text, len(place))
    # A missing text takes the last entry of the table, -1.
    lookup = np.append(np.array(of_second, np.int64), MISSING)
    return first.index.astype(np.int64), lookup[second.index], tuple(place)


def _number_responses(prompt, first, second, num_texts, raw, texts):
    """Prompts, id of both responses of each row, and the key of each id."""
    prompts = {text: index for index, text in enumerate(prompt.values)}
    place = {text: index for index, text in enumerate(texts)} if raw.shown else {}
    before = np.array(
        [prompts[asked] * num_texts + place[text] for asked, text in raw.shown], np.int64
    )
    both = np.concatenate([first, second])
    has_text = both != MISSING
    pair = np.concatenate([prompt.index, prompt.index]).astype(np.int64) * num_texts + both
    response = np.full(2 * raw.num_rows, BASELINE, dtype=np.int32)
    keys, rank = _first_appearance(np.concatenate([before, pair[has_text]]))
    response[has_text] = rank[len(before) :]
    return prompt.values, response, keys


def _first_appearance(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys in order of first appearance, and the index of each row into them."""
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return unique[order], rank[inverse]


def _report_same(same: np.ndarray, raw: RawColumns) -> None:
    what = f"{len(same)} of {raw.num_rows} rows compare a text with itself"
    if len(same) == raw.num_rows:
        raise ValueError(f"{what}: no row is left.")
    shown = ", ".join(raw.place(row) for row in same[:3].tolist())
    warnings.warn(f"{what} and are left out: {shown}.", stacklevel=4)


def _check_texts(name: str, column: Texts, raw: RawColumns, *, nullable: bool = False) -> None:
    if not nullable and (column.index == MISSING).any():
        row = int(np.argmax(column.index == MISSING))
        raise ValueError(f"column {name} has no value in {raw.place(row)}.")
    bad = find_bad_text(column.values)
    if bad is not None:
        row = int(np.argmax(column.index == bad[0]))
        raise ValueError(f"column {name} in {raw.place(row)} {bad[1]}.")
