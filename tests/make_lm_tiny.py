"""Make the tiny checkpoints of tests/data/lm_tiny and what transformers computes with them.

    python tests/make_lm_tiny.py [name ...]        (needs torch, the extra `reference`)

Three random models, `qwen2` (tied), `qwen3` (untied) and `llama` (untied, scaled rope), with random
biases and norm gains, since the usual zeros and ones hide mistakes. The embedding is small, so that
the epsilon of the norms shows.
`outputs.npz` beside each holds tokens, mask, every hidden state, the logits of token 3, and the
greedy continuation of the rows without padding on the right.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

FOLDER = Path(__file__).parent / "data" / "lm_tiny"
VOCAB, EOS = 264, 257  # the tokenizer has 258 ids, the model some more, as Qwen's do
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "eos_token_id": EOS,
}


def make_tokenizer():
    """One token a byte, and Qwen's two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({char: index for index, char in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_end|>"]
    inner.add_special_tokens([AddedToken(text, special=True) for text in special])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=special[1], pad_token=special[0]
    )


def randomize(model, generator):
    """Random weights, gains about one, biases of the size of what they are added to."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "embed_tokens" in name:
                parameter.copy_(0.03 * noise)
            elif parameter.ndim == 2:
                parameter.copy_(noise * 1.2 / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_((1.0 if "norm" in name else 0.0) + 0.3 * noise)
        if not model.config.tie_word_embeddings:
            noise = torch.randn(model.lm_head.weight.shape, generator=generator)
            model.lm_head.weight.copy_(0.3 * noise)


def outputs(model, generator):
    """Reference numbers on rows without padding, padded left, and padded right."""
    tokens = torch.randint(0, 256, (4, 9), generator=generator)
    mask = torch.ones((4, 9), dtype=torch.long)
    mask[1, :4] = 0
    mask[2, 6:] = 0
    mask[3, :1] = 0
    tokens[mask == 0] = EOS
    tokens[0, 4] = EOS  # the padding token within a text
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        result = model(
            tokens, attention_mask=mask, position_ids=positions, output_hidden_states=True
        )
        left = [0, 1, 3]
        drawn = model.generate(
            tokens[left],
            attention_mask=mask[left],
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
        )
    return {
        "tokens": tokens.numpy().astype(np.int32),
        "mask": mask.numpy().astype(bool),
        "hidden": torch.stack(result.hidden_states).numpy(),
        "logits": result.logits[:, 3].numpy(),
        "greedy": drawn[:, tokens.shape[1] :].numpy().astype(np.int32),
    }


SCALED = {
    "rope_type": "llama3",
    "rope_theta": 1e6,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
MODELS = {"qwen2": (True, {}), "qwen3": (False, {}), "llama": (False, {"rope_parameters": SCALED})}


def main(names=tuple(MODELS)):
    """Write the folders of these models."""
    for name in names:
        tied, more = MODELS[name]
        sizes = {key: value for key, value in SIZES.items() if key != "rope_theta" or not more}
        config = transformers.AutoConfig.for_model(name, tie_word_embeddings=tied, **sizes, **more)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        generator = torch.Generator().manual_seed(0)
        randomize(model, generator)
        model.save_pretrained(FOLDER / name)
        np.savez_compressed(FOLDER / name / "outputs.npz", **outputs(model, generator))
        if name == "qwen2":
            make_tokenizer().save_pretrained(FOLDER / name)


if __name__ == "__main__":
    main(sys.argv[1:] or tuple(MODELS))
