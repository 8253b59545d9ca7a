"""What a server does before its first request instead of while people wait."""

import gc

import numpy as np

from prefjax.model import PreferenceModel
from prefjax.person.belief import SMALLEST
from prefjax.person.items import SMALL_SIZES, num_inputs
from prefjax.person.ranking import BATCHES
from prefjax.serve.ranking import RankRequest, rank

NUM_CANDIDATES = min(SMALL_SIZES)
"""Candidates of a request; with fewer the same programs run."""


def warm_up(model: PreferenceModel) -> None:
    """Asks, hears and ranks for somebody who is then forgotten, so that programs are compiled.

    Compiled is what nearly everybody needs: people of few answers and of some hundred, lists of
    sixteen candidates or fewer, alone and several at a time, and, where the model reads texts, the
    encoder for short ones. What is larger is compiled when it comes. Objects that exist by then are
    left out of Python's garbage collection, which otherwise looks at all of them again and again.

    Args:
        model: A fitted model.
    """
    width = num_inputs(model.basis)
    for count in SMALL_SIZES:
        model.reader(np.zeros((count, width), np.float32))
    if model.encoder is not None:
        model.reader(["a", "b"])
    candidates = np.eye(NUM_CANDIDATES, width, dtype=np.float32)
    one = model.new_person()
    one.ask(candidates)
    one.tell(1.0)
    requests = [RankRequest(one.belief, None, candidates)] * max(BATCHES)
    for count in BATCHES:
        rank(model, requests[:count])
    for _ in range(SMALLEST):
        one.observe(candidates[0], candidates[1], 1.0)
    _ = one.belief
    gc.collect()
    gc.freeze()
