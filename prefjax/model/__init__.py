"""The public object: fit a model of many people, then learn one new person by asking.

    model = fit("choices.jsonl", encoder="hashed")    # or comparisons and frozen embeddings
    person = model.new_person()                       # or model.person("w12")
    question = person.ask(prompt, candidates)         # the most informative pair
    person.tell(1.0)                                  # 1: the first is preferred
    person.rank(prompt, candidates).order[0]          # what to show this person

`compare_encoders` says which encoder to take. Everything here is the kernels of `basis` and
`person` with checked input; research code that needs more control calls those.
"""

from prefjax.model._compare_encoders import EncoderScore, compare_encoders
from prefjax.model._fit import fit
from prefjax.model._model import PreferenceModel
from prefjax.model.files import load
from prefjax.person import Person, Question, Ranking

__all__ = [
    "EncoderScore",
    "Person",
    "PreferenceModel",
    "Question",
    "Ranking",
    "compare_encoders",
    "fit",
    "load",
]
