"""What one pair and one person are in the signatures of every family."""

from typing import TypeAlias

from jaxtyping import Float

from prefjax.types import Array

Input: TypeAlias = Float[Array, " input"]
"""Standardized embedding of one response, zero for the baseline."""

Context: TypeAlias = Float[Array, " context"]
"""Embedding of the prompt of one pair; of width 0 where there is none."""

State: TypeAlias = Float[Array, " state"]
"""What is known of one person, where it is one vector."""

Scalar: TypeAlias = Float[Array, ""]
"""One number, such as a logit or a loss."""
