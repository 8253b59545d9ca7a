"""The Attributes world of the paper as a simulation that works offline.

Simulated people prefer answers by seven attributes (Table 2 of arXiv 2503.06358): length,
formality, humor, elicitation, politeness, enthusiasm, confidence. The parts: ``material`` (prompts,
facts, phrases), ``register`` and ``realize`` (from a recipe to a text), ``judge`` (from any text to
measured attributes), ``choice`` (from a utility gap to a noisy label), ``people`` (weights),
``world`` (all of it together), ``cells`` (its split),
``pool`` (real answers of language models under the same judge).
"""

from prefjax.data.attributes.cells import split_world
from prefjax.data.attributes.choice import (
    ChoiceConfig,
    choose,
    expected_label,
    label_probabilities,
)
from prefjax.data.attributes.judge import (
    Scale,
    default_scale,
    fit_scale,
    measure,
    raw_scores,
    saturate,
)
from prefjax.data.attributes.material import (
    ATTRIBUTES,
    Prompt,
    Sentence,
    load_phrases,
    load_prompts,
)
from prefjax.data.attributes.people import gaussian_users, trait_users
from prefjax.data.attributes.pool import POOL_WORLD, TextPool, load_pool, make_pool_world
from prefjax.data.attributes.realize import realize
from prefjax.data.attributes.world import (
    World,
    WorldConfig,
    draw_style,
    make_world,
    simulate_comparisons,
    utility_gap,
    write_responses,
)

__all__ = [
    "ATTRIBUTES",
    "POOL_WORLD",
    "ChoiceConfig",
    "Prompt",
    "Scale",
    "Sentence",
    "TextPool",
    "World",
    "WorldConfig",
    "choose",
    "default_scale",
    "draw_style",
    "expected_label",
    "fit_scale",
    "gaussian_users",
    "label_probabilities",
    "load_phrases",
    "load_pool",
    "load_prompts",
    "make_pool_world",
    "make_world",
    "measure",
    "raw_scores",
    "realize",
    "saturate",
    "simulate_comparisons",
    "split_world",
    "trait_users",
    "utility_gap",
    "write_responses",
]
