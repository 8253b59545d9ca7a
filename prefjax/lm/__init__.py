"""Qwen2, Qwen2.5 and Qwen3 decoders: pure functions over a dict of arrays.

``forward`` gives hidden states, ``logits`` scores of the next token, both for any padding.
``load`` and ``save`` read and write Hugging Face folders.
"""

from prefjax.lm.config import QwenConfig, from_dict, to_dict
from prefjax.lm.folder import LanguageModel, fingerprint, load, save
from prefjax.lm.model import forward, hidden_states, last_token, logits
from prefjax.lm.params import init_params, num_params, stack_layers, unstack_layers

__all__ = [
    "LanguageModel",
    "QwenConfig",
    "fingerprint",
    "forward",
    "from_dict",
    "hidden_states",
    "init_params",
    "last_token",
    "load",
    "logits",
    "num_params",
    "save",
    "stack_layers",
    "to_dict",
    "unstack_layers",
]
