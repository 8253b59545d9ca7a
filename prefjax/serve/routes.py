"""What can be asked of the server: every route with its body, and what it does.

A handler gets the server's parts, the path's person, the checked body and the idempotency key, and
returns plain values. Texts are read in batches across requests first; what then remains is a few
small products, and runs in a thread.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel

from prefjax.person import Ranking
from prefjax.serve import answers, bodies
from prefjax.serve.batching import Batcher, TextBatcher
from prefjax.serve.ranking import RankRequest
from prefjax.serve.rewards import split_queries
from prefjax.serve.service import PeopleService
from prefjax.serve.threads import in_thread

MOST_RANKED = 4_096
"""Candidates that are ranked together, so that none waits long for the others."""


class Server(NamedTuple):
    """What handlers work with."""

    service: PeopleService
    batcher: TextBatcher
    ranker: Batcher[RankRequest, Ranking]

    @classmethod
    def of(cls, service: PeopleService) -> "Server":
        """The parts around a service."""
        ranker = Batcher(service.rank, lambda request: len(request.candidates), MOST_RANKED)
        return cls(service, TextBatcher(service.model.reader), ranker)


Handler = Callable[[Server, str, Any, str | None], Awaitable[Any]]


class Route(NamedTuple):
    """One route.

    Attributes:
        method: Of HTTP.
        path: With ``{person}`` where it is about one.
        name: Of the operation.
        summary: One sentence.
        handler: What it does; None where the server itself answers.
        body: Model of the body, None where there is none.
        status: Of success.
        errors: Statuses of what may go wrong beside the body.
        is_idempotent: Whether an idempotency key is read.
        answer: Model of the answer; None for plain text or for none.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler | None
    body: type[BaseModel] | None = None
    status: int = 200
    errors: tuple[str, ...] = ()
    is_idempotent: bool = False
    answer: type[BaseModel] | None = None


def _are_texts(candidates: Any) -> bool:
    return isinstance(candidates[0], str)


def _as_table(embeddings: Any) -> np.ndarray:
    """Embeddings as an array; what is too large becomes infinite, and is refused later."""
    rows = [one.float32 if isinstance(one, bodies.EncodedEmbedding) else one for one in embeddings]
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1:
        raise ValueError(f"embeddings of {widths[0]} and of {widths[-1]} numbers in one request")
    with np.errstate(over="ignore"):
        return np.asarray(rows, np.float32)


async def _pool_of(server: Server, body: bodies.AskBody) -> Any:
    """What `prefjax.person.Person.ask` takes, its texts read."""
    if body.pool is not None:
        pool = [(one.prompt or "", [str(text) for text in one.candidates]) for one in body.pool]
        prompts = [prompt for prompt, candidates in pool for _ in candidates]
        await server.batcher.read(prompts, [text for _, some in pool for text in some])
        return pool
    assert body.candidates is not None
    return await _candidates_of(server, body.prompt, body.candidates)


async def _candidates_of(server: Server, prompt: str | None, candidates: Any) -> Any:
    """(prompt, texts), read, or embeddings."""
    if not _are_texts(candidates):
        return _as_table(candidates)
    await server.batcher.read([prompt or ""] * len(candidates), candidates)
    return prompt or "", candidates


async def _create(server: Server, person: str, body: bodies.CreateBody, key: str | None) -> Any:
    settings = body.model_dump(exclude={"id"})
    return await in_thread(server.service.create, body.id, **settings)


async def _describe(server: Server, person: str, body: None, key: str | None) -> Any:
    return await in_thread(server.service.describe, person)


async def _delete(server: Server, person: str, body: None, key: str | None) -> Any:
    await in_thread(server.service.delete, person)


async def _ask(server: Server, person: str, body: bodies.AskBody, key: str | None) -> Any:
    pool = await _pool_of(server, body)
    return await in_thread(server.service.ask, person, pool, key=key)


async def _tell(server: Server, person: str, body: bodies.TellBody, key: str | None) -> Any:
    return await in_thread(server.service.tell, person, body.label, question=body.question, key=key)


async def _observe(server: Server, person: str, body: bodies.ObserveBody, key: str | None) -> Any:
    shown = [one for one in (body.first, body.second) if one is not None]
    prompt = body.prompt
    if isinstance(body.first, str):
        prompt = prompt or ""
        await server.batcher.read([prompt] * len(shown), shown)  # pyright: ignore
    else:
        shown = list(_as_table(shown))
    second = shown[1] if len(shown) > 1 else None
    return await in_thread(
        server.service.observe, person, prompt, shown[0], second, body.label, key=key
    )


