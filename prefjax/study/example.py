"""A complete study to begin with, from the simulated Attributes world.

The prompts, their answers and the people the model learned from are simulated; whoever takes part
can be real. Replace consent, information, contact, prompts and model by your own.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from prefjax.basis import EMConfig
from prefjax.data.attributes import World, WorldConfig, make_world
from prefjax.encoders import fit_hashed
from prefjax.io.atomic import atomic_folder
from prefjax.model import PreferenceModel, fit
from prefjax.study.config_file import FILE
from prefjax.study.materials import MODEL, write_prompts
from prefjax.types import Comparisons

TEMPLATE = Path(__file__).parent / "example.toml"


@dataclass(frozen=True)
class ExampleConfig:
    """Size of the example.

    Attributes:
        world: The simulated world.
        num_inputs: Principal components of the text embedding that the model reads.
        num_factors: J.
        num_asked: Responses of each adaptive prompt; 72 prompts of 8 are 2,016 pairs.
        num_candidates: Responses of each test prompt from which the best is shown, beside the
            default.
    """

    world: WorldConfig = field(default_factory=WorldConfig)
    num_inputs: int = 128
    num_factors: int = 6
    num_asked: int = 8
    num_candidates: int = 16


def make_example(
    folder: str | Path, *, seed: int = 0, config: ExampleConfig = ExampleConfig()
) -> None:
    """Writes the example into a folder, all of it or nothing.

    Args:
        folder: Must not exist.
        seed: Of the world, the fit and the study.
        config: Its size.

    Raises:
        FileExistsError: The folder is there.
    """
    from sklearn.decomposition import PCA

    if Path(folder).exists():  # before the fit, which takes a minute
        raise FileExistsError(f"{folder} exists; choose a folder that does not")
    world = make_world(config.world, seed)
    dataset = world.dataset
    is_seen = ~world.test_prompt[dataset.prompt_index]
    encoder = fit_hashed(
        [text for text, use in zip(dataset.responses, is_seen, strict=True) if use]
    )
    raw = encoder.encode(dataset.responses)
    axes = PCA(min(config.num_inputs, int(is_seen.sum())), svd_solver="covariance_eigh")
    embeddings = axes.fit(raw[is_seen]).transform(raw).astype(np.float32)
    rows = dataset.comparisons
    seen_rows = is_seen[rows.first]
    model = fit(
        Comparisons(*(np.asarray(column)[seen_rows] for column in rows)),
        embeddings,
        num_users=dataset.num_users,
        group=dataset.prompt_index,
        seed=seed,
        config=EMConfig(num_factors=config.num_factors),
    )
    prompts, chosen = [], []
    for use, table, count in (
        ("adaptive", world.seen, config.num_asked),
        ("test", world.unseen, config.num_candidates + 1),
    ):
        for row in table[:, :count]:
            prompt = dataset.prompts[dataset.prompt_index[row[0]]]
            prompts.append((prompt, use, [dataset.responses[place] for place in row], 0))
            chosen.append(row)
    with atomic_folder(folder) as target:
        write_prompts(target, prompts, embeddings[np.concatenate(chosen)])
        model.save(target / MODEL)
        text = TEMPLATE.read_text(encoding="utf-8").replace("SEED", str(seed))
        for name, shift in _shifts(world, model).items():
            text = text.replace(f'"{name.upper()}"', json.dumps(shift))
        (target / FILE).write_text(text, encoding="utf-8")


def _shifts(world: World, model: PreferenceModel) -> dict[str, list[float]]:
    """How the weights of people who like short or long answers differ from the population's."""
    means = np.asarray(model.people.mean)
    return {
        name: _rounded(means[side].mean(axis=0) - np.asarray(model.basis.population.mean))
        for name, side in (
            ("short", world.weights[:, 0] < 0),
            ("long", world.weights[:, 0] > 0),
        )
    }


def _rounded(values: Float[np.ndarray, " factor"]) -> list[float]:
    return [round(float(value), 4) for value in values]
