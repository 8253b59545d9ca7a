"""The four cells partition users and groups; shared items keep answers and tests apart."""

from dataclasses import replace

import numpy as np
import pytest

from prefjax.data.audit import audit_split
from prefjax.data.dataset import Dataset
from prefjax.data.same_text import group_responses
from prefjax.data.shared_items import (
    RatingsConfig,
    SharedItemsConfig,
    split_ratings,
    split_shared_items,
)
from prefjax.data.split import CELLS, four_cells, split_new_prompts
from prefjax.data.votes import votes_to_comparisons
from prefjax.types import BASELINE, Comparisons

NUM_USERS, NUM_PROMPTS, PER_PROMPT = 30, 20, 4


def prompted(seed=0, num_rows=3000):
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, NUM_PROMPTS, num_rows)
    first, gap = rng.integers(0, PER_PROMPT, num_rows), rng.integers(1, PER_PROMPT, num_rows)
    return Dataset(
        name="toy",
        comparisons=Comparisons(
            user=rng.integers(0, NUM_USERS, num_rows),
            first=prompt * PER_PROMPT + first,
            second=prompt * PER_PROMPT + (first + gap) % PER_PROMPT,
            label=rng.integers(0, 2, num_rows),
            sample_weight=np.ones(num_rows),
        ),
        responses=tuple(f"answer {index}" for index in range(NUM_PROMPTS * PER_PROMPT)),
        prompt_index=np.repeat(np.arange(NUM_PROMPTS), PER_PROMPT),
        prompts=tuple(f"question {index}" for index in range(NUM_PROMPTS)),
        users=tuple(f"user {index}" for index in range(NUM_USERS)),
        meta={},
    )


def voted(num_items=40):
    rng = np.random.default_rng(1)
    user, item = np.nonzero(rng.random((NUM_USERS, num_items)) < 0.9)
    return Dataset(
        name="votes",
        comparisons=votes_to_comparisons(user, item, rng.choice([-1, 1], len(user))),
        responses=tuple(f"statement {index}" for index in range(num_items)),
        prompt_index=np.zeros(num_items, dtype=np.int32),
        prompts=("",),
        users=tuple(f"user {index}" for index in range(NUM_USERS)),
        meta={},
    )


@pytest.mark.parametrize("kind", ["prompt", "response"])
def test_cells_are_the_product_of_two_cuts(kind):
    data = prompted()
    split = four_cells(data, group=kind, seed=3)
    rows = data.comparisons
    is_new_user = np.isin(rows.user, split.new_users)
    new = split.is_new_response
    assert len(split.new_users) == 6
    assert new.sum() == 16
    for name, user_new, group_new in (
        ("train", False, False),
        ("validation", False, True),
        ("calibration", True, False),
        ("test", True, True),
    ):
        expected = (
            (is_new_user == user_new)
            & (new[rows.first] == group_new)
            & (new[rows.second] == group_new)
        )
        cell = getattr(split, name)
        users = split.new_users if user_new else split.known_users
        np.testing.assert_array_equal(users[cell.user], rows.user[expected])
        for column in ("first", "second", "label", "sample_weight"):
            np.testing.assert_array_equal(getattr(cell, column), getattr(rows, column)[expected])
    mixed = new[rows.first] != new[rows.second]
    assert split.num_mixed == mixed.sum()
    assert (split.num_mixed == 0) == (kind == "prompt")


