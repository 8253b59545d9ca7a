"""The web application: limits, errors, the token, metrics; what is asked for is in ``routes``.

Nothing of a request is trusted: bodies are bounded while they are read, a body that does not come
in time is given up, and what is wrong is answered with a status of 4xx and a message that names it.
An error is never a reward.
"""

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as WebRoute

from prefjax.model import PreferenceModel
from prefjax.serve.batching import TextBatcher
from prefjax.serve.description import describe_api
from prefjax.serve.known_people import UnreadablePersonError
from prefjax.serve.routes import ROUTES, Route, Server
from prefjax.serve.service import PeopleService, StaleQuestionError
from prefjax.serve.store import (
    ConflictError,
    ExistingPersonError,
    PeopleStore,
    UnknownPersonError,
)
from prefjax.serve.threads import in_thread

_log = logging.getLogger("prefjax.serve")
_RETRY = {"Retry-After": "1"}
_LARGE = 100_000
"""Bytes of a body that is checked in a thread, so that others are answered meanwhile."""


class ServerConfig(NamedTuple):
    """Limits of the server.

    Attributes:
        token: Bearer token of every request; None for none.
        max_body: Bytes of a body.
        body_seconds: Seconds in which a body must have come.
        work_seconds: Seconds after which a client is told to ask again; what was begun is finished.
        is_shared: Other servers write the same store.
        hosts: What the Host header may name, without the port, so that no page of another site
            reaches the server under a name of its own; None for anything.
    """

    token: str | None = None
    max_body: int = 8_000_000
    body_seconds: float = 15.0
    work_seconds: float = 60.0
    is_shared: bool = False
    hosts: tuple[str, ...] | None = None


DEFAULT = ServerConfig()


class _Metrics:
    """What ``/metrics`` tells."""

    def __init__(self, batcher: TextBatcher):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "prefjax_requests", "Requests answered", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "prefjax_request_seconds", "Time to the answer", ("route",), registry=self.registry
        )
        for name, what in (("num_texts", "Texts read"), ("num_batches", "Batches of texts read")):
            gauge = Gauge(f"prefjax_{name}", what, registry=self.registry)
            gauge.set_function(lambda name=name: getattr(batcher, name))


