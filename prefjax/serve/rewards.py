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
from prefjax.person.candidates import as_prompt, as_responses

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
    model: PreferenceModel, *, column: str | None = "user", known: People | None = None
) -> Callable[..., list[float]]:
    """A reward function for TRL's GRPO and RLOO trainers.

    Args:
        model: Fitted with an encoder.
        column: Column of the data set that names the person; None rewards as the population would.
        known: People beside those of the training data.

    Returns:
        ``f(prompts, completions, **columns) -> list of rewards``; prompts and completions are texts
        or lists of messages, read as `prefjax.fit` reads them. It raises KeyError where the column
        is not there.
    """

    def prefjax_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any):
        if column is not None and column not in columns:
            raise KeyError(
                f"the data set has no column {column!r} that names people; it has "
                f"{', '.join(columns) or 'none'} (column=None rewards as the population would)"
            )
        people = [None] * len(prompts) if column is None else columns[column]
        read = [as_prompt(one) or "" for one in prompts], as_responses(list(completions))
        return reward_of(model, people, *read, known)

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
        if not isinstance(extra_info, Mapping) or not {"prompt", "user"} <= set(extra_info):
            raise ValueError("extra_info must hold the prompt and the user, who may be None")
        prompt = as_prompt(extra_info["prompt"]) or ""
        return reward_of(model, [extra_info["user"]], [prompt], [solution_str], known)[0]

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
