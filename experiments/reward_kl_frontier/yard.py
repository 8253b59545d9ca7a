"""What the responses of every way are measured by, and the tables of it."""

from typing import NamedTuple

import numpy as np

from prefjax import metrics
from prefjax.align.judges import Question, compare
from prefjax.align.simulation import Basis, Simulation

METRICS = ("kl", "promised_reward", "true_reward", "win_rate", "words")


def describe(sim: Simulation, basis: Basis, texts: list[str]) -> np.ndarray:
    """φ, t and the number of words of every text."""
    items = basis.items(sim.embed(texts))
    words = np.array([[len(text.split())] for text in texts], np.float32)
    return np.concatenate([items.features, items.utility[:, None], words], axis=1)


class Yard(NamedTuple):
    """What responses are measured by: one entry for every row, a person and a prompt."""

    sim: Simulation
    basis: Basis
    weights: np.ndarray
    person: np.ndarray
    prompts: list[str]
    default: list[str]
    level: np.ndarray
    spread: np.ndarray

    def measure(self, texts: list[str], kl) -> dict[str, metrics.Interval]:
        """Means over people; rewards in deviations of the model's own responses."""
        everyone = np.arange(len(texts))
        promised = np.sum(describe(self.sim, self.basis, texts) * self.weights, axis=1)
        true = self.sim.true_reward(texts)[self.person, everyone]
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
        return {name: metrics.clustered_mean(values, self.person) for name, values in each.items()}


def make_yard(sim, basis, weight, prompts, own, default) -> Yard:
    """What everybody's responses to every prompt are measured by."""
    flat = own.ravel().tolist()
    promised = weight @ describe(sim, basis, flat).T
    both = np.stack([promised, sim.true_reward(flat)[: len(weight)]])
    both = both.reshape(2, len(weight) * len(prompts), -1)
    person = np.repeat(np.arange(len(weight)), len(prompts))
    return Yard(
        sim, basis, weight[person], person, prompts * len(weight), default * len(weight),
        both.mean(2), np.maximum(both.std(2), 1e-6),
    )  # fmt: skip


def tidy(method: str, strength: float, measured: dict[str, metrics.Interval]) -> list[dict]:
    """One row per metric."""
    about = {"method": method, "dataset": "attributes", "strength": float(strength)}
    return [
        {**about, "metric": name} | {key: float(x) for key, x in found._asdict().items()}
        for name, found in measured.items()
    ]


def table(rows: list[dict]) -> str:
    """Ways and strengths down, metrics across."""
    lines = ["| way | strength | " + " | ".join(METRICS) + " |", "|---" * 7 + "|"]
    found = {(row["method"], row["strength"], row["metric"]): row for row in rows}
    for method, strength in dict.fromkeys((row["method"], row["strength"]) for row in rows):
        about = [found[method, strength, metric] for metric in METRICS]
        cells = [f"{row['value']:.2f} ± {row['high'] - row['value']:.2f}" for row in about]
        lines.append(f"| {method} | {strength:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
