"""How strongly to steer: the β whose responses differ from the model's own by a wanted KL.

Ways to align are compared at equal KL, so β is looked up rather than set. For small β the KL grows
like β², so the next β tried is ``β √(target / KL)`` where that lies well within what is known to be
too small and too large, and the middle of these otherwise. The KL of samples is noisy; with one key
for every β the draws change little from one to the next and the search is over a nearly increasing
function.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

_MOST = 4.0  # times the last β, where that was far too small


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
    """The β whose responses have a wanted KL: a root of ``measure(β) = target_kl``.

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
    low, high, beta = 0.0, math.inf, start
    best = BetaResult(0.0, 0.0, False)
    for _ in range(max_steps):
        kl = measure(beta)
        if abs(kl - target_kl) < abs(best.kl - target_kl):
            best = BetaResult(beta, kl, abs(kl - target_kl) <= tolerance * target_kl)
        if best.converged:
            break
        low, high = (beta, high) if kl < target_kl else (low, beta)
        guess = beta * min(math.sqrt(target_kl / kl), _MOST) if kl > 0 else _MOST * beta
        if high == math.inf:
            beta = max(guess, 1.1 * low)
        else:
            margin = 0.1 * (high - low)
            beta = guess if low + margin < guess < high - margin else (low + high) / 2
    return best
