"""What people are shown: prompts with candidate answers, and the model that knows them.

    study.toml         the study, `StudyConfig`
    prompts.jsonl      a line for each prompt: {"prompt", "use", "responses", "default"}
    embeddings.npy     an embedding for each response, in the order of the lines
    model/             what `PreferenceModel.save` wrote

``use`` is ``"adaptive"`` (asked to learn a person) or ``"test"``; ``default`` is the place of the
default response, which every test trial shows. Responses are made in advance, as many samples of a
policy as best-of-N is to choose from. No prompt may have both uses: nobody is tested on what was
asked.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from prefjax.data.same_text import normalize_text
from prefjax.data.validate import find_bad_text
from prefjax.io import digest_file, digest_json
from prefjax.model import PreferenceModel
from prefjax.model.files import FILE as MODEL_FILE
from prefjax.model.files import load
from prefjax.person import ResponsePool
from prefjax.study.config import StudyConfig
from prefjax.study.config_file import fixed_settings, read_config
from prefjax.types import Items

PROMPTS, EMBEDDINGS, MODEL = "prompts.jsonl", "embeddings.npy", "model"
_FIELDS = {"prompt", "use", "responses", "default"}


@dataclass(frozen=True, eq=False)
class Materials:
    """A study with everything that it shows.

    Attributes:
        config: The study.
        model: Whose basis chooses questions and responses.
        prompts: Text of each prompt.
        responses: Text of each response.
        prompt_index: Prompt of each response.
        use: ``"adaptive"`` or ``"test"``, of each prompt.
        default: Response that is the default of each prompt.
        items: φ and t of each response.
        digest: SHA-256 of everything that may not change; a study goes on only with what it was
            begun with.
    """

    config: StudyConfig
    model: PreferenceModel
    prompts: tuple[str, ...]
    responses: tuple[str, ...]
    prompt_index: Int[np.ndarray, " response"]
    use: tuple[str, ...]
    default: Int[np.ndarray, " prompt"]
    items: Items
    digest: str

    def __post_init__(self):
        _check(self)

    def prompts_of(self, use: str) -> Int[np.ndarray, " prompt"]:
        """Prompts of one use."""
        return np.flatnonzero(np.array(self.use) == use)

    def responses_of(self, prompt: int) -> Int[np.ndarray, " response"]:
        """Responses to a prompt."""
        start, end = np.searchsorted(self.prompt_index, [prompt, prompt + 1])
        return np.arange(start, end)

    @cached_property
    def adaptive(self) -> "Pool":
        """Prompts that are asked, as a pool."""
        return make_pool(self, self.prompts_of("adaptive"))

    @cached_property
    def tested(self) -> "Pool":
        """Prompts of the test, as a pool without the default responses."""
        pool = make_pool(self, self.prompts_of("test"))
        is_default = pool.response == self.default[pool.prompt][:, None]
        mask = np.asarray(pool.pool.mask) & ~is_default
        return Pool(pool.prompt, pool.response, pool.pool._replace(mask=mask))


@dataclass(frozen=True, eq=False)
class Pool:
    """Responses of some prompts, padded to one number.

    Attributes:
        prompt: Each prompt.
        response: Its responses, −1 for padding.
        pool: Their φ, t and ψ.
    """

    prompt: Int[np.ndarray, " prompt"]
    response: Int[np.ndarray, "prompt response"]
    pool: ResponsePool


def make_pool(materials: Materials, prompts: Int[np.ndarray, " prompt"]) -> Pool:
    """φ, t and ψ of the responses to some prompts."""
    rows = [materials.responses_of(int(prompt)) for prompt in prompts]
    response = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for place, row in enumerate(rows):
        response[place, : len(row)] = row
    mask = response >= 0
    features = np.where(mask[:, :, None], materials.items.features[response], 0)
    utility = np.where(mask, materials.items.utility[response], 0)
    spread = materials.items.spread
    if spread is not None:
        spread = np.where(mask[:, :, None], spread[response], 0).astype(np.float32)
    pool = ResponsePool(features.astype(np.float32), utility.astype(np.float32), mask, spread)
    return Pool(np.asarray(prompts), response, pool)


def read_materials(folder: str | Path) -> Materials:
    """Reads a study's folder and checks that it can be run.

    Args:
        folder: See the module.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or says something that cannot be run; the message names the
            file, the line and the remedy.
    """
    folder = Path(folder)
    config = read_config(folder)
    lines = _read_prompts(folder / PROMPTS)
    counts = [len(line["responses"]) for line in lines]
    start = np.concatenate([[0], np.cumsum(counts)])
    embeddings = _read_embeddings(folder / EMBEDDINGS, int(start[-1]))
    model = load(folder / MODEL)
    files = [folder / PROMPTS, folder / EMBEDDINGS, folder / MODEL / MODEL_FILE]
    return Materials(
        config=config,
        model=model,
        prompts=tuple(line["prompt"] for line in lines),
        responses=tuple(text for line in lines for text in line["responses"]),
        prompt_index=np.repeat(np.arange(len(lines), dtype=np.int32), counts),
        use=tuple(line["use"] for line in lines),
        default=start[:-1] + np.array([line["default"] for line in lines]),
        items=model.items(embeddings),
        digest=digest_json([fixed_settings(config), *map(digest_file, files)]),
    )


def write_prompts(
    folder: Path,
    prompts: Sequence[tuple[str, str, Sequence[str], int]],
    embeddings: Float[np.ndarray, "response input"],
) -> None:
    """Writes ``prompts.jsonl`` and ``embeddings.npy``.

    Args:
        folder: The study.
        prompts: Prompt, use, responses and place of the default, each.
        embeddings: Of all responses in this order.
    """
    lines = [
        json.dumps(
            {"prompt": prompt, "use": use, "responses": list(responses), "default": default},
            ensure_ascii=False,
        )
        for prompt, use, responses, default in prompts
    ]
    (folder / PROMPTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.save(folder / EMBEDDINGS, embeddings.astype(np.float32))


def _read_prompts(path: Path) -> list[dict[str, Any]]:
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{where} is not JSON ({error}).") from error
        if not isinstance(line, dict) or set(line) != _FIELDS:
            raise ValueError(f"{where} must have the fields {sorted(_FIELDS)} and no others.")
        texts = line["responses"]
        if not isinstance(texts, list) or len(texts) < 2:
            raise ValueError(f"{where}: responses must be a list of at least two texts.")
        bad = find_bad_text([line["prompt"], *texts])
        if bad is not None:
            raise ValueError(f"{where}: text {bad[0]} of prompt and responses {bad[1]}.")
        if any(not text.strip() for text in (line["prompt"], *texts)):
            raise ValueError(f"{where}: the prompt or a response is empty.")
        if len({text.strip() for text in texts}) < len(texts):
            raise ValueError(f"{where}: two responses are the same; nobody can choose between them")
        if line["use"] not in ("adaptive", "test"):
            raise ValueError(f'{where}: use must be "adaptive" or "test", found {line["use"]!r}.')
        default = line["default"]
        if type(default) is not int or not 0 <= default < len(texts):
            raise ValueError(f"{where}: default must be a place in 0 … {len(texts) - 1}.")
        lines.append(line)
    return lines


def _read_embeddings(path: Path, num_responses: int) -> Float[np.ndarray, "response input"]:
    embeddings = np.load(path, allow_pickle=False)
    if embeddings.ndim != 2 or len(embeddings) != num_responses:
        raise ValueError(
            f"{path} has shape {embeddings.shape}; one row is needed for each of the "
            f"{num_responses} responses in {PROMPTS}, in their order."
        )
    return embeddings


def _check(materials: Materials) -> None:
    config, num_factors = materials.config, materials.model.num_factors
    needed = {"adaptive": config.phases.num_adaptive, "test": config.arms.num_trials}
    for use, count in needed.items():
        found = len(materials.prompts_of(use))
        if found < count:
            raise ValueError(
                f'{count} trials need as many prompts with use "{use}", and there are {found}: no '
                "prompt is shown twice. Add prompts or ask fewer."
            )
    seen: dict[str, int] = {}
    for place, prompt in enumerate(materials.prompts):
        first = seen.setdefault(normalize_text(prompt), place)
        if first != place:
            raise ValueError(
                f"prompts {first} and {place} are the same ({prompt[:60]!r}); a prompt would be "
                "shown twice, or tested after it was asked"
            )
    for question in config.survey:
        for option in question.options:
            if option.prior_shift is not None and len(option.prior_shift) != num_factors:
                raise ValueError(
                    f"prior_shift of {option.text!r} ({question.id}) has {len(option.prior_shift)} "
                    f"numbers; the model has {num_factors} factors"
                )
