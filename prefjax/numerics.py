r"""Numerical pieces without a domain: logistic functions, masked sums, small symmetric matrices.

Everything is written for one example and for any float dtype. The exception is
``solve_positive``, whose batch lies in the last axis so that each scalar of the textbook
algorithm is one contiguous vector.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.types import Array, Population


def softplus_loss(logit: Float[Array, "*shape"], label: Float[Array, "*shape"]) -> jax.Array:
    """Logistic loss ``softplus(s) - y s``, as a sum of non-negative terms.

    ``(1-y) softplus(s) + y softplus(-s)`` never subtracts, hence it is finite and keeps its digits
    for logits up to the largest float; its derivatives are exact at 0 too, where those of an
    expression in ``|s|`` are not.

    Args:
        logit: s, any size.
        label: y in [0, 1].

    Examples:
        >>> float(softplus_loss(jnp.asarray(0.0), jnp.asarray(1.0)))  # log 2
        0.6931471824645996
    """
    score = jnp.asarray(logit)
    said = jnp.asarray(label)
    return (1 - said) * jax.nn.softplus(score) + said * jax.nn.softplus(-score)


def solve_positive(
    rows: Sequence[Sequence[Float[Array, "*batch"]] | Float[Array, "_ *batch"]],
    right: Sequence[Float[Array, "*batch"]] | Float[Array, "n *batch"],
) -> Float[Array, "n *batch"]:
    """Solve ``A x = b`` for symmetric positive definite A by a Cholesky factor, unrolled over n.

    Each scalar of the algorithm is one vector over the batch; a batched factorization instead calls
    a library once for every matrix. The program grows as n³: for n up to about a dozen.

    Args:
        rows: Lower triangle; ``rows[i]`` holds ``A[i, :i+1]``.
        right: b.

    Returns:
        x; NaN where A is not positive definite.
    """
    size = len(rows)
    lower = [[rows[i][j] for j in range(i + 1)] for i in range(size)]
    inverse: list[jax.Array] = []
    for j in range(size):
        for k in range(j):
            for i in range(j, size):
                lower[i][j] = lower[i][j] - lower[i][k] * lower[j][k]
        inverse.append(jax.lax.rsqrt(lower[j][j]))
        for i in range(j, size):
            lower[i][j] = lower[i][j] * inverse[j]
    x = [right[i] for i in range(size)]
    for i in range(size):
        for k in range(i):
            x[i] = x[i] - lower[i][k] * x[k]
        x[i] = x[i] * inverse[i]
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            x[i] = x[i] - lower[k][i] * x[k]
        x[i] = x[i] * inverse[i]
    return jnp.stack(x)


def inverse_root(
    rows: Sequence[Float[Array, "_ *batch"]],
) -> list[list[Float[jax.Array, "*batch"]]]:
    """Lower triangle T with ``Tᵀ T = A⁻¹`` for symmetric positive definite A, unrolled over n.

    T is the inverse of the Cholesky factor; ``‖T f‖²`` is then ``fᵀ A⁻¹ f``. As in
    `solve_positive` each scalar is one vector over the batch and the program grows as n³.

    Args:
        rows: Lower triangle; ``rows[i]`` holds ``A[i, :i+1]``.

    Returns:
        Rows of T as lists of vectors; NaN where A is not positive definite.
    """
    size = len(rows)
    lower = [[jnp.asarray(rows[i][j]) for j in range(i + 1)] for i in range(size)]
    root: list[list[jax.Array]] = []
    for j in range(size):
        for k in range(j):
            for i in range(j, size):
                lower[i][j] = lower[i][j] - lower[i][k] * lower[j][k]
        inverse = jax.lax.rsqrt(lower[j][j])
        for i in range(j, size):
            lower[i][j] = lower[i][j] * inverse
        # Row j of L T = I.
        row = [-inverse * sum(lower[j][k] * root[k][i] for k in range(i, j)) for i in range(j)]
        root.append([*row, inverse])
    return root


class SymmetricEigen(NamedTuple):
    """``A = V diag(value) Vᵀ``, values ascending, each column's largest entry positive."""

    value: Float[Array, " n"]
    vector: Float[Array, "n n"]


def symmetric_eigen(matrix: Float[Array, "n n"]) -> SymmetricEigen:
    """Eigendecomposition of the symmetric part, with a sign that does not depend on the device."""
    value, vector = jnp.linalg.eigh((matrix + matrix.T) / 2)
    largest = jnp.take_along_axis(vector, jnp.argmax(jnp.abs(vector), axis=0)[None, :], axis=0)
    return SymmetricEigen(value, vector * jnp.where(largest < 0, -1, 1))


def symmetric_power(matrix: Float[Array, "n n"], power: float) -> Float[Array, "n n"]:
    """``A^power`` of a positive semi-definite matrix, on its range.

    Eigenvalues below ``n eps max(value)`` count as zero and stay zero, so that negative powers are
    those of the pseudo-inverse.
    """
    value, vector = symmetric_eigen(matrix)
    floor = value.shape[0] * jnp.finfo(value.dtype).eps * jnp.max(jnp.abs(value))
    held = value > floor
    powered = jnp.where(held, jnp.where(held, value, 1) ** power, 0)
    return (vector * powered[None, :]) @ vector.T


def symmetric_sqrt(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Symmetric square root of a positive semi-definite matrix."""
    return symmetric_power(matrix, 0.5)


def positive_inverse(matrix: Float[Array, "n n"]) -> Float[jax.Array, "n n"]:
    """Inverse of a positive definite matrix, symmetric by construction; NaN if it is not."""
    root = jnp.linalg.cholesky(matrix)
    eye = jnp.eye(root.shape[0], dtype=root.dtype)
    half = jax.scipy.linalg.solve_triangular(root, eye, lower=True)
    return half.T @ half


def precision(gaussian: Population) -> Float[jax.Array, "n n"]:
    """Inverse covariance of one Gaussian, or of the moments of a mixture; symmetric."""
    return positive_inverse(jnp.asarray(gaussian.covariance))


class Quadrature(NamedTuple):
    """Nodes and weights with ``E g(z) ≈ Σ_k weight_k g(node_k)`` for z ~ N(0, 1)."""

    node: Float[np.ndarray, " node"]
    weight: Float[np.ndarray, " node"]


@lru_cache(maxsize=32)
def gauss_hermite(num_nodes: int) -> Quadrature:
    """Gauss-Hermite rule for the standard normal; exact for polynomials below ``2 num_nodes``.

    Args:
        num_nodes: Number of nodes, at least 1.

    Raises:
        ValueError: ``num_nodes`` is below 1.
    """
    if num_nodes < 1:
        raise ValueError(f"a quadrature rule needs at least one node, got {num_nodes}")
    node, weight = np.polynomial.hermite_e.hermegauss(num_nodes)
    weight = weight / weight.sum()
    node.setflags(write=False)
    weight.setflags(write=False)
    return Quadrature(node, weight)


def logit_shrinkage(variance: Float[Array, "*batch"] | float) -> Float[jax.Array, "*batch"]:
    """κ = 1 / √(1 + π c / 8): E σ(z + ε) is nearly σ(κ z) for ε ~ N(0, c).

    Args:
        variance: c ≥ 0.

    References:
        MacKay (1992), "The evidence framework applied to classification networks".
    """
    return jax.lax.rsqrt(1 + jnp.pi * jnp.asarray(variance, jnp.result_type(float)) / 8)
