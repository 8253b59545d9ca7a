"""What a server does with people, without the web: asked, heard, ranked for, stored.

Every change is computed on a `prefjax.person.Person` in memory and committed to the store before it
is returned; where the store has a newer version (another replica wrote), the person is read again
and the change computed from there. People of the training data are known by their names until
something is stored of them.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np

from prefjax.io import digest_json
from prefjax.model import PreferenceModel
from prefjax.person import Person, Ranking, basis_digest, rank_many, stored
from prefjax.person.reading import joined
from prefjax.serve.rewards import reward_of
from prefjax.serve.store import (
    ConflictError,
    ExistingPersonError,
    PeopleStore,
    UnknownPersonError,
    check_name,
)
from prefjax.types import Gaussian, Items

MOST_CACHED = 10_000
"""People kept in memory, the last ones used."""
TRIES = 20
"""Times that a change is computed again because another writer was first."""
Result = TypeVar("Result")


class StaleQuestionError(ValueError):
    """The answer is to a question that is not the open one."""


class ReusedKeyError(ValueError):
    """The idempotency key belongs to another request."""


class UnreadablePersonError(RuntimeError):
    """What is stored of somebody means nothing to this model."""


class RankRequest(NamedTuple):
    """Candidates to be ranked for one person.

    Attributes:
        belief: What is known of the person.
        prompt: Text of the prompt; None where the candidates are embeddings.
        candidates: Texts, or embeddings with one row a response.
    """

    belief: Gaussian
    prompt: str | None
    candidates: Any


class _Entry:
    """A person in memory, its version in the store (−1: nothing is stored), and its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.person: Person | None = None
        self.version = -1
        self.num_users = 0


