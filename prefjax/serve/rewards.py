"""A fitted model as the reward function of trainers: one function for each signature.

    GRPOTrainer(reward_funcs=[trl_reward(model)], …)   # TRL, people in the column "user"
    reward_func = openrlhf_reward(model)               # OpenRLHF, --reward.remote_url this_file.py
    compute_score = verl_reward(model)                 # verl, custom_reward_function.path

A row without a person (None or the empty string) is rewarded as the population would; a person
whom the model does not know is an error, never a number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from prefjax.model import PreferenceModel
from prefjax.person import Person

People = Mapping[str, Person] | Callable[[str], Person]
"""Somebody by name: people who are known beside those of the training data."""


def reward_of(
    model: PreferenceModel,
    people: Sequence[Any],
    prompts: Sequence[str],
    responses: Sequence[str],
    known: People | None = None,
) -> list[float]:
    """Expected reward λ̂·φ(x, y) + t(x, y) of every row for its person.

    Args:
        model: Fitted with an encoder, so that it reads texts.
        people: Name of the person of each row; None or the empty string for the population.
        prompts: One for each row.
        responses: One for each row.
        known: People beside those of the training data.

    Raises:
        KeyError: Somebody is not known.
        ValueError: The columns differ in length, or a text cannot be read.
    """
    if not len(people) == len(prompts) == len(responses):
        raise ValueError(
            f"{len(people)} people, {len(prompts)} prompts and {len(responses)} responses: a row "
            "has one of each"
        )
    names = {name: place for place, name in enumerate(dict.fromkeys(people))}
    weights = np.stack([_weights(model, name, known) for name in names])
    items = model.reader(list(responses), list(prompts))
    own = weights[[names[name] for name in people]]
    return (np.sum(items.features * own, axis=1) + items.utility).tolist()


def trl_reward(
    model: PreferenceModel, *, column: str = "user", known: People | None = None
) -> Callable[..., list[float]]:
    """A reward function for TRL's GRPO and RLOO trainers.

    Args:
        model: Fitted with an encoder.
        column: Column of the data set that names the person.
        known: People beside those of the training data.

    Returns:
        ``f(prompts, completions, **columns) -> list of rewards``; prompts and completions are texts
        or lists of messages, of which the prompt is everything and the completion the contents.
    """

    def prefjax_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any):
        people = columns.get(column)
        if people is None:
            people = [None] * len(prompts)
        texts = [_text(one) for one in prompts], [_text(one) for one in completions]
        return reward_of(model, people, *texts, known)

    return prefjax_reward


def openrlhf_reward(
    model: PreferenceModel, *, known: People | None = None
) -> Callable[..., dict[str, Any]]:
    """A reward function for OpenRLHF; the column of ``--data.label_key`` names the person.

    Args:
        model: Fitted with an encoder.
        known: People beside those of the training data.

    Returns:
        ``reward_func(queries, prompts, labels)``, of queries that begin with their prompts, giving
        ``rewards``, ``scores`` and ``extra_logs``.
    """

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]):
        found = reward_of(model, labels, prompts, split_queries(queries, prompts), known)
        return {"rewards": found, "scores": found, "extra_logs": {}}

    return reward_func


def verl_reward(model: PreferenceModel, *, known: People | None = None) -> Callable[..., float]:
    """A reward function for verl; ``extra_info`` holds ``prompt`` and ``user``.

    Args:
        model: Fitted with an encoder.
        known: People beside those of the training data.

    Returns:
        ``compute_score(data_source, solution_str, ground_truth, extra_info) -> reward``.
    """

    def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any, extra_info: Any = None
    ) -> float:
        del data_source, ground_truth
        if not isinstance(extra_info, Mapping) or "prompt" not in extra_info:
            raise ValueError("extra_info must hold the prompt, and the user if there is one")
        prompt, user = _text(extra_info["prompt"]), extra_info.get("user")
        return reward_of(model, [user], [prompt], [solution_str], known)[0]

    return compute_score


def split_queries(queries: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """Responses, from queries that are prompt and response in one.

    Args:
        queries: One for each row.
        prompts: With which they begin.

    Raises:
        ValueError: A query does not begin with its prompt.
    """
    if len(queries) != len(prompts):
        raise ValueError(f"there are {len(queries)} queries and {len(prompts)} prompts")
    for place, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
        if not query.startswith(prompt):
            raise ValueError(
                f"query {place} does not begin with its prompt: where the response is cannot be "
                "known"
            )
    return [query[len(prompt) :] for query, prompt in zip(queries, prompts, strict=True)]


def _weights(model: PreferenceModel, name: Any, known: People | None) -> np.ndarray:
    if name is None or name == "":
        return np.asarray(model.basis.population.mean)
    if callable(known):
        return np.asarray(known(name).belief.mean)
    if known is not None and name in known:
        return np.asarray(known[name].belief.mean)
    return np.asarray(model.person(name).belief.mean)


def _text(value: Any) -> str:
    """A text, or the contents of a list of messages one below the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(one, Mapping) for one in value):
        return "\n".join(str(message["content"]) for message in value)
    raise ValueError(f"neither a text nor a list of messages: {value!r:.80}")
