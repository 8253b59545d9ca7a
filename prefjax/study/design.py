"""The plan of one person: which trial is what, and on which side it shows what.

Everything is drawn from the study's seed and the participant's number alone, before the first
answer. A side is balanced within ±1 in each phase, and in the test within each arm: in the adaptive
phase, whether the response with the lower number stands left; in the test, whether what the arm
shows stands left. Repeats show an earlier test trial with the sides swapped, as many of them from
either side as can be.
"""

from typing import Literal, NamedTuple

import numpy as np

from prefjax.study.config import StudyConfig
from prefjax.study.materials import Materials

Kind = Literal["practice", "adaptive", "test", "repeat", "attention"]
ARMS = ("personal", "other", "default")


class Slot(NamedTuple):
    """A trial before anything is known of the person.

    Attributes:
        index: Its place, from 0; practice comes first.
        phase: ``"practice"``, ``"adaptive"`` or ``"test"``.
        kind: What sort of trial; attention checks are in either phase.
        arm: Arm of a test trial or repeat, otherwise empty.
        prompt: Prompt of a test trial or repeat, −1 otherwise.
        swapped: Whether the sides are swapped: the higher number, or the arm's response, is left.
        source: Which practice trial or attention check; which trial is repeated; −1 otherwise.
        fallback: Adaptive: the pair (prompt, first, second) that is asked if choosing takes long.
    """

    index: int
    phase: str
    kind: Kind
    arm: str = ""
    prompt: int = -1
    swapped: bool = False
    source: int = -1
    fallback: tuple[int, int, int] = (-1, -1, -1)


class Design(NamedTuple):
    """The plan of one person.

    Attributes:
        slots: Every trial in order.
        other: The training user whose responses the arm ``other`` shows; −1 without training
            users, where weights are drawn from the population.
        random: The default arm's candidate for each test prompt of the materials.
        seed: Seed of the rule that chooses questions.
    """

    slots: tuple[Slot, ...]
    other: int
    random: tuple[int, ...]
    seed: int


def make_design(materials: Materials, participant: int) -> Design:
    """Draws the plan of a person.

    Args:
        materials: The study.
        participant: The person's number.
    """
    config = materials.config
    rng = np.random.default_rng([config.seed, participant])
    num_users = len(materials.model.people.mean)
    other = int(rng.integers(num_users)) if num_users else -1
    seed = int(rng.integers(2**31))
    random = tuple(
        int(rng.choice(row[mask]))
        for row, mask in zip(
            materials.tested.response, np.asarray(materials.tested.pool.mask), strict=True
        )
    )
    checks = rng.permutation(len(config.attention))
    first_checks, last_checks = np.array_split(checks, 2)
    slots = [Slot(0, "practice", "practice", source=place) for place in range(len(config.practice))]
    slots += _mixed(rng, _adaptive(rng, materials), first_checks, "adaptive")
    slots += _mixed(rng, _test(rng, config, materials), last_checks, "test")
    return Design(_numbered(slots), other, random, seed)


def _sides(rng: np.random.Generator, count: int) -> np.ndarray:
    """As many swapped as not, within one, in random order."""
    extra = rng.random(count % 2) < 0.5
    return rng.permutation(np.concatenate([np.arange(count - count % 2) % 2 == 1, extra]))


def _adaptive(rng: np.random.Generator, materials: Materials) -> list[Slot]:
    count = materials.config.phases.num_adaptive
    prompts = rng.permutation(materials.prompts_of("adaptive"))[:count]
    slots = []
    for prompt, swapped in zip(prompts.tolist(), _sides(rng, count).tolist(), strict=True):
        low, high = sorted(rng.choice(materials.responses_of(prompt), 2, replace=False).tolist())
        slots.append(Slot(0, "adaptive", "adaptive", swapped=swapped, fallback=(prompt, low, high)))
    return slots


def _test(rng: np.random.Generator, config: StudyConfig, materials: Materials) -> list[Slot]:
    """Test trials and repeats; ``source`` of a repeat is the place of its trial among these."""
    arms = [arm for arm in ARMS for _ in range(getattr(config.arms, arm))]
    swapped = np.zeros(len(arms), bool)
    odd = []
    for arm in ARMS:
        places = [place for place, name in enumerate(arms) if name == arm]
        even = len(places) - len(places) % 2
        swapped[places[:even]] = np.arange(even) % 2 == 1
        odd += places[even:]
    swapped[odd] = _sides(rng, len(odd))
    prompts = rng.permutation(materials.prompts_of("test"))[: len(arms)].tolist()
    order = rng.permutation(len(arms)).tolist()
    trials = [
        Slot(0, "test", "test", arms[place], prompt, bool(swapped[place]))
        for place, prompt in zip(order, prompts, strict=True)
    ]
    repeated = _repeated(rng, [slot.swapped for slot in trials], config.phases.num_repeats)
    repeats = [
        trials[place]._replace(kind="repeat", swapped=not trials[place].swapped, source=place)
        for place in repeated
    ]
    # Repeats come in the last quarter, their trials in the first half.
    gaps = np.sort(rng.integers(-(-3 * len(trials) // 4), len(trials) + 1, len(repeats)))
    for place, (gap, repeat) in enumerate(zip(gaps.tolist(), repeats, strict=True)):
        trials.insert(gap + place, repeat)
    return trials


def _repeated(rng: np.random.Generator, swapped: list[bool], count: int) -> list[int]:
    """Trials of the first half to be repeated, from both sides in turn while there are any."""
    half = rng.permutation(-(-len(swapped) // 2)).tolist()
    sides = [[place for place in half if swapped[place] == side] for side in (False, True)]
    if rng.random() < 0.5:
        sides.reverse()
    chosen: list[int] = []
    while len(chosen) < count:
        for side in sides:
            if side and len(chosen) < count:
                chosen.append(side.pop())
    return rng.permutation(chosen).tolist()


def _mixed(
    rng: np.random.Generator, slots: list[Slot], checks: np.ndarray, phase: str
) -> list[Slot]:
    """Attention checks at random places, never the first; the others keep their order."""
    own = list(enumerate(slots))
    mixed: list[tuple[int, Slot]] = list(own)
    for check in checks.tolist():
        slot = Slot(0, phase, "attention", source=int(check))
        mixed.insert(int(rng.integers(1, len(mixed) + 1)), (-1, slot))
    place_of = {old: new for new, (old, _) in enumerate(mixed) if old >= 0}
    return [
        slot._replace(source=place_of[slot.source]) if slot.kind == "repeat" else slot
        for _, slot in mixed
    ]


def _numbered(slots: list[Slot]) -> tuple[Slot, ...]:
    """Places from 0; the trial of a repeat is counted from the start of the test."""
    start = next(place for place, slot in enumerate(slots) if slot.phase == "test")
    return tuple(
        slot._replace(
            index=place, source=slot.source + start if slot.kind == "repeat" else slot.source
        )
        for place, slot in enumerate(slots)
    )
