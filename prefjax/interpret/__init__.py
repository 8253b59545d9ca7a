"""What the axes of a basis mean: labels that are tested, people on the axes, sparse features.

    axes = make_axes(model.basis, model.people, embeddings, group)
    naming = name_axes(axes, dataset, PropertyReader(style_properties(dataset.responses)))
    naming.names                               # "more questions vs. fewer questions", …, "unnamed"

`explain` writes all of it into a folder; ``prefjax explain`` calls it.
"""

from prefjax.interpret._explain import explain, write_report
from prefjax.interpret._name_axes import name_axes
from prefjax.interpret.axes import (
    Axes,
    center_by_group,
    ends,
    make_axes,
    place_axes,
    turn_axes,
    varimax,
)
from prefjax.interpret.card import Standing, card_html, follow_answers, person_card, standing_of
from prefjax.interpret.choices import ChoicePrediction, predict_choices
from prefjax.interpret.fidelity import Fidelity, auc_matrix, fidelity, holm, random_directions
from prefjax.interpret.figures import (
    STYLE,
    axis_bars,
    axis_page,
    label_matrix,
    variance_interval,
)
from prefjax.interpret.intruder import Intruder, find_intruders
from prefjax.interpret.judge_reader import JudgeReader, read_label
from prefjax.interpret.naming import UNNAMED, NamedAxis, Naming, NamingConfig
from prefjax.interpret.pairs import Pairs, Parts, make_parts
from prefjax.interpret.properties import (
    Properties,
    content_properties,
    correlations,
    join_properties,
    own_properties,
    style_properties,
)
from prefjax.interpret.readers import Label, PropertyReader, Reader
from prefjax.interpret.sparse import SparseCode, SparseConfig, fit_sparse_code
from prefjax.interpret.sparse_people import SparseFit, fit_sparse, sparse_axes
from prefjax.interpret.stability import Matching, match_axes, stability

__all__ = [
    "STYLE",
    "UNNAMED",
    "Axes",
    "ChoicePrediction",
    "Fidelity",
    "Intruder",
    "JudgeReader",
    "Label",
    "Matching",
    "NamedAxis",
    "Naming",
    "NamingConfig",
    "Pairs",
    "Parts",
    "Properties",
    "PropertyReader",
    "Reader",
    "SparseCode",
    "SparseConfig",
    "SparseFit",
    "Standing",
    "auc_matrix",
    "axis_bars",
    "axis_page",
    "card_html",
    "center_by_group",
    "content_properties",
    "correlations",
    "ends",
    "explain",
    "fidelity",
    "find_intruders",
    "fit_sparse",
    "fit_sparse_code",
    "follow_answers",
    "holm",
    "join_properties",
    "label_matrix",
    "make_axes",
    "make_parts",
    "match_axes",
    "name_axes",
    "own_properties",
    "person_card",
    "place_axes",
    "predict_choices",
    "random_directions",
    "read_label",
    "sparse_axes",
    "stability",
    "standing_of",
    "style_properties",
    "turn_axes",
    "variance_interval",
    "varimax",
    "write_report",
]
