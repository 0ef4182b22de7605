"""Run another WSGI server in gunicorn's place: with the same settings, and stopped without a lost request.

    python servers/start.py NAME [HOST:PORT]     0.0.0.0:8000
    python servers/start.py NAME --check         check the settings, start nothing; --check-config imports the application too

What is particular to a server stands in servers/NAME/server.toml. This process opens the listening socket, lets the server inherit it,
and on SIGTERM drains before the server hears of it, as few servers can drain by themselves (docs/servers.md):

1. New connections are refused (gunicorn_hooks/drain.py): nginx asks another container, for a POST too.
2. Every answer says `Connection: close` (wsgi.py), so nginx sends no further request over a connection that it kept.
3. When no connection is left, or after DRAIN_S, the server gets the signal that ends it.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

SERVERS = Path(__file__).resolve().parent
ROOT = SERVERS.parent
sys.path[:0] = [str(SERVERS), str(ROOT / "app"), str(ROOT)]
from gunicorn.sock import TCPSocket  # noqa: E402

from gunicorn_hooks import drain, sizing, trust  # noqa: E402

DRAIN_S = 30  # as gunicorn's graceful_timeout: below stop_grace_period (40 s)
NUMBERS = ("WEB_CONCURRENCY", "GUNICORN_THREADS")
SETTINGS = (*NUMBERS, "GUNICORN_WORKER_CLASS", "GUNICORN_TIMEOUT", "GUNICORN_CMD_ARGS")


def refuse(sentence: str) -> NoReturn:
    """Say what is wrong and what would be right, before anything listens."""
    print(sentence, file=sys.stderr, flush=True)
    raise SystemExit(2)


def names() -> list[str]:
    """Return the servers that there are."""
    return sorted(path.parent.name for path in SERVERS.glob("*/server.toml"))


def load(name: str) -> dict[str, Any]:
    """Return what server.toml says of a server, after a look at the settings that it would not take."""
    if name not in names():
        refuse(f"SERVER={name} is unknown; right is one of gunicorn {' '.join(names())}")
    server = tomllib.loads((SERVERS / name / "server.toml").read_text())
    for setting in SETTINGS:
        value = os.environ.get(setting, "")
        if value and setting not in server["reads"]:
            refuse(f"SERVER={name} takes no {setting} (it is {value}); it takes {' '.join(server['reads']) or 'none of gunicorn'}")
        if value and setting in NUMBERS and not (value.isdecimal() and int(value)):
            refuse(f"{setting}={value}: right is a whole number from 1, such as 2")
    return server


def size(server: dict[str, Any]) -> dict[str, Any]:
    """Return how many processes and threads; export what the application sizes its pool of database connections by."""
    asked = os.environ.get("WEB_CONCURRENCY") or sizing.default_workers("gthread")[0]
    processes = int(asked) if "WEB_CONCURRENCY" in server["reads"] else 1
    threads = int(os.environ.get("GUNICORN_THREADS") or 8) if "GUNICORN_THREADS" in server["reads"] else server["slots"]
    os.environ["WORKER_CONCURRENCY"] = str(threads)
    os.environ["FORWARDED_ALLOW_IPS"] = trust.peers()
    return {"processes": processes, "threads": threads}


def environment(flag: str) -> dict[str, str]:
    """Return the server's environment. One that brings its own interpreter finds everything by PYTHONPATH."""
    return {**os.environ, "APP_MODULE": os.environ.get("APP_MODULE") or "kit_app:create_app()", "DRAIN_FLAG": flag,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # fmt: skip


class Listener:
    """The listening socket, as gunicorn_hooks.drain knows one."""

    get_backlog = TCPSocket.get_backlog

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_server((host, port), backlog=2048)  # as gunicorn's


def serve(name: str, server: dict[str, Any], address: str) -> int:
    """Start the server and return how it ended."""
    host, _, port = address.rpartition(":")
    sizes, listener = size(server), Listener(host, int(port))
    with tempfile.NamedTemporaryFile() as flag:
        flag.write(b"\0")
        flag.flush()
        paths = {"python": sys.executable, "here": SERVERS / name, "root": ROOT}
        argv = [part.format(**sizes, **paths, fd=listener.sock.fileno()) for part in server["command"]]
        # A signal that comes before there is a handler, or a server to tell, waits. The server itself has to hear it.
        told = {signal.SIGTERM, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, told)
        child = subprocess.Popen(
            argv,
            env=environment(flag.name),
            pass_fds=[listener.sock.fileno()],
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, told),  # noqa: PLW1509 - there are no threads
        )

        def stop(number: int, _frame: FrameType | None) -> None:
            signal.signal(number, signal.SIG_IGN)
            flag.seek(0)
            flag.write(b"\1")
            flag.flush()
            drain.refuse_new_connections([listener])
            until = time.monotonic() + DRAIN_S
            while drain.has_connections([listener], drain.ESTABLISHED) and time.monotonic() < until:
                time.sleep(0.05)
            child.send_signal(signal.Signals[f"SIG{server['stop']}"])

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGHUP, lambda number, _frame: child.send_signal(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, told)
        print(f"{name}: {sizes['processes']} processes, {sizes['threads']} requests in flight in each", file=sys.stderr, flush=True)
        status = child.wait()
    stopped = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    return 0 if stopped else status if status > 0 else 128 - status


def main(name: str, address: str = "0.0.0.0:8000") -> int:
    """Check, then serve."""
    server = load(name)
    if not address.startswith("--"):
        return serve(name, server, address)
    size(server)
    if address != "--check-config":
        return 0
    return subprocess.run([sys.executable, "-c", "import wsgi"], env=environment("/dev/zero"), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
