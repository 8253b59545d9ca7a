"""Choices among several and rankings of one person on the host: the part of `Person` for them.

    shown = person.ask_choice(prompt, candidates, num_shown=4)   # places of what tells most
    person.observe_choice(prompt, responses, 2)                  # one of several was chosen
    person.observe_ranking(prompt, responses, [2, 1, 3])         # 1 is best

A choice is one observation, and a ranking one for each place of it but the last.
"""

from typing import Any

import numpy as np

from prefjax.data.choices import from_rankings
from prefjax.person.answers import ChoiceShown, LoggedChoice
from prefjax.person.belief import AnswerBuffer
from prefjax.person.candidates import as_prompt, as_response, as_responses, prompts_of
from prefjax.person.choices import select_choice
from prefjax.person.described import choice_of
from prefjax.person.items import bucket, pad_rows
from prefjax.person.reading import Reader


class Chooser:
    """Who chooses one among several; `Person` is one, and says what the attributes are.

    Attributes:
        reader: Gives φ and t of whatever is passed for responses.
        choices: Every choice among several, in order.
    """

    reader: Reader
    choices: list[LoggedChoice]
    _buffer: AnswerBuffer

    def observe_choice(self, prompt: Any, responses: Any, choice: int) -> None:
        """Records a choice of one among several, which is one observation, not several pairs.

        Args:
            prompt: The prompt, None for none.
            responses: All that was shown: texts, or embeddings with one row a response.
            choice: Place of the chosen one.

        Raises:
            ValueError: Fewer than two responses were shown, or the choice is none of them.
        """
        shown = self._as_shown(prompt, responses)
        size = len(shown.responses)
        if not (isinstance(choice, int | np.integer) and 0 <= choice < size):
            raise ValueError(f"the choice must be a place from 0 to {size - 1}, got {choice!r}")
        self._record_choice(choice_of(self.reader, shown, np.eye(size)[choice]))

    def observe_ranking(self, prompt: Any, responses: Any, rank: Any) -> None:
        """Records a ranking: the choice of the best, of the next among the rest, and so on.

        Args:
            prompt: The prompt, None for none.
            responses: All that was ranked: texts, or embeddings with one row a response.
            rank: Rank of each, 1 for the best; equal ones share the label of their choice.

        Raises:
            ValueError: Fewer than two responses were ranked, or there are not as many finite ranks.
        """
        shown = self._as_shown(prompt, responses)
        rank = np.asarray(rank, np.float64)
        size = len(shown.responses)
        if rank.shape != (size,) or not np.isfinite(rank).all():
            raise ValueError(f"a ranking of {size} responses needs as many finite ranks")
        places = np.arange(size)[None]
        made = from_rankings(np.zeros(1, int), places, rank[None])
        for label, mask in zip(made.label, made.mask, strict=True):
            some = tuple(shown.responses[place] for place in np.flatnonzero(mask))
            part = ChoiceShown(shown.prompt, some)
            self._record_choice(choice_of(self.reader, part, label[mask]))

    def ask_choice(self, prompt: Any, candidates: Any = None, num_shown: int = 4) -> list[int]:
        """Places of the responses whose choice tells most, found greedily from the best pair.

        The answer is recorded by `observe_choice`.

        Args:
            prompt: The prompt, with ``candidates``; or, alone, what would be the candidates.
            candidates: Texts, or embeddings with one row a response.
            num_shown: How many are shown.

        Raises:
            ValueError: There are not as many candidates, or fewer than two are to be shown.
        """
        prompts, responses, _ = prompts_of(prompt, candidates)
        items = self.reader(responses, prompts)
        size = len(items.utility)
        if not 2 <= num_shown <= size:
            raise ValueError(f"{num_shown} of {size} responses cannot be shown; show 2 to {size}")
        padded = bucket(size)
        table = pad_rows(items.features, padded), pad_rows(items.utility, padded)
        chosen, _ = select_choice(self._buffer.belief, *table, np.arange(padded) < size, num_shown)
        return [int(place) for place in chosen]

    @staticmethod
    def _as_shown(prompt: Any, responses: Any) -> ChoiceShown:
        responses = as_responses(responses)
        if len(responses) < 2:
            raise ValueError(f"a choice needs two responses, got {len(responses)}")
        return ChoiceShown(as_prompt(prompt), tuple(map(as_response, responses)))

    def _record_choice(self, choice: LoggedChoice) -> None:
        self._buffer.add_choice(choice)
        self.choices.append(choice)
