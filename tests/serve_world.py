"""A model of texts without a fit, for the tests of the server."""

import numpy as np

from prefjax.basis.heads import linear_params
from prefjax.encoders import HashedConfig, make_hashed
from prefjax.model import PreferenceModel
from prefjax.model.encoder import ModelEncoder
from prefjax.types import Gaussian, RewardBasis

PROMPTS = [f"Question {number}: what would you do?" for number in range(6)]
RESPONSES = [
    "Take a walk.",
    "Read a long book about the sea, and then another one about mountains!",
    "Sleep, please; it is late.",
    "No idea. Ask somebody else, or nobody at all?",
]
NUM_FACTORS = 3


def make_model(seed=0, num_users=4, dimension=128):
    """J = 3 random base rewards over n-grams, and four people who are known."""
    rng = np.random.default_rng(seed)
    encoder = make_hashed(HashedConfig(dimension=dimension))
    width = encoder.encode(["a"]).shape[1]
    kernel = rng.normal(size=(width, NUM_FACTORS + 1)).astype(np.float32)
    eye = np.eye(NUM_FACTORS, dtype=np.float32)
    population = Gaussian(np.zeros(NUM_FACTORS, np.float32), eye)
    people = Gaussian(
        rng.normal(size=(num_users, NUM_FACTORS)).astype(np.float32),
        np.broadcast_to(eye / 4, (num_users, NUM_FACTORS, NUM_FACTORS)).copy(),
    )
    basis = RewardBasis(linear_params(kernel), population, np.ones((), np.float32))
    users = tuple(f"w{number}" for number in range(num_users))
    return PreferenceModel(basis, people, users, {}, ModelEncoder.of(encoder))
