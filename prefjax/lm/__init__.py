"""Qwen2, Qwen2.5, Qwen3, Llama and Mistral decoders: pure functions over a dict of arrays.

``load`` reads Hugging Face folders and GGUF files, ``save`` writes folders; ``model_path`` finds
models that have a name. ``forward`` gives hidden states, ``logits`` scores of the next token, both
for any padding; ``forward_layers`` gives those of several layers. ``generate`` and ``complete``
continue tokens and texts, ``draw_samples`` draws many samples of each prompt; ``prefill``,
``extend``, ``take_rows``, ``try_candidates`` and ``keep`` are the steps over a cache of keys and
values that they, and other decoders, are built from. ``Qwen`` is the same model as a Flax module;
``place`` lays it out over several devices.
"""

from prefjax.lm._generate import Generation, Hook, generate
from prefjax.lm.bundled import MODELS, model_path
from prefjax.lm.cache import (
    Cache,
    extend,
    extend_layers,
    keep,
    prefill,
    prefill_layers,
    take_rows,
    try_candidates,
    try_candidates_layers,
)
from prefjax.lm.config import QwenConfig, RopeScaling, from_dict, to_dict
from prefjax.lm.continuous import Drawn, DrawnSamples, draw_samples
from prefjax.lm.folder import LanguageModel, fingerprint, load, save
from prefjax.lm.layout import place, place_batch, tensor_parallel
from prefjax.lm.model import (
    forward,
    forward_layers,
    hidden_states,
    last_token,
    logits,
    positions_of,
)
from prefjax.lm.module import Qwen
from prefjax.lm.params import init_params, num_params, stack_layers, unstack_layers
from prefjax.lm.sampling import SamplingConfig, restrict, sample
from prefjax.lm.text import Completions, complete, pad_left
from prefjax.lm.weights import read_score

__all__ = [
    "MODELS",
    "Cache",
    "Completions",
    "Drawn",
    "DrawnSamples",
    "Generation",
    "Hook",
    "LanguageModel",
    "Qwen",
    "QwenConfig",
    "RopeScaling",
    "SamplingConfig",
    "complete",
    "draw_samples",
    "extend",
    "extend_layers",
    "fingerprint",
    "forward",
    "forward_layers",
    "from_dict",
    "generate",
    "hidden_states",
    "init_params",
    "keep",
    "last_token",
    "load",
    "logits",
    "model_path",
    "num_params",
    "pad_left",
    "place",
    "place_batch",
    "positions_of",
    "prefill",
    "prefill_layers",
    "read_score",
    "restrict",
    "sample",
    "save",
    "stack_layers",
    "take_rows",
    "tensor_parallel",
    "to_dict",
    "try_candidates",
    "try_candidates_layers",
    "unstack_layers",
]
