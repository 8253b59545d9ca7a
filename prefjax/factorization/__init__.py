"""From many people's choices to base rewards: the logistic factorization.

Compose it as

    rows = make_rows(comparisons, num_responses)
    fitted, search = fit_learned(key, rows, embeddings, num_users=..., num_responses=...)

``embeddings`` None fits free factors of every response; a matrix fits a linear head over it. `fit`
takes the strengths as given, ``Strength(penalty, utility_penalty, temperature)``: temperature 1
integrates the users out, 0 is joint MAP as published. Votes alone, a matrix of users × items, are
fitted by joint MAP fastest by ``alternating.fit(key, make_matrix(...))``.
"""

from prefjax.factorization.alternating import AlternatingConfig, AlternatingFit, Factors
from prefjax.factorization.choose import Choice, choose_num_factors
from prefjax.factorization.fit import fit
from prefjax.factorization.gauge import Gauge, canonical, fix
from prefjax.factorization.learn import LearnConfig, Search, fit_learned, search
from prefjax.factorization.matrix import Matrix, make_matrix
from prefjax.factorization.rows import Rows, make_rows, stack_rows
from prefjax.factorization.state import EMConfig, EMState, Factorization, Strength
from prefjax.factorization.svd import dense_imputation

__all__ = [
    "AlternatingConfig",
    "AlternatingFit",
    "Choice",
    "EMConfig",
    "EMState",
    "Factorization",
    "Factors",
    "Gauge",
    "LearnConfig",
    "Matrix",
    "Rows",
    "Search",
    "Strength",
    "canonical",
    "choose_num_factors",
    "dense_imputation",
    "fit",
    "fit_learned",
    "fix",
    "make_matrix",
    "make_rows",
    "search",
    "stack_rows",
]
