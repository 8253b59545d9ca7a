"""``python -m prefjax.cli`` is the ``prefjax`` command."""

from prefjax.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
