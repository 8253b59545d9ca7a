"""``python -m experiments.report``."""

import tyro

from experiments.report import main

tyro.cli(main)
