"""A fitted linear head over a language model, as a Hugging Face folder with a score head.

    score_k(x, y) = h_T(x, y) · θ_k          h_T: last token, after the final norm

The folder is a ``*ForSequenceClassification``: transformers, TRL, RewardBench, OpenRLHF, vLLM and
SGLang load it with nothing of this package installed. With one label the weights of one person are
folded in, θ = Θ_φ λ + θ_t; with J + 1 labels the scores are the base rewards φ_1 … φ_J and the
shared utility t, and a person's reward is λ·φ + t. The bias is left out: it cancels between two
responses to one prompt.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from prefjax.encoders import LanguageEncoder
from prefjax.encoders.template import chat_template
from prefjax.io import atomic_folder, write_json
from prefjax.lm import weights as lm_weights
from prefjax.lm.config import to_dict
from prefjax.types import Array, RewardBasis

CARD = "README.md"


def score_kernel(
    basis: RewardBasis, weights: Float[Array, " factor"] | None = None
) -> Float32[np.ndarray, "label input"]:
    """The rows of the score head: of one person, or of every base reward and the shared utility.

    Args:
        basis: With a linear head.
        weights: λ of the person; None for J + 1 labels.

    Raises:
        ValueError: The head has hidden layers, or the number of weights is not J.

    Examples:
        >>> from prefjax.basis.heads import linear_params
        >>> from prefjax.types import Gaussian
        >>> basis = RewardBasis(
        ...     linear_params(np.float32([[1, 0, 3], [0, 2, 0]])),
        ...     Gaussian(np.zeros(2), np.eye(2)),
        ...     np.float32(1),
        ... )
        >>> score_kernel(basis).shape
        (3, 2)
        >>> score_kernel(basis, np.float32([1, -1])).tolist()
        [[4.0, -2.0]]
    """
    if "trunk" in basis.params:
        raise ValueError(
            "a head with hidden layers cannot be folded into a score head, which is linear; fit a "
            "linear head (hidden=()) to export it"
        )
    kernel = np.asarray(basis.params["out"]["kernel"], np.float32)
    if weights is None:
        return np.ascontiguousarray(kernel.T)
    folded = np.asarray(weights, np.float32)
    if folded.shape != (kernel.shape[1] - 1,):
        raise ValueError(
            f"the person has weights of shape {folded.shape}, the basis {kernel.shape[1] - 1} "
            "factors"
        )
    return np.ascontiguousarray((kernel[:, :-1] @ folded + kernel[:, -1])[None])


def export_folder(
    directory: str | Path,
    basis: RewardBasis,
    encoder: LanguageEncoder,
    *,
    weights: Float[Array, " factor"] | None = None,
    card: str = "",
    overwrite: bool = False,
) -> None:
    """Writes a ``*ForSequenceClassification`` folder; it appears whole or not at all.

    Scores of two responses to one prompt differ as the rewards of this package do, for prompts and
    responses that fit the window; ``tokenizer.apply_chat_template`` renders a conversation as the
    encoder does.

    Args:
        directory: Folder to make.
        basis: With a linear head on the embeddings of ``encoder``.
        encoder: Reads the last token of the last layer, in the chat template.
        weights: λ of one person, for one label; None for J + 1 labels.
        card: Text of the model card, Markdown; see ``model_card``.
        overwrite: Replace a folder that is there.

    Raises:
        ValueError: The head has hidden layers, the encoder reads another layer or pooling or has a
            system turn of its own, its width is not that of the head, or no token can pad.
        FileExistsError: The folder is there and ``overwrite`` is false.
    """
    kernel, config, settings = score_kernel(basis, weights), encoder.model.config, encoder.config
    _check_readable(settings, kernel.shape[1], config.hidden_size)
    num_labels = len(kernel)
    names = ["reward"] if weights is not None else [f"phi_{k}" for k in range(num_labels - 1)]
    names = names if weights is not None else [*names, "utility"]
    pad = _pad_token(encoder.model.tokenizer)
    values = to_dict(config, dtype="float32") | {
        "architectures": [f"{config.architecture.capitalize()}ForSequenceClassification"],
        "num_labels": num_labels,
        "id2label": {str(k): name for k, name in enumerate(names)},
        "label2id": {name: k for k, name in enumerate(names)},
        "pad_token_id": pad[1],
    }
    params = {name: leaf for name, leaf in encoder.model.params.items() if name != "head"}
    with atomic_folder(Path(directory), overwrite=overwrite) as new:
        lm_weights.write(new, params, config, more={"score.weight": kernel})
        write_json(new / "config.json", values)
        encoder.model.tokenizer.save_pretrained(new)
        _describe_tokenizer(new, pad[0], settings.system)
        (new / CARD).write_text(card, encoding="utf-8")


def _check_readable(settings: Any, num_inputs: int, width: int) -> None:
    """What a score head cannot do is refused by name."""
    if settings.template != "chat":
        raise ValueError(
            f"the encoder's template is {settings.template!r}: a folder is called with chat "
            "messages; fit on embeddings of LanguageConfig(template='chat')"
        )
    if (settings.layer, settings.pooling) != (-1, "last"):
        raise ValueError(
            f"the encoder reads layer {settings.layer} with pooling {settings.pooling!r}; a score "
            "head sees the last token after the final norm. Fit on embeddings of "
            "LanguageConfig(layer=-1, pooling='last') to export the model"
        )
    if settings.instruction is not None or settings.width is not None:
        raise ValueError(
            "the encoder has an instruction or a width of its own, which the folder cannot carry"
        )
    if num_inputs != width:
        raise ValueError(
            f"the head has {num_inputs} inputs, the states of the language model {width}: it was "
            "fitted on other embeddings"
        )


def _pad_token(tokenizer: Any) -> tuple[str, int]:
    """A token that pads and never ends a response, where the score is read."""
    vocabulary, end = tokenizer.get_vocab(), "<|im_end|>"
    named = (tokenizer.pad_token, "<|endoftext|>", "<pad>", "<unk>", tokenizer.unk_token)
    for token in named:
        if token is not None and token != end and token in vocabulary:
            return token, vocabulary[token]
    raise ValueError(
        "the tokenizer has no token that can pad: the score is read at the last token that is not "
        "padding, so the end of a turn cannot serve. Give it a pad_token"
    )


def _describe_tokenizer(folder: Path, pad: str, system: str | None) -> None:
    """The template of the encoder and the padding token, in the tokenizer's own files."""
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values |= {"pad_token": pad, "padding_side": "right", "chat_template": chat_template(system)}
    write_json(path, values)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
