"""What the responses of every way to align are measured by, and the tables of it."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from prefjax import metrics, person
from prefjax.align.judges import Question, compare
from prefjax.lab.simulation import Simulation
from prefjax.types import Array, RewardBasis

BOUNDS = {
    "kl": None, "promised_reward": None, "true_reward": None, "win_rate": (0.0, 1.0), "words": None,
}  # fmt: skip


def describe(
    sim: Simulation, basis: RewardBasis, texts: Sequence[str]
) -> Float[np.ndarray, "text factor_and_utility_and_words"]:
    """φ, t and the number of words of every text."""
    items = person.describe(basis, sim.embed(texts))
    words = np.array([[len(text.split())] for text in texts], np.float32)
    return np.concatenate([items.features, items.utility[:, None], words], axis=1)


class Evaluator(NamedTuple):
    """What responses are measured by: one entry for every row, a person and a prompt.

    Attributes:
        sim: People and judge.
        basis: Base rewards.
        weights: Weights of the person of each row, for what `describe` gives.
        person: Index of the person of each row.
        prompts: Prompt of each row.
        default: The response with which the judge compares.
        level: Mean promised and true reward of the model's own responses.
        spread: Their standard deviations within a prompt, over all prompts of the person.
    """

    sim: Simulation
    basis: RewardBasis
    weights: Float[np.ndarray, "row factor_and_utility_and_words"]
    person: Int[np.ndarray, " row"]
    prompts: list[str]
    default: list[str]
    level: Float[np.ndarray, "2 row"]
    spread: Float[np.ndarray, "2 row"]

    def evaluate(self, texts: list[str], kl: Array | float) -> dict[str, metrics.Interval]:
        """Means over people; rewards in deviations of the model's own responses.

        Args:
            texts: The response of each row.
            kl: KL to the model's own policy, of each row or of all.
        """
        rows = np.arange(len(texts))
        promised = np.sum(describe(self.sim, self.basis, texts) * self.weights, axis=1)
        true = self.sim.true_reward(texts)[self.person, rows]
        rewards = (np.stack([promised, true]) - self.level) / self.spread
        names = [self.sim.names[u] for u in self.person]
        questions = [
            Question(*q) for q in zip(names, self.prompts, texts, self.default, strict=True)
        ]
        each = {
            "kl": np.broadcast_to(kl, len(texts)),
            "promised_reward": rewards[0],
            "true_reward": rewards[1],
            "win_rate": compare(self.sim.judge(), questions).win,
            "words": np.array([len(text.split()) for text in texts]),
        }
        return {name: self.mean(name, values) for name, values in each.items()}

    def mean(self, name: str, values: Array) -> metrics.Interval:
        """Mean over people of a number of each row, its interval over people and prompts.

        Args:
            name: Which metric.
            values: The numbers.
        """
        prompt = np.unique(self.prompts, return_inverse=True)[1]
        return metrics.two_way_mean(
            jax.random.key(0), values, self.person, prompt, bounds=BOUNDS[name]
        )


def make_evaluator(
    sim: Simulation,
    basis: RewardBasis,
    weights: Float[np.ndarray, "person factor_and_utility_and_words"],
    prompts: list[str],
    own: np.ndarray,
    default: list[str],
) -> Evaluator:
    """The evaluator of everybody's responses to every prompt.

    Args:
        sim: People and judge.
        basis: Base rewards.
        weights: Weights of each person, for what `describe` gives.
        prompts: New prompts.
        own: The model's own responses, [prompt, sample].
        default: One more of them to each prompt.
    """
    flat = own.ravel().tolist()
    promised = weights @ describe(sim, basis, flat).T
    both = np.stack([promised, sim.true_reward(flat)[: len(weights)]])
    both = both.reshape(2, len(weights), len(prompts), -1)
    # One unit for each person: to some prompts nothing differs that a person cares about.
    spread = np.sqrt(both.var(3).mean(2, keepdims=True)) + np.zeros_like(both[..., 0])
    person = np.repeat(np.arange(len(weights)), len(prompts))
    return Evaluator(
        sim, basis, weights[person], person, prompts * len(weights), default * len(weights),
        both.mean(3).reshape(2, -1), np.maximum(spread, 1e-6).reshape(2, -1),
    )  # fmt: skip


def tidy(method: str, strength: float, measured: dict[str, metrics.Interval]) -> list[dict]:
    """One row per metric."""
    about = {"method": method, "dataset": "attributes", "strength": float(strength)}
    return [
        {**about, "metric": name} | {key: float(x) for key, x in interval._asdict().items()}
        for name, interval in measured.items()
    ]


def table(rows: list[dict]) -> str:
    """Ways and strengths down, metrics across."""
    lines = ["| way | strength | " + " | ".join(BOUNDS) + " |", "|---" * 7 + "|"]
    by_metric = {(row["method"], row["strength"], row["metric"]): row for row in rows}
    for method, strength in dict.fromkeys((row["method"], row["strength"]) for row in rows):
        about = [by_metric[method, strength, metric] for metric in BOUNDS]
        cells = [f"{row['value']:.2f} ± {row['high'] - row['value']:.2f}" for row in about]
        lines.append(f"| {method} | {strength:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
