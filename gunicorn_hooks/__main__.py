"""Check the environment and gunicorn's options, and print the sizing; with --check-config import the application too.

Starts nothing. Exit 2 with one line for each fault.
"""

import contextlib
import io
import ipaddress
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

CONF = Path(__file__).resolve().parent.parent / "gunicorn.conf.py"
NUMBERS = {"WEB_CONCURRENCY": "2", "GUNICORN_THREADS": "8", "GUNICORN_TIMEOUT": "30"}
# gunicorn's own (its arguments, and what it hands to itself on SIGUSR2) and gunicorn.conf.py's.
READ = {"GUNICORN_CMD_ARGS", "GUNICORN_PID", "GUNICORN_FD", "GUNICORN_WORKER_CLASS", *NUMBERS}


def faults() -> Iterator[str]:
    """Yield what gunicorn itself would not say, or not clearly."""
    given = {name: value for name, value in os.environ.items() if value or name == "WEB_CONCURRENCY"}
    for name, example in NUMBERS.items():
        if not given.get(name, example).isdecimal():
            yield f"{name}={given[name]}: right is a whole number, such as {example}"
    for name in given:
        if name.startswith("GUNICORN_") and name not in READ:
            yield f"{name} is not read; right is GUNICORN_TIMEOUT, _THREADS, _WORKER_CLASS, or GUNICORN_CMD_ARGS='--keep-alive 70'"
    for peer in filter(None, given.get("FORWARDED_ALLOW_IPS", "").replace("*", "0.0.0.0/0").split(",")):
        try:
            ipaddress.ip_network(peer.strip())
        except ValueError as error:
            yield f"FORWARDED_ALLOW_IPS: {error}; right is an address or a network, such as 172.18.0.0/16"


def stop(*lines: str) -> NoReturn:
    """Print the lines and end with exit code 2."""
    print(*lines, sep="\n", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Check what the environment says, then what gunicorn makes of it, then what its master does first."""
    if found := list(faults()):
        stop(*found)
    from gunicorn.app.wsgiapp import WSGIApplication
    from gunicorn.errors import AppImportError

    sys.argv[1:1], said = ["--config", str(CONF)], io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            app = WSGIApplication(prog="gunicorn")
    except SystemExit:  # gunicorn's usage text, or a traceback: its last line says it
        stop(said.getvalue().strip().splitlines()[-1])
    print(said.getvalue(), end="", file=sys.stderr)
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    server = SimpleNamespace(cfg=app.cfg, log=logging.getLogger("preflight"), handle_term=None)
    app.cfg.nworkers_changed(server, app.cfg.workers, None)
    sys.path[:0] = app.cfg.pythonpath.split(",")
    app.cfg.when_ready(server)
    try:
        _ = app.cfg.check_config and app.load()
    except (AppImportError, ImportError) as error:
        if not str(app.app_uri).startswith(getattr(error, "name", None) or ""):  # one that the application imports
            raise
        stop(f"APP_MODULE={app.app_uri}: {error}; right is package.module:app, or package.module:create_app()")


if __name__ == "__main__":
    main()
