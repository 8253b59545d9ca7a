"""From the arguments to a subcommand, and from errors to one line and an exit code.

0    done                      2    the command line was wrong
1    an error, on one line     130  interrupted
"""

import argparse
import ast
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).parent
TRACEBACK = "PREFJAX_TRACEBACK"
"""Environment variable that shows where an error came from."""
_ERRORS = (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, ArithmeticError)


def commands() -> dict[str, str]:
    """The first line of help of every subcommand, by name; nothing is imported."""
    found = {}
    for path in sorted(_HERE.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem.replace("_", "-")] = text.partition("\n")[0]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The exit code.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    known = commands()
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(known))
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(f"prefjax {version('prefjax')}")
        return 0
    name = argv[0]
    if name not in known:
        print(f"prefjax: there is no command {name!r}\n\n{_overview(known)}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"prefjax.cli.{name.replace('-', '_')}")
    first, _, rest = (module.__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog=f"prefjax {name}",
        description=first,
        epilog=rest.strip("\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    try:
        arguments = parser.parse_args(argv[1:])
    except SystemExit as stop:  # argparse has said why, or shown the help
        return 0 if stop.code is None else int(stop.code)
    return _run(name, module, arguments)


def _run(name: str, module: ModuleType, arguments: argparse.Namespace) -> int:
    try:
        with _plain_speech(name):
            from prefjax.parallel import use_compilation_cache

            use_compilation_cache()
            return int(module.run(arguments) or 0)
    except KeyboardInterrupt:
        print(f"\nprefjax {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _ERRORS as error:
        if os.environ.get(TRACEBACK):
            raise
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        text = " ".join(str(said).split()) or type(error).__name__
        print(f"prefjax {name}: {text}", file=sys.stderr)
        return 1


@contextmanager
def _plain_speech(name: str) -> Iterator[None]:
    """Warnings and what the package tells, as single lines on the error stream."""

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        del category, filename, lineno, file, line
        print(f"prefjax {name}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"prefjax {name}: %(message)s"))
    log = logging.getLogger("prefjax")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = show
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _overview(known: dict[str, str]) -> str:
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {text}" for name, text in known.items()]
    return "\n".join(
        [
            "usage: prefjax COMMAND …",
            "",
            "Personal preference models: from the choices of many people to a reward for each.",
            "",
            *lines,
            "",
            "prefjax COMMAND --help shows what a command takes, with examples.",
            f"{TRACEBACK}=1 shows where an error came from.",
        ]
    )
