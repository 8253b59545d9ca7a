"""What the families see of a response that everybody meets."""

import numpy as np

from prefjax.lab import compare
from prefjax.lab.compare.represent import item_utility, signed_items
from prefjax.types import BASELINE, Comparisons


def draw_votes(num_users=30, num_items=12, seed=0):
    rng = np.random.default_rng(seed)
    user, item = np.divmod(rng.permutation(num_users * num_items)[:200], num_items)
    label = rng.integers(2, size=200).astype(np.float32)
    second = np.where(item % 2, BASELINE, (item + 1) % num_items).astype(np.int32)
    return Comparisons(user, item.astype(np.int32), second, label, np.ones(200, np.float32))


def test_the_utility_of_items_is_the_optimum_of_its_equation():
    rows = draw_votes()._replace(label=np.linspace(0, 1, 200).astype(np.float32))
    items, utility = signed_items(rows, 12), item_utility(rows, 12)
    slope = items.T @ (rows.label - 1 / (1 + np.exp(-(items @ utility))))
    np.testing.assert_allclose(slope, utility, atol=2e-3)


def test_item_vectors_are_the_singular_vectors_of_what_the_utility_leaves():
    """The vector of a planted taste is kept; those of noise are zero columns."""
    rng = np.random.default_rng(0)
    user, item = (part.astype(np.int32) for part in np.divmod(np.arange(360), 12))
    side = rng.choice([-1, 1], 30)[user] * rng.choice([-1, 1], 12)[item]
    label = (rng.random(360) < 0.5 + 0.4 * side).astype(np.float32)
    votes = np.full(360, BASELINE, np.int32)
    rows = Comparisons(user, item, votes, label, np.ones(360, np.float32))
    matrix = compare.represent.residual_matrix(rows, 30, 12)[0].toarray()
    _, values, right = np.linalg.svd(matrix)
    expected = right[0] * values[0]
    block = compare.item_block(rows, 30, np.arange(12), 3)
    np.testing.assert_allclose(
        np.abs(block[:, 1]), np.abs(expected) / np.sqrt(np.mean(expected**2)), atol=1e-5
    )
    np.testing.assert_array_equal(block[:, 2:], 0)
    np.testing.assert_allclose(np.mean(block[:, 0] ** 2), 1, rtol=1e-5)
    noise = rows._replace(label=rng.integers(2, size=360).astype(np.float32))
    np.testing.assert_array_equal(compare.item_block(noise, 30, np.arange(12), 3)[:, 1:], 0)


def test_groups_are_shuffled_as_wholes():
    """What a person says of one unit stays together, with one of those who spoke of it."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(5), 6)
    first = np.tile([0, 0, 1, 3, 3, 4], 5)
    second = np.tile([1, 2, 2, 4, 5, 5], 5)
    rows = Comparisons(user, first, second, rng.random(30), np.arange(30.0))
    shuffled = compare.represent.shuffle_groups(rng, rows, np.array([0, 0, 0, 1, 1, 1]))
    for column in range(1, 5):
        np.testing.assert_array_equal(shuffled[column], rows[column])
    whole = shuffled.user.reshape(5, 2, 3)
    np.testing.assert_array_equal(whole[:, :, 0], whole[:, :, 2])
    np.testing.assert_array_equal(np.sort(whole[:, :, 0], axis=0), np.arange(5)[:, None] * [1, 1])
    assert (whole[:, 0, 0] != whole[:, 1, 0]).any()


def test_blocks_of_a_sum_have_components_and_unit_size_of_their_own():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((30, 5)), 1000 * rng.standard_normal((30, 4))
    both = compare.text_block(np.concatenate([one, other], 1), np.arange(20), 3, blocks=(5, 4))
    assert both.shape == (30, 6)
    for place, part in enumerate((one, other)):
        alone = compare.text_block(part, np.arange(20), 3)
        np.testing.assert_allclose(both[:, place::2], alone, atol=1e-6)
