"""A folder that says what a model's axes mean: tables, figures, pages, cards.

report.md            what was found and how it was tested
axes.json            every number of it
axis_bars.png        Fig. 5 with labels and intervals
label_matrix.png     every label on every axis
axis_01.png …        one page an axis
person_<name>.png, person_<name>.html    a card
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from prefjax.data import Dataset, Split
from prefjax.interpret import card, figures
from prefjax.interpret._name_axes import DEFAULT, name_axes
from prefjax.interpret._summary import summary, to_json
from prefjax.interpret.axes import Axes, Rotation, make_axes
from prefjax.interpret.naming import Naming, NamingConfig
from prefjax.interpret.properties import (
    Properties,
    content_properties,
    join_properties,
    style_properties,
)
from prefjax.interpret.readers import PropertyReader, Reader
from prefjax.io.atomic import write_atomically
from prefjax.model import PreferenceModel
from prefjax.types import BASELINE, Array, Gaussian

MOST_PAGES = 16
"""Axes with a page of their own, those of largest variance."""


def default_properties(dataset: Dataset) -> Properties:
    """What is known of texts without anybody's help: style and content.

    Args:
        dataset: Whose responses.
    """
    return join_properties(
        style_properties(dataset.responses), content_properties(dataset.responses)
    )


def groups_of(dataset: Dataset) -> np.ndarray:
    """Prompt of each response, or one for all where people judge each response by itself.

    Args:
        dataset: Its comparisons say which it is.
    """
    votes = bool((np.asarray(dataset.comparisons.second) == BASELINE).any())
    return np.zeros(dataset.num_responses, int) if votes else np.asarray(dataset.prompt_index)


def explain(
    model: PreferenceModel,
    dataset: Dataset,
    embeddings: Float[Array, "response input"],
    folder: str | Path,
    *,
    split: Split | None = None,
    persons: Sequence[Any] = (),
    properties: Properties | None = None,
    reader: Reader | None = None,
    refits: Mapping[str, Sequence[Axes]] = MappingProxyType({}),
    rotation: Rotation = "varimax",
    config: NamingConfig = DEFAULT,
) -> tuple[Axes, Naming]:
    """Names the axes of a model, tests the names, and writes a report.

    Args:
        model: From `prefjax.fit` or `prefjax.load`.
        dataset: Texts, in the order of the embeddings.
        embeddings: Of the encoder that the model was fitted with.
        folder: Made if needed; files of the same names are replaced.
        split: The split whose training cell the model was fitted to. Without it labels are tested
            on prompts that the model may have seen, and nobody's choices are predicted; the report
            says so.
        persons: Training people who get a card, by name.
        properties: Known properties; style and content of the texts by default.
        reader: Who proposes and applies labels; the properties by default.
        refits: Other fits on the same responses, by kind; see `name_axes`.
        rotation: Of the axes; see `make_axes`.
        config: Settings of the test.

    Returns:
        The axes and what their names were put through.

    Raises:
        KeyError: A person is not in the model.
        ValueError: Embeddings and responses differ in number, or there is too little to test on.
    """
    if len(np.asarray(embeddings)) != dataset.num_responses:
        raise ValueError(
            f"{len(np.asarray(embeddings))} embeddings for {dataset.num_responses} responses"
        )
    for person in persons:
        model.person(person)  # names who is missing
    known = default_properties(dataset) if properties is None else properties
    shown = None if split is None else ~np.asarray(split.is_new_response)
    axes = make_axes(
        model.basis, model.people, embeddings, groups_of(dataset), shown=shown, rotation=rotation
    )
    naming = name_axes(
        axes,
        dataset,
        PropertyReader(known) if reader is None else reader,
        split=split,
        refits=refits,
        embeddings=embeddings,
        config=config,
    )
    cards = {
        person: _standing_of(axes, dataset, person, model.users.index(person)) for person in persons
    }
    write_report(folder, axes, naming, dataset, properties=known, cards=cards, split=split)
    return axes, naming


def _standing_of(axes: Axes, dataset: Dataset, person: Any, index: int) -> card.Standing:
    """Where a training person stands after each of the own rows, in the order of the data set.

    The data set may hold other people than the model; then only the last belief is known.
    """
    rows = dataset.comparisons
    own = np.zeros(0, int)
    if str(person) in dataset.users:
        own = np.flatnonzero(np.asarray(rows.user) == dataset.user_id(str(person)))
    if not len(own):
        belief = Gaussian(axes.people.mean[index], axes.people.covariance[index])
        return card.standing_of(axes, [belief])
    first, second = np.asarray(rows.first)[own], np.asarray(rows.second)[own]
    label = np.asarray(rows.label)[own]
    return card.follow_answers(axes, axes.pair_gap(first, second), label)


def write_report(
    folder: str | Path,
    axes: Axes,
    naming: Naming,
    dataset: Dataset,
    *,
    properties: Properties | None = None,
    cards: dict[Any, card.Standing] | None = None,
    split: Split | None = None,
) -> None:
    """Writes the files of the module docstring.

    Args:
        folder: Made if needed.
        axes: From `make_axes`.
        naming: From `name_axes`.
        dataset: Texts.
        properties: Known properties, for the pages.
        cards: Where people stand, by name.
        split: As it was given to `name_axes`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "axis_bars.png": figures.axis_bars(axes, naming),
        "label_matrix.png": figures.label_matrix(naming),
    }
    for axis in np.argsort(-axes.variance)[:MOST_PAGES].tolist():
        name = f"axis_{axis + 1:02d}.png"
        drawn[name] = figures.axis_page(axes, axis, dataset, naming, properties=properties)
    for name, figure in drawn.items():
        _write(folder / name, card.to_png(figure))
    written = []
    for person, standing in (cards or {}).items():
        name = file_name(person)
        picture = card.person_card(f"Person {person}", standing, naming)
        _write(folder / f"{name}.png", card.to_png(picture))
        page = card.card_html(f"Person {person}", standing, naming)
        _write(folder / f"{name}.html", page.encode())
        written.append(name)
    _write(folder / "axes.json", (json.dumps(to_json(naming), indent=1) + "\n").encode())
    _write(folder / "report.md", summary(axes, naming, split=split, cards=written).encode())


def file_name(person: Any) -> str:
    """A file name for any person's name, different for different people.

    Args:
        person: Name or number.

    >>> file_name("w12"), file_name("../x") != file_name("--/x")
    ('person_w12', True)
    """
    text = str(person)
    plain = re.sub(r"[^A-Za-z0-9-]", "", text)[:40]
    mark = "" if plain == text else "_" + text.encode().hex()[:32]
    return f"person_{plain}{mark}"


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda partial: partial.write_bytes(content))
