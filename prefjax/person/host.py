"""One person on the host: asked, heard, ranked for; a log that can be written as JSON.

    person = model.person("w12")                  # or model.new_person(), or Person(basis)
    question = person.ask(prompt, candidates)     # the most informative pair
    person.tell(1.0)                              # 1: the first is preferred
    person.observe(prompt, first, second, 0.0)    # a choice made elsewhere
    person.rank(prompt, candidates).order[0]      # what to show this person

Responses are texts where the model has an encoder, and embeddings everywhere; these need no prompt.
Prompts and texts may be lists of messages, as `prefjax.data.read` reads them.
Choices among several and rankings are heard by `prefjax.person.host_choices`. With the same seed,
pool and answers the same questions are asked as by `interview`. Input is checked and refused.
"""

from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jaxtyping import Float

from prefjax.logistic import GAUSSIAN, Solver
from prefjax.person import described, stored
from prefjax.person._interview import ask_live
from prefjax.person.acquisition import get_rule
from prefjax.person.answers import LoggedAnswer, LoggedChoice, Question, Shown
from prefjax.person.belief import AnswerBuffer
from prefjax.person.candidates import (
    Candidates,
    Places,
    as_prompt,
    as_response,
    make_candidates,
    one_or_several,
    prompts_of,
)
from prefjax.person.checks import check_population
from prefjax.person.host_choices import Chooser
from prefjax.person.items import bucket
from prefjax.person.ranking import Ranking, rank, reward
from prefjax.person.reading import EmbeddingReader, Reader
from prefjax.types import FeatureGap, Gaussian, Population, RewardBasis


