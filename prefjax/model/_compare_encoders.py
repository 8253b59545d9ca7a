"""Which encoder, layer and pooling reads what these people disagree on?

Every candidate embeds the responses once (each model in one pass, whatever its readings), and PReF
is fitted to most of the people on most of the prompts. The others answer about prompts that were
trained on and are predicted on prompts that nobody trained on, which is where an encoder is needed.
The unit of every interval is such a person; candidates are compared on the same people and rows.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from prefjax import basis, metrics
from prefjax.basis import EMConfig
from prefjax.data import Dataset, Split, split_new_prompts, weigh_choices
from prefjax.data.same_text import group_responses
from prefjax.encoders import SumEncoder, encode_candidates
from prefjax.families import Answers, Family, gather, get_family, score
from prefjax.model.components import principal_components
from prefjax.types import Comparisons

DEFAULT = (
    "hashed",
    "smollm2#paper",
    "smollm2#layer=0.4",
    "smollm2#layer=0.6",
    "smollm2#layer=0.8",
    "smollm2#layer=0.6,pooling=mean-all",
    "smollm2#layer=0.6,pooling=last",
    "hashed+smollm2",
)
"""Candidates if none are named."""
NEW_USERS, NEW_GROUPS = 0.25, 0.25
_MOST_ANSWERS, _MOST_TESTS = 40, 80


class EncoderScore(NamedTuple):
    """One candidate.

    Attributes:
        specification: What `prefjax.encoders.get_encoder` makes it from.
        nll: Mean over people of the loss on their held-out rows, in nats.
        gain: How much smaller it is than without telling people apart.
        above_best: How much larger it is than that of the best candidate, on the same people.
        auc: Mean over people of their AUC.
    """

    specification: str
    nll: metrics.Interval
    gain: metrics.Interval
    above_best: metrics.Interval
    auc: metrics.Interval


def compare_encoders(
    data: Dataset,
    candidates: Sequence[str] = DEFAULT,
    *,
    num_components: int = 64,
    num_splits: int = 1,
    seed: int = 0,
    config: EMConfig = EMConfig(),
    progress: bool = False,
) -> list[EncoderScore]:
    """Ranks encoders and readings by what they tell about people's choices on new prompts.

    Args:
        data: The choices, with texts.
        candidates: Specifications, such as ``smollm2#layer=0.5,pooling=mean`` or
            ``hashed+minilm``; those of one model are read in one pass.
        num_components: Principal components of each block of an embedding.
        num_splits: Divisions of people and prompts; a person's numbers are means over them.
        seed: Seed of the divisions and of the fits.
        config: J and the settings of the fits.
        progress: Show a progress bar while texts are embedded.

    Returns:
        The candidates, the smallest loss first.

    Raises:
        ValueError: A candidate is named twice, is no encoder or gives all responses one embedding,
            or there are fewer than eight people or four prompts (statements, where there is one
            prompt).
    """
    if len(set(candidates)) < len(candidates):
        raise ValueError(f"a candidate is there twice: {', '.join(candidates)}")
    group = data.prompt_index if data.num_prompts > 1 else group_responses(data, "response")
    num_groups = int(np.max(group)) + 1
    if data.num_users < 8 or num_groups < 4:
        raise ValueError(
            f"{data.num_users} people and {num_groups} prompts are too few to hold some out; at "
            "least 8 and 4 are needed"
        )
    splits = [_divide(data, np.asarray(group), num_groups, seed + k) for k in range(num_splits)]
    embedded = encode_candidates(candidates, data, progress=progress)
    measured = {}
    for name, (encoder, vectors) in embedded.items():
        blocks = encoder.widths if isinstance(encoder, SumEncoder) else (vectors.shape[1],)
        parts = [
            _measure(data, split, vectors, blocks, num_components, seed + k, config)
            for k, split in enumerate(splits)
        ]
        total, count = np.nansum(parts, axis=0), np.sum(~np.isnan(parts), axis=0)
        if not count[0].any():
            raise ValueError(
                f"{name} gives no finite prediction: does it tell these responses apart at all?"
            )
        measured[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    best = min(measured, key=lambda name: float(np.nanmean(measured[name][0])))
    scores = [
        EncoderScore(
            name,
            metrics.mean_interval(nll),
            metrics.mean_interval(population - nll),
            metrics.mean_interval(nll - measured[best][0]),
            metrics.mean_interval(auc, bounds=(0.0, 1.0)),
        )
        for name, (nll, population, auc) in measured.items()
    ]
    return sorted(scores, key=lambda one: float(one.nll.value))


def _divide(data: Dataset, group: np.ndarray, num_groups: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    users, groups = rng.permutation(data.num_users), rng.permutation(num_groups)
    num_new = max(2, round(NEW_USERS * data.num_users))
    is_new = np.isin(group, groups[: max(1, round(NEW_GROUPS * num_groups))])
    return split_new_prompts(
        weigh_choices(data),
        known_users=users[num_new:],
        new_users=users[:num_new],
        is_new_response=is_new,
        group=group,
        order=rng.permutation(len(data.comparisons.user)),
    )


def _inputs(
    vectors: np.ndarray, blocks: Sequence[int], train: Comparisons, num_components: int
) -> np.ndarray:
    """Principal components of each block at unit size, of one width whatever there is."""
    made = []
    for block in np.split(np.asarray(vectors), np.cumsum(blocks)[:-1], axis=1):
        found = principal_components(train, block, num_components)
        table = (block - found.center[None]) @ found.axes
        size = np.sqrt(np.mean(np.sum(np.square(table), axis=1)))
        missing = num_components - table.shape[1]
        made.append(np.pad(table / max(float(size), 1e-12), [(0, 0), (0, missing)]))
    return np.concatenate(made, axis=1).astype(np.float32)


def _measure(
    data: Dataset,
    split: Split,
    vectors: np.ndarray,
    blocks: Sequence[int],
    num_components: int,
    seed: int,
    config: EMConfig,
) -> Float[np.ndarray, "3 user"]:
    """Loss, loss of the population and AUC of every person of the set, NaN for the others."""
    family = get_family("pref")
    table = _inputs(vectors, blocks, split.train, num_components)
    with warnings.catch_warnings():
        # Of principal components the first one may well carry nearly all of the variance.
        warnings.filterwarnings("ignore", message="column 0 of the embeddings carries")
        problem = basis.make_problem(
            split.train, table, num_users=len(split.known_users), group=split.group
        )
    assert problem.standardizer is not None  # only free factors have none
    inputs = np.asarray(basis.standardize(problem.standardizer, table))
    settings = replace(family.config, em=config)
    params = _fit(jax.random.key(seed), problem, settings, family=family)
    heard = gather(inputs, split.by_user("calibration", _MOST_ANSWERS))
    batch = split.by_user("test", _MOST_TESTS)
    tests = gather(inputs, batch)
    personal, population = map(np.asarray, _predict(params, heard, tests, settings, family=family))
    votes = bool(np.any(batch.second[batch.mask] < 0))
    out = np.full((3, data.num_users), np.nan)
    for place, user in enumerate(split.new_users):
        mask = batch.mask[place]
        if not mask.any():
            continue
        label = batch.label[place][mask]
        for row, logit in enumerate((personal[place][mask], population[place][mask])):
            out[row, user] = float(np.mean(metrics.nll(logit, label)))
        out[2, user] = float(
            metrics.auc(personal[place], batch.label[place], mask, mirrored=not votes)
        )
    return out


@partial(jax.jit, static_argnames="family")
def _fit(key: Any, problem: Any, config: Any, *, family: Family) -> Any:
    return family.fit(key, problem, config)


@partial(jax.jit, static_argnames="family")
def _predict(
    params: Any, heard: Answers, tests: Answers, config: Any, *, family: Family
) -> tuple[Any, Any]:
    """Logits of the tests of every person, by that person's answers and by nobody's."""
    adapt = jax.vmap(family.adapt, in_axes=(None, 0, None))
    silent = heard._replace(sample_weight=0 * heard.sample_weight)
    personal, population = (
        score(family, params, adapt(params, answers, config), tests) for answers in (heard, silent)
    )
    return personal, population
