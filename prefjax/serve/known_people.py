"""People of a server in memory, read again from the store where another replica wrote.

People of the training data are known by their names until something is stored of them.
"""

import threading
from collections import OrderedDict
from contextlib import contextmanager, suppress

from prefjax.model import PreferenceModel
from prefjax.person import Person, basis_digest, stored
from prefjax.serve.store import (
    ExistingPersonError,
    Glance,
    PeopleStore,
    StoredState,
    UnknownPersonError,
    check_name,
)

MOST_CACHED = 10_000
"""People kept in memory, the last ones used."""


class UnreadablePersonError(RuntimeError):
    """What is stored of somebody means nothing to this model."""


class Entry:
    """A person in memory, version (−1: nothing is stored) and birth in the store, and a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.person: Person | None = None
        self.version = -1
        self.created = 0.0
        self.num_users = 0

    def forget(self) -> None:
        """Makes the next use read the store."""
        self.person, self.version = None, -1


class KnownPeople:
    """Everybody whom a model and a store know, one thread at a time for each of them.

    Args:
        model: A fitted model.
        store: Where people are kept.
        is_shared: Other processes write the same store: every use looks for a newer version.
    """

    def __init__(self, model: PreferenceModel, store: PeopleStore, *, is_shared: bool):
        self.model, self.store, self._is_shared = model, store, is_shared
        self.users = {str(name): name for name in model.users}
        self.basis = basis_digest(model.basis)
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def at_hand(self, person: str) -> Person | None:
        """Somebody in memory, without waiting; None where `use` must look."""
        if self._is_shared or not self._lock.acquire(blocking=False):
            return None
        try:
            entry = self._entries.get(person)
            if entry is None or not entry.lock.acquire(blocking=False):
                return None
            try:
                self._entries.move_to_end(person)
                return entry.person
            finally:
                entry.lock.release()
        finally:
            self._lock.release()

    @contextmanager
    def use(self, person: str):
        """The entry of somebody, for this thread alone; of the empty string, somebody unknown."""
        if person:
            check_name(person, "the id")
        with self._lock:
            entry = self._entries.setdefault(person, Entry())
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

    def current(self, person: str, entry: Entry) -> Person:
        """Somebody as stored, or as the training data know them."""
        if entry.person is not None and not self._is_shared:
            return entry.person
        try:
            return self._stored(person, entry, self.look(person))
        except UnknownPersonError:
            if entry.version >= 0:  # deleted by another server
                entry.forget()
            if person and person not in self.users:
                raise
        if entry.person is None:
            entry.person = self._unstored(person)
        return entry.person

    def _unstored(self, person: str) -> Person:
        """Somebody of the training data, or, for the empty string, somebody unknown."""
        return self.model.person(self.users[person]) if person else self.model.new_person()

    def look(self, person: str, key: str | None = None) -> Glance | None:
        """What the store says at a glance; None where nothing is stored, or nobody need look.

        Args:
            person: The id.
            key: Idempotency key of a request, None for none.
        """
        if key is None and not self._is_shared:
            return None
        try:
            return self.store.look(person, key)
        except UnknownPersonError:
            return None

    def stored_now(self, person: str, entry: Entry, seen: Glance | None) -> Person:
        """Somebody as stored; somebody of the training data is stored by the first change.

        Args:
            person: The id.
            entry: Of the person.
            seen: From `look`, just now.
        """
        try:
            return self._stored(person, entry, seen)
        except UnknownPersonError:
            if person not in self.users:
                raise
        one = self._unstored(person)
        with suppress(ExistingPersonError):  # another replica was first
            self.store.create(person, one.state_to_dict())
        return self._stored(person, entry, None)

    def _stored(self, person: str, entry: Entry, seen: Glance | None) -> Person:
        """Somebody as stored.

        Raises:
            UnknownPersonError: Nothing is stored of that id.
        """
        one = entry.person
        if one is not None and entry.version >= 0:
            if not self._is_shared:
                return one
            version = seen.version if seen and seen.created == entry.created else None
            if version == entry.version or (version and self._follow(person, entry, one)):
                return one
        found = self.store.read(person)
        values = found.state | {"answers": found.answers}
        try:
            one = self.model.load_person(values, reinfer=not self._is_ours(found))
        except ValueError as error:
            raise UnreadablePersonError(
                f"this model cannot take {person!r} over from the one before: {error}"
            ) from error
        entry.person, entry.version, entry.created = one, found.version, found.created
        return one

    def _follow(self, person: str, entry: Entry, one: Person) -> bool:
        """Takes over what another replica wrote since; False where all must be read."""
        found = self.store.read(person, entry.version)
        if found.created != entry.created or not self._is_ours(found):
            return False
        one.follow(stored.from_dict(found.state | {"answers": found.answers}, person))
        entry.version = found.version
        return True

    def _is_ours(self, found: StoredState) -> bool:
        """Whether all of it was computed by this model."""
        bases = {found.state["basis"], *(answer["basis"] for answer in found.answers)}
        return bases == {self.basis}
