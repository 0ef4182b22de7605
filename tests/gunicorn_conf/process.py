"""Real gunicorn processes with gunicorn.conf.py and gunicorn_hooks/."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.clients import wait_until
from tools.stack.machine import free_ports

HERE = Path(__file__).parent
CONF = HERE.parents[1] / "gunicorn.conf.py"
HOOKS = HERE.parents[1] / "gunicorn_hooks"
# The machine's own variables must not be settings of the gunicorn under test.
READ_BY_CONF = ("GUNICORN_", "WEB_CONCURRENCY", "FORWARDED_", "GATEWAY_", "LOG_FORMAT", "APP_MODULE", "PRELOAD_", "WORKER_CONCURRENCY")
# A bound for a busy machine; nothing here takes a second on an idle one.
PATIENCE_S = 60


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what the file reads, and with `settings`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(READ_BY_CONF)}
    return {**clean, "APP_MODULE": "tiny_app:app", "PYTHONPATH": str(HERE), **settings}


def run(arguments: Sequence[str], settings: Mapping[str, str]) -> CompletedProcess[str]:
    """Run Python to its end and return what it said."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment(settings), cwd=HERE, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def copy_of_the_kit(folder: Path) -> Path:
    """Copy gunicorn.conf.py and gunicorn_hooks/ into a folder of their own, and return the path of the file."""
    shutil.copytree(HOOKS, folder / "copy" / HOOKS.name, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(CONF, folder / "copy"))


class Gunicorn:
    """One gunicorn with one worker on a free port of loopback; its home and current folder is `folder`."""

    def __init__(self, folder: Path, conf: Path, settings: Mapping[str, str], arguments: Sequence[str]) -> None:
        self.port = free_ports(1)[0]
        self._log = folder / f"gunicorn-{self.port}.log"
        defaults = {"WEB_CONCURRENCY": "1", "HOME": str(folder)}
        command = [sys.executable, "-m", "gunicorn", "--config", str(conf), "--bind", f"127.0.0.1:{self.port}", *arguments]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment({**defaults, **settings}), cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        self.pid = self._process.pid

    def log(self) -> str:
        """Everything it has written."""
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        """Wait until a worker answers."""
        wait_until(lambda: self.status() == 200, "gunicorn answers", timeout_s=PATIENCE_S)

    def status(self) -> int:
        """Return the status of an answer, 0 while there is none."""
        assert self._process.poll() is None, self.log()
        try:
            return self.get("/")[0]
        except OSError:
            return 0

    def connect(self, source: str = "127.0.0.1") -> http.client.HTTPConnection:
        """Return a connection whose own address is `source` (any of 127.0.0.0/8)."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S, source_address=(source, 0))

    def get(self, path: str, headers: Mapping[str, str] | None = None, source: str = "127.0.0.1") -> tuple[int, Any]:
        """Return (status, body), the body read as JSON where it is."""
        with closing(self.connect(source)) as connection:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if answer.headers["Content-Type"] == "application/json" else body

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        return self._process.wait(PATIENCE_S)

    def stop(self) -> None:
        """End master and workers at once: a worker that is asked in the moment of its start does not hear it for 30 s."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


Start = Callable[..., Gunicorn]
Refusal = Callable[..., str]
Effective = Callable[..., dict[str, str]]
Edited = Callable[..., Path]


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Give a function (settings, conf=, arguments=) -> Gunicorn that answers, or with ready=False one that may not yet.

    All of them end with the block.
    """
    running: list[Gunicorn] = []

    def launch(
        settings: Mapping[str, str] | None = None, *, conf: Path = CONF, arguments: Sequence[str] = (), ready: bool = True
    ) -> Gunicorn:
        running.append(Gunicorn(folder, conf, settings or {}, arguments))
        if ready:
            running[-1].wait_until_ready()
        return running[-1]

    yield launch
    for gunicorn in running:
        gunicorn.stop()
