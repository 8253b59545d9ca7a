"""``python -m experiments.real_people``."""

from experiments.real_people import PRESETS, plot, run
from prefjax.lab import runs

runs.main(PRESETS, run, plot)
