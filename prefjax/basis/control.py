"""Control flow that is a primitive of XLA under a trace and a loop of the host otherwise.

One function then serves both: inside ``jit`` and ``vmap`` it is one pure program; called from the
host every piece of it is compiled once, whatever the number of repetitions, and can stop early.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_watcher: ContextVar[Callable[[], object] | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(tick: Callable[[], object]) -> Iterator[None]:
    """Calls ``tick`` after every step of `repeat_while` on the host, for progress bars.

    Args:
        tick: Must not fail.
    """
    token = _watcher.set(tick)
    try:
        yield
    finally:
        _watcher.reset(token)


def is_traced(tree: Any) -> bool:
    """Whether some leaf is a tracer."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def program(
    function: Callable[..., Any],
    *,
    static_argnames: tuple[str, ...] = (),
    light: bool = False,
) -> Callable[..., Any]:
    """A compiled function for callers on the host; inside a trace it is the function itself.

    Args:
        function: Pure.
        static_argnames: Names of the arguments that are static.
        light: Optimize less, for programs that run too seldom to pay for more.
    """
    options = {"xla_backend_optimization_level": 1} if light else None
    compiled = jax.jit(function, static_argnames=static_argnames, compiler_options=options)

    @wraps(function)
    def call(*args, **kwargs):
        if is_traced((args, kwargs)):
            return function(*args, **kwargs)
        if isinstance(jnp.zeros(()), Tracer):  # constants of an enclosing trace are computed now
            with jax.ensure_compile_time_eval():
                return compiled(*args, **kwargs)
        return compiled(*args, **kwargs)

    return call


def at(tree: Any, index: Any) -> Any:
    """Entry ``index`` of every leaf; NumPy where nothing is traced, so that nothing is compiled."""
    if is_traced((tree, index)):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], tree)
    return jax.tree.map(lambda leaf: np.asarray(np.asarray(leaf)[np.asarray(index)]), tree)


def map_over(function: Callable[[Any], Any], xs: Any) -> Any:
    """``function`` of every entry along the leading axis, results stacked."""
    if is_traced(xs):
        return jax.lax.map(function, xs)
    length = len(jax.tree.leaves(xs)[0])
    results = [function(at(xs, i)) for i in range(length)]
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *results)


def repeat_while(
    is_running: Callable[[Any], Any], step: Callable[[Any], Any], carry: Any, most: int
) -> Any:
    """``step`` at most ``most`` times, for as long as ``is_running``."""
    if is_traced(carry):
        return jax.lax.while_loop(is_running, step, carry)
    for _ in range(most):
        if not bool(is_running(carry)):
            break
        carry = step(carry)
        tick = _watcher.get()
        if tick is not None:
            tick()
    return carry
