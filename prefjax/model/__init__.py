"""The front door: fit a model of many people, then learn one new person by asking.

    model = fit(comparisons, embeddings)        # many people's choices, frozen embeddings
    user = model.new_user()
    question = user.ask(pool)                   # the most informative pair of the pool
    user.tell(1.0)                              # 1: the first is preferred
    user.rank(candidates).order[0]              # what to show this person

Everything here is the kernels of `factorization`, `elicit`, `logistic` and `laplace` with checked
input; research code that needs more control calls those.
"""

from prefjax.model.fitted import PreferenceModel, fit, load
from prefjax.model.user import Question, Ranking, User

__all__ = ["PreferenceModel", "Question", "Ranking", "User", "fit", "load"]
