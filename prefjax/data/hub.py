"""Data sets of the Hugging Face hub: a folder with their files, or a pinned commit of the hub.

Nothing is executed that comes from the hub: files are listed, fetched and read with pyarrow.
"""

import re
from pathlib import Path

from prefjax.data.files import DATA_VARIABLE, source_folder
from prefjax.io.hub import download

_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_folder(
    name: str,
    repository: str,
    files: tuple[str, ...],
    *,
    folder: Path | None,
    revision: str | None,
    one_of: bool = False,
) -> Path:
    """The folder that holds the files of a data set.

    Args:
        name: Name of the data set, the folder under ``PREFJAX_DATA``.
        repository: Its ``owner/name`` on the hub.
        files: What must lie there.
        folder: The folder itself; None to look under ``PREFJAX_DATA``.
        revision: A commit of the repository; the files then come from the hub, through its cache.
        one_of: Whether one of the files is enough.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: The files are not in the folder; the message says what to put where.
        ValueError: The revision is no full commit, or comes together with a folder.
        ModuleNotFoundError: A revision is named and huggingface_hub is not installed.
        OSError: The hub cannot be reached; the message says what to download and where to put it.
    """
    where = f"the data set {repository} of the Hugging Face hub"
    if revision is None:
        return source_folder(name, folder, files, where, one_of=one_of)
    if folder is not None:
        raise ValueError(f"{folder} is a folder; revision is for {where}.")
    if not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"revision must be a commit of {repository}, 40 hexadecimal digits, so that the rows "
            f"cannot change; got {revision!r}."
        )
    found = download(
        repository,
        revision,
        [file.removeprefix("**/") for file in files],
        is_dataset=True,
        remedy=(
            f"Download {', '.join(files)} of that commit where there is a network, put them into "
            f"{name}/ below the folder that {DATA_VARIABLE} names, and leave the revision out."
        ),
    )
    return source_folder(name, found, files, where, one_of=one_of)
