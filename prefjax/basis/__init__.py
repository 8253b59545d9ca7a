"""From many people's choices to base rewards: fits of a `RewardBasis`.

    rows = make_rows(comparisons, num_responses)
    fitted, search = fit(key, rows, embeddings, num_users=..., num_responses=...)

``embeddings`` None fits free factors of every response; a matrix fits a linear head over it.
"""

from prefjax.basis._fit import fit_block
from prefjax.basis.gauge import Gauge, canonical, canonicalize
from prefjax.basis.head_fit import HeadFit, Objective, bound, fit_head
from prefjax.basis.heads import HeadConfig, RewardHead, apply, init
from prefjax.basis.num_factors import Choice, choose_num_factors
from prefjax.basis.penalties import LearnConfig, Search, fit, search_penalties
from prefjax.basis.per_user import fit_per_user
from prefjax.basis.regression import regress, regress_chosen, ridge
from prefjax.basis.rows import Rows, make_rows, stack_rows
from prefjax.basis.state import EMConfig, EMState, Factorization, Strength
from prefjax.basis.svd import dense_imputation

__all__ = [
    "Choice",
    "EMConfig",
    "EMState",
    "Factorization",
    "Gauge",
    "HeadConfig",
    "HeadFit",
    "LearnConfig",
    "Objective",
    "RewardHead",
    "Rows",
    "Search",
    "Strength",
    "apply",
    "bound",
    "canonical",
    "canonicalize",
    "choose_num_factors",
    "dense_imputation",
    "fit",
    "fit_block",
    "fit_head",
    "fit_per_user",
    "init",
    "make_rows",
    "regress",
    "regress_chosen",
    "ridge",
    "search_penalties",
    "stack_rows",
]
