"""A model of many people: a reward basis, who it was learned from, and how it reads texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from prefjax.data.messages import is_messages
from prefjax.io import read_object
from prefjax.io.hub import upload
from prefjax.model import files
from prefjax.model.card import CARD, model_card
from prefjax.model.encoder import ModelEncoder
from prefjax.model.reading import ModelReader
from prefjax.person import Person, described, stored
from prefjax.person.candidates import as_prompt, as_responses, prompts_of
from prefjax.person.reading import basis_digest
from prefjax.types import Gaussian, Items, RewardBasis


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
        encoder: How texts become embeddings, None where the model was fitted on embeddings alone.
    """

    basis: RewardBasis
    people: Gaussian
    users: tuple[Any, ...]
    report: Mapping[str, Any] = field(default_factory=dict)
    encoder: ModelEncoder | None = None

    def __repr__(self) -> str:
        found = self.report
        gain = (
            f", gain {found['gain']:.3f} [{found['gain_low']:.3f}, {found['gain_high']:.3f}] nats"
            if {"gain", "gain_low", "gain_high"} <= set(found)
            else ""
        )
        read = "embeddings" if self.encoder is None else "texts"
        counts = f"{self.num_factors} factors, {len(self.users)} people, reads {read}"
        return f"{type(self).__name__}({counts}{gain})"

    @property
    def num_factors(self) -> int:
        """J."""
        return np.shape(self.basis.population.mean)[-1]

    @cached_property
    def reader(self) -> ModelReader:
        """Gives φ and t of texts and embeddings, and remembers texts."""
        return ModelReader(self.basis, self.encoder)

    def items(self, prompt: Any, responses: Any = None) -> Items:
        """Base rewards φ and shared utility t of any responses.

        Args:
            prompt: The prompt, with ``responses``; or, alone, what would be the responses.
            responses: Texts, or embeddings from the encoder of the training ones, any leading axes.

        Raises:
            ValueError: An embedding is not finite, or has another width or encoder than the
                training ones; or a text cannot be read.
        """
        prompts, responses, _ = prompts_of(prompt, responses)
        return self.reader(responses, prompts)

    def new_person(self, *, rule: str = "d_optimal", seed: int = 0) -> Person:
        """Somebody of whom nothing is known yet.

        Args:
            rule: How questions are chosen, a name in `prefjax.person.RULES`.
            seed: Drives the rules that draw at random.
        """
        return Person(self.basis, rule=rule, seed=seed, reader=self.reader)

    def person(self, user: Any, *, rule: str = "d_optimal", seed: int = 0) -> Person:
        """A training user, known from the training answers.

        Args:
            user: Name or number under which the user's rows were.
            rule: How questions are chosen, a name in `prefjax.person.RULES`.
            seed: Drives the rules that draw at random.

        Raises:
            KeyError: There is no such user.
        """
        index = self._index_of(user)
        known = Gaussian(self.people.mean[index], self.people.covariance[index])
        return Person(self.basis, belief=known, rule=rule, seed=seed, reader=self.reader, user=user)

    def load_person(
        self, source: str | Path | Mapping[str, Any], *, reinfer: bool = False
    ) -> Person:
        """A person whom `Person.save` or `Person.to_dict` wrote, with the open question.

        Args:
            source: The file, or what `to_dict` gave.
            reinfer: Infer the person again from what was shown and answered, under this model,
                instead of refusing one of another model. Somebody of the training data starts from
                what this model knows of the same name: answers that it was fitted on would count
                twice.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no person or damaged; or its basis or encoder are not those of this
                model and ``reinfer`` is False; or it cannot be inferred again. The message says
                which.

        Warns:
            UserWarning: The answers give another belief than the stored one.
        """
        name, values = "the person", source
        if isinstance(source, str | Path):
            if not Path(source).is_file():
                raise FileNotFoundError(f"there is no file {source}; Person.save writes people")
            name, values = str(source), read_object(Path(source))
        found = stored.from_dict(values, name)
        belief = found.prior
        if not reinfer:
            described.check_same_basis(found, self.basis, self.reader, name)
        else:
            found = described.infer_again(found, self.reader, name)
            belief = self.basis.population
            if found.user is not None:
                if found.user not in self._places:
                    raise ValueError(
                        f"{name} is the training user {found.user!r}, whom this model does not "
                        "know; start from new_person() and observe() the answers"
                    )
                place = self._places[found.user]
                belief = Gaussian(self.people.mean[place], self.people.covariance[place])
        person = Person(
            self.basis,
            belief=belief,
            rule=found.rule,
            seed=found.seed,
            num_questions=found.num_questions,
            reader=self.reader,
            user=found.user,
        )
        person.follow(found)
        if not reinfer:
            described.warn_of_change(found, person.belief, name)
        return person

    def score(
        self, people: Sequence[Any] | None, prompts: Any, responses: Any = None
    ) -> Float[np.ndarray, "person response"]:
        """Expected reward of every response for every person, ``λ·φ + t``, in one product.

        Rewards compare responses to one prompt for one person.

        Args:
            people: `Person` objects and names of training users in any mixture; None for all
                training users.
            prompts: With ``responses``: one prompt for all of them, or one for each. Alone, what
                would be the responses.
            responses: Texts, or embeddings with one row a response.

        Raises:
            KeyError: There is no user of some name.
            ValueError: A person is of another basis, or a response cannot be read.
        """
        each = not isinstance(prompts, str) and not is_messages(prompts)
        if responses is not None and each and prompts is not None:
            of_each: Any = [as_prompt(prompt) or "" for prompt in prompts]
            responses = as_responses(responses)
        else:
            of_each, responses, _ = prompts_of(prompts, responses)
        items = self.reader(responses, of_each)
        weights = self.people.mean if people is None else self._weights(people)
        features = np.asarray(items.features, np.float32)
        if features.ndim != 2:
            raise ValueError(f"embeddings need the shape (response, input), got {responses.shape}")
        ones = np.ones((len(weights), 1), np.float32)
        table = np.concatenate([features, np.asarray(items.utility, np.float32)[:, None]], axis=1)
        return np.concatenate([np.asarray(weights), ones], axis=1) @ table.T

    def save(self, folder: str | Path) -> None:
        """Writes the model into a folder, in one file that appears whole or not at all.

        `prefjax.load` gives the same bits back.

        Args:
            folder: Made if needed; a model in it is replaced.

        Raises:
            ValueError: The model is not finite.
        """
        files.save(folder, self.basis, self.people, self.users, self.report, self.encoder)

    def push_to_hub(
        self,
        repository: str,
        *,
        card: str | None = None,
        with_people: bool = False,
        is_private: bool = True,
    ) -> str:
        """Sends the model to the Hugging Face hub; ``prefjax.load("owner/name@commit")`` reads it.

        Args:
            repository: ``owner/name``, made if needed.
            card: Text of the model card, Markdown; by default what `model_card` writes.
            with_people: Whether the names of the training users and what is known of each go along;
                without, the model serves new people alone.
            is_private: Whether a new repository is private.

        Returns:
            The commit.

        Raises:
            ModuleNotFoundError: huggingface_hub is not installed (extra ``hub``).
            ValueError: The name is no ``owner/name``, or the model is not finite.
            OSError: The hub cannot be reached, or refuses.
        """
        people, users = self.people, self.users
        if not with_people:
            people, users = jax.tree.map(lambda leaf: np.asarray(leaf)[:0], people), ()
        with TemporaryDirectory() as folder:
            replace(self, people=people, users=users).save(folder)
            text = model_card(self, repository) if card is None else card
            (Path(folder) / CARD).write_text(text, encoding="utf-8")
            message = "A preference model of prefjax"
            return upload(Path(folder), repository, message=message, is_private=is_private)

    def _weights(self, people: Sequence[Any]) -> np.ndarray:
        """λ̂ of each person."""
        mean = np.asarray(self.people.mean)
        if not any(isinstance(one, Person) for one in people):
            return mean[np.array([self._index_of(name) for name in people], int)]
        for place, one in enumerate(people):
            if isinstance(one, Person) and one.basis is not self.basis:
                digests = {basis_digest(basis) for basis in (one.basis, self.basis)}
                if len(digests) > 1:
                    raise ValueError(f"people[{place}] belongs to a model with another basis")
        return np.stack(
            [
                one.weights if isinstance(one, Person) else mean[self._index_of(one)]
                for one in people
            ]
        )

    @cached_property
    def _places(self) -> Mapping[Any, int]:
        return {name: place for place, name in enumerate(self.users)}

    def _index_of(self, user: Any) -> int:
        index = self._places.get(user)
        if index is None:
            shown = ", ".join(repr(name) for name in self.users[:5])
            raise KeyError(
                f"no user {user!r}: the model was fitted on {len(self.users)} users ({shown}, …)"
            )
        return index
