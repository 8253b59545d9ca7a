"""PersonalLLM: simulated people, each a mixture of ten reward models, over eight real answers.

    w_u ~ Dirichlet(α, …, α),    r_u(x, y) = Σ_m w_um z_m(x, y),

where z_m is the score of reward model m in units of its standard deviation over all answers:
without that, the model with the widest scale would be everybody. A row says which of two answers
has the larger r_u. **The people are simulated**; prompts and answers are real.

References:
    T. Zollo et al., "PersonalLLM: Tailoring LLMs to individual preferences", arXiv 2409.20296.
"""

import re
from pathlib import Path

import numpy as np

from prefjax.data.dataset import Dataset
from prefjax.data.files import naming
from prefjax.data.sets._record import NamedSet, describe
from prefjax.data.sets._rows import open_rows
from prefjax.data.split import NewPromptsConfig
from prefjax.types import Comparisons

NAME = "personalllm"
REPOSITORY = "namkoong-lab/PersonalLLM"
LICENSE = "see the card of the data set"
SOURCE = f"Hugging Face hub {REPOSITORY}"
LABEL = (
    "1: the simulated person's mixture of reward models scores the first answer higher. Who weighs "
    'one model only and scores "long" above "short" has label 1 in the row ("long", "short").'
)
_SCORE = re.compile(r"response_(\d+)_(.+)")


def load(
    folder: Path | None = None,
    *,
    revision: str | None = None,
    num_users: int = 1000,
    rows_per_user: int = 100,
    concentration: float = 0.05,
    seed: int = 0,
) -> Dataset:
    """Draw people and the pairs that they are asked about.

    Args:
        folder: Holds Parquet, JSONL or CSV files with the columns prompt, response_1 … response_8
            and a score response_{i}_{model} of each answer and reward model;
            ``PREFJAX_DATA/personalllm`` if None.
        revision: Commit of the hub to fetch the files from instead.
        num_users: Number of people.
        rows_per_user: Pairs of each, of different prompts.
        concentration: α; small makes people who follow one model, large makes all alike.
        seed: Seed of people and pairs.

    Returns:
        The data set, ``meta["simulated"]`` True, ``meta["weights"]`` the mixture of each person and
        ``meta["reward_models"]`` its columns.

    Raises:
        FileNotFoundError: If the files are not there.
        OSError: If the hub cannot be reached.
        ValueError: If a file is damaged or of another schema.
    """
    source = open_rows(NAME, REPOSITORY, folder, revision, ("prompt", "response_1", "response_2"))
    with naming(source.where):
        answers = sorted(
            (name for name in source.names if re.fullmatch(r"response_\d+", name)),
            key=lambda name: int(name.removeprefix("response_")),
        )
        scores = [match for name in source.names if (match := _SCORE.fullmatch(name))]
        models = sorted({match[2] for match in scores})
        columns = [[f"{answer}_{model}" for model in models] for answer in answers]
        absent = [name for row in columns for name in row if name not in source.names]
        if absent or not models:
            missing = ", ".join(absent[:3]) or "response_{i}_{model}"
            raise ValueError(f"there is no score {missing} of an answer.")
        rows = {
            row["prompt"]: row for row in source.rows
        }  # a prompt that is there twice counts once
        try:
            table = np.array(
                [[[float(row[name]) for name in one] for one in columns] for row in rows.values()]
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"a score is no number ({error}).") from error
        if not np.isfinite(table).all():
            raise ValueError("a score is not finite.")
        rng = np.random.default_rng(seed)
        scale = table.std(axis=(0, 1))
        rewards = (table - table.mean(axis=(0, 1))) / np.where(scale > 0, scale, 1.0)
        weights = rng.dirichlet(np.full(len(models), concentration), num_users)
        asked, sides = _draw_pairs(rng, num_users, rows_per_user, table.shape[:2])
        first, second = sides
        gap = rewards[asked, first] - rewards[asked, second]
        user = np.repeat(np.arange(num_users), asked.shape[0] // num_users)
        value = np.einsum("rm,rm->r", gap, weights[user])
        # Equal texts under one prompt, and equal scores, decide nothing.
        texts = [[str(row[name]) for name in answers] for row in rows.values()]
        same = np.array(
            [
                texts[prompt][one] == texts[prompt][other]
                for prompt, one, other in zip(asked, first, second, strict=True)
            ]
        )
        decided = (value != 0) & ~same
        num_answers = len(answers)
        return Dataset(
            name=NAME,
            comparisons=Comparisons(
                user=user[decided],
                first=(asked * num_answers + first)[decided],
                second=(asked * num_answers + second)[decided],
                label=(value > 0)[decided],
                sample_weight=np.ones(decided.sum()),
            ),
            responses=tuple(text for row in texts for text in row),
            prompt_index=np.repeat(np.arange(len(texts)), num_answers),
            prompts=tuple(rows),
            users=tuple(f"simulated {index}" for index in range(num_users)),
            meta=describe(
                LICENSE,
                SOURCE,
                LABEL,
                revision=revision,
                simulated=True,
                reward_models=models,
                weights=weights.tolist(),
            ),
        )


def _draw_pairs(
    rng: np.random.Generator, num_users: int, rows_per_user: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Prompts of each person's rows, without replacement, and two answers of each."""
    num_prompts, num_answers = shape
    number = min(rows_per_user, num_prompts)
    asked = np.concatenate(
        [rng.choice(num_prompts, number, replace=False) for _ in range(num_users)]
    )
    first = rng.integers(num_answers, size=len(asked))
    second = (first + rng.integers(1, num_answers, size=len(asked))) % num_answers
    return asked, np.stack([first, second])


SET = NamedSet(NAME, load, NewPromptsConfig(), LABEL, LICENSE, SOURCE, on_hub=True)
