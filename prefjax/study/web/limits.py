"""What one client may ask of the server: bodies of bounded size, requests of bounded rate."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

_MOST_KEYS = 10_000
_MOST_FIELDS = 100


class RateLimit:
    """So many requests at once and so many a second after that, for each key.

    Args:
        rate: Requests a second.
        burst: Requests at once.
        clock: Seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic):
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, key: str) -> None:
        """Counts one request.

        Args:
            key: Who asks.

        Raises:
            HTTPException: 429; there were too many.
        """
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._rate)
            self._left[key] = (max(left - 1, 0.0) if left >= 1 else left, now)
            if len(self._left) > _MOST_KEYS:
                self._left.popitem(last=False)
        if left < 1:
            raise HTTPException(429, "Too many requests. Please wait a moment and try again.")


async def read_form(request: Request, most_bytes: int) -> dict[str, str]:
    """Fields of a form; of a field that is there twice the last.

    Args:
        request: A POST.
        most_bytes: Largest body.

    Raises:
        HTTPException: 413, the body is too large; 415 or 400, it is no form.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > most_bytes:
        raise HTTPException(413, "That is too long.", {"connection": "close"})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "That is not a form of this study.")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most_bytes:
                raise HTTPException(413, "That is too long.", {"connection": "close"})
    except ClientDisconnect as error:  # nobody is there to hear this
        raise HTTPException(400, "The form did not arrive whole.") from error
    try:
        fields = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=_MOST_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise HTTPException(400, "That is not a form of this study.") from error
    return dict(fields)