class Person(Chooser):
    """One person: the answers so far and what they say of the weights.

    Args:
        basis: φ, t and the population.
        belief: What is known before the first answer; the population by default.
        rule: How questions are chosen, a name in `RULES`.
        seed: Drives the rules that draw at random.
        num_questions: Most questions asked; None for no limit.
        reader: Gives φ and t of whatever is passed for responses; embeddings by default.
        user: Name under which the person's rows were among the training data, None for a new one.
        solver: Which posterior of the weights; the variational one by default.

    Attributes:
        basis: As given.
        belief: N(m, S) given the answers so far.
        log: Every answer about a pair in order.
        choices: Every choice among several, in order.
        user: As given.

    Raises:
        ValueError: The rule is unknown, or belief and basis disagree on the number of factors.

    Examples:
        >>> import jax.numpy as jnp
        >>> from prefjax.basis.heads import linear_params
        >>> from prefjax.types import Gaussian, RewardBasis
        >>> population = Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> person = Person(RewardBasis(linear_params(jnp.eye(2, 3)), population, jnp.ones(())))
        >>> pool = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
        >>> person.ask(pool)[:2]
        (0, 2)
        >>> person.tell(1.0)
        >>> person.rank(pool).order.tolist()
        [0, 1, 2]
    """

    def __init__(
        self,
        basis: RewardBasis,
        *,
        belief: Population | None = None,
        rule: str = "d_optimal",
        seed: int = 0,
        num_questions: int | None = None,
        reader: Reader | None = None,
        user: Any = None,
        solver: Solver = GAUSSIAN,
    ):
        get_rule(rule)
        prior = basis.population if belief is None else belief
        check_population(prior, "a person's prior")
        if np.shape(prior.mean) != np.shape(basis.population.mean):
            raise ValueError(
                f"the belief has {np.shape(prior.mean)[-1]} factors, the basis "
                f"{np.shape(basis.population.mean)[-1]}"
            )
        self.basis, self.rule, self.seed = basis, rule, seed
        self.num_questions, self.user = num_questions, user
        self.log: list[LoggedAnswer] = []
        self.choices: list[LoggedChoice] = []
        self.reader = EmbeddingReader(basis) if reader is None else reader
        self._buffer = AnswerBuffer(prior, basis.posterior_scale, solver)
        self._key: jax.Array | None = None
        self._asked: dict[str, list[Places]] = {}
        self._open: stored.OpenQuestion | None = None

    @property
    def belief(self) -> Gaussian:
        """N(m, S) given the answers so far."""
        return self._buffer.belief

    @property
    def prior(self) -> Population:
        """What was known before the first answer."""
        return self._buffer.prior

    @property
    def weights(self) -> Float[np.ndarray, " factor"]:
        """m, the person's weights given the answers so far."""
        return np.asarray(self.belief.mean)

    @property
    def num_answers(self) -> int:
        """Answers so far."""
        return len(self.log) + len(self.choices)

    @property
    def open_question(self) -> Question | None:
        """The question that was asked and is not answered yet."""
        return None if self._open is None else self._open.question

    def ask(self, pool: Any, candidates: Any = None) -> Question:
        """The pair of a pool whose answer tells most; every pair is scored.

        The open question is given again until it is answered.

        Args:
            pool: A prompt, with ``candidates``. Or alone: several prompts with responses of each,
                as a mapping or as (prompt, responses) pairs; texts, or embeddings, of the responses
                to one prompt; embeddings of several prompts with the same number of responses; or a
                `PairPool` or `ResponsePool` of features.
            candidates: Texts or embeddings of responses to the prompt ``pool``.

        Raises:
            ValueError: The pool is invalid, has no two responses to one prompt, or all its pairs
                were asked; or ``num_questions`` are answered.
        """
        if self._open is not None:
            return self._open.question
        num_asked = sum(answer.asked is not None for answer in self.log)
        if num_asked == self.num_questions:
            raise ValueError(f"all {num_asked} questions of this person are answered")
        found = make_candidates(pool, candidates, self.reader, len(self.prior.mean))
        before = self._places_asked(found)
        asked = np.full(bucket(len(before) + 1), -1, np.int32)
        asked[: len(before)] = [found.index(places) for places in before]
        if self._key is None:
            self._key = jax.random.key(self.seed)
        index, gap = ask_live(
            self._key,
            self._buffer.fit,
            found.pool,
            asked,
            np.int32(self.num_answers),
            self.prior,
            self.rule,
        )
        if int(index) < 0:
            raise ValueError(
                f"the pool has no question left: all of its pairs were asked "
                f"({len(before)} of them answered)"
            )
        question = found.question(int(index))
        places = question.prompt, question.first, question.second
        if not found.has_texts:
            self._asked.setdefault(found.digest(), []).append(places)
        gap = FeatureGap(*(np.asarray(part) for part in gap))
        self._open = stored.OpenQuestion(question, gap, found.shown(places))
        return question

    def tell(self, label: float) -> None:
        """Records the answer to the open question and updates the belief.

        Args:
            label: 1 if the first is preferred, 0 if the second, ½ for a tie, or any probability
                between.

        Raises:
            ValueError: No question is open, or the label is outside [0, 1].
        """
        if self._open is None:
            raise ValueError("tell() without a question: call ask() first")
        question, gap, shown = self._open
        self._record(gap, label, question, shown)
        self._open = None

    @overload
    def observe(self, first: Any, second: Any, label: float, /) -> None: ...
    @overload
    def observe(self, prompt: str | None, first: Any, second: Any, label: float, /) -> None: ...
    def observe(self, *choice: Any) -> None:
        """Records a choice that was made elsewhere; an open question stays open.

        Args:
            choice: ``first, second, label`` or ``prompt, first, second, label``. First and second
                are texts or embeddings; second may be None for a vote on the first alone. The label
                is the probability that the first was preferred.

        Raises:
            TypeError: There are neither three nor four arguments.
            ValueError: A response or the label is not legal.
        """
        if len(choice) not in (3, 4):
            raise TypeError(
                f"observe(first, second, label) or observe(prompt, first, second, label); got "
                f"{len(choice)} arguments"
            )
        prompt = choice[0] if len(choice) == 4 else None
        first, second, label = choice[-3:]
        second = None if second is None else as_response(second)
        shown = Shown(as_prompt(prompt), as_response(first), second)
        self._record(described.gap_of(self.reader, shown), label, None, shown)

    def rank(self, prompt: Any, candidates: Any = None) -> Ranking:
        """Orders responses for this person, with win probabilities and their uncertainty.

        Args:
            prompt: The prompt, with ``candidates``; or, alone, what would be the candidates.
            candidates: Texts, or embeddings with one row a response.
        """
        prompts, responses, _ = prompts_of(prompt, candidates)
        return rank(self.basis, self.belief, self.reader(responses, prompts))

    def reward(self, prompt: Any, response: Any = None) -> tuple[Any, Any]:
        """Expected reward of responses and its standard deviation, as the weights are uncertain.

        Args:
            prompt: The prompt, with ``response``; or, alone, what would be the response.
            response: One text or embedding, which gives two numbers, or several, which give two
                arrays.
        """
        prompts, responses, is_one = one_or_several(prompt, response)
        mean, deviation = reward(self.belief, self.reader(responses, prompts))
        return (float(mean[0]), float(deviation[0])) if is_one else (mean, deviation)

    def to_dict(self) -> dict[str, Any]:
        """Answers and belief in plain values, for JSON; `PreferenceModel.load_person` reads it."""
        return self.state_to_dict() | {"answers": list(map(stored.answer_to_json, self.log))}

    def state_to_dict(self) -> dict[str, Any]:
        """All but the answers, for whoever keeps these one by one; see `to_dict`."""
        return stored.state_to_dict(self, self._asked, self._open)

    def save(self, path: str | Path) -> None:
        """Writes answers and belief into a JSON file that appears whole or not at all.

        Texts that were shown are in it. `PreferenceModel.load_person` reads it.

        Args:
            path: A file; one that is there is replaced.
        """
        stored.save(path, self.to_dict())

    def follow(self, since: stored.StoredPerson) -> None:
        """Takes over what was stored of this person by somebody else.

        Args:
            since: The state, and the answers that are not in the log yet.
        """
        for answer in since.answers:
            self._buffer.add(answer.gap, answer.label)
        for choice in since.choices[len(self.choices) :]:
            self._buffer.add_choice(choice)
        self.log += since.answers
        self.choices, self._asked, self._open = since.choices, since.asked, since.open

    def _places_asked(self, found: Candidates) -> list[Places]:
        """Questions of a pool that were answered."""
        if not found.has_texts:
            return self._asked.get(found.digest(), [])
        seen = {answer.shown for answer in self.log if answer.shown and answer.shown.is_pair}
        return sorted({places for shown in seen for places in found.places(shown)})

    def _record(
        self, gap: FeatureGap, label: float, question: Question | None, shown: Shown | None
    ) -> None:
        if not 0.0 <= label <= 1.0:
            hint = "; use 0 for the second response" if label == -1 else ""
            raise ValueError(f"label {label} is outside [0, 1]{hint}")
        features = np.asarray(gap.features, np.float64).tolist()
        self._buffer.add(gap, float(label))
        offset, variance = float(gap.offset), float(gap.variance)
        answer = LoggedAnswer(features, offset, float(label), question, shown, variance)
        self.log.append(answer)
