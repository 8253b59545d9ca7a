"""How strongly to steer: the β whose responses differ from the model's own by a wanted KL.

Ways to align are compared at equal KL, so β is looked up rather than set: it is doubled until the
KL reaches the target, then bisected. The KL of samples is noisy; with one key for every β the
draws change little from one to the next and the search is over a nearly increasing function.
"""

from collections.abc import Callable
from typing import NamedTuple


class BetaResult(NamedTuple):
    """How strongly to steer, and the KL that this costs.

    Attributes:
        beta: β of the decoders.
        kl: Mean KL of responses there, in nats.
        converged: Whether the KL is within the tolerance of the target.
    """

    beta: float
    kl: float
    converged: bool


def find_beta(
    measure: Callable[[float], float],
    target_kl: float,
    *,
    start: float = 1.0,
    tolerance: float = 0.05,
    max_steps: int = 20,
) -> BetaResult:
    """The β whose responses have a wanted KL, by bisection for ``measure(β) = target_kl``.

    Args:
        measure: Mean KL of responses at a β, in nats; always with the same key.
        target_kl: The wanted KL; 0 gives β = 0 without a measurement.
        start: First β tried.
        tolerance: Relative difference from the target that is good enough.
        max_steps: Measurements at most.

    Raises:
        ValueError: If the target is negative or ``start`` is not positive.

    >>> find_beta(lambda beta: beta**2 / 2, 2.0).beta
    2.0
    """
    if not target_kl >= 0:
        raise ValueError(f"target_kl must not be negative, got {target_kl}")
    if not start > 0:
        raise ValueError(f"start must be positive, got {start}")
    if target_kl == 0:
        return BetaResult(0.0, 0.0, True)
    low, high, beta = 0.0, float("inf"), start
    best = BetaResult(0.0, 0.0, False)
    for _ in range(max_steps):
        kl = measure(beta)
        if abs(kl - target_kl) < abs(best.kl - target_kl):
            best = BetaResult(beta, kl, abs(kl - target_kl) <= tolerance * target_kl)
        if best.converged:
            break
        low, high = (beta, high) if kl < target_kl else (low, beta)
        beta = 2 * low if high == float("inf") else (low + high) / 2
    return best
