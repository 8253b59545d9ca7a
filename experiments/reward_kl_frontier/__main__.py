"""``python -m experiments.reward_kl_frontier``."""

from experiments.reward_kl_frontier import PRESETS, plot, run
from prefjax.lab import runs

runs.main(PRESETS, run, plot)
