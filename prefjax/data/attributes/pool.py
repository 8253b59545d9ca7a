"""Real answers of language models, to be compared by the same simulated people.

Source: AlpacaEval (GitHub ``tatsu-lab/alpaca_eval``), 805 instructions with the outputs of 16
models, among them the same two models prompted to be concise and to be verbose. License: CC BY-NC
4.0; the data are not part of this project. The folder ``alpaca_eval_pool`` under ``PREFJAX_DATA``
holds ``instructions.parquet(instruction_id, dataset, instruction)`` and
``outputs.parquet(instruction_id, model, output)``. There are no human judgments in it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from prefjax.data.attributes.choice import ChoiceConfig
from prefjax.data.attributes.judge import Scale, fit_scale, raw_scores, saturate
from prefjax.data.attributes.people import gaussian_users, trait_users
from prefjax.data.attributes.world import World, WorldConfig, simulate_comparisons
from prefjax.data.dataset import Dataset
from prefjax.data.files import naming, read_parquet, source_folder, texts

NAME = "alpaca_eval_pool"
SOURCE = "GitHub tatsu-lab/alpaca_eval, CC BY-NC 4.0"
_FILES = ("instructions.parquet", "outputs.parquet")
POOL_WORLD = WorldConfig(choice=ChoiceConfig(sharpness=2.0))
"""Sharper judgment than in the simulated world: answers of one prompt differ less here."""


@dataclass(frozen=True, eq=False)
class TextPool:
    """Candidate responses to many prompts.

    Attributes:
        prompts: Text of each instruction.
        responses: Text of each output.
        prompt_index: Instruction of each output.
        model: Name of the model that wrote each output.
    """

    prompts: tuple[str, ...]
    responses: tuple[str, ...]
    prompt_index: Int[np.ndarray, " response"]
    model: tuple[str, ...]


def load_pool(folder: Path | None = None) -> TextPool:
    """Read the answers of language models to the AlpacaEval instructions.

    Args:
        folder: Folder with the two Parquet files; ``None`` for ``alpaca_eval_pool`` in the folder
            that the environment variable ``PREFJAX_DATA`` names.

    Returns:
        805 prompts and nearly 16 responses to each; empty outputs are left out.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a file is damaged or of another schema, or the two contradict each other.
    """
    folder = source_folder(NAME, folder, _FILES, SOURCE)
    instructions = read_parquet(
        folder / "instructions.parquet", {"instruction_id": "integer", "instruction": "text"}
    )
    outputs = read_parquet(
        folder / "outputs.parquet", {"instruction_id": "integer", "model": "text", "output": "text"}
    )
    ids = instructions["instruction_id"].to_pylist()
    index = {instruction: place for place, instruction in enumerate(ids)}
    columns = (outputs[name].to_pylist() for name in ("instruction_id", "model", "output"))
    rows = [row for row in zip(*columns, strict=True) if row[2].strip()]
    with naming(folder):
        if len(index) < len(ids):
            raise ValueError("instructions.parquet lists an instruction_id twice.")
        unknown = sorted({row[0] for row in rows} - index.keys())
        if unknown:
            raise ValueError(f"outputs to instructions without a text: {unknown[:5]}.")
        if len({row[:2] for row in rows}) < len(rows):
            raise ValueError("outputs.parquet has two outputs of one model to one instruction.")
        if not rows:
            raise ValueError("outputs.parquet has no output with a word.")
    instruction, model, responses = zip(*rows, strict=True)
    return TextPool(
        prompts=texts(instructions, "instruction"),
        responses=responses,
        prompt_index=np.array([index[name] for name in instruction], np.int32),
        model=model,
    )


def make_pool_world(
    pool: TextPool,
    config: WorldConfig = POOL_WORLD,
    seed: int = 0,
    *,
    scale: Scale | None = None,
) -> World:
    """Simulated people compare real answers; the judge is the same.

    Its scale is that of the pool, since people notice the differences among what is on offer:
    language models differ less in courtesy or wit than the responses of the simulated world.

    Args:
        pool: The texts.
        config: Users, pairs and noise; the fields about writing responses are not used.
        seed: Source of everything random.
        scale: The judge's, if not that of the pool.

    Returns:
        The data set and the truth behind it; no prompt is marked as a test prompt, since no
        phrase is reserved.
    """
    rng = np.random.default_rng(seed)
    weight, users = (
        trait_users() if config.num_users is None else gaussian_users(config.num_users, rng)
    )
    weight = weight + np.array(config.common_taste)[None]
    raw = raw_scores(pool.responses)
    attributes = saturate(raw, fit_scale(raw) if scale is None else scale)
    dataset = Dataset(
        name="attributes_alpaca",
        comparisons=simulate_comparisons(seed, pool.prompt_index, attributes, weight, config),
        responses=pool.responses,
        prompt_index=pool.prompt_index,
        prompts=pool.prompts,
        users=users,
        meta={
            "simulated": True,
            "license": "texts CC BY-NC 4.0; people are simulated",
            "source": "outputs of tatsu-lab/alpaca_eval",
            "seed": int(seed),
            "config": json.loads(json.dumps(asdict(config))),
        },
    )
    return World(dataset, weight, attributes, np.zeros(len(pool.prompts), bool), config)
