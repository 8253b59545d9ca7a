"""Every leak is planted once and found, and its clean twin passes."""

from dataclasses import replace

import numpy as np
import pytest

from prefjax.data.audit import LeakError, audit, audit_split
from prefjax.data.dataset import Dataset
from prefjax.data.marks import MARKS
from prefjax.data.shared_items import SharedItemsConfig, split_shared_items
from prefjax.data.split import four_cells
from prefjax.types import Comparisons

NUM_PAIRS = 400


def clean(seed=0):
    """Each pair is two texts of its own; half of the time the first wins."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(2 * NUM_PAIRS).reshape(NUM_PAIRS, 2)
    prompt_index = np.empty(2 * NUM_PAIRS, dtype=np.int32)
    prompt_index[ids] = np.arange(NUM_PAIRS)[:, None]
    return Dataset(
        name="clean",
        comparisons=Comparisons(
            user=rng.integers(0, 20, NUM_PAIRS),
            first=ids[:, 0],
            second=ids[:, 1],
            label=rng.integers(0, 2, NUM_PAIRS),
            sample_weight=np.ones(NUM_PAIRS),
        ),
        responses=tuple(f"Answer {index} is this." for index in range(2 * NUM_PAIRS)),
        prompt_index=prompt_index,
        prompts=tuple(f"question {index}" for index in range(NUM_PAIRS)),
        users=tuple(f"user {index}" for index in range(20)),
        meta={},
    )


def render(data, which, how, share=1.0):
    """Rewrite the chosen, the rejected or all texts of some of the pairs."""
    rows = data.comparisons
    chosen = np.where(rows.label > 0.5, rows.first, rows.second)
    rejected = np.where(rows.label > 0.5, rows.second, rows.first)
    some = np.arange(NUM_PAIRS) < share * NUM_PAIRS
    ids = {"chosen": chosen, "rejected": rejected, "all": np.concatenate([chosen, rejected])}[which]
    touched = {*ids[np.tile(some, len(ids) // NUM_PAIRS)].tolist()}
    texts = (how(text) if row in touched else text for row, text in enumerate(data.responses))
    return replace(data, responses=tuple(texts))


def test_clean_data_pass_with_figures():
    data = clean()
    report = audit(data, four_cells(data))
    wins = data.comparisons.label > 0.5
    assert report.num_pairs == NUM_PAIRS
    assert report.first_wins == wins.mean()
    smaller = data.comparisons.first < data.comparisons.second
    assert report.smaller_id_wins == (smaller == wins).mean()


@pytest.mark.parametrize("how", [str, str.upper, lambda text: f"  {text}\n"])
def test_a_text_in_two_cells_is_found(how):
    data = clean()
    split = four_cells(data)
    seen, held = (cell.first[0] for cell in (split.train, split.test))
    texts = list(data.responses)
    texts[held] = how(texts[seen])
    with pytest.raises(LeakError, match="response texts of new groups are also seen"):
        audit(replace(data, responses=tuple(texts)), split)


def test_a_prompt_in_two_cells_is_found():
    data = clean()
    split = four_cells(data)
    seen, held = (data.prompt_index[cell.first[0]] for cell in (split.train, split.test))
    prompts = list(data.prompts)
    prompts[held] = prompts[seen].title()
    with pytest.raises(LeakError, match="prompt texts of new groups are also seen"):
        audit(replace(data, prompts=tuple(prompts)), split)


def test_users_and_rows_in_two_cells_are_found():
    data = clean()
    split = four_cells(data)
    with pytest.raises(LeakError, match="is in two cells"):
        audit(data, split._replace(calibration=split.test))
    with pytest.raises(LeakError, match="are also known users"):
        audit(data, split._replace(new_users=split.known_users[: len(split.new_users)]))


def test_position_and_id_order_that_give_the_label_away_are_found():
    data = clean()
    rows = data.comparisons
    always = rows._replace(label=np.ones(NUM_PAIRS))
    with pytest.raises(LeakError, match="the first response of a pair is preferred in 100"):
        audit(replace(data, comparisons=always))
    by_id = rows._replace(label=(rows.first < rows.second).astype(np.float32))
    with pytest.raises(LeakError, match="smaller id is preferred in 100"):
        audit(replace(data, comparisons=by_id))
    with pytest.raises(LeakError, match="smaller id is preferred in 0"):
        audit(replace(data, comparisons=by_id._replace(label=1 - by_id.label)))
    audit(data)


RENDERINGS = {
    "a printed list": lambda text: f"['{text}']",
    "quotes around it": lambda text: f'"{text}"',
    "a trailing space": lambda text: f"{text} ",
    "a leading space": lambda text: f" {text}",
    "an escaped newline": lambda text: f"Well:\\n{text}",
    "an encoding fault": lambda text: text.replace("is", "isâ€™"),
    "an HTML entity": lambda text: text.replace("is", "&amp;"),
    "a special token": lambda text: f"{text}</s>",
    "markdown bullets": lambda text: f"- {text}",
    "closing punctuation": lambda text: text.removesuffix("."),
}


@pytest.mark.parametrize("which", ["chosen", "rejected"])
@pytest.mark.parametrize("how", RENDERINGS.values(), ids=RENDERINGS)
def test_a_rendering_of_one_side_is_found(which, how):
    with pytest.raises(LeakError, match="The format gives the label away"):
        audit(render(clean(), which, how))


@pytest.mark.parametrize("how", RENDERINGS.values(), ids=RENDERINGS)
def test_a_rendering_of_both_sides_passes(how):
    audit(render(clean(), "all", how))


def test_a_rendering_of_a_tenth_of_the_pairs_is_found_and_a_single_odd_text_is_not():
    with pytest.raises(LeakError, match="a printed list is the rejected one"):
        audit(render(clean(), "rejected", RENDERINGS["a printed list"], share=0.1))
    audit(render(clean(), "rejected", RENDERINGS["a printed list"], share=1 / NUM_PAIRS))


def test_marks_say_what_their_names_say():
    assert {name for name in RENDERINGS if MARKS[name](RENDERINGS[name]("It is so."))} == (
        set(RENDERINGS) - {"closing punctuation"}
    )
    plain = "Take the bus; it is cheaper.\n\nThen walk (ten minutes)."
    assert {name for name, mark in MARKS.items() if mark(plain)} == {
        "several lines",
        "closing punctuation",
    }


def test_leaks_between_answers_and_tests_are_found():
    data = clean()
    split = split_shared_items(data, SharedItemsConfig(num_new_users=5, min_tests=2))
    audit_split(data, split)
    train_users = split.new_users[np.arange(len(split.known_users)) % len(split.new_users)]
    with pytest.raises(LeakError, match="are also known users"):
        audit_split(data, split._replace(known_users=train_users))
    answers, tests = split.by_user("calibration"), split.by_user("test")
    texts = list(data.responses)
    texts[tests.first[2, 0]] = texts[answers.first[2, 0]].upper()
    with pytest.raises(LeakError, match=f"first by user {split.new_users[2]}: 'A"):
        audit_split(replace(data, responses=tuple(texts)), split)
    swapped = split.calibration._replace(
        first=split.calibration.second, second=split.calibration.first
    )
    with pytest.raises(LeakError, match="both answered and tested by one user"):
        audit_split(data, split._replace(test=swapped))
    with pytest.raises(LeakError, match="is in two cells"):
        audit_split(data, split._replace(test=split.calibration))
