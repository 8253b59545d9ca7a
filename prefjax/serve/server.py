"""The server as a process: sockets, the lock on the people, the end."""

import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from prefjax.model import load
from prefjax.serve.app import DEFAULT, ServerConfig, make_app
from prefjax.serve.store import PeopleStore

TOKEN_VARIABLE = "PREFJAX_TOKEN"
"""Environment variable with the bearer token."""
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
"""Hosts that a request without a token may name: a page of another site cannot take these names."""
MOST_CONNECTIONS = 1_024
SHUTDOWN_SECONDS = 30


def serve(
    model: str | Path,
    people: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    config: ServerConfig = DEFAULT,
    allowed_hosts: Sequence[str] = (),
) -> None:
    """Serves a model until SIGTERM or Ctrl-C, after which running requests are answered.

    Args:
        model: Folder of a model.
        people: File of the people (SQLite), made if needed, or a URL of SQLAlchemy, whose people
            other servers may write as well.
        host: Address to listen on. Beyond the loopback interface a token is needed.
        port: Port; 0 for any, which is printed.
        config: Limits; the token is taken from ``PREFJAX_TOKEN`` if none is given. Without a token
            requests must name the loopback interface as their host.
        allowed_hosts: Names that the Host header may have beside those.

    Raises:
        ValueError: The address can be reached from elsewhere and there is no token.
        RuntimeError: Another server has the file of the people.
        OSError: The port is taken.
    """
    import uvicorn

    config = settle_access(config, host, allowed_hosts)
    if people.startswith("sqlite:"):
        raise ValueError(f"{people}: name the file itself, which is then locked and kept safely")
    if "://" in people:
        config = config._replace(is_shared=True)
    lock = None if "://" in people else FileLock(f"{people}.lock")
    if lock is not None:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RuntimeError(
                f"another server has {people}: stop it, or name another file"
            ) from error
    is_main = threading.current_thread() is threading.main_thread()
    if is_main:
        signal.signal(signal.SIGTERM, _leave)  # while the model is read
    try:
        app = make_app(load(model), PeopleStore(people), config)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(MOST_CONNECTIONS)
            shown = f"[{host}]" if ":" in host else host
            settings = uvicorn.Config(
                app,
                access_log=False,
                log_level="warning",
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
            server = uvicorn.Server(settings)
            if is_main:
                # What a handler raises can be lost, so from here on it asks the server to end.
                signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
            print(f"http://{shown}:{listener.getsockname()[1]}", flush=True)
            server.run(sockets=[listener])
    finally:
        if lock is not None:
            lock.release()


def settle_access(
    config: ServerConfig, host: str, allowed_hosts: Sequence[str] = ()
) -> ServerConfig:
    """The limits with who may ask: whoever has the token, or whoever names loopback as the host.

    Args:
        config: Limits; the token is taken from ``PREFJAX_TOKEN`` if it has none.
        host: Address to listen on.
        allowed_hosts: Names that the Host header may have beside those of the loopback interface.

    Raises:
        ValueError: The address can be reached from elsewhere and there is no token.
    """
    config = config._replace(token=config.token or os.environ.get(TOKEN_VARIABLE))
    if not is_loopback(host) and not config.token:
        raise ValueError(
            f"{host} can be reached from elsewhere: set {TOKEN_VARIABLE} to a secret of your own "
            "(and put a proxy with TLS before the server), or listen on 127.0.0.1"
        )
    if not config.token:
        names = (host, *LOOPBACK_NAMES, *allowed_hosts)
        config = config._replace(hosts=tuple(name.lower().strip("[]") for name in names))
    return config


def _leave(*_: object) -> None:
    sys.exit(0)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
