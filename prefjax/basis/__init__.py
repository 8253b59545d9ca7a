"""From many people's choices to a reward basis.

    problem = make_problem(comparisons, embeddings, num_users=U)
    basis, people, info = fit(key, problem)               # penalties learned, people integrated out
    items = apply(basis.params, new_embeddings)           # φ and t of any response

``embeddings`` None fits free factors of every response, a matrix a linear head over it. `fit_block`
takes the penalties as given (posterior scale 1 integrates people out, 0 is joint MAP as published),
`fit_head` fits heads with hidden layers; all return ``(RewardBasis, people, FitInfo)``.
"""

from prefjax.basis._fit import fit_block
from prefjax.basis.gauge import Gauge, canonical, canonicalize, rotate
from prefjax.basis.head_fit import bound, fit_head
from prefjax.basis.heads import HeadConfig, RewardHead, apply, init, to_raw
from prefjax.basis.num_factors import NumFactorsResult, choose_num_factors
from prefjax.basis.penalties import (
    PenaltySearch,
    fit,
    search_penalties,
    search_utility,
)
from prefjax.basis.per_user import fit_per_user
from prefjax.basis.problem import Problem, make_problem, stack_problems
from prefjax.basis.regression import regress, regress_chosen, ridge
from prefjax.basis.rows import Rows, make_rows, stack_rows
from prefjax.basis.standardizer import Standardizer, standardize
from prefjax.basis.state import EMConfig, EMState, SearchConfig
from prefjax.basis.svd import dense_imputation

__all__ = [
    "EMConfig",
    "EMState",
    "Gauge",
    "HeadConfig",
    "NumFactorsResult",
    "PenaltySearch",
    "Problem",
    "RewardHead",
    "Rows",
    "SearchConfig",
    "Standardizer",
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
    "make_problem",
    "make_rows",
    "regress",
    "regress_chosen",
    "ridge",
    "rotate",
    "search_penalties",
    "search_utility",
    "stack_problems",
    "stack_rows",
    "standardize",
    "to_raw",
]
