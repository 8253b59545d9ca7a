"""Host-edge validation of comparisons and embeddings, before anything is traced.

A comparison is a row ``(user, first, second, label, weight)`` of integers and numbers, with

    0 <= user < num_users,  0 <= first < num_responses,  -1 <= second < num_responses,
    0 <= label <= 1,        0 <= weight < inf,

where ``second = BASELINE = -1`` is the zero baseline of votes and ratings. JAX clamps gathers that
are out of range without a word, so ids that pass here are the only ids a kernel may see. Every
check is a minimum and a maximum over the column (NaN propagates through both); the rows to blame
are only searched for once a check has failed. Nothing is written to the caller's arrays: read-only
and memory-mapped columns work, and a column that already has the right type is not copied.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax.types import BASELINE, Array, Comparisons

_INT32_MAX = np.iinfo(np.int32).max
_ROWS_SHOWN = 5


class ValidEmbeddings(NamedTuple):
    """Embeddings that are finite everywhere, and the responses that had to be excluded.

    Attributes:
        values: The embeddings as float32; the rows of excluded responses are zero, so that
            response ids keep their meaning.
        valid: False for the responses whose embedding was not finite.
    """

    values: Float[np.ndarray, "response feature"]
    valid: Bool[np.ndarray, " response"]


def validate_comparisons(
    comparisons: Comparisons, num_users: int, num_responses: int
) -> Comparisons:
    """Check every row and return the columns as int32 ids and float32 numbers.

    Args:
        comparisons: Columns of any integer or floating type, host or device, of one length.
        num_users: Users are ``0 .. num_users - 1``.
        num_responses: Responses are ``0 .. num_responses - 1``.

    Returns:
        The same rows in NumPy; columns share memory with the caller's where the type was right.

    Raises:
        ValueError: If there is no row, columns differ in length, an id is fractional, negative, at
            or above its count or beyond int32, a label is NaN or outside [0, 1], or a weight is
            negative, NaN or infinite. The message names the column, the first rows and a value.
    """
    columns = {
        name: np.asarray(column)
        for name, column in zip(Comparisons._fields, comparisons, strict=True)
    }
    for name, column in columns.items():
        if column.ndim != 1:
            raise ValueError(f"comparisons.{name} must have one axis, got shape {column.shape}.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"The columns of comparisons differ in length: {lengths}.")
    if lengths["user"] == 0:
        raise ValueError("There are no comparisons: at least one row is needed.")
    return Comparisons(
        user=validate_ids(columns["user"], num_users, name="comparisons.user"),
        first=validate_ids(columns["first"], num_responses, name="comparisons.first"),
        second=validate_ids(
            columns["second"], num_responses, name="comparisons.second", lowest=BASELINE
        ),
        label=_validate_label(columns["label"]),
        sample_weight=_validate_weight(columns["sample_weight"]),
    )


def validate_ids(ids: Array, count: int, *, name: str, lowest: int = 0) -> np.ndarray:
    """Check that ``lowest <= ids < count`` and return the ids as int32.

    Args:
        ids: Whole numbers; floating columns are accepted when nothing is lost.
        count: One more than the largest legal id.
        name: What the message calls the column.
        lowest: Smallest legal id; ``BASELINE`` where the zero baseline is legal.

    Returns:
        The ids as int32, not copied when they already are.

    Raises:
        ValueError: If an id is fractional, out of range or beyond int32.
    """
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold whole numbers, got dtype {ids.dtype}.")
    if count - 1 > _INT32_MAX:
        raise ValueError(f"{name}: {count} ids do not fit into int32.")
    if len(ids) == 0:
        return ids.astype(np.int32)
    if ids.dtype.kind == "f":
        fractional = ~np.isfinite(ids) | (ids != np.trunc(ids))
        if fractional.any():
            raise ValueError(f"{name} must hold whole numbers, but {_blame(ids, fractional)}.")
    low, high = ids.min(), ids.max()
    if high > _INT32_MAX or low < -_INT32_MAX - 1:
        beyond = (ids > _INT32_MAX) | (ids < -_INT32_MAX - 1)
        raise ValueError(f"{name} does not fit into int32: {_blame(ids, beyond)}.")
    if low < lowest or high >= count:
        wrong = (ids < lowest) | (ids >= count)
        raise ValueError(f"{name} must lie in [{lowest}, {count}), but {_blame(ids, wrong)}.")
    return np.asarray(ids, dtype=np.int32)


def validate_embeddings(
    embeddings: Any, on_bad: Literal["raise", "drop"] = "raise"
) -> ValidEmbeddings:
    """Check that every embedding is finite.

    Args:
        embeddings: Numbers ``[response, feature]``, host or device, any floating type.
        on_bad: ``"raise"`` refuses the table; ``"drop"`` zeroes the rows that are not finite, marks
            them in ``valid`` and warns with their number. Follow it by
            :func:`exclude_responses` on the comparisons.

    Returns:
        The float32 table and the mask of responses that may be used.

    Raises:
        ValueError: If the table is empty, does not have two axes or does not hold real numbers; if
            a row is not finite in float32 and ``on_bad="raise"``, naming the count and the first
            rows; if no row is left.
    """
    table = np.asarray(embeddings)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(
            f"Embeddings must be a non-empty table [response, feature], got shape {table.shape}."
        )
    if table.dtype.kind in "cSUOMm":
        raise ValueError(f"Embeddings must be real numbers, got dtype {table.dtype}.")
    with np.errstate(over="ignore"):
        table = np.asarray(table, dtype=np.float32)
    if np.isfinite(table.min()) and np.isfinite(table.max()):
        return ValidEmbeddings(values=table, valid=np.ones(len(table), dtype=bool))
    valid: np.ndarray = np.isfinite(table).min(axis=1)
    bad = np.flatnonzero(~valid)
    finding = (
        f"{len(bad)} of {len(table)} embeddings are not finite, first rows "
        f"{bad[:_ROWS_SHOWN].tolist()}"
    )
    hint = "; infinities often come from half precision upstream" if _has_inf(table) else ""
    if not valid.any():
        raise ValueError(f"{finding}{hint}. No embedding is left.")
    if on_bad == "raise":
        raise ValueError(
            f'{finding}{hint}. validate_embeddings(…, on_bad="drop") tells which to exclude.'
        )
    warnings.warn(f"{finding}; these responses are excluded.", stacklevel=2)
    return ValidEmbeddings(
        values=np.where(valid[:, None], table, np.float32(0.0)),
        valid=valid,
    )


def exclude_responses(
    comparisons: Comparisons, valid: Bool[np.ndarray, " response"]
) -> Comparisons:
    """Drop the rows that touch an excluded response; ids keep their meaning.

    Args:
        comparisons: Validated rows.
        valid: Which responses may be used.

    Returns:
        The rows whose responses may all be used (the zero baseline always may).

    Raises:
        ValueError: If no row is left.
    """
    first, second = np.asarray(comparisons.first), np.asarray(comparisons.second)
    legal = valid[first] & ((second == BASELINE) | valid[second])
    if not legal.any():
        raise ValueError("Every comparison touches an excluded response: no row is left.")
    return Comparisons(*(np.asarray(column)[legal] for column in comparisons))


def find_bad_text(texts: Sequence[object]) -> tuple[int, str] | None:
    """The first text that cannot be written to a file or read by a tokenizer.

    Args:
        texts: Texts.

    Returns:
        Its place and what is wrong with it, or None.
    """
    try:
        whole = "".join(texts)  # type: ignore[arg-type]
        whole.encode("utf-8")
        if "\0" not in whole:
            return None
    except (TypeError, UnicodeEncodeError):
        pass
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return index, f"is no text but {text!r}"
        if "\0" in text:
            return index, f"holds NUL at character {text.index(chr(0))}; remove it"
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = ascii(text[error.start])
            return index, (
                f"holds half a character, {half} at {error.start}; write the text as UTF-8 anew"
            )
    return None


def same_response_rows(comparisons: Comparisons) -> Int[np.ndarray, " row"]:
    """Rows that compare a response with itself and so say nothing about anybody.

    Args:
        comparisons: Validated rows.

    Returns:
        Row numbers, for ``numpy.delete`` on every column.
    """
    return np.flatnonzero(np.asarray(comparisons.first) == np.asarray(comparisons.second))


def _validate_label(label: np.ndarray) -> np.ndarray:
    if label.dtype.kind not in "iufb":
        raise ValueError(f"comparisons.label must hold numbers, got dtype {label.dtype}.")
    if not (label.min() >= 0 and label.max() <= 1):
        wrong = ~((label >= 0) & (label <= 1))
        hint = ""
        if np.isin(label, (-1, 0, 1)).all():
            hint = " Labels in {-1, 1} become probabilities by (label + 1) / 2."
        raise ValueError(f"comparisons.label must lie in [0, 1], but {_blame(label, wrong)}.{hint}")
    return np.asarray(label, dtype=np.float32)


def _validate_weight(weight: np.ndarray) -> np.ndarray:
    if weight.dtype.kind not in "iufb":
        raise ValueError(f"comparisons.sample_weight must hold numbers, got dtype {weight.dtype}.")
    largest = np.finfo(np.float32).max
    if not (weight.min() >= 0 and weight.max() <= largest):
        wrong = ~((weight >= 0) & (weight <= largest))
        raise ValueError(
            "comparisons.sample_weight must be finite and not negative, but "
            f"{_blame(weight, wrong)}."
        )
    return np.asarray(weight, dtype=np.float32)


def _has_inf(table: np.ndarray) -> bool:
    return bool(np.isinf(table).any())


def _blame(values: np.ndarray, wrong: np.ndarray) -> str:
    rows = np.flatnonzero(wrong)
    shown = rows[:_ROWS_SHOWN]
    return (
        f"{len(rows)} of {len(values)} do not, first rows {shown.tolist()} "
        f"with values {values[shown].tolist()}"
    )
