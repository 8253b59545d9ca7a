"""Where the language model lies that comes with the package."""

from pathlib import Path

OFFLINE = Path(__file__).parent / "offline"
"""A Hugging Face folder: a Qwen2 of 4 M parameters that answers the prompts of the Attributes world
in all styles. Made by ``python -m experiments.train_offline_lm``; see the README in it."""
