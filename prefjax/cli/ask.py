"""Interviews somebody in the terminal, and learns what that person prefers.

Examples:
  prefjax ask model/ choices.jsonl --person ann.json
  prefjax ask model/ pool.jsonl --person ann.json --questions 20
  prefjax ask model/ choices.jsonl --person w12.json --user w12    (known from the training data)

The pool is JSONL with "prompt" and "responses", or any file of preferences. Answer 1 or 2, t for a
tie, q to stop. Every answer is written before the next question is asked; the same command goes on
where the interview was stopped, with the question that was open.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefjax.cli._reading import read_pool, user_of

LABELS = {"1": 1.0, "2": 0.0, "t": 0.5}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", help="folder of a fitted model")
    parser.add_argument("pool", help="prompts with responses to ask about")
    parser.add_argument("--person", required=True, metavar="FILE", help="JSON file of the person")
    parser.add_argument("--user", metavar="NAME", help="start from somebody of the training data")
    parser.add_argument("--questions", type=int, default=10, help="how many in all (default: 10)")
    parser.add_argument("--rule", help="how questions are chosen (default: d_optimal)")
    parser.add_argument("--seed", type=int, help="seed of rules that draw at random (default: 0)")
    parser.add_argument(
        "--reinfer", action="store_true", help="take over a person of an older model"
    )


def run(arguments: argparse.Namespace) -> int:
    """Asks until enough is answered, the person stops or the input ends."""
    from prefjax.model import load

    model, path = load(arguments.model), Path(arguments.person)
    pool = [(prompt, texts) for prompt, texts in read_pool(arguments.pool) if len(texts) > 1]
    if not pool:
        raise ValueError(f"{arguments.pool} has no prompt with two responses")
    wanted = {"rule": arguments.rule, "seed": arguments.seed}
    settings = {name: value for name, value in wanted.items() if value is not None}
    if path.exists():
        person = model.load_person(path, reinfer=arguments.reinfer)
        _check_same(path, person, settings, arguments.user)
        print(f"{path} has {_count(person.num_answers)}; going on.")
    elif arguments.user is not None:
        person = model.person(user_of(model, arguments.user), **settings)
    else:
        person = model.new_person(**settings)
    while person.num_answers < arguments.questions:
        try:
            question = person.ask(pool)
        except ValueError as error:
            if "no question left" not in str(error):
                raise
            print("Everything in the pool was asked.")
            break
        person.save(path)
        assert question.shown is not None
        label = _answer(person.num_answers + 1, arguments.questions, question.shown)
        if label is None:
            print(f"{_count(person.num_answers)} kept in {path}; the same command goes on.")
            return 0
        person.tell(label)
        person.save(path)
    print(f"{_count(person.num_answers)} in {path}. prefjax rank uses it.")
    return 0


def _check_same(path: Path, person: Any, settings: Mapping[str, Any], user: str | None) -> None:
    """Refuses settings that the person of a file does not have."""
    named = dict(settings) if user is None else {**settings, "user": user}
    for name, value in named.items():
        has = getattr(person, name)
        if str(has) != str(value):
            raise ValueError(
                f"{path} was begun with {name} {has!r}, not {value!r}: leave out --{name} to go on "
                "with it, or name another file"
            )


def _count(number: int) -> str:
    return "1 answer" if number == 1 else f"{number} answers"


def _answer(number: int, total: int, shown) -> float | None:
    """The label that is typed; None to stop."""
    print(f"\n[{number}/{total}] {_wrapped(shown.prompt or '', '')}".rstrip())
    print(_wrapped(shown.first, "  1  "))
    print(_wrapped(shown.second, "  2  "))
    while True:
        print("Which do you prefer? 1, 2, t (tie), q (stop): ", end="", flush=True)
        line = sys.stdin.readline()
        typed = line.strip().lower()
        if not line or typed == "q":
            print()
            return None
        if typed in LABELS:
            return LABELS[typed]


def _wrapped(text: str, start: str) -> str:
    """A text in the width of the terminal, behind a mark."""
    try:
        width = os.get_terminal_size().columns
    except OSError:
        width = 80
    lines = [
        line
        for paragraph in (text.splitlines() or [""])
        for line in textwrap.wrap(paragraph, max(width - 8, 20)) or [""]
    ]
    return "\n".join((start if n == 0 else " " * len(start)) + one for n, one in enumerate(lines))
