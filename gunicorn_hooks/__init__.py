"""Hooks of gunicorn.conf.py that need code. Each file can be deleted, together with the lines that name it there."""

import sys
from logging import Logger
from typing import NoReturn

import gunicorn

# The hooks reach into gunicorn's arbiter, workers and requests, which other versions may change.
TRIED = ("27.0.1",)


def refuse(sentence: str) -> NoReturn:
    """Say what is wrong and what would be right, and stop gunicorn before it listens."""
    print(f"gunicorn.conf.py: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def check_version(log: Logger) -> None:
    """Warn about a gunicorn that the hooks were not tried with."""
    if gunicorn.__version__ not in TRIED:
        log.warning("gunicorn_hooks was tried with gunicorn %s, not with %s", ", ".join(TRIED), gunicorn.__version__)
