"""How a study stands: who has come how far, and whether it is balanced."""

from collections import Counter
from typing import Any, NamedTuple

from prefjax.study.design import ARMS
from prefjax.study.materials import Materials
from prefjax.study.store import Store


class Progress(NamedTuple):
    """How a study stands.

    Attributes:
        states: People by where they are.
        wanted: People who shall finish.
        left: Answered trials with the sides swapped and not swapped, by phase.
        worst: Largest difference of the two in a finished phase of one person.
        arms: Answered test trials by arm.
        answered: People by the number of their answers, those who ended early or are still there.
        late: Questions that were drawn because choosing took too long.
        repeated: Answers that came again, and answers to another trial than the open one.
        failed_checks: People with two or more failed attention checks.
    """

    states: dict[str, int]
    wanted: int
    left: dict[str, tuple[int, int]]
    worst: int
    arms: dict[str, int]
    answered: dict[int, int]
    late: int
    repeated: dict[str, int]
    failed_checks: int

    def lines(self) -> list[str]:
        """The same in words."""
        return [
            "people: " + _listed(self.states) + f"; {self.wanted} are wanted",
            "test trials answered: " + _listed(self.arms),
            "sides, swapped and not: "
            + ", ".join(f"{phase} {a} and {b}" for phase, (a, b) in self.left.items())
            + f"; largest difference within a person's finished phase {self.worst}",
            f"questions drawn because choosing took too long: {self.late}",
            f"answers that came again: {self.repeated.get('repeated', 0)}; "
            f"to another trial than the open one: {self.repeated.get('stale', 0)}",
            f"people with two failed attention checks: {self.failed_checks}",
        ]


def measure_progress(store: Store, materials: Materials) -> Progress:
    """Counts.

    Args:
        store: The database.
        materials: The study.
    """
    config = materials.config
    total = {"adaptive": config.phases.num_adaptive, "test": config.arms.num_trials}
    answered = {
        row["number"]: row["n"]
        for row in store.all(
            "SELECT number, COUNT(idx) AS n FROM participant LEFT JOIN answer "
            "ON participant.number = answer.participant GROUP BY number"
        )
    }
    states: Counter[str] = Counter()
    unfinished: Counter[int] = Counter()
    for row in store.all("SELECT * FROM participant"):
        state = row["end"] or _state(row, answered[row["number"]])
        states[state] += 1
        if row["end"] is None:
            unfinished[answered[row["number"]]] += 1
    left: dict[str, tuple[int, int]] = dict.fromkeys(total, (0, 0))
    worst = 0
    for row in store.all(
        "SELECT participant, phase, SUM(swapped) AS s, COUNT(*) AS n FROM trial NATURAL JOIN "
        "answer WHERE kind IN ('adaptive', 'test') GROUP BY participant, phase"
    ):
        swapped, other = left[row["phase"]]
        left[row["phase"]] = swapped + row["s"], other + row["n"] - row["s"]
        if row["n"] == total[row["phase"]]:
            worst = max(worst, abs(2 * row["s"] - row["n"]))
    arms: dict[str, int] = dict.fromkeys(ARMS, 0)
    arms |= {
        row["arm"]: row["n"]
        for row in store.all(
            "SELECT arm, COUNT(*) AS n FROM trial NATURAL JOIN answer WHERE kind = 'test' "
            "GROUP BY arm"
        )
    }
    failed: Counter[int] = Counter()
    for row in store.all(
        "SELECT participant, source, choice FROM trial NATURAL JOIN answer WHERE kind = 'attention'"
    ):
        failed[row["participant"]] += row["choice"] != config.attention[row["source"]].expected
    events: dict[str, Any] = {
        row["kind"]: row["n"]
        for row in store.all("SELECT kind, COUNT(*) AS n FROM event GROUP BY kind")
    }
    late = store.one("SELECT COUNT(*) AS n FROM trial WHERE origin = 'random_late'")
    return Progress(
        states=dict(states),
        wanted=config.stop.complete,
        left=left,
        worst=worst,
        arms=arms,
        answered=dict(sorted(unfinished.items())),
        late=0 if late is None else late["n"],
        repeated=events,
        failed_checks=sum(count >= 2 for count in failed.values()),
    )


def _state(row: Any, num_answered: int) -> str:
    if row["consent_at"] is None:
        return "before consent"
    return "in the trials" if num_answered else "before the first trial"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
