"""Conversations as lists of messages, and as the prompt and the response that a reward sees.

    [m_1, …, m_n]   →   prompt = m_1 … m_{n−1},   response = content of m_n, the assistant's

A prompt of one user message is its content; a longer one is written with the roles in front,
``User: …⏎⏎Assistant: …⏎⏎User: …``. Two texts without a separate prompt are cut after what they
share, at ``Assistant:`` or a line break, so that prompt + response is the text again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Message = dict[str, str]

_ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "model": "assistant"}
_MARKER = "\n\nAssistant:"


class Prompt(NamedTuple):
    """What was said before a response.

    Attributes:
        text: As one text.
        messages: As messages; None where it came as a text.
        opening: What the person said first; turns of one conversation share it.
        has_turns: Whether the person said more than that.
    """

    text: str
    messages: tuple[Message, ...] | None = None
    opening: str = ""
    has_turns: bool = False


def is_messages(value: object) -> bool:
    """Whether a value is a list of messages.

    Args:
        value: Anything.

    Returns:
        True for a list whose entries all have a role and a content.
    """
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(entry, Mapping) and {"role", "content"} <= set(entry) for entry in value)
    )


def read_messages(value: Sequence[Mapping[str, Any]], name: str, place: str) -> tuple[Message, ...]:
    """Messages with the roles of today: user, assistant, system.

    Args:
        value: A list of messages; a content may be a list of parts of type text.
        name: The column, for messages.
        place: The row, for messages.

    Returns:
        Role and content of each.

    Raises:
        ValueError: A content is no text, as of an image or of a call of a tool.
    """
    messages = []
    for message in value:
        content = message["content"]
        if isinstance(content, (list, tuple)) and all(
            isinstance(part, Mapping) and part.get("type") == "text" for part in content
        ):
            content = "".join(part["text"] for part in content)
        role = message["role"]
        if not isinstance(content, str) or not isinstance(role, str):
            raise ValueError(
                f"{place}: column {name} has a message whose content is no text: {content!r:.60}. "
                "Images and calls of tools are not read; leave such rows out."
            )
        messages.append({"role": _ROLES.get(role.lower(), role.lower()), "content": content})
    return tuple(messages)


def read_prompt(value: object, name: str, place: str) -> Prompt:
    """A prompt from a text or a list of messages.

    Args:
        value: The text, the messages, or None for the empty prompt.
        name: The column, for messages.
        place: The row, for messages.

    Returns:
        The prompt.

    Raises:
        ValueError: It is something else.
    """
    if value is None or (isinstance(value, (list, tuple)) and not value):
        return Prompt("")
    if isinstance(value, str):
        opening, *turns = value.split(_MARKER)
        return Prompt(value, None, opening, len(turns) > 1)
    if not is_messages(value):
        raise ValueError(
            f"{place}: column {name} must hold text or a list of messages with role and content, "
            f"got {value!r:.60}."
        )
    messages = read_messages(value, name, place)  # type: ignore[arg-type]
    said = [message["content"] for message in messages if message["role"] == "user"]
    return Prompt(render(messages), messages, said[0] if said else "", len(said) > 1)


def read_response(value: object, name: str, place: str) -> str | None:
    """A response from a text or a list of one message.

    Args:
        value: The text, the messages, or None.
        name: The column, for messages.
        place: The row, for messages.

    Returns:
        The text of the response, or None.

    Raises:
        ValueError: It is something else, or more than one message of the assistant.
    """
    if value is None or isinstance(value, str):
        return value
    if not is_messages(value):
        raise ValueError(
            f"{place}: column {name} must hold text or a list of messages with role and content, "
            f"got {value!r:.60}."
        )
    messages = read_messages(value, name, place)  # type: ignore[arg-type]
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(
            f"{place}: column {name} must end in one message of the assistant after the prompt, "
            f"got {roles}."
        )
    return messages[0]["content"]


def render(messages: Sequence[Message]) -> str:
    """Messages as one text.

    Args:
        messages: Role and content of each.

    Returns:
        The content of a single user message; otherwise every content after its role.

    >>> render([{"role": "user", "content": "Tea?"}])
    'Tea?'
    """
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(
        f"{message['role'].capitalize()}: {message['content']}" for message in messages
    )


def cut_shared(one: str, other: str) -> int:
    r"""Where two texts without a separate prompt part.

    Args:
        one: A prompt with a response.
        other: The same prompt with another response.

    Returns:
        Length of the prompt: up to the last ``Assistant:`` if all before it is shared, else up to
        the last line break of what is shared, else 0.

    >>> cut_shared("Q: tea?\nA: yes", "Q: tea?\nA: not now")
    8
    """
    end = one.rfind(_MARKER)
    if end >= 0 and end == other.rfind(_MARKER) and one[:end] == other[:end]:
        return end + len(_MARKER)
    shared = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared += 1
    return one.rfind("\n", 0, shared) + 1
