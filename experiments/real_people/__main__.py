"""``python -m experiments.real_people``."""

from experiments.real_people import PRESETS, plot, run
from prefjax import runs

runs.main(PRESETS, run, plot)
