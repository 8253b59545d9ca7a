"""What only experiments need: comparisons, planted worlds, run folders and figures.

`check_family` tells whether a family of reward models, registered or not, keeps its contract.
"""

from prefjax.lab.check import check_family

__all__ = ["check_family"]
