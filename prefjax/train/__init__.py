"""Training by minibatches, on many devices and processes, of models too large for one block solve.

    source = MemorySource(comparisons, num_responses)
    result = train(source, embeddings, config, validation=…, folder=…)
    basis, people, info = to_basis(result, config.step.model)

`prefjax.basis` fits the same objective by block solves and is better where the data fits; this is
for millions of users, data on disk, and runs that must survive. What comes out is the same: a
`RewardBasis`, the training users, and how the fit went. ``python -m prefjax.train`` writes a model
that `prefjax.load` opens.
"""

from prefjax.train._predict import predict
from prefjax.train._resume import layout_for
from prefjax.train.basis import to_basis
from prefjax.train.config import OptimizerConfig, TrainConfig
from prefjax.train.layout import UserLayout
from prefjax.train.loop import TrainResult, train, user_weights
from prefjax.train.memory import MemorySource
from prefjax.train.on_ray import RayConfig, train_on_ray
from prefjax.train.parquet_rows import read_parquet_rows
from prefjax.train.problem import ModelConfig
from prefjax.train.saved_state import grow_users
from prefjax.train.shard_audit import inspect_shards
from prefjax.train.shard_writing import write_shards
from prefjax.train.shards import ShardSource
from prefjax.train.shards_on_ray import write_shards_on_ray
from prefjax.train.state import TrainState
from prefjax.train.step import StepConfig, make_steps

__all__ = [
    "MemorySource",
    "ModelConfig",
    "OptimizerConfig",
    "RayConfig",
    "ShardSource",
    "StepConfig",
    "TrainConfig",
    "TrainResult",
    "TrainState",
    "UserLayout",
    "grow_users",
    "inspect_shards",
    "layout_for",
    "make_steps",
    "predict",
    "read_parquet_rows",
    "to_basis",
    "train",
    "train_on_ray",
    "user_weights",
    "write_shards",
    "write_shards_on_ray",
]
