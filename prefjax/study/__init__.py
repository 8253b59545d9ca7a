"""Studies with people: a few questions to learn a person, then a test against the default.

`StudyEngine` runs a study without web pages; ``python -m prefjax.study`` serves it to browsers,
simulates people, and turns what they said into a data set and a report. The web needs the extra
``study``.
"""

from prefjax.study._export import StudyExport, export, read_export
from prefjax.study._replay import Replay, replay
from prefjax.study.config import StudyConfig
from prefjax.study.config_file import read_config, write_config
from prefjax.study.engine import StudyEngine
from prefjax.study.entry import Ticket
from prefjax.study.errors import AlreadyStartedError, RefusedError, StudyClosedError
from prefjax.study.materials import Materials, read_materials, write_prompts
from prefjax.study.removal import anonymize, withdraw
from prefjax.study.report import write_report
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
    "StudyExport",
    "Ticket",
    "anonymize",
    "export",
    "read_config",
    "read_export",
    "read_materials",
    "replay",
    "withdraw",
    "write_config",
    "write_prompts",
    "write_report",
]
