"""What a chat completion, as a server sent it, amounts to as the result of a request.

Servers answer oddly: with no choices, null counts of tokens, half a character, an answer cut at the
limit of tokens, or thinking and no answer. Each has a named outcome here, and none raises.
"""

from typing import Any, NamedTuple

from prefjax.align.judges.answer import is_thinking, read
from prefjax.align.judges.cache import token_count
from prefjax.align.judges.request import Request, Result, Status, repaired


class Attempt(NamedTuple):
    """Outcome of one call to a server.

    Attributes:
        result: What came of it.
        wait: Seconds to wait before the same is sent again; None if that would change nothing.
        is_down: Whether it says that the server answers nobody, not only this request.
    """

    result: Result
    wait: float | None = None
    is_down: bool = False


def failed(text: str, *, wait: float | None = None, is_down: bool = False) -> Attempt:
    """An attempt without an answer.

    Args:
        text: Why.
        wait: Seconds before another attempt; None for no other.
        is_down: Whether the server answers nobody.
    """
    return Attempt(Result(Status.FAILED, text=text), wait, is_down)


def read_completion(completion: Any, request: Request, limit: str) -> Attempt:
    """The outcome of a call that the server answered.

    Args:
        completion: A ``ChatCompletion`` of the ``openai`` package, or whatever came in its place.
        request: What was asked.
        limit: The limit on the length of an answer, as it was sent, such as ``max_tokens=64``.
    """
    try:
        choice, usage = completion.choices[0], completion.usage
        text, reason = choice.message.content, getattr(choice, "finish_reason", None)
        refusal = getattr(choice.message, "refusal", None)
        thoughts = [
            getattr(choice.message, name, None) for name in ("reasoning_content", "reasoning")
        ]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        text = f"the server's answer is no chat completion: {error}"
        return failed(text, wait=0.0, is_down=True)
    num_read = token_count(getattr(usage, "prompt_tokens", None))
    num_written = token_count(getattr(usage, "completion_tokens", None))
    if refusal or reason == "content_filter":
        said = refusal if isinstance(refusal, str) and refusal else text
        said = repaired(said) if isinstance(said, str) else ""
        return Attempt(Result(Status.REFUSED, None, said, num_read, num_written))
    is_text, is_cut = isinstance(text, str) and bool(text.strip()), reason == "length"
    if is_cut and (not is_text or is_thinking(text)):
        return failed(f"cut at {limit} before it answered; raise the limit or switch thinking off")
    if is_cut:
        # To ask for the choice alone may fit, so this is an invalid answer and not a failure.
        return Attempt(
            Result(Status.INVALID, None, f"cut at {limit}: {repaired(text)}", num_read, num_written)
        )
    if not is_text and any(thoughts):
        return failed("the server's answer holds reasoning and no text; switch thinking off")
    if not isinstance(text, str):
        return failed("the server's answer has no text", wait=0.0, is_down=True)
    return Attempt(read(text, request, num_read, num_written))
