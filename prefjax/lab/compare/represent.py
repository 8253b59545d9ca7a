"""What the families see of a response: fixed embeddings, the same for every family.

Where new people are tested on prompts that nobody saw, the text is all there is:

    e = principal components of the text's embedding, fitted to training responses.

Where everybody meets the same items (jokes, statements, replies, arguments), an item is also what
training people made of it, which no text says. Free item factors for every family would be one-hot
rows, too wide for the families with networks; three blocks of equal size say the same in few
numbers:

    e = [ text ;  t ;  V S ],    t = argmin Σ ℓ(t_a − t_b, y) + ½ ‖t‖²,    A ≈ U S Vᵀ

with ``A[u, item] = Σ ±(y − σ(t_a − t_b))`` over the rows of training person u, so that V S are the
leading singular vectors of what people do that the utility t does not explain. Only rows that the
families are fitted to enter; the rows of held-out people never do. Singular values that people also
reach when each group's answers are shuffled among those who gave them are noise, and their
columns are zero: a family that holds back training people of its own would find their answers in
them again.

References:
    Horn (1965), A rationale and test for the number of factors (parallel analysis).
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import svds
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from prefjax.types import BASELINE, Array, Comparisons

NUM_NULLS = 4


def text_block(
    embedding: Float[np.ndarray, "response feature"],
    shown: Array,
    width: int,
    *,
    blocks: Sequence[int] = (),
) -> Float[np.ndarray, "response input"]:
    """Principal components of text embeddings at unit mean squared length.

    Args:
        embedding: Embedding of every text.
        shown: The responses that define the components: those of training rows.
        width: Components; columns of zeros where there are fewer texts.
        blocks: Widths of the blocks of a sum of encoders, each of which gets ``width`` components
            and unit size of its own; first the first component of each, then the second.
    """
    if len(blocks) > 1:
        parts = np.split(embedding, np.cumsum(blocks)[:-1], axis=1)
        made = [text_block(part, shown, width) for part in parts]
        return np.stack(made, axis=2).reshape(len(embedding), -1)
    rank = min(width, len(shown), embedding.shape[1])
    axes = PCA(rank, svd_solver="covariance_eigh").fit(embedding[shown])
    block = unit_size(axes.transform(embedding), shown)
    return np.pad(block, ((0, 0), (0, width - rank)))


def unit_size(
    block: Float[np.ndarray, "response input"], shown: Array
) -> Float[np.ndarray, "response input"]:
    """The block divided by the root mean square length of its shown rows."""
    size = np.sqrt(np.mean(np.sum(np.square(block[shown]), axis=1)))
    return (block / max(size, np.finfo(np.float32).tiny)).astype(np.float32)


def signed_items(rows: Comparisons, num_responses: int) -> sparse.csr_array:
    """+1 at the first and −1 at the second response of every row; the baseline has no column."""
    number = np.arange(len(rows.user))
    paired = np.flatnonzero(rows.second != BASELINE)
    values = np.concatenate([np.ones(len(number)), -np.ones(len(paired))])
    places = np.concatenate([number, paired]), np.concatenate([rows.first, rows.second[paired]])
    return sparse.csr_array((values, places), shape=(len(number), num_responses))


def item_utility(rows: Comparisons, num_responses: int) -> Float[np.ndarray, " response"]:
    """T of the module's equation: what all people make of each item."""
    items = signed_items(rows, num_responses)
    model = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-6, max_iter=500)
    label = np.asarray(rows.label, np.float64)
    # A soft label is a row of each kind; rows of weight 0 cost nothing.
    both = np.repeat([1, 0], len(label))
    weight = np.concatenate([rows.sample_weight * label, rows.sample_weight * (1 - label)])
    counted = weight > 0
    rows_twice = sparse.vstack([items, items]).tocsr()
    model.fit(rows_twice[counted], both[counted], weight[counted])
    return model.coef_[0]


def residual_matrix(
    rows: Comparisons, num_users: int, num_responses: int
) -> tuple[sparse.csr_array, Float[np.ndarray, " response"]]:
    """A of the module's equation, people by items, and the utility t.

    Args:
        rows: Training rows.
        num_users: How many people they are of.
        num_responses: Items.
    """
    items = signed_items(rows, num_responses)
    utility = item_utility(rows, num_responses)
    residual = rows.sample_weight * (rows.label - 1 / (1 + np.exp(-(items @ utility))))
    places = rows.user, np.arange(len(rows.user))
    people = sparse.csr_array((residual, places), shape=(num_users, len(rows.user)))
    return sparse.csr_array(people @ items, dtype=np.float64), utility


def shuffle_groups(
    rng: np.random.Generator, rows: Comparisons, group: Int[np.ndarray, " response"]
) -> Comparisons:
    """The same rows, each group's shuffled as wholes among the people who answered about it.

    What one person says inside a group stays together, so that it is as consistent as it was; only
    what one group tells of another is lost. A row between groups is a whole of its own.

    Args:
        rng: Generator of the shuffle.
        rows: Training rows.
        group: Group of every response.
    """
    first = group[rows.first]
    inside = (rows.second == BASELINE) | (group[rows.second] == first)
    user = np.array(rows.user)
    user[~inside] = rng.permutation(user[~inside])
    members = np.flatnonzero(inside)
    members = members[np.argsort(first[members], kind="stable")]
    for some in np.split(members, np.flatnonzero(np.diff(first[members])) + 1):
        people, place = np.unique(user[some], return_inverse=True)
        user[some] = rng.permutation(people)[place]
    return rows._replace(user=user)


def leading(
    matrix: sparse.csr_array, width: int
) -> tuple[Float[np.ndarray, " vector"], Float[np.ndarray, "vector column"]]:
    """The largest singular values and their right vectors."""
    smaller = min(cast(tuple[int, int], matrix.shape))
    start = np.random.default_rng(0).standard_normal(smaller)
    _, values, right = svds(matrix, k=min(width, smaller - 1), v0=start)
    order = np.argsort(-values)
    return values[order], np.asarray(right)[order]


def item_block(
    rows: Comparisons,
    num_users: int,
    group: Int[np.ndarray, " response"],
    width: int,
) -> Float[np.ndarray, "response input"]:
    """``[t ; V S]``, both at unit mean squared length.

    Args:
        rows: Training rows.
        num_users: How many people they are of.
        group: Group of every response; what is shuffled as a whole to tell taste from noise.
        width: Singular vectors; zero where they are noise, or the matrix has fewer.
    """
    matrix, utility = residual_matrix(rows, num_users, len(group))
    values, right = leading(matrix, width)
    rng = np.random.default_rng(0)
    nulls = [
        leading(residual_matrix(shuffle_groups(rng, rows, group), num_users, len(group))[0], width)[
            0
        ]
        for _ in range(NUM_NULLS)
    ]
    is_taste = np.cumprod(values > np.max(nulls, axis=0))
    vectors = (right * (values * is_taste)[:, None]).T
    vectors = np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))
    every_response = np.arange(len(group))
    return np.concatenate(
        [unit_size(utility[:, None], every_response), unit_size(vectors, every_response)], axis=1
    )
