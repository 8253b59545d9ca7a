"""A model of many people: a reward basis and who it was learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from prefjax.model import files
from prefjax.person import Person, describe
from prefjax.types import Array, Gaussian, Items, RewardBasis


@dataclass(frozen=True)
class PreferenceModel:
    """A fitted population: how responses are described and how people differ.

    Attributes:
        basis: Base rewards φ and shared utility t of any embedding, and the population.
        people: Posterior of every training user's weights.
        users: Name or number of every training user, in the order of ``people``.
        report: What the fit found, in plain values: held-out losses of the population and of the
            personal prediction with the interval of their difference, number of users and rows,
            effective number of factors, penalties, whether it converged.
    """

    basis: RewardBasis
    people: Gaussian
    users: tuple[Any, ...]
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_factors(self) -> int:
        """J."""
        return np.shape(self.basis.population.mean)[-1]

    def items(self, embeddings: Float[Array, "*responses input"]) -> Items:
        """Base rewards φ and shared utility t of any responses.

        Args:
            embeddings: From the encoder of the training embeddings, any leading axes.

        Raises:
            ValueError: An embedding is not finite or has another width than the training ones.
        """
        return describe(self.basis, embeddings)

    def new_person(self, *, rule: str = "d_optimal", seed: int = 0) -> Person:
        """Somebody of whom nothing is known yet.

        Args:
            rule: How questions are chosen, a name in `prefjax.person.RULES`.
            seed: Drives the rules that draw at random.
        """
        return Person(self.basis, rule=rule, seed=seed)

    def person(self, user: Any, *, rule: str = "d_optimal", seed: int = 0) -> Person:
        """A training user, known from the training answers.

        Args:
            user: Name or number under which the user's rows were.
            rule: How questions are chosen, a name in `prefjax.person.RULES`.
            seed: Drives the rules that draw at random.

        Raises:
            KeyError: There is no such user.
        """
        if user not in self._index:
            shown = ", ".join(repr(name) for name in self.users[:5])
            raise KeyError(
                f"no user {user!r}: the model was fitted on {len(self.users)} users ({shown}, …)"
            )
        index = self._index[user]
        known = Gaussian(self.people.mean[index], self.people.covariance[index])
        return Person(self.basis, belief=known, rule=rule, seed=seed)

    def save(self, folder: str | Path) -> None:
        """Writes the model into a folder, in one file that appears whole or not at all.

        `prefjax.load` gives the same bits back.

        Args:
            folder: Made if needed; a model in it is replaced.

        Raises:
            ValueError: The model is not finite.
        """
        files.save(folder, self.basis, self.people, self.users, self.report)

    @property
    def _index(self) -> Mapping[Any, int]:
        index = self.__dict__.get("_index_of")
        if index is None:
            index = {name: place for place, name in enumerate(self.users)}
            self.__dict__["_index_of"] = index
        return index
