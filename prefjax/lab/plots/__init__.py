"""Figures and tables of a paper, from saved tidy results only.

Functions take an Arrow table with the columns of ``prefjax.lab.runs.SCHEMA``, or plain arrays, and
give a Matplotlib figure or Markdown. Rows of single seeds become a mean with Student's t interval
over seeds; a row without a seed is a summary already and is drawn as it stands.
"""

from prefjax.lab.plots.curves import learning_curves
from prefjax.lab.plots.diagnostics import reliability, scree
from prefjax.lab.plots.strips import lines, strip
from prefjax.lab.plots.style import LABELS, METHOD_COLORS, STYLE, label, method_colors
from prefjax.lab.plots.tables import make_table

__all__ = [
    "LABELS",
    "METHOD_COLORS",
    "STYLE",
    "label",
    "learning_curves",
    "lines",
    "make_table",
    "method_colors",
    "reliability",
    "scree",
    "strip",
]
