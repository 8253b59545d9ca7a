"""Asks every question again from the stored answers, and compares it with what was asked."""

from collections import Counter
from typing import Any, NamedTuple

from prefjax.study.choosing import Asked, choose_question, choose_responses, know, label_of
from prefjax.study.design import make_design
from prefjax.study.materials import Materials
from prefjax.study.store import Store
from prefjax.study.trials import fallback_pair, prior_of, to_bytes
from prefjax.types import Gaussian


class Replay(NamedTuple):
    """What a replay found.

    Attributes:
        num_people: People with a trial.
        num_questions: Adaptive questions.
        num_late: Of these, those that were drawn because choosing took too long.
        num_trials: Test trials.
        differences: A line for each difference; none if every question, side, arm, response and
            belief is the same, bit for bit.
    """

    num_people: int
    num_questions: int
    num_late: int
    num_trials: int
    differences: list[str]


def replay(materials: Materials, store: Store) -> Replay:
    """Computes all trials again.

    Args:
        materials: The study.
        store: Its database.
    """
    counts: Counter[str] = Counter()
    differences: list[str] = []
    people = store.all("SELECT * FROM participant WHERE number IN (SELECT participant FROM trial)")
    for person in people:
        trials = store.all(
            "SELECT * FROM trial NATURAL LEFT JOIN answer WHERE participant = ? ORDER BY idx",
            person["number"],
        )
        for trial, expected in zip(trials, _expected(materials, person, trials), strict=True):
            counts[trial["origin"] if trial["kind"] == "adaptive" else trial["kind"]] += 1
            wrong = [name for name, value in expected.items() if trial[name] != value]
            if wrong:
                differences.append(
                    f"participant {person['number']}, trial {trial['idx']}: {', '.join(wrong)}"
                )
    return Replay(
        num_people=len(people),
        num_questions=counts["chosen"] + counts["random_late"],
        num_late=counts["random_late"],
        num_trials=counts["test"],
        differences=differences,
    )


def _expected(materials: Materials, person: Any, trials: list[Any]) -> list[dict[str, Any]]:
    """What every trial of a person should be."""
    design = make_design(materials, person["number"])
    prior = prior_of(materials, person)
    asked: list[Asked] = []
    expected, shown = [], None
    for trial in trials:
        slot = design.slots[trial["idx"]]
        row: dict[str, Any] = {
            name: getattr(slot, name) for name in ("phase", "kind", "arm", "source")
        } | {"swapped": int(slot.swapped)}
        if slot.kind == "adaptive":
            if trial["origin"] == "chosen":
                chosen = choose_question(materials, prior, asked, design.seed)
                row |= dict(zip(("prompt", "first", "second"), chosen[:3], strict=True))
                row |= dict(zip(("mean", "covariance"), to_bytes(chosen.belief), strict=True))
            else:
                pair = fallback_pair(design, slot, asked)
                row |= dict(zip(("prompt", "first", "second"), pair, strict=True))
            if trial["choice"] is not None:
                label = label_of(trial["choice"], bool(trial["swapped"]))
                asked.append(Asked(trial["prompt"], trial["first"], trial["second"], label))
        elif slot.kind in ("test", "repeat"):
            if shown is None:
                belief: Gaussian = know(materials, prior, asked, design.seed).belief
                shown = choose_responses(materials, design, belief)
            row |= {
                "prompt": slot.prompt,
                "first": int(materials.default[slot.prompt]),
                "second": shown[slot.arm][slot.prompt],
            }
        expected.append(row)
    return expected
