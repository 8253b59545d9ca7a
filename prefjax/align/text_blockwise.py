"""Blockwise best-of-K by a score of texts, for a model of this package or any server."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from prefjax import lm
from prefjax.align.sampling import DEFAULT, Ask, Sample, SampleConfig, Sampler, Samples, sample


def sample_blockwise(
    source: lm.LanguageModel | Sampler,
    prompts: Sequence[str | Ask],
    score: Callable[[Sequence[str], Sequence[str]], Float[np.ndarray, " text"]],
    *,
    num_blocks: int = 4,
    num_continuations: int = 4,
    config: SampleConfig = DEFAULT,
) -> Samples:
    """The best of K continuations, block after block, by a score of texts; for any source.

    `decode_blockwise` does the same by a value head, with blocks of any number of tokens, for a
    model of this package. Each block can move the policy by ``log K − (K−1)/K`` nats at most.

    Args:
        source: A model or a server, which must be able to continue a beginning.
        prompts: What users say, or with a system text; a beginning is not continued.
        score: ``score(prompts, responses)``: how good each response, which may be unfinished, is.
        num_blocks: Blocks of a response.
        num_continuations: K.
        config: How they are drawn; ``max_new_tokens`` are those of all blocks together.

    Returns:
        One sample a prompt; a prompt that failed has none.

    Raises:
        ValueError: If the blocks are longer than the response, or a score is not finite.
    """
    length = config.max_new_tokens // num_blocks
    if length < 1:
        raise ValueError(f"{num_blocks} blocks do not fit {config.max_new_tokens} tokens.")
    wanted = [Ask(one) if isinstance(one, str) else one for one in prompts]
    best = [Sample("", ended=False, log_prob=0.0) for _ in wanted]
    failures = [""] * len(wanted)
    num_tokens, seconds = 0, 0.0
    for block in range(num_blocks):
        open_ = [i for i, one in enumerate(best) if not one.ended and not failures[i]]
        if not open_:
            break
        asks = [wanted[i]._replace(beginning=best[i].text) for i in open_]
        of_block = dataclasses.replace(
            config, max_new_tokens=length, seed=config.seed * num_blocks + block
        )
        drawn = sample(source, asks, num_continuations, config=of_block)
        num_tokens, seconds = num_tokens + drawn.num_tokens, seconds + drawn.seconds
        for i, own, failure in zip(open_, drawn.samples, drawn.failures, strict=True):
            failures[i] = failure
            if failure:
                continue
            whole = [best[i].text + one.text for one in own]
            scores = np.asarray(score([wanted[i].prompt] * len(whole), whole))
            if not np.isfinite(scores).all():
                raise ValueError(f"The scores of responses to prompt {i} are not finite.")
            chosen = own[int(scores.argmax())]
            said = best[i].log_prob, chosen.log_prob
            best[i] = Sample(
                best[i].text + chosen.text,
                chosen.ended,
                best[i].num_tokens + chosen.num_tokens,
                None if said[0] is None or said[1] is None else said[0] + said[1],
            )
    samples = [[] if failure else [one] for one, failure in zip(best, failures, strict=True)]
    return Samples(samples, failures, num_tokens, seconds)