def make_app(
    model: PreferenceModel, store: PeopleStore, config: ServerConfig = DEFAULT
) -> Starlette:
    """The application; it closes the store when it ends.

    Args:
        model: A fitted model.
        store: Where people are kept.
        config: Limits.
    """
    service = PeopleService(model, store, is_shared=config.is_shared)
    server = Server.of(service)
    metrics = _Metrics(server.batcher)
    described = orjson.dumps(
        describe_api(ROUTES, version("prefjax"), needs_token=config.token is not None)
    )

    async def health(request: Request) -> Response:
        return _json({"status": "ok"})

    async def numbers(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    async def description(request: Request) -> Response:
        try:
            _check_host(request, config.hosts)
        except HTTPException as error:
            return _http_error(request, error)
        return Response(described, media_type="application/json")

    fixed = {"/health": health, "/metrics": numbers}
    routes = [
        WebRoute(
            route.path,
            _endpoint(route, server, config, metrics, fixed.get(route.path)),
            methods=[route.method],
        )
        for route in ROUTES
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette):
        yield
        store.close()

    return Starlette(
        routes=[*routes, WebRoute("/openapi.json", description, methods=["GET"])],
        exception_handlers={HTTPException: _http_error},  # pyright: ignore[reportArgumentType]
        lifespan=lifespan,
    )


def _endpoint(
    route: Route,
    server: Server,
    config: ServerConfig,
    metrics: _Metrics,
    fixed: Callable[[Request], Awaitable[Response]] | None,
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        start = time.perf_counter()
        try:
            _check_host(request, config.hosts)
            if route.path != "/health":
                _check_token(request, config.token)
            if fixed is not None:
                response = await fixed(request)
            else:
                response = await _handle(route, server, config, request)
        except Exception as error:  # every error is answered, none is a reward
            response = _error(error)
        metrics.requests.labels(route.name, response.status_code).inc()
        metrics.seconds.labels(route.name).observe(time.perf_counter() - start)
        return response

    return answer


async def _handle(route: Route, server: Server, config: ServerConfig, request: Request) -> Response:
    assert route.handler is not None
    body = None if route.body is None else await _read_body(request, route.body, config)
    person = request.path_params.get("person", "")
    key = request.headers.get("idempotency-key") if route.is_idempotent else None
    work = asyncio.ensure_future(route.handler(server, person, body, key))
    done, _ = await asyncio.wait({work}, timeout=config.work_seconds)
    if not done:  # what is being stored is stored; the same key then has its answer
        work.add_done_callback(_note)
        raise HTTPException(503, "the request takes long: send it again under its key", _RETRY)
    found = work.result()
    return Response(status_code=route.status) if found is None else _json(found, route.status)


async def _read_body(request: Request, model: type[BaseModel], config: ServerConfig) -> BaseModel:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a page of another site cannot send this unasked
        raise HTTPException(415, "the body must be application/json")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > config.max_body:
        raise HTTPException(413, f"the body has {declared} bytes, {config.max_body} are allowed")
    content = bytearray()
    async with asyncio.timeout(config.body_seconds):
        async for chunk in request.stream():
            content += chunk
            if len(content) > config.max_body:
                raise HTTPException(413, f"the body has more than {config.max_body} bytes")
    if len(content) < _LARGE:
        return _parse(content, model)
    return await in_thread(_parse, content, model)


def _parse(content: bytearray, model: type[BaseModel]) -> BaseModel:
    try:
        values = orjson.loads(bytes(content))
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error
    return model.model_validate(values)


def _note(work: asyncio.Future[Any]) -> None:
    """Says what became of a request whose client was told to wait."""
    if not work.cancelled() and work.exception() is not None:
        _log.warning("a request that took long failed: %s", work.exception())


def _check_token(request: Request, token: str | None) -> None:
    if token is None:
        return
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise HTTPException(401, "the header Authorization: Bearer … is missing or wrong")


def _check_host(request: Request, hosts: tuple[str, ...] | None) -> None:
    if hosts is None:
        return
    name = re.sub(r":\d*$", "", request.headers.get("host", "")).lower().strip("[]")
    if name not in hosts:
        raise HTTPException(
            421,
            f"the server does not answer for the host {name[:200]!r}: prefjax serve --allow-host",
        )


def _json(value: Any, status: int = 200) -> Response:
    """The answer; orjson writes what is not finite as null, which handlers rule out."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def _http_error(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    content = {"error": {"type": "HTTPException", "message": error.detail}}
    return Response(orjson.dumps(content), error.status_code, headers, "application/json")


def _error(error: Exception) -> Response:
    """Status and message of what went wrong; what was not foreseen is logged and not sent."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        status, message = error.status_code, str(error.detail)
        headers = dict(error.headers or {})
    elif isinstance(error, ValidationError):
        status, message = 422, _first_fault(error)
    elif isinstance(error, UnknownPersonError):
        status, message = 404, f"there is no person {error.args[0]!r}"
    elif isinstance(error, ExistingPersonError | StaleQuestionError):
        status, message = 409, str(error)
    elif isinstance(error, TimeoutError):
        status, message = 408, "the request took too long"
    elif isinstance(error, ClientDisconnect):
        status, message = 400, "the body ended before its end"
    elif isinstance(error, UnreadablePersonError):
        status, message = 409, str(error)
    elif isinstance(error, ConflictError | SQLAlchemyError):
        _log.warning("the store: %s", error)
        lost = "the database cannot be reached or did not answer: send the request again under its"
        message = str(error) if isinstance(error, ConflictError) else f"{lost} Idempotency-Key"
        status, headers = 503, _RETRY
    elif isinstance(error, ValueError | TypeError):
        status, message = 422, str(error)
    else:
        _log.exception("a request failed", exc_info=error)
        status, message = 500, "the request failed; the log of the server says why"
    content = {"error": {"type": type(error).__name__, "message": message[:2_000]}}
    body = orjson.dumps(content, default=str)
    return Response(body, status, headers, "application/json")


def _first_fault(error: ValidationError) -> str:
    """Where the body is wrong and why, without repeating what it says."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    where = ".".join(str(part) for part in faults[0]["loc"])
    return f"{where or 'the body'}: {faults[0]['msg']}"
