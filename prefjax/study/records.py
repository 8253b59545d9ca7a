"""What a person did, written down; each function is one transaction.

What comes after the end of a person, or after a withdrawal in another process, changes nothing and
is ``"stale"``.
"""

import sqlite3
from typing import Literal

from prefjax.study import trials
from prefjax.study.store import Store
from prefjax.study.survey import Survey

Outcome = Literal["recorded", "repeated", "stale"]


def consent(store: Store, participant: int, version: str, now: float) -> Outcome:
    """Records that the person agreed.

    Args:
        store: Of the study.
        participant: The person's number.
        version: Of the text that was shown.
        now: Seconds since 1970.
    """
    with store.write() as db:
        if trials.has_ended(db, participant):
            return "stale"
        db.execute(
            "UPDATE participant SET consent_at = ?, consent_version = ? WHERE number = ?",
            (now, version, participant),
        )
    return "recorded"


def survey(store: Store, participant: int, read: Survey, now: float) -> Outcome:
    """Records the survey and the prior that it tells; whoever is screened out has ended.

    Args:
        store: Of the study.
        participant: The person's number.
        read: From `read_survey`.
        now: Seconds since 1970.
    """
    with store.write() as db:
        if trials.has_ended(db, participant):
            return "stale"
        db.executemany(
            "INSERT INTO survey VALUES (?, ?, ?)",
            [(participant, *answer) for answer in read.answers.items()],
        )
        db.execute(
            "UPDATE participant SET survey_at = ?, prior_mean = ? WHERE number = ?",
            (now, read.prior_mean.tobytes(), participant),
        )
        if read.is_screened_out:
            _end(db, participant, "screened_out", now)
    return "recorded"


def answer(
    store: Store, participant: int, trial: int, choice: str, client_ms: int | None, now: float
) -> Outcome:
    """Records a choice; the first answer to a trial stays, others are counted as events.

    Args:
        store: Of the study.
        participant: The person's number.
        trial: Index of the trial that was shown.
        choice: A, B or N.
        client_ms: Milliseconds that the page was looked at.
        now: Seconds since 1970.

    Raises:
        KeyError: There is no such person.
    """
    with store.write() as db:
        person = db.execute(
            "SELECT end FROM participant WHERE number = ?", (participant,)
        ).fetchone()
        if person is None:
            raise KeyError(participant)
        answered = db.execute(
            "SELECT COUNT(*) FROM answer WHERE participant = ?", (participant,)
        ).fetchone()[0]
        served = db.execute(
            "SELECT served_at FROM trial WHERE participant = ? AND idx = ?", (participant, trial)
        ).fetchone()
        is_open = served is not None and served["served_at"] is not None
        if person["end"] is None and trial == answered and is_open:
            db.execute(
                "INSERT INTO answer VALUES (?, ?, ?, ?, ?)",
                (participant, trial, choice, now, client_ms),
            )
            return "recorded"
        before = db.execute(
            "SELECT choice FROM answer WHERE participant = ? AND idx = ?", (participant, trial)
        ).fetchone()
        is_same = before is not None and before["choice"] == choice
        outcome: Outcome = "repeated" if is_same else "stale"
        if person["end"] is None:
            db.execute(
                "INSERT INTO event (participant, at, kind, idx) VALUES (?, ?, ?, ?)",
                (participant, now, outcome, trial if before is not None else None),
            )
        return outcome


def reasons(store: Store, participant: int, text: str, now: float) -> Outcome:
    """Records what the person looked for, and ends.

    Args:
        store: Of the study.
        participant: The person's number.
        text: Clean words, also none.
        now: Seconds since 1970.
    """
    with store.write() as db:
        if trials.has_ended(db, participant):
            return "stale"
        db.execute(
            "UPDATE participant SET reasons_at = ?, reasons = ? WHERE number = ?",
            (now, text, participant),
        )
        _end(db, participant, "complete", now)
    return "recorded"


def end(store: Store, participant: int, how: str, now: float) -> None:
    """Ends a person who has not ended yet.

    Args:
        store: Of the study.
        participant: The person's number.
        how: Such as ``"complete"``.
        now: Seconds since 1970.
    """
    with store.write() as db:
        _end(db, participant, how, now)


def _end(db: sqlite3.Connection, participant: int, how: str, now: float) -> None:
    db.execute(
        "UPDATE participant SET end = ?, end_at = ? WHERE number = ? AND end IS NULL",
        (how, now, participant),
    )