async def _rank(server: Server, person: str, body: bodies.PromptBody, key: str | None) -> Any:
    pool = await _candidates_of(server, body.prompt, body.candidates)
    belief = server.service.belief_at_hand(person)
    if belief is None:
        belief = await in_thread(server.service.belief, person)
    prompt, candidates = pool if isinstance(pool, tuple) else (None, pool)
    return ranking_to_json(await server.ranker(RankRequest(belief, prompt, candidates)))


async def _score(server: Server, person: str, body: bodies.ScoreBody, key: str | None) -> Any:
    await server.batcher.read([body.query], [body.response_text])
    found = await in_thread(
        server.service.rewards, [body.profile], [body.query], [body.response_text]
    )
    return {"score": found[0]}


async def _get_reward(
    server: Server, person: str, body: bodies.GetRewardBody, key: str | None
) -> Any:
    prompts = body.prompts or [""] * len(body.query)
    responses = split_queries(body.query, prompts)
    labels = body.labels or [None] * len(responses)
    people = ["" if label is None else str(label) for label in labels]
    await server.batcher.read(prompts, responses)

    found = await in_thread(server.service.rewards, people, prompts, responses)
    if not np.isfinite(found).all():
        raise ValueError("a reward is not finite")
    return {"rewards": found, "scores": found, "extra_logs": {}}


def ranking_to_json(ranking: Ranking) -> dict[str, Any]:
    """A ranking in plain values.

    Args:
        ranking: As `prefjax.person.rank` gives it.
    """
    values = ranking._asdict()
    if not np.isfinite(ranking.reward).all():
        raise ValueError("a reward is not finite: an embedding is too large for the model")
    return {name: v if isinstance(v, int) else v.tolist() for name, v in values.items()}


_PERSON = "/people/{person}"
_UNKNOWN = ("404",)

ROUTES = (
    Route(
        method="POST",
        path="/people",
        name="create",
        summary="Somebody new.",
        handler=_create,
        answer=answers.PersonAnswer,
        body=bodies.CreateBody,
        status=201,
        errors=("404", "409"),
    ),
    Route(
        method="GET",
        path=_PERSON,
        name="describe",
        summary="What is known of somebody.",
        handler=_describe,
        errors=_UNKNOWN,
        answer=answers.PersonAnswer,
    ),
    Route("DELETE", _PERSON, "delete", "Removes somebody.", _delete, None, 204, _UNKNOWN),
    Route(
        method="POST",
        path=f"{_PERSON}/ask",
        name="ask",
        summary="The question whose answer tells most; the open one until it is answered.",
        handler=_ask,
        answer=answers.QuestionAnswer,
        body=bodies.AskBody,
        errors=_UNKNOWN,
        is_idempotent=True,
    ),
    Route(
        method="POST",
        path=f"{_PERSON}/tell",
        name="tell",
        summary="The answer to the open question.",
        handler=_tell,
        answer=answers.CountAnswer,
        body=bodies.TellBody,
        errors=("404", "409"),
        is_idempotent=True,
    ),
    Route(
        method="POST",
        path=f"{_PERSON}/observe",
        name="observe",
        summary="A choice that was made elsewhere.",
        handler=_observe,
        answer=answers.CountAnswer,
        body=bodies.ObserveBody,
        errors=_UNKNOWN,
        is_idempotent=True,
    ),
    Route(
        method="POST",
        path=f"{_PERSON}/rank",
        name="rank",
        summary="Candidates in the order that somebody is expected to like them.",
        handler=_rank,
        answer=answers.RankingAnswer,
        body=bodies.PromptBody,
        errors=_UNKNOWN,
    ),
    Route(
        method="POST",
        path="/score",
        name="score",
        summary="Reward of one response for one person.",
        handler=_score,
        answer=answers.ScoreAnswer,
        body=bodies.ScoreBody,
        errors=_UNKNOWN,
    ),
    Route(
        method="POST",
        path="/get_reward",
        name="get_reward",
        summary="Rewards of many responses, each for its own person.",
        handler=_get_reward,
        answer=answers.RewardsAnswer,
        body=bodies.GetRewardBody,
        errors=_UNKNOWN,
    ),
    Route(
        "GET",
        "/health",
        "health",
        "Whether the server answers.",
        None,
        answer=answers.HealthAnswer,
    ),
    Route("GET", "/metrics", "metrics", "Counters and latencies.", None),
)
