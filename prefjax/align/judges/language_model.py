"""A judge that is a language model of this project: the likelier of the exact answers.

    choice = argmax_c  Σ_t log p(c_t | prompt, c_<t)

A small model is no judge: SmolLM2-135M named the response in the same place in both orders of each
of 24 questions of the Attributes world (`quality` reports an order inconsistency of 1). Look at
`quality` before believing any.

No text is drawn, so no answer is invalid. A request longer than the model's window has failed, and
so has one whose likelihoods are not finite.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from prefjax import lm
from prefjax.align.judges.request import Request, Result, Status, fault_of
from prefjax.types import Array, Params

_STEP = 64  # rows are padded to a multiple of this, so that few shapes are compiled


@partial(jax.jit, static_argnames="config")
def _log_likelihood(
    params: Params,
    config: lm.QwenConfig,
    tokens: Int[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    counted: Bool[Array, "batch token"],
) -> Float[jax.Array, " batch"]:
    """Sum of the log-probabilities of the counted tokens, each given those before it."""
    hidden = lm.forward(params, config, tokens, mask)
    log_prob = jax.nn.log_softmax(lm.logits(params, config, hidden[:, :-1]), axis=-1)
    of_next = jnp.take_along_axis(log_prob, tokens[:, 1:, None], axis=2)[:, :, 0]
    return jnp.sum(jnp.where(counted[:, 1:], of_next, 0), axis=1)


class JaxJudge:
    """Asks a language model for the likelier choice; see the module docstring.

    Args:
        model: The language model, with a tokenizer. Its chat template is used if it has one.
        batch_size: Answers scored together.

    Raises:
        ValueError: If the model has no tokenizer, or the batch size is below 1.
    """

    def __init__(self, model: lm.LanguageModel, *, batch_size: int = 16):
        if model.tokenizer is None:
            raise ValueError(f"{model.directory} has no tokenizer; a judge needs one.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self._model, self._batch_size = model, batch_size

    def complete(self, requests: Sequence[Request]) -> list[Result]:
        """One result for each request."""
        results: list[Result] = []
        rows: list[tuple[list[int], list[int]]] = []
        first_row: dict[int, int] = {}  # of each request that is scored
        for index, request in enumerate(requests):
            own, fault = self._rows(request)
            results.append(Result(Status.FAILED, text=fault))
            if not fault:
                first_row[index] = len(rows)
                rows += own
        # Rows of like length share a batch, and a batch is as long as its longest row.
        order = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
        scores = np.zeros(len(rows))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            scores[batch] = self._score([rows[i] for i in batch])
        for index, start in first_row.items():
            choices = requests[index].choices
            own_scores = scores[start : start + len(choices)]
            if not np.isfinite(own_scores).all():
                text = f"the log-likelihoods of the choices are not finite: {own_scores.tolist()}"
                results[index] = Result(Status.FAILED, text=text)
                continue
            best = int(own_scores.argmax())
            results[index] = Result(Status.OK, best, choices[best], len(rows[start][0]), 0)
        return results

    def _rows(self, request: Request) -> tuple[list[tuple[list[int], list[int]]], str]:
        """Tokens of the prompt and of each choice, and why they cannot be scored."""
        fault = fault_of(request)
        if fault is not None:
            return [], fault
        prompt = self._encode(request)
        answers = [self._tokens(choice) for choice in request.choices]
        if not prompt or not answers or not all(answers):
            return [], "the prompt or a choice has no tokens"
        if len(prompt) + max(map(len, answers)) > self._model.config.max_length:
            return [], "longer than the model's window"
        return [(prompt, answer) for answer in answers], ""

    def _encode(self, request: Request) -> list[int]:
        tokenizer = self._model.tokenizer
        if getattr(tokenizer, "chat_template", None):
            messages = [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.text},
            ]
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        else:
            text = f"{request.system}\n\n{request.text}\n\n"
        return self._tokens(text)

    def _tokens(self, text: str) -> list[int]:
        return self._model.tokenizer.encode(text, add_special_tokens=False)

    def _score(self, rows: list[tuple[list[int], list[int]]]) -> np.ndarray:
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        width = min(-(-longest // _STEP) * _STEP, self._model.config.max_length)
        shape = (self._batch_size, width)
        tokens, mask, counted = np.zeros(shape, np.int32), *np.zeros((2, *shape), bool)
        for row, (prompt, answer) in enumerate(rows):
            whole = prompt + answer
            tokens[row, : len(whole)] = whole
            mask[row, : len(whole)] = True
            counted[row, len(prompt) : len(whole)] = True
        model = self._model
        scores = _log_likelihood(model.params, model.config, tokens, mask, counted)
        return np.asarray(scores)[: len(rows)]
