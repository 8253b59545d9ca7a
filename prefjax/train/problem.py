"""What is fitted, and the unit and origin in which it is: the optimizer sees inputs of scale 1.

The head of the module `prefjax.basis.heads` is applied to embeddings e and stepped for inputs

    x = (e − mean) / c,   c² = mean ‖e − mean‖²   over the responses that somebody compared,

so that neither the unit, nor the origin, nor embeddings that nobody compared change anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from prefjax.basis.heads import HeadConfig
from prefjax.settings import check_settings
from prefjax.types import Array, Params
from prefjax.variational import Bound

Objective = Literal["marginal", "map"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ModelConfig:
    """What is fitted; another value is another model.

    Attributes:
        num_factors: J, the number of base rewards.
        hidden: Widths of the head's hidden layers; empty for a linear head.
        objective: Users integrated out, or joint MAP.
        bound: The row expectation of ``marginal``.
        penalty: τ, the prior precision of a response's φ_j, as in `prefjax.basis`.
        utility_penalty: τ of the shared utility.
        trunk_penalty: Prior precision of hidden kernels, in units of their spread at the start.
        precision: Type in which the head's matrix products are taken; sums and parameters are
            float32 always.

    Raises:
        ValueError: A size is not positive, or a penalty negative or not finite.
    """

    num_factors: int = 8
    hidden: tuple[int, ...] = ()
    objective: Objective = "marginal"
    bound: Bound = "jaakkola"
    penalty: float = 4.0
    utility_penalty: float = 1.0
    trunk_penalty: float = 1.0
    precision: Precision = "float32"

    def __post_init__(self):
        check_settings(self, "num_factors")
        if min(self.hidden, default=1) < 1:
            raise ValueError(f"the widths in hidden must be at least 1, got {self.hidden}")

    @property
    def head(self) -> HeadConfig:
        """Structure of the head."""
        return HeadConfig(
            num_factors=self.num_factors, hidden=self.hidden, trunk_penalty=self.trunk_penalty
        )


class Problem(NamedTuple):
    """What every step reads and none changes; the same on every device.

    Attributes:
        embeddings: Embeddings of all responses, finite.
        input_scale: c, root of the mean squared norm of the centered embeddings of the responses
            that somebody compared. The optimizer steps the head for inputs (e − mean) / c, so
            that the unit and the origin of the embeddings change nothing.
        input_mean: Mean embedding of those responses.
        penalty: τ of every column of c θ, divided by the weight of all comparisons.
        trunk_penalty: 1 / weight of all comparisons.
        steps_per_epoch: T, the number of steps of an epoch.
    """

    embeddings: Float[Array, "response input"]
    input_scale: Float[Array, ""]
    input_mean: Float[Array, " input"]
    penalty: Float[Array, " factor_and_utility"]
    trunk_penalty: Float[Array, ""]
    steps_per_epoch: Array


def make_problem(
    embeddings: Float[np.ndarray, "response input"],
    compared: Bool[np.ndarray, " response"],
    total_weight: float,
    steps_per_epoch: int,
    config: ModelConfig,
) -> Problem:
    """Makes what every step reads; penalties per unit of weight, for inputs of scale 1.

    Args:
        embeddings: Embeddings of all responses, finite.
        compared: Which responses stand in a comparison with weight; no other one is looked at.
        total_weight: Sum of the sample weights of all comparisons.
        steps_per_epoch: T, the number of steps of an epoch.
        config: Penalties, in units of φ.
    """
    used = embeddings[compared].astype(np.float64)
    mean = used.mean(0)
    scale = float(np.sqrt(np.mean(np.sum(np.square(used - mean), axis=1))))
    penalty = np.full(config.num_factors + 1, config.penalty)
    penalty[-1] = config.utility_penalty
    return Problem(
        embeddings=embeddings,
        input_scale=np.asarray(scale if scale > 0 else 1.0, np.float32),
        input_mean=mean.astype(np.float32),
        penalty=(penalty / total_weight).astype(np.float32),
        trunk_penalty=np.asarray(1 / total_weight, np.float32),
        steps_per_epoch=np.asarray(steps_per_epoch, np.int32),
    )


def to_unit_inputs(params: Params, problem: Problem) -> Params:
    """Gives the head for inputs (e − mean) / c from the head for embeddings e.

    Args:
        params: The head for embeddings.
        problem: Scale and mean of the inputs.
    """
    scale, mean = jnp.asarray(problem.input_scale), problem.input_mean
    return _change_inputs(params, problem, scale, lambda kernel: mean @ kernel)


def from_unit_inputs(params: Params, problem: Problem) -> Params:
    """Undoes `to_unit_inputs`."""
    scale, mean = jnp.asarray(problem.input_scale), problem.input_mean
    return _change_inputs(params, problem, 1 / scale, lambda kernel: -mean @ kernel / scale)


def _change_inputs(
    params: Params, problem: Problem, factor: Array, shift: Callable[[Array], Array]
) -> Params:
    """Multiplies what reads an embedding, and moves the biases beside it."""
    num_inputs = problem.embeddings.shape[1]

    def change(layer):
        kernel = layer["kernel"]
        direct, rest = kernel[:num_inputs], kernel[num_inputs:]
        changed = {"kernel": jnp.concatenate([direct * factor, rest])}
        return changed | ({"bias": layer["bias"] + shift(direct)} if "bias" in layer else {})

    changed = {"out": change(params["out"])}
    if "trunk" in params:
        first = change(params["trunk"]["layer0"])
        changed["trunk"] = {**params["trunk"], "layer0": first}
    return changed
