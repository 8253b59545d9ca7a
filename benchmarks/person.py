"""One person online, and many people by many responses.

    python -m benchmarks.person [--small]

``answer``: one answer more to a known person, solved. ``answer_and_rank``: the same with the order
of 16 known texts. ``refit``: the person built again from all 40 answers, which is what an update
spares. ``score``: 10,000 people by 1,000 embeddings of 512 numbers, J = 8, by ``model.score``;
``gemm``: NumPy's product of the same weights and features alone, which cannot be beaten. Scores are
first checked against the rewards of people one by one. Takes seconds.
"""

import argparse

import numpy as np

from benchmarks import timing
from prefjax.basis.heads import linear_params
from prefjax.encoders import make_hashed
from prefjax.model import PreferenceModel
from prefjax.model.encoder import ModelEncoder
from prefjax.types import Gaussian, RewardBasis

NUM_FACTORS, NUM_ANSWERS, NUM_TEXTS = 8, 40, 16


def make_model(num_people: int) -> PreferenceModel:
    """Random base rewards over n-grams, and people who are known."""
    rng = np.random.default_rng(0)
    encoder = make_hashed()
    shape = encoder.config.dimension, NUM_FACTORS + 1
    kernel = rng.normal(size=shape).astype(np.float32)
    eye = np.eye(NUM_FACTORS, dtype=np.float32)
    people = Gaussian(
        rng.normal(size=(num_people, NUM_FACTORS)).astype(np.float32),
        np.broadcast_to(eye / 4, (num_people, NUM_FACTORS, NUM_FACTORS)),
    )
    population = Gaussian(np.zeros(NUM_FACTORS, np.float32), eye)
    basis = RewardBasis(linear_params(kernel), population, np.ones((), np.float32))
    return PreferenceModel(basis, people, tuple(range(num_people)), {}, ModelEncoder.of(encoder))


def main():
    parser = argparse.ArgumentParser(description="One person online, many people at once.")
    parser.add_argument("--small", action="store_true", help="fewer people")
    num_people, num_responses = (500, 100) if parser.parse_args().small else (10_000, 1000)
    model = make_model(num_people)
    texts = [f"Response number {number}, and why." for number in range(NUM_TEXTS)]
    person = model.person(3)
    for number in range(NUM_ANSWERS):
        first, second = texts[number % 7], texts[7 + number % 9]
        person.observe("Why?", first, second, float(number % 3 > 0))
    kept = person.to_dict()
    gap = person.log[-1].gap
    answered = [person]

    def answer():
        if answered[0].num_answers >= NUM_ANSWERS + 20:  # at a size that people have
            answered[0] = model.load_person(kept)
        answered[0]._record(gap, 1.0, None, None)
        return answered[0].belief

    def answer_and_rank():
        answer()
        return answered[0].rank("Why?", texts).reward

    def refit():
        return model.load_person(kept).belief

    embeddings = np.random.default_rng(1).normal(size=(num_responses, 512)).astype(np.float32)
    items = model.items(embeddings)
    weights, features = np.asarray(model.people.mean), np.ascontiguousarray(items.features.T)
    names = list(model.users)
    table = model.score(names, embeddings)
    for row in (0, num_people // 2, num_people - 1):
        np.testing.assert_allclose(table[row], model.person(row).reward(embeddings)[0], atol=1e-2)
    online = timing.interleaved(
        {"answer": answer, "answer_and_rank": answer_and_rank, "refit": refit}, 101
    )
    many = timing.interleaved(
        {
            "score": lambda: model.score(None, embeddings),
            "score_by_name": lambda: model.score(names, embeddings),
            "gemm": lambda: weights @ features,
        },
        21,
    )
    seconds = online | many
    for name, value in seconds.items():
        print(f"{name:16} {1e3 * value:9.3f} ms")
    sizes = {
        "online": {"factors": NUM_FACTORS, "answers": NUM_ANSWERS, "texts": NUM_TEXTS},
        "score": {"people": num_people, "responses": num_responses, "factors": NUM_FACTORS},
    }
    ratios = {
        "refit": seconds["refit"] / seconds["answer"],
        "gemm": seconds["gemm"] / seconds["score"],
        "gemm_by_name": seconds["gemm"] / seconds["score_by_name"],
    }
    environment = timing.environment()
    print(timing.report("person", sizes, seconds, ratios, environment=environment))


if __name__ == "__main__":
    main()
