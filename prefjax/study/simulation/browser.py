"""A browser of the simulation: forms in, pages out, by plain HTTP to this machine."""

import html
import http.client
import re
import time
from typing import NamedTuple
from urllib.parse import urlencode

_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
_PROMPT = re.compile(r'<h1 class="prompt" id="prompt">.*?</span>(.*?)</h1>', re.DOTALL)
_ANSWER = re.compile(r'<div class="answer"[^>]*>(.*?)</div>', re.DOTALL)
_CODE = re.compile(r'<p class="code"><code>(.*?)</code>')
_PATIENCE = 120.0
"""Seconds until a server that does not answer is given up."""


class Seen(NamedTuple):
    """What a page says.

    Attributes:
        hidden: Hidden fields of its form.
        prompt: The question of a trial.
        answers: HTML of its answers, left and right.
        code: The code at the end.
    """

    hidden: dict[str, str]
    prompt: str
    answers: tuple[str, ...]
    code: str

    @property
    def step(self) -> str:
        """Which form it is; empty for none."""
        return self.hidden.get("step", "")


class Browser:
    """One tab.

    Args:
        port: Of the server on this machine.
        timeout: Seconds to wait for a response.

    Attributes:
        interrupted: How often a connection broke or the server was not there.
    """

    def __init__(self, port: int, timeout: float = 20.0):
        self._port, self._timeout = port, timeout
        self._connection: http.client.HTTPConnection | None = None
        self.interrupted = 0

    def get(self, path: str) -> Seen:
        """A page, however often it takes.

        Raises:
            RuntimeError: The server does not come back, or has no such page.
        """
        status, _, body = self._insist("GET", path, None)
        if status != 200:
            raise RuntimeError(f"GET gave {status}")
        code = _CODE.search(body)
        prompt = _PROMPT.search(body)
        return Seen(
            {name: html.unescape(value) for name, value in _HIDDEN.findall(body)},
            html.unescape(prompt.group(1)) if prompt else "",
            tuple(_ANSWER.findall(body)),
            html.unescape(code.group(1)) if code else "",
        )

    def post(self, path: str, fields: dict[str, str]) -> tuple[int, str]:
        """Sends a form once; status and where it leads.

        Raises:
            OSError: The connection broke, and nobody knows whether the form arrived.
        """
        status, location, _ = self._once("POST", path, urlencode(fields))
        return status, location

    def insist(self, path: str, fields: dict[str, str]) -> tuple[int, str]:
        """Sends a form until somebody answers.

        Raises:
            RuntimeError: The server does not come back.
        """
        status, location, _ = self._insist("POST", path, urlencode(fields))
        return status, location

    def drop(self, path: str, fields: dict[str, str]) -> None:
        """Sends a form and hangs up before the answer."""
        self.close()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
            connection.request("POST", path, urlencode(fields), _HEADERS)
            connection.close()
        except OSError:
            self.interrupted += 1

    def close(self) -> None:
        """Closes the tab."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _insist(self, method: str, path: str, body: str | None) -> tuple[int, str, str]:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                response = self._once(method, path, body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)
                continue
            if response[0] not in (429, 503):
                return response
            self.interrupted += 1
            time.sleep(0.5)
        raise RuntimeError(f"the server did not answer a {method} for {_PATIENCE:.0f} seconds")

    def _once(self, method: str, path: str, body: str | None) -> tuple[int, str, str]:
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(
                    "127.0.0.1", self._port, timeout=self._timeout
                )
            self._connection.request(method, path, body, _HEADERS if body is not None else {})
            response = self._connection.getresponse()
            text = response.read().decode()
            return response.status, response.headers.get("location", ""), text
        except (OSError, http.client.HTTPException):
            self.interrupted += 1
            self.close()
            raise


_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
