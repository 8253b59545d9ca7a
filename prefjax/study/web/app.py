"""The pages of a study: every one is what the engine says is next, every form ends in a redirect.

    /                      the first page, with the recruiting parameters in the address
    /s/TOKEN               a participant: whatever is next for them; forms post to it
    /s/TOKEN/withdraw      deletes everything, after a question
    /s/TOKEN/about         the information page
    /researcher            progress, balance, drop-out; behind a token

Works without JavaScript. The token is a participant's only credential: it is in no log, no other
site is told of it, and every form carries a second token that is derived from it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from prefjax.study import identity
from prefjax.study.engine import StudyEngine
from prefjax.study.errors import AlreadyStartedError, RefusedError, StudyClosedError
from prefjax.study.pages import ConsentPage, EndPage, Page, ReasonsPage, SurveyPage, TrialPage
from prefjax.study.progress import measure_progress
from prefjax.study.web.headers import SecurityHeaders
from prefjax.study.web.limits import RateLimit, read_form
from prefjax.study.web.markdown import render

_HERE = Path(__file__).parent
_TEMPLATES: Mapping[type, str] = {
    ConsentPage: "consent.html",
    SurveyPage: "survey.html",
    TrialPage: "trial.html",
    ReasonsPage: "reasons.html",
    EndPage: "end.html",
}
_THREADS = 8
_COOKIE = "researcher"


class StudySite:
    """The pages of one study.

    Args:
        engine: The study.
        is_secure: Whether people reach it by HTTPS, behind a proxy; cookies then say so.

    Attributes:
        app: To be served by an ASGI server, in one process.
        researcher_token: What the researcher's page asks for.
    """

    def __init__(self, engine: StudyEngine, *, is_secure: bool = False):
        config, limits = engine.materials.config, engine.materials.config.limits
        self._engine, self._config, self._is_secure = engine, config, is_secure
        self.researcher_token = identity.make_token(engine.secret, "researcher")
        self._cookie = identity.make_token(engine.secret, "researcher cookie")
        per_second = limits.starts_per_minute / 60
        self._by_token = RateLimit(limits.requests_per_second, limits.burst)
        self._starts = RateLimit(per_second, limits.starts_per_minute)
        self._failures = RateLimit(per_second, limits.starts_per_minute)
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._pages = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.filters["markdown"] = lambda text: Markup(render(text))
        self._pages.globals |= {"config": config}
        routes = [
            Route("/", self._welcome, methods=["GET"]),
            Route("/begin", self._begin, methods=["POST"]),
            Route("/s/{token}", self._look, methods=["GET"]),
            Route("/s/{token}", self._send, methods=["POST"]),
            Route("/s/{token}/about", self._about, methods=["GET"]),
            Route("/s/{token}/withdraw", self._ask_withdraw, methods=["GET"]),
            Route("/s/{token}/withdraw", self._withdraw, methods=["POST"]),
            Route("/researcher", self._researcher, methods=["GET"]),
            Route("/researcher", self._sign_in, methods=["POST"]),
            Route("/health", _health, methods=["GET"]),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]
        pages = Starlette(
            routes=routes,
            exception_handlers={HTTPException: self._failed, Exception: self._broke},
        )
        self.app = SecurityHeaders(pages)  # outermost, so that pages of errors have them too

    # Beginning

    async def _welcome(self, request: Request) -> Response:
        known = {
            name: request.query_params[name]
            for name in self._config.recruiting.parameters
            if name in request.query_params
        }
        return self._page("welcome.html", known=known)

    async def _begin(self, request: Request) -> Response:
        form = await read_form(request, self._config.limits.body)
        self._starts.check(_address(request))
        try:
            ticket = await self._run(self._engine.start, form)
        except StudyClosedError:
            return self._message(
                "This study is closed",
                "Thank you for your interest. Enough people have taken part, or its time is over.",
            )
        except AlreadyStartedError:
            return self._message(
                "You have taken part already",
                "Please go on with the link that you had before. If it is lost, write to those who "
                "run the study.",
            )
        return RedirectResponse(f"/s/{ticket.token}", 303)

    # A participant

    async def _look(self, request: Request) -> Response:
        token, participant = await self._participant(request)
        return await self._timed(self._show_next(token, participant))

    async def _show_next(self, token: str, participant: int, error: str = "") -> Response:
        page: Page = await self._run(self._engine.next, participant)
        link = ""
        if isinstance(page, EndPage) and self._config.recruiting.return_url:
            link = self._config.recruiting.return_url.replace("{code}", page.code)
        return self._page(
            _TEMPLATES[type(page)],
            status=400 if error else 200,
            page=page,
            token=token,
            csrf=identity.form_token(token),
            error=error,
            link=link,
        )

    async def _send(self, request: Request) -> Response:
        token, participant = await self._participant(request)
        form = await self._form(request, token)
        return await self._record(token, participant, form)

    async def _record(self, token: str, participant: int, form: dict[str, str]) -> Response:
        engine, step = self._engine, form.get("step", "")
        actions: dict[str, Callable[[], Any]] = {
            "consent": lambda: engine.consent(participant, form.get("version", "")),
            "survey": lambda: engine.survey(
                participant,
                {name[2:]: value for name, value in form.items() if name.startswith("q-")},
            ),
            "trial": lambda: engine.answer(
                participant,
                _number(form.get("trial")),
                form.get("choice", ""),
                _optional_number(form.get("ms")),
            ),
            "reasons": lambda: engine.reasons(participant, form.get("text", "")),
        }
        if step not in actions:
            raise HTTPException(400, "That is not a form of this study.")
        try:
            await self._run(actions[step])
        except RefusedError as refusal:
            return await self._show_next(token, participant, str(refusal))
        return RedirectResponse(f"/s/{token}", 303)

    async def _about(self, request: Request) -> Response:
        token, _ = await self._participant(request)
        return self._page("about.html", token=token)

    async def _ask_withdraw(self, request: Request) -> Response:
        token, _ = await self._participant(request)
        return self._page("withdraw.html", token=token, csrf=identity.form_token(token))

    async def _withdraw(self, request: Request) -> Response:
        token, participant = await self._participant(request)
        await self._form(request, token)
        await self._run(self._engine.withdraw, participant)
        return RedirectResponse(f"/s/{token}", 303)

    async def _participant(self, request: Request) -> tuple[str, int]:
        token = request.path_params["token"]
        participant = await self._run(self._engine.find, token)
        if participant is None:
            self._failures.check(_address(request))
            raise HTTPException(
                404, "This link is not known. Please open the one that you were given."
            )
        self._by_token.check(token)
        return token, participant

    async def _form(self, request: Request, token: str) -> dict[str, str]:
        form = await read_form(request, self._config.limits.body)
        if not identity.is_same(form.get("csrf", ""), identity.form_token(token)):
            raise HTTPException(403, "This form does not belong to your link. Please reload it.")
        return form

    # The researcher

    async def _researcher(self, request: Request) -> Response:
        if not identity.is_same(request.cookies.get(_COOKIE, ""), self._cookie):
            return self._page("sign_in.html", error="")
        found = await self._run(
            partial(measure_progress, self._engine.store, self._engine.materials)
        )
        return self._page("researcher.html", progress=found)

    async def _sign_in(self, request: Request) -> Response:
        form = await read_form(request, self._config.limits.body)
        if not identity.is_same(form.get("token", ""), self.researcher_token):
            self._failures.check(_address(request))
            return self._page("sign_in.html", status=403, error="That is not the token.")
        response = RedirectResponse("/researcher", 303)
        response.set_cookie(
            _COOKIE,
            self._cookie,
            max_age=12 * 3600,
            httponly=True,
            samesite="strict",
            secure=self._is_secure,
            path="/researcher",
        )
        return response

    # Pieces

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def _timed(self, work: Awaitable[Response]) -> Response:
        """A page that takes no less time than any other; only what is next takes unlike times."""
        start = asyncio.get_running_loop().time()
        response = await work
        spent = asyncio.get_running_loop().time() - start
        await asyncio.sleep(max(0.0, self._config.limits.response_time - spent))
        return response

    def _page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(self._pages.get_template(template).render(**values), status)

    def _message(self, heading: str, text: str, *, status: int = 200) -> Response:
        return self._page("message.html", status=status, heading=heading, text=text)

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        text = {404: "There is no such page.", 405: "This page takes no such request."}.get(
            error.status_code, ""
        )
        is_ours = error.detail and not error.detail.startswith(("Not Found", "Method Not"))
        response = self._message(
            "That did not work", error.detail if is_ours else text, status=error.status_code
        )
        response.headers.update(error.headers or {})
        return response

    async def _broke(self, request: Request, error: Exception) -> Response:
        return self._message(
            "Something went wrong",
            "Your answers so far are safe. Please reload the page.",
            status=500,
        )


async def _health(request: Request) -> Response:
    return PlainTextResponse("ok")


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


def _number(text: str | None) -> int:
    number = _optional_number(text)
    if number is None:
        raise HTTPException(400, "That is not a form of this study.")
    return number


def _optional_number(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return int(text)
