"""Preflight: check the environment and print the sizing, without starting anything. Exit 2 with one line for each fault.

It takes gunicorn's own options; --check-config imports the application too.
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

    sys.argv[1:1] = ["--config", str(CONF)]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            app = WSGIApplication(prog="gunicorn")
    except SystemExit:  # gunicorn's usage text, or a traceback: its last line says it
        stop(said.getvalue().strip().splitlines()[-1])
    print(said.getvalue(), end="", file=sys.stderr)
    log = logging.getLogger("preflight")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler(sys.stdout))
    server = SimpleNamespace(cfg=app.cfg, log=log, handle_term=None)
    app.cfg.nworkers_changed(server, app.cfg.workers, None)
    sys.path[:0] = app.cfg.pythonpath.split(",")
    app.cfg.when_ready(server)
    if app.cfg.check_config:
        app.run()


if __name__ == "__main__":
    main()
