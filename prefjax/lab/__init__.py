"""What only experiments need: comparisons, simulated worlds, run folders, rows and figures.

`check_family` tells whether a family of reward models, registered or not, keeps its contract; `row`
is the one way to write a line of results.
"""

from prefjax.lab.check import check_family
from prefjax.lab.rows import RANGES, curve, interval_of, row, show

__all__ = ["RANGES", "check_family", "curve", "interval_of", "row", "show"]
