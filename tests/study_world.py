"""A small study for tests: random base rewards, texts that say their number."""

import jax.numpy as jnp
import numpy as np

from prefjax.basis.heads import linear_params
from prefjax.model import PreferenceModel
from prefjax.study.config import (
    ArmsConfig,
    AttentionCheck,
    ExampleTrial,
    LimitsConfig,
    PhasesConfig,
    StudyConfig,
    SurveyOption,
    SurveyQuestion,
)
from prefjax.study.config_file import write_config
from prefjax.study.materials import MODEL, Materials, read_materials, write_prompts
from prefjax.types import Gaussian, RewardBasis

NUM_FACTORS = 3
LIMITS = LimitsConfig(
    starts_per_minute=10_000, requests_per_second=10_000.0, burst=10_000, response_time=0.0
)
CONFIG = StudyConfig(
    consent="Do you *agree*?",
    practice=(ExampleTrial("Practice?", ("one", "- two\n- three")),),
    attention=(
        AttentionCheck("Please choose B.", ("x", "y"), "B"),
        AttentionCheck("Please choose A.", ("x", "y"), "A"),
    ),
    phases=PhasesConfig(num_adaptive=4, num_repeats=2, time_limit=30.0),
    arms=ArmsConfig(personal=3, other=2, default=1),
    limits=LIMITS,
    survey=(
        SurveyQuestion(
            "length",
            "How long?",
            (SurveyOption("Short", (1.0, 0.0, -0.5)), SurveyOption("Long")),
        ),
        SurveyQuestion("age", "Old enough?", (SurveyOption("Yes"), SurveyOption("No", None, True))),
        SurveyQuestion("note", "Anything else?", (), required=False),
    ),
)
ANSWERS = {"length": "Short", "age": "Yes"}


def make_model(rng, num_users=5, num_inputs=4):
    population = Gaussian(jnp.zeros(NUM_FACTORS), jnp.eye(NUM_FACTORS))
    head = rng.standard_normal((num_inputs, NUM_FACTORS + 1)).astype(np.float32)
    people = Gaussian(
        rng.standard_normal((num_users, NUM_FACTORS)).astype(np.float32),
        np.tile(0.1 * np.eye(NUM_FACTORS, dtype=np.float32), (num_users, 1, 1)),
    )
    basis = RewardBasis(linear_params(jnp.asarray(head)), population, jnp.ones(()))
    return PreferenceModel(basis, people, tuple(range(num_users)), {})


def make_materials(config=CONFIG, seed=0, num_prompts=12, num_responses=4):
    """Half of the prompts are asked, half are tests."""
    rng = np.random.default_rng(seed)
    model = make_model(rng)
    count = num_prompts * num_responses
    return Materials(
        config=config,
        model=model,
        prompts=tuple(f"Prompt {p}?" for p in range(num_prompts)),
        responses=tuple(
            f"Answer {r} to prompt {p}." for p in range(num_prompts) for r in range(num_responses)
        ),
        prompt_index=np.repeat(np.arange(num_prompts, dtype=np.int32), num_responses),
        use=tuple(("adaptive", "test")[p % 2] for p in range(num_prompts)),
        default=np.arange(num_prompts) * num_responses + 1,
        items=model.items(rng.standard_normal((count, 4)).astype(np.float32)),
        digest="0" * 64,
    )


def write_study(folder, config=CONFIG, seed=0, num_prompts=12, num_responses=4):
    """The same on disk, through the formats that a researcher writes."""
    rng = np.random.default_rng(seed)
    materials = make_materials(config, seed, num_prompts, num_responses)
    folder.mkdir()
    make_model(rng).save(folder / MODEL)
    prompts = [
        (
            prompt,
            materials.use[place],
            [materials.responses[r] for r in materials.responses_of(place)],
            1,
        )
        for place, prompt in enumerate(materials.prompts)
    ]
    embeddings = rng.standard_normal((len(materials.responses), 4))
    write_prompts(folder, prompts, embeddings)
    write_config(folder, config)
    return read_materials(folder)
