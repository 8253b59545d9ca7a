"""How a text is put to a language model, and which tokens of it are read.

    raw     prompt + response, and the end token if one is named
    own     the chat template of the model's tokenizer, which reward models were trained with
    chat    <|im_start|>system⏎ … <|im_end|>⏎  <|im_start|>user⏎ prompt <|im_end|>⏎
            <|im_start|>assistant⏎ response <|im_end|>

The system turn is there only if its text is given, the user turn only if there is a prompt; the
line break after the last <|im_end|> is left out, so that the last token is the one that ends the
response. A text that is longer than the window loses tokens of the prompt from the left, and if
none are left, of the response from the left: the end always stays.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from prefjax.encoders.contract import Text
from prefjax.encoders.rows import Row

TEMPLATES = ("chat", "own", "raw")
_START, _END = "<|im_start|>", "<|im_end|>"
_PROMPT, _RESPONSE = "\ue000prompt\ue001", "\ue000response\ue001"  # for private use: in no template


class Rendered(NamedTuple):
    """A text in its template, with places counted in characters.

    Attributes:
        text: What the tokenizer is given.
        prompt: Where the prompt begins and ends.
        response: Where the response begins.
    """

    text: str
    prompt: tuple[int, int]
    response: int


def chat_prompt(prompt: str | None, system: str | None = None) -> str:
    r"""Everything up to the place where the response begins; what a model is asked to continue.

    A text that spells out a special token, such as ``<|im_end|>``, is read as that token.

    Args:
        prompt: What the user says; None leaves the user's turn out.
        system: What the system turn says; None leaves it out.

    >>> chat_prompt("Why?")
    '<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n'
    """
    turns = [("system", system), ("user", prompt)]
    said = [f"{_START}{role}\n{text}{_END}\n" for role, text in turns if text is not None]
    return "".join([*said, f"{_START}assistant\n"])


def chat_template(system: str | None = None) -> str:
    """The chat template in the language of ``tokenizer.apply_chat_template`` (Jinja).

    Args:
        system: What the system turn says where a conversation has none; None leaves it out.
    """
    turn = "'<|im_start|>' + {role} + '\\n' + {content} + '<|im_end|>'"
    first = turn.format(role="'system'", content=json.dumps(system, ensure_ascii=False))
    before = "{% if messages[0]['role'] != 'system' %}{{ " + first + " + '\\n' }}{% endif %}"
    each = turn.format(role="message['role']", content="message['content']")
    return (
        ("" if system is None else before)
        + "{% for message in messages %}{{ "
        + each
        + " }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}"
    )


def render(text: Text, template: str, system: str | None = None, end: str = "") -> Rendered:
    """Put a text into its template.

    Args:
        text: A response, or a prompt and the response to it.
        template: ``chat`` or ``raw``.
        system: What the system turn says, in the chat template.
        end: What follows the response, in the raw template.
    """
    prompt, response = (None, text) if isinstance(text, str) else text
    if template == "raw":
        start = len(prompt or "")
        return Rendered((prompt or "") + response + end, (0, start), start)
    before = chat_prompt(prompt, system)
    close = len(before) - len(f"{_END}\n{chat_prompt(None)}")
    span = (0, 0) if prompt is None else (close - len(prompt), close)
    return Rendered(f"{before}{response}{_END}", span, len(before))


class OwnTemplate:
    """The chat template of a tokenizer, for many texts; what it puts after the response is kept.

    Args:
        tokenizer: A tokenizer of transformers.
        system: What the system turn says; None leaves it to the template.

    Raises:
        ValueError: The tokenizer has no chat template, or it does not show what it is given.
    """

    def __init__(self, tokenizer: Any, system: str | None = None):
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError('The tokenizer has no chat template. Choose template="raw".')
        self._tokenizer, self._system = tokenizer, system
        self._parts: dict[bool, tuple[str, str, str]] = {}
        self._split(True)

    def render(self, text: Text) -> Rendered:
        """Put a text into the template.

        Args:
            text: A response, or a prompt and the response to it.

        Raises:
            ValueError: The template does not allow a response without a prompt.
        """
        prompt, response = (None, text) if isinstance(text, str) else text
        before, between, after = self._split(prompt is not None)
        start = len(before) + len(prompt or "") + len(between)
        whole = f"{before}{prompt or ''}{between}{response}{after}"
        return Rendered(whole, (len(before), len(before) + len(prompt or "")), start)

    def _split(self, has_prompt: bool) -> tuple[str, str, str]:
        """What stands before the prompt, between prompt and response, and after the response."""
        if has_prompt not in self._parts:
            turns = [("system", self._system), ("user", _PROMPT if has_prompt else None)]
            said = [*turns, ("assistant", _RESPONSE)]
            messages = [{"role": r, "content": text} for r, text in said if text is not None]
            try:
                whole = self._tokenizer.apply_chat_template(messages, tokenize=False)
            except Exception as error:  # whatever a template raises
                raise ValueError(
                    f"The chat template of the tokenizer does not take {len(messages)} messages "
                    f"({error})."
                ) from error
            before, _, rest = whole.partition(_PROMPT) if has_prompt else ("", "", whole)
            between, found, after = rest.partition(_RESPONSE)
            if not found or (has_prompt and not rest):
                raise ValueError("The chat template of the tokenizer does not show its messages.")
            self._parts[has_prompt] = before, between, after
        return self._parts[has_prompt]


def check_end_token(tokenizer: Any, end: str) -> None:
    """Makes sure that a text is ended by one token.

    Args:
        tokenizer: A tokenizer of transformers.
        end: The end token.

    Raises:
        ValueError: The tokenizer reads it as several tokens.
    """
    ids = tokenizer.encode(end, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"The tokenizer reads the end token {end!r} as {len(ids)} tokens.")


def check_turn_end(tokenizer: Any) -> None:
    """Makes sure that the end of a turn is one token, whose state stands for the whole text.

    Args:
        tokenizer: A tokenizer of transformers.

    Raises:
        ValueError: It reads the end of a turn as several tokens.
    """
    ids = tokenizer.encode(_END, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(
            f"The tokenizer reads {_END} as {len(ids)} tokens: the model does not know the chat "
            'template. Choose template="raw".'
        )


def make_rows(tokenizer: Any, rendered: Sequence[Rendered], window: int) -> list[Row]:
    """Tokens of texts, cut to the window.

    Args:
        tokenizer: A fast tokenizer of transformers.
        rendered: Texts in their templates.
        window: Most tokens of a text.
    """
    encoded = tokenizer(
        [one.text for one in rendered], return_offsets_mapping=True, add_special_tokens=False
    )
    spans = zip(encoded["input_ids"], encoded["offset_mapping"], rendered, strict=True)
    return [_row(ids, offsets, one, window) for ids, offsets, one in spans]


def _row(ids: list[int], offsets: list[tuple[int, int]], rendered: Rendered, window: int) -> Row:
    excess = len(ids) - window
    if excess > 0:
        low, high = rendered.prompt
        prompt = [i for i, (start, end) in enumerate(offsets) if low <= start and end <= high]
        rest = [i for i, (_, end) in enumerate(offsets) if end > rendered.response]
        dropped = set([*prompt, *rest][:excess])
        places = [i for i in range(len(ids)) if i not in dropped][-window:]
        ids, offsets = [ids[i] for i in places], [offsets[i] for i in places]
    split = next((i for i, (_, end) in enumerate(offsets) if end > rendered.response), len(ids))
    split = max(0, min(split, len(ids) - 1))
    return Row(tuple(ids[:split]), tuple(ids[split:]), excess > 0)
