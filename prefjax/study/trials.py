"""Trials as rows of the database."""

import sqlite3
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from prefjax.study.choosing import Asked, label_of
from prefjax.study.design import Design, Slot
from prefjax.study.materials import Materials
from prefjax.study.store import Store
from prefjax.types import Gaussian

CHOSEN, LATE, PLANNED = "chosen", "random_late", "planned"
"""Where the pair of a trial comes from: the rule; a draw in advance, as choosing took too long; the
plan."""


class TrialRow(NamedTuple):
    """A trial to be written down.

    Attributes:
        slot: Its place in the plan.
        prompt: Its prompt, −1 for practice and attention checks.
        first: The response with the lower number, or the default one; −1 likewise.
        second: The other response, or what the arm shows.
        origin: `CHOSEN`, `LATE` or `PLANNED`.
        belief: What was known before it, of a chosen one.
    """

    slot: Slot
    prompt: int = -1
    first: int = -1
    second: int = -1
    origin: str = PLANNED
    belief: Gaussian | None = None

    def values(self) -> tuple[Any, ...]:
        """Columns of the table, from the second on."""
        slot = self.slot
        belief = (None, None) if self.belief is None else to_bytes(self.belief)
        return (
            slot.index, slot.phase, slot.kind, slot.arm, slot.source, self.prompt, self.first,
            self.second, int(slot.swapped), self.origin, *belief,
        )  # fmt: skip


def insert(
    store: Store, participant: int, rows: list[TrialRow], *, final: Gaussian | None = None
) -> None:
    """Writes trials down, before any of them is shown.

    Args:
        store: The database.
        participant: Whose.
        rows: The trials; one that is there already stays. None is written for who has ended.
        final: The belief after the adaptive phase, where it has ended.
    """
    with store.write() as db:
        if has_ended(db, participant):
            return
        db.executemany(
            "INSERT OR IGNORE INTO trial VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [(participant, *row.values()) for row in rows],
        )
        if final is not None:
            db.execute(
                "UPDATE participant SET final_mean = ?, final_covariance = ? WHERE number = ?",
                (*to_bytes(final), participant),
            )


def has_ended(db: sqlite3.Connection, participant: int) -> bool:
    """Whether a person has finished, was screened out or has withdrawn.

    Asked inside of every transaction that writes: another process may withdraw somebody.
    """
    row = db.execute("SELECT end FROM participant WHERE number = ?", (participant,)).fetchone()
    return row is None or row["end"] is not None


def asked_of(store: Store, participant: int) -> list[Asked]:
    """Answered adaptive trials of a person, in order."""
    rows = store.all(
        "SELECT prompt, first, second, swapped, choice FROM trial NATURAL JOIN answer "
        "WHERE participant = ? AND kind = 'adaptive' ORDER BY idx",
        participant,
    )
    return [
        Asked(*tuple(row)[:3], label=label_of(row["choice"], bool(row["swapped"]))) for row in rows
    ]


def prior_of(materials: Materials, person: sqlite3.Row) -> Float[np.ndarray, " factor"]:
    """Mean of a person's prior: the population's, or what the survey made of it."""
    if person["prior_mean"] is None:
        return np.array(materials.model.basis.population.mean, np.float32)
    return np.frombuffer(person["prior_mean"], np.float32)


def texts_of(materials: Materials, row: sqlite3.Row) -> tuple[str, str, str]:
    """Prompt, left and right text of a trial."""
    config = materials.config
    if row["kind"] == "practice":
        shown = config.practice[row["source"]]
        return shown.question, *shown.answers
    if row["kind"] == "attention":
        check = config.attention[row["source"]]
        return check.question, *check.answers
    pair = [materials.responses[row["first"]], materials.responses[row["second"]]]
    left, right = reversed(pair) if row["swapped"] else pair
    return materials.prompts[row["prompt"]], left, right


def fallback_pair(design: Design, slot: Slot, asked: list[Asked]) -> tuple[int, int, int]:
    """The pair drawn in advance for a trial, or the first of another one with a new prompt."""
    used = {answer.prompt for answer in asked}
    drawn = [slot.fallback, *(one.fallback for one in design.slots if one.kind == "adaptive")]
    return next(pair for pair in drawn if pair[0] not in used)


def to_bytes(belief: Gaussian) -> tuple[bytes, bytes]:
    """Mean and covariance as float32."""
    mean, covariance = (np.asarray(part, np.float32).tobytes() for part in belief)
    return mean, covariance
