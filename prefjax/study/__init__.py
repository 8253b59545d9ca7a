"""Studies with people: a few questions to learn a person, then a test against the default.

`StudyEngine` runs a study without web pages; ``python -m prefjax.study`` serves it to browsers,
simulates people, and turns what they said into a data set and a report. The web needs the extra
``study``.
"""

from prefjax.study._replay import Replay, replay
from prefjax.study.config import StudyConfig, read_config
from prefjax.study.engine import (
    AlreadyStartedError,
    RefusedError,
    StudyClosedError,
    StudyEngine,
    Ticket,
    anonymize,
    withdraw,
)
from prefjax.study.materials import Materials, read_materials, write_prompts
from prefjax.study.store import Store

__all__ = [
    "AlreadyStartedError",
    "Materials",
    "RefusedError",
    "Replay",
    "Store",
    "StudyClosedError",
    "StudyConfig",
    "StudyEngine",
    "Ticket",
    "anonymize",
    "read_config",
    "read_materials",
    "replay",
    "withdraw",
    "write_prompts",
]
