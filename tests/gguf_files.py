"""GGUF files for tests: a model of this package written as llama.cpp's converters write it."""

import gguf
import numpy as np

_NAMES = {
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "output": "attn_output",
    "query_norm": "attn_q_norm",
    "key_norm": "attn_k_norm",
    "feedforward_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def alphabet():
    """The 256 characters of byte-level BPE, as transformers' GPT-2 names them."""
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def permuted(rows, num_heads):
    """Rows of a Hugging Face folder in the order of a GGUF file, one row after the other."""
    dim = len(rows) // num_heads
    order = [
        h * dim + half * (dim // 2) + i
        for h in range(num_heads)
        for i in range(dim // 2)
        for half in (0, 1)
    ]
    return rows[order]


def write(
    path,
    model,
    kind="F32",
    *,
    tokens=None,
    types=None,
    merges=(),
    pre="smollm",
    head=None,
    raw=None,
    **metadata,
):
    """Write a model.

    Args:
        path: The file.
        model: What ``lm.load`` gives.
        kind: How matrices are stored.
        tokens: All tokens; bytes, an end of document and an end of turn by default.
        types: Their types.
        merges: Merges of the tokenizer.
        pre: Name of the pre-tokenizer.
        head: An ``output.weight`` and how it is stored, beside a tied embedding.
        raw: Bytes of matrices by name in the file, in place of those of the model.
        metadata: Entries by name, with "__" for a dot; they replace those of the model.
    """
    config, arch = model.config, model.config.architecture
    writer = gguf.GGUFWriter(path, arch)
    tokens = [*alphabet(), "<|endoftext|>", "<|im_end|>"] if tokens is None else tokens
    tokens = [*tokens, *(f"[PAD{i}]" for i in range(len(tokens), config.vocab_size))]
    if types is None:
        types = [1] * 256 + [3, 3] + [5] * (len(tokens) - 258)
    entries = {
        f"{arch}.block_count": config.num_layers,
        f"{arch}.context_length": config.max_length,
        f"{arch}.embedding_length": config.hidden_size,
        f"{arch}.feed_forward_length": config.intermediate_size,
        f"{arch}.attention.head_count": config.num_heads,
        f"{arch}.attention.head_count_kv": config.num_kv_heads,
        f"{arch}.attention.key_length": config.head_dim,
        f"{arch}.rope.freq_base": config.rope_theta,
        f"{arch}.attention.layer_norm_rms_epsilon": config.norm_eps,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.eos_token_id": 257,
    } | {name.replace("__", "."): value for name, value in metadata.items()}
    for name, value in entries.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        if value is not None:
            add[type(value)](name, value)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(list(merges))

    def put(name, array, stored=kind):
        array = np.asarray(array, np.float32)
        if raw is not None and name in raw:
            data, stored = raw[name]
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[stored])
            return
        stored = gguf.GGMLQuantizationType[stored if array.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(array, stored), raw_dtype=stored)

    put("token_embd.weight", model.params["embedding"])
    put("output_norm.weight", model.params["norm"])
    if head is not None:
        put("output.weight", *head)
    elif not config.tied:
        put("output.weight", model.params["head"])
    for index, layer in enumerate(model.params["layers"]):
        for name, array in layer.items():
            if arch == "llama" and name in ("query", "key"):
                heads = config.num_heads if name == "query" else config.num_kv_heads
                array = permuted(np.asarray(array), heads)
            stem, part = (name[:-5], "bias") if name.endswith("_bias") else (name, "weight")
            put(f"blk.{index}.{_NAMES[stem]}.{part}", array)
    scaling = config.rope_scaling
    if scaling is not None:
        frequency = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
        turns = scaling.original_length * frequency / (2 * np.pi)
        low, high = scaling.low_frequency, scaling.high_frequency
        share = np.clip((turns - low) / (high - low), 0, 1)
        put("rope_freqs.weight", 1 / (share + (1 - share) / scaling.factor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
