"""Work that would hold up other requests, in threads that outlive the request."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

NUM_THREADS = 32
"""More requests than this that wait for the database wait for a thread."""
_pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="prefjax")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def in_thread(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """What a function gives that is called in a thread.

    Threads of anyio belong to the task at the root of a request: where every request is such a
    task, as on Ray, each would start threads of its own.
    """
    call = asyncio.get_running_loop().run_in_executor
    return await call(_pool, lambda: function(*args, **kwargs))
