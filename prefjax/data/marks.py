"""Marks of how a text was written down, not of what it says: f(text) ∈ {False, True}.

A person does not prefer a text for an escaped newline or a stray space; when such a mark predicts
the label, the two sides came out of different renderings. Used by :mod:`prefjax.data.audit`.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.search(text) is not None


MARKS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "a printed list": _matches(r"(?s)^\s*(\[.*\]|\{.*\})\s*$"),
        "quotes around it": _matches(r"""(?s)^\s*(["'“‘]).*(["'”’])\s*$"""),
        "a leading space": _matches(r"^\s"),
        "a trailing space": _matches(r"\s\Z"),
        "a carriage return": _matches(r"\r"),
        "an escaped newline": _matches(r"\\n"),
        "a curly quote": _matches(r"[“”‘’]"),
        "an encoding fault": _matches(r"\ufffd|â€|Ã[\x80-\xbf]|Â[\xa0-\xbf]"),
        "an HTML entity": _matches(r"&(amp|quot|lt|gt|nbsp|#\d+);|<br ?/?>"),
        "a special token": _matches(r"<\|[^|>]*\|>|</?s>|\[/?INST\]"),
        "a speaker tag": _matches(r"^\s*(Human|Assistant|User|AI|Bot)\s*:"),
        "markdown bullets": _matches(r"(?m)^\s*[-*•] "),
        "numbered lines": _matches(r"(?m)^\s*\d+[.)] "),
        "a markdown heading": _matches(r"(?m)^#{1,6} "),
        "markdown bold": _matches(r"\*\*[^*]+\*\*"),
        "a code fence": _matches(r"```"),
        "several lines": _matches(r"\S[^\S\n]*\n\s*\S"),
        "closing punctuation": _matches(r"""[.!?…]["'”’)]*\s*\Z"""),
    }
)
"""Name of each mark, as it stands in messages, and its test."""
