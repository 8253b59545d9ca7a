"""What the server answers, typed, for its description."""

from typing import Any

from pydantic import BaseModel


class AskedQuestion(BaseModel):
    """An open question; prompt and texts where it is about texts."""

    id: str
    prompt_index: int
    first_index: int
    second_index: int
    prompt: str | None = None
    first: Any = None
    second: Any = None


class PersonAnswer(BaseModel):
    """What is known of somebody."""

    id: str
    num_answers: int
    weights: list[float]
    standard_deviations: list[float]
    question: AskedQuestion | None


class QuestionAnswer(BaseModel):
    """The question to put to somebody."""

    question: AskedQuestion


class CountAnswer(BaseModel):
    """How many answers of somebody are kept."""

    num_answers: int


class RankingAnswer(BaseModel):
    """Places of the candidates, best first, and numbers of each; see `prefjax.person.Ranking`."""

    order: list[int]
    reward: list[float]
    win_probability: list[float]
    low: list[float]
    high: list[float]
    reference: int


class ScoreAnswer(BaseModel):
    """A reward."""

    score: float


class RewardsAnswer(BaseModel):
    """A reward for each query."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, Any]


class HealthAnswer(BaseModel):
    """The server answers."""

    status: str
