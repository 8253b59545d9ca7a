"""``python -m experiments.uses_of_uncertainty``."""

from experiments.uses_of_uncertainty import PRESETS, plot, run
from prefjax.lab import runs

runs.main(PRESETS, run, plot)
