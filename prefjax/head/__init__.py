"""Reward heads over frozen embeddings: linear and MLP, joint MAP, marginal and per-user.

Compose it as

    rows = make_rows(comparisons, num_responses)
    fitted = fit(key, rows, embeddings, strength, num_users=..., num_responses=..., config=...)
    items = apply(fitted.params, new_embeddings, config)

with ``strength`` from `prefjax.factorization.search`, and target factors of a factorization without
embeddings as ``start`` for the two stages of the paper.
"""

from prefjax.head.fit import HeadFit, Objective, bound, fit
from prefjax.head.nets import HeadConfig, RewardHead, apply, init
from prefjax.head.per_user import fit_per_user
from prefjax.head.regress import regress, regress_chosen, ridge

__all__ = [
    "HeadConfig",
    "HeadFit",
    "Objective",
    "RewardHead",
    "apply",
    "bound",
    "fit",
    "fit_per_user",
    "init",
    "regress",
    "regress_chosen",
    "ridge",
]