def test_a_seed_is_the_split():
    data = prompted()
    one, same, other = (four_cells(data, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.test, same.test)
    assert not np.array_equal(one.new_users, other.new_users)


def test_votes_split_by_response():
    data = voted()
    split = four_cells(data, group="response")
    assert split.num_mixed == 0
    assert sum(len(getattr(split, cell).user) for cell in CELLS) == len(data.comparisons.user)
    with pytest.raises(ValueError, match="at least two groups of one prompt, found 1"):
        four_cells(data, group="prompt")


def test_prompts_that_share_a_text_are_one_group():
    data = prompted()
    prompts = ("Question  1!", *data.prompts[1:])
    responses = (*data.responses[:8], data.responses[0].upper(), *data.responses[9:])
    group = group_responses(replace(data, prompts=prompts, responses=responses), "prompt")
    assert len({*group[:12].tolist()}) == 1
    assert group.max() + 1 == NUM_PROMPTS - 2
    by_text = group_responses(replace(data, responses=responses), "response")
    assert by_text[0] == by_text[8]
    assert by_text.max() + 1 == len(responses) - 1


def test_given_groups_are_never_cut():
    data = prompted()
    conversation = data.prompt_index // 5
    split = four_cells(data, group=conversation, new_groups=0.25)
    assert {*conversation[split.is_new_response].tolist()} & {
        *conversation[~split.is_new_response].tolist()
    } == set()


def test_impossible_splits_say_why():
    with pytest.raises(ValueError, match="inside"):
        four_cells(prompted(), new_users=1.0)
    with pytest.raises(ValueError, match=r"The cell \w+ of data set 'toy' has no row"):
        four_cells(prompted().select(np.arange(3)))


@pytest.mark.parametrize("kind", ["prompt", "response"])
def test_protocol_on_pairs_keeps_every_whole_row_once(kind):
    data = prompted()
    config = SharedItemsConfig(group=kind, num_new_users=8, max_answers=200)
    split = split_shared_items(data, config, seed=5)
    answers, tests = split.by_user("calibration"), split.by_user("test")
    audit_split(data, split)
    group = group_responses(data, kind)
    rows = data.comparisons
    np.testing.assert_array_equal(
        np.sort(split.known_users[split.train.user]),
        np.sort(rows.user[~np.isin(rows.user, split.new_users)]),
    )
    for row, user in enumerate(split.new_users):
        sides = []
        for batch in (answers, tests):
            mask = batch.mask[row]
            sides.append({*group[batch.first[row][mask]], *group[batch.second[row][mask]]})
        assert not sides[0] & sides[1]
        own = rows.user == user
        for batch, side in zip((answers, tests), sides, strict=True):
            inside = np.isin(group[rows.first], [*side]) & np.isin(group[rows.second], [*side])
            assert batch.mask[row].sum() == (own & inside).sum()


def test_protocol_on_votes_tests_half_of_the_agrees_and_half_of_the_disagrees():
    data = voted()
    config = SharedItemsConfig(group="response", by_label=True, num_new_users=9, min_each_label=5)
    split = split_shared_items(data, config, seed=2)
    answers, tests = split.by_user("calibration"), split.by_user("test")
    audit_split(data, split)
    rows = data.comparisons
    for row, user in enumerate(split.new_users):
        for label in (0.0, 1.0):
            total = ((rows.user == user) & (rows.label == label)).sum()
            tested = (tests.mask[row] & (tests.label[row] == label)).sum()
            answered = (answers.mask[row] & (answers.label[row] == label)).sum()
            assert tested == total // 2
            assert answered == total - total // 2
    assert (answers.second == BASELINE).all()


def test_protocol_on_ratings_labels_by_rating_and_halves_the_items():
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=(40, 30)).astype(np.float32)
    ratings[rng.random(ratings.shape) < 0.2] = np.nan
    config = RatingsConfig(20, 10, train_pairs=15, num_answers=12, num_tests=20, min_gap=0.1)
    split = split_ratings(ratings, config)
    answers, tests = split.by_user("calibration"), split.by_user("test")
    assert not {*split.known_users} & {*split.new_users}
    np.testing.assert_array_equal(np.bincount(split.train.user), [15] * 20)
    user = split.known_users[split.train.user]
    gap = ratings[user, split.train.first] - ratings[user, split.train.second]
    np.testing.assert_array_equal(split.train.label, gap > 0)
    for batch, length in ((answers, 12), (tests, 20)):
        assert batch.mask.all()
        assert batch.first.shape == (10, length)
        people = split.new_users[:, None]
        gap = ratings[people, batch.first] - ratings[people, batch.second]
        np.testing.assert_array_equal(batch.label, gap > 0)
    for row in range(10):
        answered = {*answers.first[row], *answers.second[row]}
        assert not answered & {*tests.first[row], *tests.second[row]}
    with pytest.raises(ValueError, match="are asked for"):
        split_ratings(ratings, replace(config, num_new_users=30))


def test_protocols_refuse_what_the_data_cannot_give():
    with pytest.raises(ValueError, match="Only 30 people of 'toy' qualify"):
        split_shared_items(prompted(), SharedItemsConfig(num_new_users=31))
    with pytest.raises(ValueError, match="Nobody of 'toy' is left"):
        split_shared_items(prompted(), SharedItemsConfig(num_new_users=30))
    with pytest.raises(ValueError, match="zero baseline"):
        split_shared_items(prompted(), SharedItemsConfig(by_label=True))


def canned(share, text="I can't help with that.", seed=0):
    """Prompts of which a share has one reply in common, which joins them to one group."""
    data = prompted(seed)
    has = np.random.default_rng(seed).random(NUM_PROMPTS) < share
    responses = list(data.responses)
    for prompt in np.flatnonzero(has).tolist():
        responses[prompt * PER_PROMPT] = text
    return replace(data, responses=tuple(responses))


