"""Which choice an answer names, if it names one beyond doubt.

A verdict read where there is none is worse than none: nobody counts it. An answer therefore names
choice i only if one of these holds, after the thinking in front of it was taken off:

- the whole answer is the choice, apart from quotes, asterisks and a full stop around it;
- choice i, and no other, is named by its exact text, nothing in the same clause negates, compares
  or doubts it, and no text that the judge was shown holds one of the choices itself, since the
  answer might then quote it.

"Output (b) is kinder than Output (a)", "I choose Output (a), not (b)" and "the other one beats
Output (a)" are invalid. Rules over words cannot find every way to say no, so templates should ask
for the choice and nothing else.
"""

import re
from collections.abc import Sequence

from prefjax.align.judges.request import Request, Result, Status, repaired

_TAGS = "(?:think|thinking|thought|reasoning)"
_OPEN, _CLOSE = (re.compile(f"<{slash}{_TAGS}>", re.IGNORECASE) for slash in ("", "/"))
_AROUND = " \t\r\n`*_#>\"'“”‘’«».!"
_CLAUSE_END = re.compile(r"[.,;!?\n]")
_DOUBT = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|without|hardly|\w+n['’]t|against|reject\w*|avoid\w*|"
    r"discard\w*|except|unlike|worse|worst|less|lose[rs]?|losing|lost|inferior|instead|than|over|"
    r"beat\w*|outperform\w*|either|both|tie[ds]?|equal\w*|or|if|unless|unsure|wrong)\b",
    re.IGNORECASE,
)


def is_thinking(text: str) -> bool:
    """Whether an answer ends inside a block of thinking that was never closed."""
    return bool(_OPEN.search(_CLOSE.split(text)[-1]))


def parse(text: str, choices: Sequence[str], shown: Sequence[str] = ()) -> int | None:
    """Index of the one choice that an answer names, None if it names none, several, or in doubt.

    Args:
        text: The answer.
        choices: The exact answers that count.
        shown: Texts that the judge was shown and may quote, such as the two responses.

    >>> parse("I choose **Output (b)**.", ("Output (a)", "Output (b)"))
    1
    >>> parse("I choose Output (a) over Output (b).", ("Output (a)", "Output (b)")) is None
    True
    """
    if not any(_CLOSE.search(one) for one in shown):
        text = _CLOSE.split(text)[-1]
    if _OPEN.search(text):
        return None
    whole = _plain(text)
    for index, choice in enumerate(choices):
        if whole == _plain(choice):
            return index
    named = [mention for choice in enumerate(choices) for mention in _mentions(text, *choice)]
    inside = any(_mentions(one, *choice) for one in shown for choice in enumerate(choices))
    if inside or not named or _short_forms(text, choices) - {named[0][0]}:
        return None
    index, choice = named[0][0], choices[named[0][0]]
    for other, start, end in named:
        exact = " ".join(text[start:end].split()) == " ".join(choice.split())
        if other != index or not exact or _is_doubted(text, start, end):
            return None
    return index


def read(text: str, request: Request, input_tokens: int = 0, output_tokens: int = 0) -> Result:
    """The result that an answer amounts to: ok with a choice, or invalid.

    Without choices any text that is left after the thinking in front of it is an answer.

    Args:
        text: The answer; half characters in it are replaced.
        request: What was asked.
        input_tokens: Tokens read.
        output_tokens: Tokens written.
    """
    text = repaired(text)
    if not request.choices:
        said = "" if is_thinking(text) else _CLOSE.split(text)[-1].strip()
        status = Status.OK if said else Status.INVALID
        return Result(status, None, said or text, input_tokens, output_tokens)
    choice = parse(text, request.choices, request.question or ())
    status = Status.INVALID if choice is None else Status.OK
    return Result(status, choice, text, input_tokens, output_tokens)


def _plain(text: str) -> str:
    return " ".join(text.strip(_AROUND).split())


def _mentions(text: str, index: int, choice: str) -> list[tuple[int, int, int]]:
    """Where a choice stands as a word of its own, in any case: its index, start and end."""
    words = r"\s+".join(re.escape(word) for word in choice.split())
    before, after = (
        (r"(?<!\w)" if choice[:1].isalnum() else ""),
        (r"(?!\w)" if choice[-1:].isalnum() else ""),
    )
    found = re.finditer(f"{before}{words}{after}", text, re.IGNORECASE) if words else ()
    return [(index, *match.span()) for match in found]


def _short_forms(text: str, choices: Sequence[str]) -> set[int]:
    """Choices named by their last word, such as ``(b)``, where that tells them apart."""
    last = [choice.split()[-1] if choice.split() else "" for choice in choices]
    if len(set(last)) < len(last):
        return set()
    return {
        index
        for index, word in enumerate(last)
        if re.search(f"(?<!\\w){re.escape(word)}(?!\\w)", text)
    }


def _is_doubted(text: str, start: int, end: int) -> bool:
    """Whether the clause around a choice negates it, compares it, or asks."""
    # What follows a colon belongs to what stands before it: "Not chosen:\nOutput (a)".
    before = re.sub(r":\s+", ": ", text[:start])
    before = _CLAUSE_END.split(before)[-1]
    after = text[end:].lstrip(_AROUND.replace(".", "").replace("!", ""))
    if after.startswith("?"):
        return True
    return bool(_DOUBT.search(before) or _DOUBT.search(_CLAUSE_END.split(text[end:])[0]))
