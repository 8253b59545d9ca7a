"""The Hugging Face hub: files of a pinned commit in, a folder out. Nothing of it is executed."""

import re
from collections.abc import Sequence
from pathlib import Path

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""An ``owner/name`` of the hub."""
_EXTRA = "the hub needs the extra: pip install 'prefjax[hub]'."


def download(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    *,
    remedy: str,
    is_dataset: bool = False,
) -> Path:
    """The folder of a commit, through the hub's own cache.

    Args:
        repository: ``owner/name``.
        revision: The commit.
        patterns: Names of the files that are wanted, with ``*``.
        remedy: What to do where there is no network.
        is_dataset: Whether it is a data set rather than a model.

    Raises:
        ModuleNotFoundError: huggingface_hub is not installed.
        OSError: The hub cannot be reached, or does not have it; the message ends with the remedy.
    """
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{repository}: {_EXTRA}") from error
    try:
        found = snapshot_download(
            repository,
            repo_type="dataset" if is_dataset else "model",
            revision=revision,
            allow_patterns=list(patterns),
        )
    except OSError as error:
        raise OSError(
            f"Cannot get {repository} at revision {revision}: the hub cannot be reached or does "
            f"not have it, and the local cache does not either ({type(error).__name__}). {remedy}"
        ) from error
    return Path(found)


def upload(folder: Path, repository: str, *, message: str, is_private: bool = True) -> str:
    """Puts a folder into a repository of models, which is made if needed.

    Args:
        folder: Everything in it is sent.
        repository: ``owner/name``; the account is the one that huggingface_hub is logged in with.
        message: Of the commit.
        is_private: Whether a new repository is private.

    Returns:
        The commit, by which it can be had again.

    Raises:
        ModuleNotFoundError: huggingface_hub is not installed.
        ValueError: The name is no ``owner/name``.
        OSError: The hub cannot be reached, or refuses; nothing is lost here.
    """
    if not HUB_ID.fullmatch(repository):
        raise ValueError(f"{repository!r} is no owner/name of the hub")
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{repository}: {_EXTRA}") from error
    api = HfApi()
    try:
        api.create_repo(repository, private=is_private, exist_ok=True)
        made = api.upload_folder(
            repo_id=repository, folder_path=str(folder), commit_message=message
        )
    except OSError as error:
        raise OSError(
            f"{folder} could not be sent to {repository} ({error}): log in with `hf auth login`, "
            "or look whether the account may write there"
        ) from error
    return str(made.oid)
