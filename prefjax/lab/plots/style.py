"""Sizes, colors and names that every figure shares.

Colors are those of Okabe and Ito, told apart by readers with any color vision; a method keeps its
color in every figure.
"""

from collections.abc import Iterable, Mapping
from typing import Any

COLUMN_WIDTH, PAGE_WIDTH = 3.9, 7.0
"""Inches; sizes in points below are right for a figure printed at its own width."""

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.titlelocation": "left",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}
"""Matplotlib settings of every figure; sizes in points."""

METHOD_COLORS: Mapping[str, str] = {
    "pref": "#0072B2",
    "pref-map": "#D55E00",
    "per-user": "#009E73",
    "population": "#4D4D4D",
}
OTHER_COLORS = (
    *("#CC79A7", "#E69F00", "#56B4E9", "#B8A800", "#7F3C8D", "#8C564B"),
    *("#A6CEE3", "#B2DF8A", "#FB9A99", "#1B7837"),
)
CONTROL_COLOR = "#999999"
DASHES = ((0, ()), (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
CONTROL_DASHES = ((0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1)))

LABELS: Mapping[str, str] = {
    "pref": "PReF (marginal)",
    "pref-map": "PReF as published",
    "per-user": "per-user model",
    "population": "population model",
    "bradley-terry": "Bradley–Terry",
    "lore": "LoRe",
    "clusters": "worker clusters",
    "pal-a": "PAL-A",
    "pal-b": "PAL-B",
    "vpl": "VPL",
    "micro": "MiCRo",
    "gpm": "GPM",
    "p-rlhf": "P-RLHF",
    "length-only": "length only",
    "prism-shaped": "PRISM's shape (simulated)",
    "planted": "planted (simulated)",
    "random": "random questions",
    "d_optimal": "D-optimal questions",
    "bald": "BALD questions",
    "v_optimal": "V-optimal questions",
    "eq8": "questions by Eq. 8",
    "wrong-user": "another user's weights",
    "shuffled-users": "users shuffled",
    "attributes": "Attributes (simulated)",
    "jester5k": "Jester jokes",
    "polis_bowling_green": "Polis Bowling Green",
    "dices350": "DICES-350",
    "value_portrait": "Value Portrait",
    "ukpconvarg": "UKPConvArg",
    "auc_user": "AUC (mean over users)",
    "auc_pooled": "AUC (pooled)",
    "nll": "negative log-likelihood (nats)",
    "ece": "expected calibration error",
    "win_rate": "win rate",
    "minus_population": "AUC, personal − population",
    "minus_bradley_terry": "AUC, personal − Bradley–Terry",
}
"""What the names in results are called in figures; a name without an entry stands for itself."""


def label(name: str) -> str:
    """How a name in the results is called in figures.

    >>> label("pref-map"), label("unknown")
    ('PReF as published', 'unknown')
    """
    return LABELS.get(name, name)


def method_colors(methods: Iterable[str]) -> dict[str, str]:
    """Color of each method, known methods first, the others in order of appearance.

    Args:
        methods: Names of methods, repetitions allowed.
    """
    methods = dict.fromkeys(methods)
    known = {name: color for name, color in METHOD_COLORS.items() if name in methods}
    others = [name for name in methods if name not in METHOD_COLORS]
    return known | {name: OTHER_COLORS[i % len(OTHER_COLORS)] for i, name in enumerate(others)}
