"""Training by minibatches, on many devices and processes, of models too large for one block solve.

    source = MemorySource(comparisons, num_responses, UserLayout((num_users,)))
    result = train(source, embeddings, TrainConfig(), validation=..., folder=...)
    weight, variance = user_weights(result.state, result.layout)

`prefjax.basis` and `prefjax.basis` fit the same objective by block solves and are better
where the data fits; this is for millions of users, data on disk, and runs that must survive.
"""

from prefjax.train._predict import predict
from prefjax.train._resume import layout_for
from prefjax.train.config import OptimizerConfig, TrainConfig
from prefjax.train.layout import UserLayout
from prefjax.train.loop import TrainResult, train, user_weights
from prefjax.train.memory import MemorySource
from prefjax.train.objective import ModelConfig
from prefjax.train.saved_state import grow_users
from prefjax.train.shard_files import write_shards
from prefjax.train.shards import ShardSource
from prefjax.train.state import TrainState
from prefjax.train.step import StepConfig, make_steps

__all__ = [
    "MemorySource",
    "ModelConfig",
    "OptimizerConfig",
    "ShardSource",
    "StepConfig",
    "TrainConfig",
    "TrainResult",
    "TrainState",
    "UserLayout",
    "grow_users",
    "layout_for",
    "make_steps",
    "predict",
    "train",
    "user_weights",
    "write_shards",
]
