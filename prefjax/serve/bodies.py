"""What requests say, typed: limits and messages come from here, and so does the API description."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from prefjax.person import RULES, get_rule
from prefjax.person.answers import decode_float32

MOST_TEXT = 100_000
"""Characters of a text."""
MOST_CANDIDATES = 1_000
"""Responses to one prompt."""
MOST_PROMPTS = 2_000
"""Prompts of one pool of questions, or queries of one request."""
MOST_TEXTS = 50_000
"""Texts of one pool of questions."""
MOST_PAIRS = 20_000_000
"""Prompts times the square of the candidates of the longest one."""
MOST_WIDTH = 65_536
"""Numbers of an embedding."""


def _check_rule(name: str) -> str:
    get_rule(name)
    return name


Text = Annotated[str, Field(max_length=MOST_TEXT)]
Embedding = Annotated[list[float], Field(min_length=1, max_length=MOST_WIDTH, fail_fast=True)]
PersonId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\x00-\x1f\x7f]+$")]
RuleName = Annotated[
    str, Field(json_schema_extra={"enum": list(RULES)}), AfterValidator(_check_rule)
]


class Body(BaseModel):
    """A request that says nothing it need not say."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class EncodedEmbedding(Body):
    """An embedding as the base64 of its little-endian float32 bytes, which is read faster."""

    float32: Annotated[
        str,
        Field(
            min_length=8,
            max_length=MOST_WIDTH * 16 // 3 + 4,
            json_schema_extra={"contentEncoding": "base64"},
        ),
        AfterValidator(decode_float32),
    ]


_SIZE = Field(min_length=1, max_length=MOST_CANDIDATES, fail_fast=True)
Response = Text | Embedding | EncodedEmbedding
Candidates = (
    Annotated[list[Text], _SIZE]
    | Annotated[list[Embedding], _SIZE]
    | Annotated[list[EncodedEmbedding], _SIZE]
)


class CreateBody(Body):
    """Somebody new; ``like`` names a person of the training data whose answers are known."""

    id: PersonId
    rule: RuleName = "d_optimal"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    num_questions: Annotated[int, Field(ge=1, le=100_000)] | None = None
    like: Text | None = None


class PromptBody(Body):
    """A prompt and candidate responses: texts, or embeddings without a prompt."""

    prompt: Text | None = None
    candidates: Candidates

    @model_validator(mode="after")
    def _texts_have_a_prompt(self) -> "PromptBody":
        if isinstance(self.candidates[0], str) and self.prompt is None:
            raise ValueError("texts need a prompt; the empty string stands for none")
        return self


class AskBody(Body):
    """One prompt with candidates, or a pool of several."""

    prompt: Text | None = None
    candidates: Candidates | None = None
    pool: (
        Annotated[list[PromptBody], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "AskBody":
        if (self.candidates is None) == (self.pool is None):
            raise ValueError("give either candidates (with their prompt) or a pool")
        has_texts = self.candidates is not None and isinstance(self.candidates[0], str)
        if has_texts and self.prompt is None:
            raise ValueError("texts need a prompt; the empty string stands for none")
        sizes = [len(one.candidates) for one in self.pool or ()]
        if sizes and (sum(sizes) > MOST_TEXTS or len(sizes) * max(sizes) ** 2 > MOST_PAIRS):
            raise ValueError(
                f"the pool has {sum(sizes)} texts, {max(sizes)} for one prompt; at most "
                f"{MOST_TEXTS} texts, and {MOST_PAIRS} as prompts × candidates²"
            )
        for place, one in enumerate(self.pool or ()):
            if not isinstance(one.candidates[0], str):
                raise ValueError(f"entry {place} of the pool has no texts; pools are of texts")
        return self


class TellBody(Body):
    """1: the first is preferred, 0: the second, ½: a tie; ``question`` is the id that was given."""

    label: Annotated[float, Field(ge=0, le=1)]
    question: Annotated[str, Field(max_length=200)] | None = None


class ObserveBody(Body):
    """A choice that was made elsewhere; without ``second`` it is a vote on the first alone."""

    prompt: Text | None = None
    first: Response
    second: Response | None = None
    label: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _of_one_kind(self) -> "ObserveBody":
        if self.second is not None and isinstance(self.first, str) != isinstance(self.second, str):
            raise ValueError("first and second must both be texts, or both embeddings")
        return self


class ScoreBody(BaseModel):
    """One response, in the words of Personalized RewardBench; ``profile`` is the id of a person."""

    response_text: Text
    query: Text
    profile: Text = ""


class GetRewardBody(BaseModel):
    """Queries of OpenRLHF's remote reward: prompt and response in one; ``labels`` name people."""

    query: Annotated[list[Text], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
    prompts: Annotated[list[Text], Field(max_length=MOST_PROMPTS)] | None = None
    labels: Annotated[list[Any], Field(max_length=MOST_PROMPTS)] | None = None

    @model_validator(mode="after")
    def _of_one_length(self) -> "GetRewardBody":
        for name in ("prompts", "labels"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.query):
                raise ValueError(f"there are {len(self.query)} queries and {len(value)} {name}")
        return self
