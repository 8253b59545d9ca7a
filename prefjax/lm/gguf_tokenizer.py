r"""The tokenizer in the metadata of a GGUF file: byte-level BPE.

The file holds tokens, merges and the name of the pre-tokenizer, which decides how a text is cut
before tokens are merged; the patterns are those of the models' own ``tokenizer.json``. Control
tokens (type 3) are special, user-defined ones (type 4) are found in a text but not special, and
unused rows at the end (type 5, ``[PAD…]``) are no tokens.
"""

from collections.abc import Callable
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = (
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
_PATTERNS = {
    "llama-bpe": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_REST}",
    "qwen2": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_REST}",
}
"""What one piece of a text is."""
_PIECES = {
    "llama-bpe": "llama-bpe",
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "qwen2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
    "smollm": "smollm",
    "gpt-2": "gpt-2",
}


def make_tokenizer(get: Callable[..., Any]) -> Any:
    """A fast tokenizer of transformers, with the chat template of the file if it has one.

    Args:
        get: ``get(name, default=None)`` gives an entry of the metadata.

    Raises:
        ValueError: The tokenizer is of a kind that is not supported, or its entries do not fit.
    """
    from transformers import PreTrainedTokenizerFast

    kind, name = get("tokenizer.ggml.model"), get("tokenizer.ggml.pre", "default")
    if kind != "gpt2":
        raise ValueError(
            f"the tokenizer {kind!r} is not supported, only byte-level BPE ('gpt2'); convert the "
            "model's folder, or read it with lm:<folder>"
        )
    if name not in _PIECES:
        raise ValueError(
            f"the pre-tokenizer {name!r} is not supported; supported are {', '.join(_PIECES)}"
        )
    tokens, merges = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.merges", [])
    if not tokens:
        raise ValueError("the metadata lack 'tokenizer.ggml.tokens'")
    types = get("tokenizer.ggml.token_type") or [1] * len(tokens)
    if len(types) != len(tokens):
        raise ValueError(f"{len(tokens)} tokens have {len(types)} types")
    num_tokens = len(tokens)
    while num_tokens and types[num_tokens - 1] == _UNUSED:
        num_tokens -= 1
    vocabulary = {token: index for index, token in enumerate(tokens[:num_tokens])}
    if len(vocabulary) < num_tokens:
        raise ValueError(f"{num_tokens - len(vocabulary)} tokens are there twice")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    try:
        model = models.BPE(vocabulary, pairs, ignore_merges=_PIECES[name] == "llama-bpe")
    except Exception as error:  # the tokenizers library raises bare exceptions
        raise ValueError(f"tokens and merges do not fit ({error})") from error
    tokenizer = Tokenizer(model)
    if _PIECES[name] == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(_PIECES[name])
    tokenizer.decoder = decoders.ByteLevel()
    typed = list(zip(tokens[:num_tokens], types, strict=False))
    special = [token for token, one in typed if one == _CONTROL]
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False) for token, one in typed if one == _USER_DEFINED]
    )
    roles = {}
    for role in ("bos", "eos", "unknown", "padding"):
        index = get(f"tokenizer.ggml.{role}_token_id")
        if index is not None and 0 <= index < num_tokens:
            short = {"unknown": "unk", "padding": "pad"}.get(role, role)
            roles[f"{short}_token"] = tokens[index]
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles
    )
    made.chat_template = get("tokenizer.chat_template")
    return made


def _pre_tokenizer(kind: str) -> Any:
    byte_level = pre_tokenizers.ByteLevel
    if kind == "gpt-2":
        return byte_level(add_prefix_space=False, use_regex=True)
    if kind == "smollm":
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                byte_level(add_prefix_space=False, use_regex=True),
            ]
        )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERNS[kind]), behavior="isolated"),
            byte_level(add_prefix_space=False, use_regex=False),
        ]
    )
