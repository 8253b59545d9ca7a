"""``python -m experiments.quickstart``."""

from experiments.quickstart import PRESETS, plot, run
from prefjax.lab import runs

runs.main(PRESETS, run, plot)
