"""A fitted reward for others to call: functions for trainers, folders, a server.

``trl_reward``, ``openrlhf_reward`` and ``verl_reward`` are reward functions of these trainers.
``export_folder`` writes a linear head over a language model as a Hugging Face reward model.
``serve`` is a server over HTTP that asks people, ranks for them and keeps them (extra ``serve``);
``make_app`` is its application, ``PeopleService`` what it does without the web and ``PeopleStore``
where people are kept. ``serve_on_ray`` runs replicas of it on a Ray cluster (extra ``ray``).
"""

from typing import TYPE_CHECKING, Any

from prefjax.serve.hf_folder import export_folder, score_kernel
from prefjax.serve.rewards import openrlhf_reward, reward_of, trl_reward, verl_reward

if TYPE_CHECKING:
    from prefjax.serve.app import ServerConfig, make_app
    from prefjax.serve.on_ray import serve_on_ray
    from prefjax.serve.server import serve
    from prefjax.serve.service import PeopleService
    from prefjax.serve.store import PeopleStore

_WITH_EXTRA = {
    "PeopleService": "service",
    "PeopleStore": "store",
    "ServerConfig": "app",
    "make_app": "app",
    "serve": "server",
    "serve_on_ray": "on_ray",
}

__all__ = [
    "PeopleService",
    "PeopleStore",
    "ServerConfig",
    "export_folder",
    "make_app",
    "openrlhf_reward",
    "reward_of",
    "score_kernel",
    "serve",
    "serve_on_ray",
    "trl_reward",
    "verl_reward",
]


def __getattr__(name: str) -> Any:
    """What needs the extra is imported when it is asked for."""
    if name in _WITH_EXTRA:
        from importlib import import_module

        return getattr(import_module(f"prefjax.serve.{_WITH_EXTRA[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
