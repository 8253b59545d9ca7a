"""Every personal reward model behind one contract (`prefjax.families.contract`).

    family = get_family("lore")
    problem = make_problem(comparisons, embeddings, num_users=U)
    params = jax.jit(family.fit)(key, problem, family.config)
    inputs = standardize(problem.standardizer, embeddings)
    answers = gather(inputs, batch)                               # [user, pair, ...]
    states = jax.vmap(family.adapt, in_axes=(None, 0, None))(params, answers, family.config)
    logits = score(family, params, states, gather(inputs, tests))

A new family is one file and one line of ``REGISTRY``; `prefjax.lab.check_family` says whether it
keeps the contract.
"""

import importlib

from prefjax.families.answers import Answers, gather, make_answers, no_answers
from prefjax.families.bradley_terry import BRADLEY_TERRY
from prefjax.families.clusters import CLUSTERS
from prefjax.families.config import FamilyConfig
from prefjax.families.contract import (
    Adapt,
    ConfigGrid,
    Diagnostics,
    Family,
    Fit,
    Logit,
    score,
)
from prefjax.families.flip_noise import FLIP_NOISE
from prefjax.families.gpm import GPM
from prefjax.families.lore import LORE
from prefjax.families.micro import MICRO
from prefjax.families.mrm import MRM
from prefjax.families.p_rlhf import P_RLHF
from prefjax.families.p_ttt import P_TTT
from prefjax.families.pal_a import PAL_A
from prefjax.families.pal_b import PAL_B
from prefjax.families.per_user import PER_USER
from prefjax.families.pool import pool_preferences
from prefjax.families.pref import PREF
from prefjax.families.pref_map import PREF_MAP
from prefjax.families.temperature import TEMPERATURE
from prefjax.families.vpl import VPL

REGISTRY = {
    family.name: family
    for family in (
        BRADLEY_TERRY,
        PER_USER,
        PREF,
        PREF_MAP,
        LORE,
        CLUSTERS,
        PAL_A,
        PAL_B,
        VPL,
        MICRO,
        GPM,
        P_RLHF,
        P_TTT,
        MRM,
        TEMPERATURE,
        FLIP_NOISE,
    )
}


def get_family(name: str) -> Family:
    """The family of a name.

    Args:
        name: A name in ``REGISTRY``; or ``package.module:ATTRIBUTE`` for a family of somebody
            else's, which is imported.

    Raises:
        ValueError: There is no such family, where the message lists the names; or what is imported
            is none, or has the name of one of the package.
    """
    if ":" in name:
        return _import_family(name)
    if name not in REGISTRY:
        raise ValueError(
            f"there is no family {name!r}; the families are {', '.join(REGISTRY)}, and "
            "package.module:FAMILY is one of your own"
        )
    return REGISTRY[name]


def _import_family(name: str) -> Family:
    module, _, attribute = name.partition(":")
    try:
        family = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no family {name!r}: {error}") from error
    if not isinstance(family, Family):
        raise ValueError(f"{name!r} is a {type(family).__name__}, not a prefjax.families.Family")
    if family.name in REGISTRY and family is not REGISTRY[family.name]:
        raise ValueError(f"{name!r} is called {family.name!r}, as a family of the package is")
    return family


__all__ = [
    "REGISTRY",
    "Adapt",
    "Answers",
    "ConfigGrid",
    "Diagnostics",
    "Family",
    "FamilyConfig",
    "Fit",
    "Logit",
    "gather",
    "get_family",
    "make_answers",
    "no_answers",
    "pool_preferences",
    "score",
]
