"""Judges that say which of two responses a person prefers, all behind one interface.

``compare`` asks any of them every question in both orders; ``quality`` says how far to trust it.
"""

from prefjax.align.judges.answer import parse
from prefjax.align.judges.cache import Cache
from prefjax.align.judges.chat import OpenAIJudge
from prefjax.align.judges.client import OpenAIClient, OpenAIConfig
from prefjax.align.judges.compare import (
    ATTRIBUTES,
    PROFILE,
    Quality,
    Template,
    Verdicts,
    compare,
    quality,
)
from prefjax.align.judges.language_model import JaxJudge
from prefjax.align.judges.replay import DryRunJudge, ReplayJudge
from prefjax.align.judges.request import Judge, Question, Request, Result, Status
from prefjax.align.judges.simulated import AttributeJudge, FakeJudge

__all__ = [
    "ATTRIBUTES",
    "PROFILE",
    "AttributeJudge",
    "Cache",
    "DryRunJudge",
    "FakeJudge",
    "JaxJudge",
    "Judge",
    "OpenAIClient",
    "OpenAIConfig",
    "OpenAIJudge",
    "Quality",
    "Question",
    "ReplayJudge",
    "Request",
    "Result",
    "Status",
    "Template",
    "Verdicts",
    "compare",
    "parse",
    "quality",
]
