"""What the simulated responses are made of: prompts with facts, and phrases by attribute.

The material lies beside this file as TOML. ``prompts/*.toml`` holds questions with a core answer,
seven facts in a neutral register, two jokes and two questions back. ``phrases/<attribute>.toml``
holds, for both poles of an attribute and for each position in a response, alternative phrasings
in two reserved parts: those of ``train`` appear under training prompts only and those of ``test``
under test prompts only. A leading ``"* "`` marks an imperative among the facts, and among the
phrases one that fits advice only (a prompt whose core answer is an imperative).
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

_FOLDER = files("prefjax.data.attributes")

ATTRIBUTES = (
    "length",
    "formality",
    "humor",
    "elicitation",
    "politeness",
    "enthusiasm",
    "confidence",
)
"""The seven attributes of Table 2 of the paper, in the order of every vector here.

The positive pole is verbose, formal, humorous, engaging, polite, enthusiastic, confident; the
negative pole concise, informal, serious, unengaging, rude, demure, uncertain.

References:
    arXiv 2503.06358, Table 2.
"""

ADVICE = "* "
"""Mark of an imperative, and of a phrase that fits prompts with an imperative core only."""

PHRASE_SPLITS = ("train", "test")


class Sentence(NamedTuple):
    """One neutral sentence, without contractions.

    Attributes:
        text: The sentence with capital and full stop.
        imperative: Whether it tells the reader to do something ("Use fresh eggs.").
    """

    text: str
    imperative: bool


class Prompt(NamedTuple):
    """A question and everything an answer to it may contain.

    Attributes:
        question: The prompt itself.
        subject: Noun phrase that can follow "about".
        core: The answer in one sentence.
        facts: Further facts, in a sensible order.
        jokes: Jokes about this subject.
        asks: Questions to the reader about this subject.
    """

    question: str
    subject: str
    core: Sentence
    facts: tuple[Sentence, ...]
    jokes: tuple[str, ...]
    asks: tuple[str, ...]


def _sentence(text: str) -> Sentence:
    return Sentence(text.removeprefix(ADVICE), text.startswith(ADVICE))


def read_toml(*path: str) -> dict[str, Any]:
    """Read one TOML file that lies in this package.

    Args:
        path: Parts of its path below this package.

    Returns:
        Its content.
    """
    return tomllib.loads(_FOLDER.joinpath(*path).read_text(encoding="utf-8"))


@cache
def load_prompts() -> tuple[Prompt, ...]:
    """All prompts, in an order that never changes (file name, then place in the file).

    Returns:
        At least 100 prompts over varied topics.
    """
    names = sorted(entry.name for entry in _FOLDER.joinpath("prompts").iterdir())
    rows = [row for name in names for row in read_toml("prompts", name)["prompt"]]
    return tuple(
        Prompt(
            question=row["question"],
            subject=row["subject"],
            core=_sentence(row["core"]),
            facts=tuple(_sentence(fact) for fact in row["facts"]),
            jokes=tuple(row["jokes"]),
            asks=tuple(row["asks"]),
        )
        for row in rows
    )


@cache
def load_phrases(split: str) -> Mapping[tuple[str, str, str], tuple[str, ...]]:
    """The phrases reserved for one side of the split.

    Args:
        split: ``"train"`` or ``"test"``.

    Returns:
        Phrasings by (attribute, pole, position), e.g. ``("humor", "plus", "close")``.

    Raises:
        ValueError: If the split is neither.
    """
    if split not in PHRASE_SPLITS:
        raise ValueError(f"phrase split must be one of {PHRASE_SPLITS}, got {split!r}.")
    return {
        (attribute, pole, position): tuple(parts[split])
        for attribute in ATTRIBUTES[1:]
        for pole, positions in read_toml("phrases", f"{attribute}.toml").items()
        for position, parts in positions.items()
    }