class PeopleService:
    """People who are asked and served by one model.

    Args:
        model: A fitted model.
        store: Where people are kept.
        is_shared: Other processes write the same store: every use looks for a newer version.
    """

    def __init__(self, model: PreferenceModel, store: PeopleStore, *, is_shared: bool = False):
        self.model, self.store, self._is_shared = model, store, is_shared
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._users = {str(name): name for name in model.users}
        self._basis = basis_digest(model.basis)

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
        if like is not None and like not in self._users:
            raise UnknownPersonError(like)
        if like is None:
            made = self.model.new_person(rule=rule, seed=seed)
        else:
            made = self.model.person(self._users[like], rule=rule, seed=seed)
        made.num_questions = num_questions
        with self._use(person) as entry:
            entry.version = self.store.create(person, made.state_to_dict())
            entry.person = made
        return self.describe(person)

    def delete(self, person: str) -> None:
        """Removes all that is known of somebody.

        Raises:
            UnknownPersonError: There is no such person.
        """
        with self._use(person) as entry:
            entry.person, entry.version = None, -1
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
        if self._is_shared or not self._lock.acquire(blocking=False):
            return None
        try:
            entry = self._entries.get(person)
            if entry is None or not entry.lock.acquire(blocking=False):
                return None
            try:
                self._entries.move_to_end(person)
                return None if entry.person is None else entry.person.belief
            finally:
                entry.lock.release()
        finally:
            self._lock.release()

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """Candidates of each request in the order that its person is expected to like them.

        Args:
            requests: Any number of them, of texts or of embeddings.

        Raises:
            ValueError: A candidate is not legal; the message does not say of which request.
        """
        items: dict[int, Items] = {}
        for are_texts in (False, True):
            places = [i for i, one in enumerate(requests) if (one.prompt is not None) == are_texts]
            if places:
                items |= zip(places, self._read([requests[i] for i in places]), strict=True)
        beliefs = [one.belief for one in requests]
        return rank_many(self.model.basis, beliefs, [items[i] for i in range(len(requests))])

    def _read(self, requests: Sequence[RankRequest]) -> list[Items]:
        """φ and t of the candidates of each request, all texts or all embeddings, read at once."""
        counts = [len(one.candidates) for one in requests]
        if requests[0].prompt is None:
            items = self.model.reader(joined([one.candidates for one in requests], np.concatenate))
        else:
            texts = [text for one in requests for text in one.candidates]
            prompts = [one.prompt for one in requests for _ in one.candidates]
            items = self.model.reader(texts, prompts)
        stops = np.cumsum(counts)[:-1]
        parts = [
            [None] * len(counts) if part is None else np.split(np.asarray(part), stops)
            for part in items
        ]
        return [Items(*one) for one in zip(*parts, strict=True)]

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
        with self._use(person) as entry:
            return use(self._current(person, entry))

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
        with self._use(person) as entry:
            for _ in range(TRIES):
                if key is not None:
                    known = self.store.receipt(person, key)
                    if known is not None and known["request"] != digest:
                        raise ReusedKeyError(f"the key {key!r} belongs to another request")
                    if known is not None:
                        return known["answer"]
                one = self._stored_now(person, entry)
                num_before = one.num_answers
                try:
                    result, is_changed = change(one)
                    if not is_changed and key is None:
                        return result
                    new = None
                    if one.num_answers > num_before:
                        new = stored.answer_to_json(one.log[num_before]) | {"basis": self._basis}
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
                    entry.person, entry.version = None, -1
                except BaseException:  # what is in memory may differ from what is stored
                    entry.person, entry.version = None, -1
                    raise
                else:
                    entry.version += 1
                    return result
        raise ConflictError(f"{person!r} is being changed by others all the time: try again")

    @contextmanager
    def _use(self, person: str):
        """The entry of somebody, for this thread alone; of the empty string, somebody unknown."""
        if person:
            check_name(person, "the id")
        with self._lock:
            entry = self._entries.setdefault(person, _Entry())
            entry.num_users += 1
            self._entries.move_to_end(person)
        try:
            with entry.lock:
                yield entry
        finally:
            with self._lock:
                entry.num_users -= 1
                if entry.person is None and not entry.num_users:
                    self._entries.pop(person, None)
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Keeps the number of people in memory bounded; nobody in use is dropped."""
        excess = len(self._entries) - MOST_CACHED
        if excess > 0:
            unused = [name for name, entry in self._entries.items() if not entry.num_users]
            for name in unused[:excess]:
                del self._entries[name]

    def _current(self, person: str, entry: _Entry) -> Person:
        """Somebody as stored, or as the training data know them."""
        if entry.person is not None and not self._is_shared:
            return entry.person
        try:
            return self._stored(person, entry)
        except UnknownPersonError:
            if entry.version >= 0:  # deleted by another server
                entry.person, entry.version = None, -1
            if person and person not in self._users:
                raise
        if entry.person is None:
            entry.person = self._unstored(person)
        return entry.person

    def _unstored(self, person: str) -> Person:
        """Somebody of the training data, or, for the empty string, somebody unknown."""
        return self.model.person(self._users[person]) if person else self.model.new_person()

    def _stored_now(self, person: str, entry: _Entry) -> Person:
        """Somebody as stored; somebody of the training data is stored by the first change."""
        try:
            return self._stored(person, entry)
        except UnknownPersonError:
            if person not in self._users:
                raise
        one = self._unstored(person)
        with suppress(ExistingPersonError):  # another replica was first
            self.store.create(person, one.state_to_dict())
        return self._stored(person, entry)

    def _stored(self, person: str, entry: _Entry) -> Person:
        """Somebody as stored.

        Raises:
            UnknownPersonError: Nothing is stored of that id.
        """
        is_known = entry.person is not None and entry.version >= 0
        if is_known and self._is_shared:
            is_known = self.store.version(person) == entry.version
        if is_known and entry.person is not None:
            return entry.person
        found = self.store.read(person)
        values = found.state | {"answers": found.answers}
        bases = {found.state["basis"], *(answer["basis"] for answer in found.answers)}
        try:
            one = self.model.load_person(values, reinfer=bases != {self._basis})
        except ValueError as error:
            raise UnreadablePersonError(
                f"this model cannot take {person!r} over from the one before: {error}"
            ) from error
        entry.person, entry.version = one, found.version
        return one


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
