"""A model of many people: fitted, kept in a folder, and asked for its users."""

import json
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save_file

from prefjax import basis
from prefjax.basis import EMConfig, LearnConfig
from prefjax.data.validate import validate_comparisons, validate_embeddings
from prefjax.io.atomic import write_atomically
from prefjax.model.user import User
from prefjax.person import get_rule
from prefjax.types import Array, Comparisons, GaussianPrior, Items

FORMAT = 1


@dataclass(frozen=True)
class PreferenceModel:
    """A fitted population: how responses are described and how people differ.

    Attributes:
        head: θ; ``embedding @ head`` is [φ, t], the J base rewards and the shared utility.
        prior: The population of weights.
        weights: Posterior mean of every training user's weights.
        covariance: Their posterior covariance.
    """

    head: Float[np.ndarray, "input factor_and_utility"]
    prior: GaussianPrior
    weights: Float[np.ndarray, "user factor"]
    covariance: Float[np.ndarray, "user factor factor"]

    @property
    def num_factors(self) -> int:
        """J."""
        return self.head.shape[1] - 1

    def items(self, embeddings: Float[Array, "*responses input"]) -> Items:
        """Base rewards φ and shared utility t of any responses.

        Raises:
            ValueError: An embedding is not finite or has another width than the training ones.
        """
        embeddings = np.asarray(embeddings)
        if embeddings.ndim < 2 or embeddings.shape[-1] != self.head.shape[0]:
            raise ValueError(
                f"embeddings have shape {embeddings.shape}; the model was fitted on vectors of "
                f"{self.head.shape[0]} numbers, one row a response"
            )
        flat = validate_embeddings(embeddings.reshape(-1, embeddings.shape[-1])).values
        described = (flat @ self.head).reshape(*embeddings.shape[:-1], -1)
        return Items(features=described[..., :-1], utility=described[..., -1])

    def new_user(self, *, rule: str = "d_optimal", seed: int = 0) -> User:
        """Somebody of whom nothing is known yet.

        Args:
            rule: How questions are chosen, a name in `prefjax.person.RULES`.
            seed: Drives the rules that draw at random.
        """
        get_rule(rule)
        return User(self, self.prior, rule, seed)

    def user(self, index: int, *, rule: str = "d_optimal", seed: int = 0) -> User:
        """A training user, known from the training answers.

        Raises:
            KeyError: There is no such user.
        """
        if not 0 <= index < len(self.weights):
            raise KeyError(f"no user {index}: the model was fitted on {len(self.weights)} users")
        precision = np.linalg.inv(self.covariance[index])
        known = GaussianPrior(self.weights[index], (precision + precision.T) / 2)
        return User(self, known, rule, seed)

    def save(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` and ``model.json``; `load` gives the same bits back."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "head": self.head,
            "prior_mean": self.prior.mean,
            "prior_precision": self.prior.precision,
            "weight": self.weights,
            "covariance": self.covariance,
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_atomically(folder / "model.safetensors", lambda path: save_file(arrays, path))
        about = {
            "format": FORMAT,
            "shapes": {name: list(array.shape) for name, array in arrays.items()},
        }
        text = json.dumps(about, indent=2) + "\n"
        write_atomically(folder / "model.json", lambda path: Path(path).write_text(text))


def load(folder: str | Path) -> PreferenceModel:
    """Reads a saved model.

    Raises:
        FileNotFoundError: The folder holds no model.
        ValueError: It was written in another format, or the arrays are not what it says.
    """
    folder = Path(folder)
    about = json.loads((folder / "model.json").read_text())
    if about.get("format") != FORMAT:
        raise ValueError(f"{folder} is in format {about.get('format')}; this reads {FORMAT}")
    arrays = load_file(folder / "model.safetensors")
    found = {name: list(array.shape) for name, array in arrays.items()}
    if found != about["shapes"]:
        raise ValueError(f"{folder}: expected arrays {about['shapes']}, found {found}")
    prior = GaussianPrior(arrays["prior_mean"], arrays["prior_precision"])
    return PreferenceModel(arrays["head"], prior, arrays["weight"], arrays["covariance"])


def fit(
    comparisons: Comparisons,
    embeddings: Float[Array, "response input"],
    *,
    num_users: int | None = None,
    unit: Int[Array, " response"] | None = None,
    seed: int = 0,
    config: EMConfig = EMConfig(),
    learn_config: LearnConfig = LearnConfig(),
) -> PreferenceModel:
    """Fits base rewards and the population to many people's choices.

    Args:
        comparisons: Who preferred which response to which.
        embeddings: One frozen embedding a response, in order of response id.
        num_users: U; the largest user id and one more by default.
        unit: Group of each response, such as `Dataset.prompt_of`, if new people will be asked about
            some groups and served on others; the penalties are then learned for that.
        seed: Of the split on which the penalties are learned.
        config: J and the settings of the fit; J may be too large without harm.
        learn_config: Candidate penalties.

    Raises:
        ValueError: A row or an embedding is invalid; the message names it.
    """
    embeddings = validate_embeddings(np.asarray(embeddings)).values
    if num_users is None:
        num_users = int(np.max(np.asarray(comparisons.user), initial=-1)) + 1
    checked = validate_comparisons(comparisons, num_users, len(embeddings))
    rows = basis.make_rows(checked, len(embeddings))
    program = partial(
        basis.fit,
        num_users=num_users,
        num_responses=len(embeddings),
        config=config,
        learn_config=learn_config,
    )
    if unit is not None:
        unit = np.asarray(unit)
        if unit.shape != (len(embeddings),) or not np.issubdtype(unit.dtype, np.integer):
            raise ValueError(
                f"unit must be one group number for each of {len(embeddings)} responses"
            )
    rows, embeddings, unit = jax.tree.map(jnp.asarray, (rows, embeddings, unit))
    fitted, _ = jax.jit(program)(jax.random.key(seed), rows, embeddings, unit=unit)
    if not bool(fitted.converged):
        warnings.warn(
            f"the fit still gained after {int(fitted.num_steps)} rounds; raise max_steps",
            stacklevel=2,
        )
    fitted, _ = basis.canonicalize(fitted)
    return PreferenceModel(
        head=np.asarray(fitted.head),
        prior=jax.tree.map(np.asarray, fitted.prior),
        weight=np.asarray(fitted.weights),
        covariance=np.asarray(fitted.covariance),
    )
