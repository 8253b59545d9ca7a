r"""The minimax winner of a pool: the lottery over responses that no response beats on average.

With ``P_ab`` the probability that a is preferred to b, averaged over a crowd or given by a model
that need not be transitive, it is the optimal strategy of the symmetric game with payoff P − ½,

.. math:: \max_q \min_b Σ_a q_a (P_ab - ½) = 0.

Where one response beats all others (a Condorcet winner) it is that response alone. The mean reward
of a crowd can instead pick what a loud minority likes most. A linear program finds it, and every
lottery carries its certificate: by how much it could be beaten, at most.

References:
    von Neumann (1928). Fishburn, "Probabilistic social choice based on simple voting comparisons",
    Review of Economic Studies 51 (1984). Of human feedback: arXiv 2401.04056.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from prefjax.types import Array


class MinimaxWinner(NamedTuple):
    """A lottery over the responses of a pool.

    Attributes:
        probability: q.
        exploitability: ``max_b ½ − Σ_a q_a P_ab ≥ 0``, by how much the best reply beats it: its
            certificate, 0 to rounding.
        best_reply: The response that does best against it.
        choice: The most probable response.
    """

    probability: Float[np.ndarray, " response"]
    exploitability: float
    best_reply: int
    choice: int


def crowd_preferences(
    rewards: Float[Array, "user response"], sample_weight: Float[Array, " user"] | None = None
) -> Float[np.ndarray, "response response"]:
    """Share of a crowd that prefers a to b, for every pair: the mean of σ(r_a − r_b).

    Args:
        rewards: Reward of each response to each person.
        sample_weight: Weight of each person, equal by default.

    >>> crowd_preferences(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    rewards = np.asarray(rewards, np.float64)
    weight = np.ones(len(rewards)) if sample_weight is None else np.asarray(sample_weight)
    weight = weight / weight.sum()
    total = np.zeros((rewards.shape[1], rewards.shape[1]))
    for reward, share in zip(rewards, weight, strict=True):
        total += share * 0.5 * (1 + np.tanh((reward[:, None] - reward[None, :]) / 2))
    return total


def minimax_winner(preferences: Float[Array, "row column"]) -> MinimaxWinner:
    """The lottery that no response beats; exact, on the host.

    Args:
        preferences: P, the probability that the row's response is preferred to the column's, so
            that ``P + Pᵀ = 1`` and the diagonal is ½. Of logits s it is ``σ(s)``.

    Raises:
        ValueError: P is not a square table of probabilities with ``P + Pᵀ = 1``.
        RuntimeError: The linear program could not be solved.

    Examples:
        >>> cycle = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
        >>> minimax_winner(cycle).probability.round(3).tolist()
        [0.333, 0.333, 0.333]
    """
    table = np.asarray(preferences, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise ValueError(f"preferences must be a square table, got shape {table.shape}")
    if not (np.isfinite(table).all() and (table >= 0).all() and (table <= 1).all()):
        raise ValueError("preferences must be probabilities")
    gap = np.abs(table + table.T - 1)
    if gap.max() > 1e-5:
        first, second = np.unravel_index(np.argmax(gap), gap.shape)
        raise ValueError(
            f"P and its transpose must sum to 1; P[{first}, {second}] and P[{second}, {first}] sum "
            f"to {table[first, second] + table[second, first]:.4f}"
        )
    size = len(table)
    payoff = (table - table.T) / 2
    # Maximize v with Σ_a q_a payoff_ab ≥ v for every b.
    solved = linprog(
        np.append(np.zeros(size), -1.0),
        A_ub=np.hstack([-payoff.T, np.ones((size, 1))]),
        b_ub=np.zeros(size),
        A_eq=np.append(np.ones(size), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, 1)] * size + [(-1, 1)],
        method="highs",
    )
    if not solved.success:
        raise RuntimeError(f"the linear program of the minimax winner failed: {solved.message}")
    probability = np.maximum(solved.x[:size], 0)
    probability = probability / probability.sum()
    against = probability @ payoff
    reply = int(np.argmin(against))
    return MinimaxWinner(
        probability=probability,
        exploitability=float(max(-against[reply], 0.0)),
        best_reply=reply,
        choice=int(np.argmax(probability)),
    )
