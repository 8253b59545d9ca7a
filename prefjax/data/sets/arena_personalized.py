"""Chatbot Arena, personalized: 131 people with enough choices, and a published split of them.

References:
    arXiv 2506.05598; published accuracies of 8B models stand in `PUBLISHED`.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from prefjax.data.dataset import Dataset
from prefjax.data.published import PublishedConfig
from prefjax.data.sets._personal_reward import LABEL, load_personal
from prefjax.data.sets._record import NamedSet

NAME = "arena_personalized"
REPOSITORY = "MichaelR207/chatbot_arena_personalized_0125"
LICENSE = "CC BY 4.0 (prompts), CC BY-NC 4.0 (answers), as Chatbot Arena conversations"
SOURCE = f"Hugging Face hub {REPOSITORY}"
PUBLISHED: Mapping[str, float] = MappingProxyType(
    {
        "Bradley–Terry": 67.2,
        "VPL": 58.1,
        "PAL": 57.3,
        "GPO": 57.9,
        "SynthesizeMe": 61.1,
        "P-GenRM": 72.7,
    }
)
"""Accuracy in percent with models of 8 billion parameters, as published for the test part."""


def load(folder: Path | None = None, *, revision: str | None = None, seed: int = 0) -> Dataset:
    """Load the choices, with the published split in ``meta["split"]``.

    Args:
        folder: Holds Parquet, JSONL or JSON files with the columns conversation_id, user_id,
            context (messages), chosen and rejected (a message each), split (train, val, test) and
            perhaps flip; ``PREFJAX_DATA/arena_personalized`` if None.
        revision: Commit of the hub to fetch the files from instead.
        seed: Seed of which answer comes first, where a row has no ``flip``.

    Raises:
        FileNotFoundError: If the files are not there.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or of another schema.
    """
    return load_personal(NAME, REPOSITORY, LICENSE, folder, revision, seed)


SET = NamedSet(NAME, load, PublishedConfig(), LABEL, LICENSE, SOURCE, on_hub=True)
