"""The sample site under a real gunicorn with the kit's own configuration file."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from flask import json

from tests.clients import wait_until

ROOT = Path(__file__).resolve().parents[2]
SECRET = "only-for-tests-only-for-tests"  # noqa: S105 - it protects nothing
START_TIMEOUT_S = 60.0


def environment(**settings: str) -> dict[str, str]:
    """Return the settings and what a Python program needs; nothing else of this machine's environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", "SECRET_KEY": SECRET, **settings}


def gunicorn_command(*arguments: str, root: Path = ROOT) -> list[str]:
    """Return the command that starts the site of the sources in `root` on a free port of loopback."""
    return [sys.executable, "-m", "gunicorn", "--config", str(root / "gunicorn.conf.py"), "--bind", "127.0.0.1:0", *arguments]


@dataclass(frozen=True)
class Server:
    """A running gunicorn. `url` is http://127.0.0.1:PORT."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self, **wanted: object) -> list[dict[str, Any]]:
        """Return the JSON log lines that have all these values."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if wanted.items() <= line.items()]


def gunicorn(folder: Path, *arguments: str, **settings: str) -> AbstractContextManager[Server]:
    """Run the site until the end of the block; `folder` takes the log."""
    return running(gunicorn_command(*arguments), folder, settings)


@contextmanager
def running(command: Sequence[str], folder: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    """Run gunicorn by that command until the end of the block; `folder` takes the log."""
    log = folder / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment(**settings), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Server(_url(process, log), process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    def listening() -> str | None:
        assert process.poll() is None, log.read_text()
        found = re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", log.read_text())
        return found[1] if found else None

    url = wait_until(listening, "gunicorn listens", timeout_s=START_TIMEOUT_S)
    assert url

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        # A worker that is not there yet leaves the connection in the queue: the answer tells that it is.
        return httpx.get(f"{url}/healthz", timeout=START_TIMEOUT_S).status_code == httpx.codes.OK

    wait_until(answers, "the site answers", timeout_s=START_TIMEOUT_S)
    return url
