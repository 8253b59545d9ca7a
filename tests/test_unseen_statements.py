import dataclasses

import numpy as np
import pytest

from experiments import unseen_statements
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.lab import runs
from prefjax.types import BASELINE

TINY = dataclasses.replace(
    unseen_statements.PRESETS["smoke"],
    encoders=("hashed",),
    num_splits=1,
    num_factors=3,
    num_inputs=8,
    hidden=4,
    num_answers=(0, 20),
)
WORLD = WorldConfig(
    num_prompts=24, responses_per_prompt=6, pairs_per_prompt=15, pairs_per_user=150, num_users=60
)


def test_nothing_of_the_tests_is_trained_on():
    dataset = make_world(WORLD, 0).dataset
    votes = dataset.comparisons._replace(second=np.full_like(dataset.comparisons.second, BASELINE))
    for data in (dataset, dataclasses.replace(dataset, comparisons=votes, meta={})):
        split = unseen_statements.divide(data, 3, TINY)
        answers, tests = split.by_user("calibration", 20), split.by_user("test", 80)
        second = split.train.second
        trained = np.union1d(split.train.first, second[second != BASELINE])
        assert not split.is_new_response[trained].any()
        asked = answers.first[answers.mask]
        assert not split.is_new_response[asked].any()
        assert split.is_new_response[tests.first[tests.mask]].all()
        assert len(split.known_users) + len(tests.label) == data.num_users
        assert len(np.unique(split.train.user)) == len(split.known_users)
        groups = split.group[split.is_new_response], split.group[~split.is_new_response]
        assert not np.intersect1d(*groups).size


@pytest.mark.slow
def test_answers_help_on_unseen_prompts_where_the_embedding_tells(monkeypatch, tmp_path):
    worlds = {seed: make_world(WORLD, seed) for seed in range(TINY.num_splits)}
    monkeypatch.setattr(unseen_statements, "load", lambda name, seed: worlds[seed].dataset)
    measured = {id(world.dataset): world.attributes for world in worlds.values()}

    def embed(name, dataset, is_unseen, config):
        values = measured[id(dataset)] - measured[id(dataset)].mean(axis=0)[None]
        return values.astype(np.float32)

    monkeypatch.setattr(unseen_statements, "embed", embed)
    result = unseen_statements.run(TINY)
    gain = {
        (row["head"], row["num_answers"]): row["value"]
        for row in result.rows
        if row["metric"] == "minus_population"
    }
    for head in TINY.heads:
        assert gain[head, 20] > max(0.05, gain[head, 0] + 0.03)
    runs.save(tmp_path, result)
    assert unseen_statements.plot(runs.load(tmp_path)).axes
