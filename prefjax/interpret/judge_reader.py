"""A judge names axes: it sees the ends, the pairs and the odd ones out, in both orders.

What it fails to answer, or answers in another form, is no label and no annotation: it stays out and
is counted.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from prefjax.align.judges import (
    Judge,
    Question,
    Request,
    Result,
    Status,
    Template,
    compare,
    quality,
)
from prefjax.data import Dataset
from prefjax.interpret.axes import Axes, ends
from prefjax.interpret.pairs import Pairs
from prefjax.interpret.readers import Label
from prefjax.types import BASELINE, Array

MAX_LABEL = 80
"""Characters of a label; a longer one is an essay."""
DISTINCTION = Template(
    system="You read closely and answer in the exact form that you are asked for.",
    text=(
        "Two responses to the same message follow, and a distinction of the form `X vs. Y`.\n\n"
        "Distinction: {persona}\n\nMessage:\n{prompt}\n\nResponse (a):\n{first}\n\n"
        "Response (b):\n{second}\n\nWhich response lies further toward X? "
        "Answer with `Output (a)` or `Output (b)` and nothing else."
    ),
    choices=("Output (a)", "Output (b)"),
)
"""How a judge is asked to apply a label; both orders are asked, disagreement is a tie."""
_NAMING = "You find what tells two groups of texts apart, in as few words as possible."
_LABEL = re.compile(r"^[`\"“*\s]*(?P<more>[^\n]+?)\s+vs\.?\s+(?P<less>[^\n]+?)[`\"”*.\s]*$")


def read_label(text: str) -> str | None:
    """The label in an answer, None if the answer is not of the form "X vs. Y" alone.

    Args:
        text: The answer.

    >>> read_label("**long and detailed vs. short**")
    'long and detailed vs. short'
    >>> read_label("I cannot say.") is None
    True
    """
    match = _LABEL.match(text.strip())
    if match is None or len(text.strip()) > MAX_LABEL:
        return None
    more, less = match["more"].strip(), match["less"].strip()
    return f"{more} vs. {less}" if more.casefold() != less.casefold() else None


class JudgeReader:
    """Reads through a judge, in both orders wherever two responses are compared.

    Args:
        judge: Any of `prefjax.align.judges`.
        dataset: The texts.
        vocabulary: Labels of the form "X vs. Y" among which the judge chooses, in either
            direction; None for a judge that writes labels of its own.
        num_ends: Responses of each end that are shown.
    """

    def __init__(
        self,
        judge: Judge,
        dataset: Dataset,
        *,
        vocabulary: Sequence[str] | None = None,
        num_ends: int = 4,
    ):
        if vocabulary is not None:
            wrong = [label for label in vocabulary if read_label(label) != label]
            if wrong:
                raise ValueError(f"label {wrong[0]!r} is not of the form 'X vs. Y'")
        self._judge, self._dataset, self._num_ends = judge, dataset, num_ends
        self._vocabulary = None if vocabulary is None else [*vocabulary, *map(reverse, vocabulary)]
        self._known: dict[tuple[str, int, int], float] = {}
        self._counts = dict.fromkeys(
            ("num_proposals", "num_without_label", "num_pairs", "num_without_annotation"), 0
        )
        self._ties: list[float] = []

    def propose(
        self, axes: Axes, pairs: Pairs, among: Array, *, num: int, seed: int
    ) -> list[list[Label]]:
        """Labels that the judge reads off the two ends, each from a sample of its own."""
        rng = np.random.default_rng(seed)
        requests = []
        for axis in range(axes.num_axes):
            high, low = ends(axes, axis, num=3 * self._num_ends, among=np.asarray(among, bool))
            for _ in range(num):
                sides = (self._sample(rng, high), self._sample(rng, low))
                requests.append(self._naming(*sides))
        found = [self._label_of(result) for result in self._ask(requests)]
        self._counts["num_proposals"] += len(found)
        self._counts["num_without_label"] += sum(label is None for label in found)
        by_axis = np.array(found, object).reshape(axes.num_axes, num)
        return [
            [Label(text) for text in dict.fromkeys(filter(None, row))] for row in by_axis.tolist()
        ]

    def _sample(self, rng: np.random.Generator, responses: np.ndarray) -> np.ndarray:
        chosen = rng.permutation(len(responses))[: self._num_ends]
        return responses[np.sort(chosen)]

    def _naming(self, high: np.ndarray, low: np.ndarray) -> Request:
        def listed(responses: np.ndarray) -> str:
            return "\n\n".join(
                f"<text>\n{self._dataset.responses[one]}\n</text>" for one in responses
            )

        text = (
            f"Group X:\n\n{listed(high)}\n\nGroup Y:\n\n{listed(low)}\n\nWhat separates the texts "
            "of group X from those of group Y, whatever they are about? "
        )
        if self._vocabulary is None:
            return Request(_NAMING, text + "Answer with `X vs. Y` alone, a few words each.", ())
        choices = tuple(self._vocabulary)
        text += "Answer with one of these and nothing else:\n" + "\n".join(choices)
        return Request(_NAMING, text, choices)

    def _label_of(self, result: Result) -> str | None:
        if result.status != Status.OK:
            return None
        if self._vocabulary is None:
            return read_label(result.text)
        return None if result.choice is None else self._vocabulary[result.choice]

    def annotate(
        self, labels: Sequence[Label], first: Array, second: Array
    ) -> Float[np.ndarray, "label pair"]:
        """½ where the judge names the first response in both orders, −½ the second, 0 for a tie.

        Raises:
            ValueError: A pair is a vote on one response; a judge compares two.
        """
        first, second = np.asarray(first), np.asarray(second)
        if (second == BASELINE).any():
            raise ValueError("a judge compares two responses; votes are read by known properties")
        keys = [
            (label.text, int(a), int(b))
            for label in labels
            for a, b in zip(first, second, strict=True)
        ]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        verdicts = compare(self._judge, [self._question(*key) for key in new], DISTINCTION)
        self._known |= dict(zip(new, (verdicts.win - 0.5).tolist(), strict=True))
        if new:
            self._counts["num_pairs"] += len(new)
            self._counts["num_without_annotation"] += quality(verdicts).num_excluded
            self._ties += verdicts.win[~np.isnan(verdicts.win)].tolist()
        values = np.array([self._known[key] for key in keys], np.float64)
        return values.reshape(len(labels), len(first))

    def _question(self, label: str, first: int, second: int) -> Question:
        prompt = self._dataset.prompts[self._dataset.prompt_index[first]]
        return Question(
            label, prompt, self._dataset.responses[first], self._dataset.responses[second]
        )

    def odd_one(
        self, first: Int[np.ndarray, "task pair"], second: Int[np.ndarray, "task pair"]
    ) -> Int[np.ndarray, " task"]:
        """The pair that the judge names."""
        choices = tuple(f"Pair {place + 1}" for place in range(first.shape[1]))
        requests = []
        for a, b in zip(first, second, strict=True):
            shown = "\n\n".join(
                f"{name}\n<from>\n{self._dataset.responses[one]}\n</from>\n"
                f"<to>\n{self._dataset.responses[other]}\n</to>"
                for name, one, other in zip(choices, a, b, strict=True)
            )
            text = (
                f"{shown}\n\nAll pairs but one change in the same way from the first text to the "
                "second; in that one the change is the other way round. Which is it? Answer with "
                f"`{choices[0]}` to `{choices[-1]}` and nothing else."
            )
            requests.append(Request(_NAMING, text, choices))
        results = self._ask(requests)
        return np.array([-1 if one.choice is None else one.choice for one in results], int)

    def pool(self, labels: Sequence[Label]) -> tuple[list[Label], Int[np.ndarray, " label"]]:
        """The labels themselves: more of them would have to be paid for."""
        return list(labels), np.arange(len(labels))

    def report(self) -> dict[str, float]:
        """Proposals and pairs without an answer, and how often the two orders disagree."""
        ties = float(np.mean(np.array(self._ties) == 0.5)) if self._ties else float("nan")
        return {**{name: float(num) for name, num in self._counts.items()}, "inconsistency": ties}

    def _ask(self, requests: Sequence[Request]) -> list[Result]:
        results = list(self._judge.complete(requests)) if requests else []
        if len(results) != len(requests):
            raise RuntimeError(
                f"The judge {type(self._judge).__name__} gave {len(results)} results for "
                f"{len(requests)} requests; it must give one for each, in order."
            )
        return results


def reverse(label: str) -> str:
    """The label of the axis that points the other way.

    >>> reverse("long vs. short")
    'short vs. long'
    """
    more, less = label.split(" vs. ", 1)
    return f"{less} vs. {more}"
