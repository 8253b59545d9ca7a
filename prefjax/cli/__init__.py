"""The ``prefjax`` command: one file a subcommand, imported when it is named.

A subcommand is a module of this package without a leading underscore. Its docstring is its help: a
first line, and examples after an empty one. ``add_arguments(parser)`` declares what it takes,
``run(arguments)`` does it and may return an exit code.
"""

from prefjax.cli._main import main

__all__ = ["main"]
