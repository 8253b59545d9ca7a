"""What a server does with people, without the web: asked, heard, ranked for, stored.

Every change is computed on a `prefjax.person.Person` in memory and committed to the store before it
is returned; where the store has a newer version (another replica wrote), the person is read again
and the change computed from there.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from prefjax.io import digest_json
from prefjax.model import PreferenceModel
from prefjax.person import Person, Ranking, stored
from prefjax.serve.known_people import KnownPeople
from prefjax.serve.ranking import RankRequest, rank
from prefjax.serve.rewards import reward_of
from prefjax.serve.store import (
    ConflictError,
    PeopleStore,
    UnknownPersonError,
    check_name,
)
from prefjax.types import Gaussian

TRIES = 20
"""Times that a change is computed again because another writer was first."""
Result = TypeVar("Result")


class StaleQuestionError(ValueError):
    """The answer is to a question that is not the open one."""


class ReusedKeyError(ValueError):
    """The idempotency key belongs to another request."""


class PeopleService:
    """People who are asked and served by one model.

    Args:
        model: A fitted model.
        store: Where people are kept.
        is_shared: Other processes write the same store: every use looks for a newer version.
    """

    def __init__(self, model: PreferenceModel, store: PeopleStore, *, is_shared: bool = False):
        self.model, self.store = model, store
        self._people = KnownPeople(model, store, is_shared=is_shared)

    def create(
        self,
        person: str,
        *,
        rule: str = "d_optimal",
        seed: int = 0,
        num_questions: int | None = None,
        like: str | None = None,
    ) -> dict[str, Any]:
        """Somebody new.

        Args:
            person: The id.
            rule: How questions are chosen.
            seed: Drives the rules that draw at random.
            num_questions: Most questions asked; None for no limit.
            like: Name of a person of the training data whose answers are known; None for somebody
                of whom nothing is known.

        Raises:
            ExistingPersonError: The id is taken.
            UnknownPersonError: There is no training user of that name.
            ValueError: The id or the rule is not legal.
        """
        if like is not None and like not in self._people.users:
            raise UnknownPersonError(like)
        if like is None:
            made = self.model.new_person(rule=rule, seed=seed)
        else:
            made = self.model.person(self._people.users[like], rule=rule, seed=seed)
        made.num_questions = num_questions
        with self._people.use(person) as entry:
            entry.version = self.store.create(person, made.state_to_dict())
            entry.person = made
        return self.describe(person)

    def delete(self, person: str) -> None:
        """Removes all that is known of somebody.

        Raises:
            UnknownPersonError: There is no such person.
        """
        with self._people.use(person) as entry:
            entry.forget()
            self.store.delete(person)

    def describe(self, person: str) -> dict[str, Any]:
        """Weights with their standard deviations, number of answers, the open question.

        Raises:
            UnknownPersonError: There is no such person.
        """

        def found(one: Person) -> dict[str, Any]:
            deviation = np.sqrt(np.diagonal(one.belief.covariance))
            return {
                "id": person,
                "num_answers": one.num_answers,
                "weights": one.belief.mean.tolist(),
                "standard_deviations": deviation.tolist(),
                "question": _question_to_json(one),
            }

        return self.look(person, found)

    def ask(self, person: str, pool: Any, *, key: str | None = None) -> dict[str, Any]:
        """The question whose answer tells most; the open one again until it is answered.

        Args:
            person: The id.
            pool: (prompt, responses) pairs; texts, or embeddings without a prompt.
            key: Idempotency key of the request.

        Raises:
            UnknownPersonError: There is no such person.
            ValueError: The pool is not legal, or has no question left.
        """

        def change(one: Person) -> tuple[dict[str, Any], bool]:
            was_open = one.open_question is not None
            if not was_open:
                one.ask(*pool) if isinstance(pool, tuple) else one.ask(pool)
            return {"question": _question_to_json(one)}, not was_open

        return self._change(person, change, key, ["ask", _plain(pool)])

    def tell(
        self, person: str, label: float, *, question: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """The answer to the open question.

        Args:
            person: The id.
            label: Probability that the first response was preferred.
            question: The id of the question that is answered; None for the open one.
            key: Idempotency key of the request.

        Raises:
            UnknownPersonError: There is no such person.
            StaleQuestionError: Another question is open, or none.
            ReusedKeyError: The key belongs to another request.
            ValueError: The label is not in [0, 1].
        """
        wanted = question

        def change(one: Person) -> tuple[dict[str, Any], bool]:
            nonlocal wanted
            opened = _question_to_json(one)
            if opened is None or wanted not in (None, opened["id"]):
                raise StaleQuestionError(
                    f"{wanted or 'an answer'} came, and "
                    f"{'no question' if opened is None else opened['id']} is open"
                )
            wanted = opened["id"]  # where another writer was first, the next one is not meant
            one.tell(label)
            return {"num_answers": one.num_answers}, True

        return self._change(person, change, key, ["tell", label, question])

    def observe(
        self,
        person: str,
        prompt: str | None,
        first: Any,
        second: Any,
        label: float,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        """A choice that was made elsewhere.

        Args:
            person: The id.
            prompt: Text of the prompt, None for embeddings.
            first: Text or embedding.
            second: The same; None for a vote on the first alone.
            label: Probability that the first was preferred.
            key: Idempotency key of the request.

        Raises:
            UnknownPersonError: There is no such person.
            ValueError: A response or the label is not legal.
        """

        def change(one: Person) -> tuple[dict[str, Any], bool]:
            one.observe(prompt, first, second, label)
            return {"num_answers": one.num_answers}, True

        request = ["observe", prompt, _plain(first), _plain(second), label]
        return self._change(person, change, key, request)

    def belief(self, person: str) -> Gaussian:
        """What is known of somebody.

        Args:
            person: The id; the empty string stands for somebody of whom nothing is known.

        Raises:
            UnknownPersonError: There is no such person.
        """
        return self.look(person, lambda one: one.belief)

    def belief_at_hand(self, person: str) -> Gaussian | None:
        """What is known of somebody in memory, without waiting; None where `belief` must look."""
        found = self._people.at_hand(person)
        return None if found is None else found.belief

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """`prefjax.serve.ranking.rank` by this model."""
        return rank(self.model, requests)

    def rewards(
        self, people: Sequence[str], prompts: Sequence[str], responses: Sequence[str]
    ) -> list[float]:
        """Expected reward of responses, each to its own prompt and for its own person.

        Args:
            people: Of each response, as in `rank`.
            prompts: One for each response.
            responses: Texts.

        Raises:
            UnknownPersonError: There is no such person.
            ValueError: A text is not legal.
        """
        return reward_of(
            self.model, people, prompts, responses, lambda name: self.look(name, lambda one: one)
        )

    def look(self, person: str, use: Callable[[Person], Result]) -> Result:
        """What ``use`` makes of somebody, who must not be changed by it.

        Raises:
            UnknownPersonError: There is no such person.
        """
        with self._people.use(person) as entry:
            return use(self._people.current(person, entry))

    def _change(
        self,
        person: str,
        change: Callable[[Person], tuple[dict[str, Any], bool]],
        key: str | None,
        request: list[Any],
    ) -> dict[str, Any]:
        """Computes a change and commits it; a request that was answered gets its answer again."""
        digest = None
        if key is not None:
            check_name(key, "an idempotency key")
            digest = digest_json(request)
        with self._people.use(person) as entry:
            for _ in range(TRIES):
                seen = self._people.look(person, key)
                known = None if seen is None else seen.receipt
                if known is not None and known["request"] != digest:
                    raise ReusedKeyError(f"the key {key!r} belongs to another request")
                if known is not None:
                    return known["answer"]
                one = self._people.stored_now(person, entry, seen)
                num_before = one.num_answers
                try:
                    result, is_changed = change(one)
                    if not is_changed and key is None:
                        return result
                    new = None
                    if one.num_answers > num_before:
                        new = stored.answer_to_json(one.log[num_before]) | {
                            "basis": self._people.basis
                        }
                    receipt = {"request": digest, "answer": result}
                    self.store.commit(
                        person,
                        entry.version,
                        one.state_to_dict(),
                        answer=new,
                        key=key,
                        receipt=receipt,
                    )
                except ConflictError:
                    entry.forget()
                except BaseException:  # what is in memory may differ from what is stored
                    entry.forget()
                    raise
                else:
                    entry.version += 1
                    return result
        raise ConflictError(f"{person!r} is being changed by others all the time: try again")


def _plain(value: Any) -> Any:
    """Texts as they are, embeddings as lists."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _question_to_json(one: Person) -> dict[str, Any] | None:
    """The open question: its id, places and, where there are, texts."""
    question = one.open_question
    if question is None:
        return None
    values = {
        "id": f"q{sum(answer.asked is not None for answer in one.log)}",
        "prompt_index": question.prompt,
        "first_index": question.first,
        "second_index": question.second,
    }
    shown = question.shown
    if shown is not None:
        values |= {"prompt": shown.prompt, "first": shown.first, "second": shown.second}
    return values
