"""What is deleted: one person, or whatever leads to people."""

from prefjax.study.store import Store


def withdraw(store: Store, participant: int, now: float) -> None:
    """Deletes everything of a person but the fact and the link, which then says so.

    Args:
        store: The database.
        participant: The person's number.
        now: Seconds since 1970.

    Raises:
        KeyError: There is no such person.
    """
    with store.write() as db:
        for table in ("answer", "trial", "survey", "event", "recruiting"):
            db.execute(f"DELETE FROM {table} WHERE participant = ?", (participant,))
        changed = db.execute(
            "UPDATE participant SET identity_hash = NULL, recruiting_hash = NULL, "
            "consent_at = NULL, consent_version = NULL, survey_at = NULL, prior_mean = NULL, "
            "final_mean = NULL, final_covariance = NULL, reasons_at = NULL, reasons = NULL, "
            "end = 'withdrawn', end_at = ? WHERE number = ?",
            (now, participant),
        ).rowcount
        if not changed:
            raise KeyError(participant)


def anonymize(store: Store) -> int:
    """Drops raw recruiting ids, their hashes, the salt and the links; nothing can be undone.

    Args:
        store: The database.

    Returns:
        How many people had recruiting ids.
    """
    with store.write() as db:
        count = db.execute("SELECT COUNT(*) FROM recruiting").fetchone()[0]
        db.execute("DROP TABLE recruiting")
        db.execute(
            "CREATE TABLE recruiting (participant INTEGER PRIMARY KEY REFERENCES participant "
            "ON DELETE CASCADE, parameters TEXT NOT NULL)"
        )
        db.execute(
            "UPDATE participant SET identity_hash = NULL, recruiting_hash = NULL, nonce = NULL, "
            "token_hash = NULL"
        )
        db.execute("DELETE FROM study WHERE name = 'salt'")
    store.scrub()
    return count
