"""Serves a model over HTTP: people are asked, ranked for and kept; rewards for trainers.

Examples:
  prefjax serve model/
  prefjax serve model/ --people people.sqlite --port 8765
  PREFJAX_TOKEN=secret prefjax serve model/ --host 0.0.0.0
  prefjax serve model/ --people postgresql+psycopg://host/people --ray --replicas 4

The address is printed when the server answers; GET /openapi.json describes what can be asked. It
listens on the loopback interface; another address needs a token in PREFJAX_TOKEN, which requests
carry as "Authorization: Bearer …", and a proxy with TLS before it. Needs the extra "serve".

With --ray (extra "ray") replicas on a Ray cluster answer, whose people are in one database. On that
of RAY_ADDRESS they stay when the command has ended, and the command with a newer model replaces
them one after the other; without RAY_ADDRESS a cluster is started here, until the command is
stopped.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("model", help="folder of a fitted model")
    parser.add_argument(
        "--people", default="people.sqlite", help="file that keeps people, or a URL of SQLAlchemy"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8765, help="port; 0 for any")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that requests may give the server, beside localhost; may be repeated",
    )
    parser.add_argument("--ray", action="store_true", help="by replicas on a Ray cluster")
    parser.add_argument("--replicas", type=int, default=2, metavar="N", help="of the cluster")
    parser.add_argument("--gpus-per-replica", type=float, default=0, metavar="N")


def run(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    try:
        from prefjax.serve.server import serve
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; pip install 'prefjax[serve]'") from error
    where = {
        "host": arguments.host,
        "port": arguments.port,
        "allowed_hosts": arguments.allow_host,
    }
    if arguments.ray:
        from prefjax.serve.on_ray import serve_on_ray

        size = {"replicas": arguments.replicas, "gpus_per_replica": arguments.gpus_per_replica}
        serve_on_ray(arguments.model, arguments.people, **where, **size)
    else:
        serve(arguments.model, arguments.people, **where)
