"""The server as replicas on a Ray cluster, whose people are in one database.

Every replica is the application of `prefjax.serve.make_app`, with its own model and batches, and
answers when its programs are compiled; Ray Serve spreads requests over them, starts one anew that
is lost, and replaces them one after the other when the model is another one. What is known of
somebody is in the database alone, so that it does not matter which replica answers; after a new
model each person is inferred again when they are first asked for.

In a configuration of Ray Serve or KubeRay's RayService, ``prefjax.serve.on_ray:application`` is the
``import_path``, and ``args`` are those of `application`.
"""

import os
import signal
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefjax.io import digest_file
from prefjax.model import load
from prefjax.parallel import start_ray
from prefjax.serve.app import DEFAULT, ServerConfig, make_app
from prefjax.serve.server import settle_access
from prefjax.serve.store import PeopleStore
from prefjax.serve.warming import warm_up

MOST_ONGOING = 256
"""Requests that a replica works on at once; beyond these others wait before it."""
NAME = "prefjax"
"""Of the application on the cluster."""


def serve_on_ray(
    model: str | Path,
    people: str,
    *,
    replicas: int = 2,
    gpus_per_replica: float = 0,
    host: str = "127.0.0.1",
    port: int = 8765,
    config: ServerConfig = DEFAULT,
    allowed_hosts: Sequence[str] = (),
) -> None:
    """Serves a model by replicas on a Ray cluster, or replaces the model of those that run.

    On the cluster of ``RAY_ADDRESS`` this returns when the replicas answer, and they stay. Without
    it a cluster is started on this machine, and served until SIGTERM or Ctrl-C.

    Args:
        model: Folder of a model, on a disk that all nodes share.
        people: URL of a database.
        replicas: Number of replicas.
        gpus_per_replica: GPUs of each; 0 computes on the CPU.
        host: Address to listen on, on every node of the cluster. Beyond the loopback interface a
            token is needed. A cluster that serves already keeps its address.
        port: Port.
        config: Limits, as in `prefjax.serve.serve`.
        allowed_hosts: Names that the Host header may have beside those of the loopback interface.

    Raises:
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
        ValueError: The people are in a file, which one process alone may write, or the address can
            be reached from elsewhere and there is no token.
        FileNotFoundError: There is no model.
        RuntimeError: The replicas cannot start; the message says why.
    """
    config = settle_access(config, host, allowed_hosts)
    is_ours = not os.environ.get("RAY_ADDRESS")
    args = {
        "model": str(Path(model).absolute()),
        "people": people,
        "replicas": replicas,
        "gpus_per_replica": gpus_per_replica,
        "config": config,
    }
    _check(args)
    start_ray()
    app = application(args)
    from ray import serve

    serve.start(http_options={"host": host, "port": port})
    serve.run(app, name=NAME)
    print(f"http://{host}:{port}", flush=True)
    if is_ours:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        stopped.wait()
        serve.shutdown()


def application(args: Mapping[str, Any]) -> Any:
    """Builds the application of Ray Serve.

    Args:
        args: ``model``, a folder, and ``people``, the URL of a database; ``replicas``,
            ``gpus_per_replica`` and ``config``, a `ServerConfig`, where they are not the defaults
            of `serve_on_ray`. Without a token in ``config`` or in ``PREFJAX_TOKEN`` the replicas
            answer requests alone that name the loopback interface as their host.

    Raises:
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
        ValueError: An argument is unknown, or the people are in a file.
        FileNotFoundError: There is no model.
    """
    file = _check(args)
    config = args.get("config") or settle_access(DEFAULT, "localhost")
    gpus = args.get("gpus_per_replica", 0)
    try:
        with warnings.catch_warnings(action="ignore"):  # what Ray warns of in itself
            from ray import serve
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("replicas are run by Ray: pip install 'prefjax[ray]'") from error
    deployment = serve.deployment(
        serve.ingress()(_Replica),
        name="server",
        num_replicas=args.get("replicas", 2),
        max_ongoing_requests=MOST_ONGOING,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=30,
        logging_config={"enable_access_log": False},
        ray_actor_options={
            "num_cpus": 1,
            "num_gpus": gpus,
            "runtime_env": {"env_vars": {"JAX_PLATFORMS": "cuda" if gpus else "cpu"}},
        },
    )
    return deployment.bind(args["model"], digest_file(file), args["people"], config)


def _check(args: Mapping[str, Any]) -> Path:
    """Refuses arguments that cannot be served; gives the file of the model."""
    known = {"model", "people", "replicas", "gpus_per_replica", "config"}
    if not {"model", "people"} <= set(args) <= known:
        raise ValueError(f"expected model and people, and of {sorted(known)}; got {sorted(args)}")
    if "://" not in args["people"] or args["people"].startswith("sqlite:"):
        raise ValueError(
            f"{args['people']}: several replicas need a database that all of them may write, such "
            "as postgresql+psycopg://…"
        )
    file = Path(args["model"]) / "model.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"there is no model {file}")
    return file


class _Replica:
    """What one replica serves; the digest makes the same folder with another model another one."""

    def __init__(self, model: str, digest: str, people: str, config: ServerConfig):
        from prefjax.parallel import use_compilation_cache

        use_compilation_cache()
        self._model, self._store = load(model), PeopleStore(people)
        warm_up(self._model)
        self._config = config._replace(is_shared=True)

    def __serve_build_asgi_app__(self) -> Any:
        return make_app(self._model, self._store, self._config)