@pytest.mark.parametrize(("share", "text"), [(0.3, "Sorry, no."), (0.4, "N/A"), (0.5, "…")])
@pytest.mark.parametrize("new_groups", [0.2, 0.3])
def test_shares_are_of_rows_though_a_canned_reply_joins_prompts(share, text, new_groups):
    for seed in range(5):
        data = canned(share, text, seed)
        split = four_cells(data, new_groups=new_groups, seed=seed)
        new = len(split.validation.user) + len(split.test.user)
        assert abs(new / len(data.comparisons.user) - new_groups) <= 0.05 + 1e-9
        assert sum(len(getattr(split, cell).user) for cell in CELLS) == len(data.comparisons.user)
        audit_split(data, split)


@pytest.mark.parametrize("text", ["I cannot answer.", "As an AI, I have no opinion."])
def test_a_reply_that_joins_too_much_is_named(text):
    with pytest.raises(ValueError, match=rf"found 1 \(20 of 20 prompts, joined.*{text}.*20 of"):
        four_cells(canned(1.1, text))
    data = canned(1.1, text)
    responses = (f"another {text}", *data.responses[1:])
    with pytest.raises(ValueError, match=rf"No choice of groups has 20% .*19 of 20.*{text}"):
        four_cells(replace(data, responses=responses))
    four_cells(replace(data, responses=responses), tolerance=0.2)


def test_very_unequal_groups_fill_the_share_or_are_refused():
    data = prompted()
    rows = data.comparisons
    large = rows.first < 2 * PER_PROMPT
    few = data.select(large | (np.arange(len(large)) % 40 == 0))
    with pytest.raises(ValueError, match=r"No choice of groups has 30%.* responses to one prompt"):
        four_cells(few, new_groups=0.3)
    split = four_cells(few, new_groups=0.45, tolerance=0.06)
    share = (len(split.validation.user) + len(split.test.user)) / len(few.comparisons.user)
    assert abs(share - 0.45) <= 0.06


@pytest.mark.parametrize("length", ["row", "one short"])
def test_groups_of_another_length_are_refused(length):
    data = prompted()
    rows = data.comparisons
    group = data.prompt_index[rows.first] if length == "row" else data.prompt_index[:-1]
    with pytest.raises(ValueError, match="one entry for each of 80 responses, got shape"):
        four_cells(data, group=group)
    with pytest.raises(ValueError, match="one entry for each of 80 responses, got shape"):
        split_new_prompts(
            rows,
            known_users=np.arange(20),
            new_users=np.arange(20, 30),
            is_new_response=data.prompt_index < 5,
            group=group,
        )


def test_groups_by_name_and_of_large_numbers_are_the_same_groups():
    data = prompted()
    plain = four_cells(data, group=data.prompt_index, seed=2)
    for group in (
        data.prompt_index.astype(np.int64) + 10**12,
        np.array([f"c{i:02d}" for i in data.prompt_index]),
    ):
        split = four_cells(data, group=group, seed=2)
        np.testing.assert_array_equal(split.is_new_response, plain.is_new_response)
        assert split.group.dtype == np.int32


def test_the_cutter_refuses_people_twice_unknown_responses_and_cut_groups():
    data = prompted()
    settings = {
        "known_users": np.arange(20),
        "new_users": np.arange(20, 30),
        "is_new_response": data.prompt_index < 5,
        "group": data.prompt_index,
    }
    split = split_new_prompts(data.comparisons, **settings)
    audit_split(data, split)
    for change, words in (
        ({"new_users": np.arange(19, 30)}, "User 19 is listed twice"),
        ({"known_users": np.array([0, -1])}, "known_users and new_users must lie"),
        ({"is_new_response": np.arange(80) < 18}, "groups are both seen and new, first group 4"),
        ({"is_new_response": data.prompt_index[:40] < 5, "group": None}, "first must lie in"),
    ):
        with pytest.raises(ValueError, match=words):
            split_new_prompts(data.comparisons, **{**settings, **change})


def test_the_cutter_places_people_by_their_list_however_large_their_ids():
    data = prompted()
    plain = {"is_new_response": data.prompt_index < 5, "group": data.prompt_index}
    split = split_new_prompts(
        data.comparisons, known_users=np.arange(20), new_users=np.arange(20, 30), **plain
    )
    far = data.comparisons._replace(user=data.comparisons.user + 2_000_000_000)
    users = np.arange(30) + 2_000_000_000
    again = split_new_prompts(far, known_users=users[:20], new_users=users[20:], **plain)
    for cell in CELLS:
        for one, other in zip(getattr(split, cell), getattr(again, cell), strict=True):
            np.testing.assert_array_equal(one, other)
    some = split_new_prompts(
        data.comparisons, known_users=np.array([7, 3]), new_users=np.array([5]), **plain
    )
    rows = data.comparisons
    expected = np.isin(rows.user, [3, 7]) & (data.prompt_index[rows.first] >= 5)
    np.testing.assert_array_equal(some.train.user, np.where(rows.user[expected] == 7, 0, 1))
