"""The kit's own stack as the server under test: gateway, gunicorn, database, in either runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import psutil

from loadtest.records import Candidate, Usage
from loadtest.run.cgroups import container_usage
from loadtest.run.servers import Reading, Server, ServerError
from stack import Stack, StackError, Unit, open_stack
from stack.machine import free_ports

ROOT = Path(__file__).resolve().parents[2]
NAME = "flask-kit-loadtest"
# A page has something to show, and a second page to go to.
ENTRIES = 30
TIMEOUT_S = 30


def check_app(app: str) -> None:
    """Import the application as the server will; raises ServerError when that fails."""
    code = "import sys; from gunicorn.util import import_app; import_app(sys.argv[1])"
    path = os.pathsep.join([str(ROOT / "app"), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    answer = subprocess.run(
        [sys.executable, "-c", code, app],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": path, "APP_ENV": "development"},
    )
    if answer.returncode:
        raise ServerError(f"{app} cannot be imported: {answer.stderr.strip().splitlines()[-1]}", "right is package.module:app")


class KitServer:
    """A running stack."""

    def __init__(self, stack: Stack, settings: Mapping[str, str]) -> None:
        self._stack, self._settings = stack, settings
        self._units = stack.processes()

    @property
    def url(self) -> str:
        return self._stack.url

    @property
    def null_url(self) -> str | None:
        """The status listener's answer; in containers it is not published."""
        if self._stack.runtime != "local":
            return None
        return next((url for url in _null_urls(self._stack.nginx_config())), None)

    def proof(self) -> dict[str, Any]:
        try:
            answer = httpx.get(f"{self.url}/lab/process", timeout=TIMEOUT_S)
            answer.raise_for_status()
            said: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServerError(f"GET /lab/process: {error}", "the load test needs LAB_ENABLED=1") from None
        pool = self._settings.get("DATABASE_POOL_SIZE")
        return {**said, "gateway_buffers": True, **({"database_pool_size": int(pool)} if pool else {})}

    def read(self) -> Reading:
        usage: dict[str, list[Usage]] = {}
        for unit in self._units:
            usage.setdefault(unit.service, []).append(self._usage(unit))
        rest = [one.cpu_s for service, all_of in usage.items() if service not in {"app", "gateway"} for one in all_of]
        return Reading(
            server=_sum(usage.get("app", [])),
            gateway=_sum(usage.get("gateway", [])),
            rest_cpu_s=None if None in rest else sum(value for value in rest if value is not None),
        )

    def _usage(self, unit: Unit) -> Usage:
        if self._stack.runtime == "compose":
            return container_usage(unit.id)
        return process_usage(int(unit.id))

    def fill(self) -> None:
        """Write some entries: an empty guestbook would make a page that nobody has."""
        with httpx.Client(base_url=self.url, timeout=TIMEOUT_S) as client:
            for number in range(ENTRIES):
                client.post(
                    "/api/entries", json={"name": f"Guest {number}", "message": "Written before the load test. " * 3}
                ).raise_for_status()


class KitServers:
    """Starts the stack anew for each cell."""

    def __init__(self, runtime: str = "auto", settings: Mapping[str, str] | None = None) -> None:
        self._settings = {"GATEWAY_PORT": str(free_ports(1)[0]), "LAB_ENABLED": "1", "LIMITS": "off", **(settings or {})}
        self._started = False
        try:
            self._runtime = open_stack(runtime, name=NAME, env=self._settings).runtime
        except StackError as error:
            raise ServerError(error.message, error.hint) from None

    @property
    def runtime(self) -> str:
        return self._runtime

    @property
    def cpus(self) -> Sequence[int]:
        """The last processor, where there are two: the server is kept off it (see `_pin`)."""
        return _cpus()[-1:] if len(_cpus()) > 1 else ()

    def versions(self) -> dict[str, str]:
        return {"gunicorn": metadata.version("gunicorn"), "flask": metadata.version("flask")}

    @contextmanager
    def start(self, candidate: Candidate) -> Iterator[Server]:
        settings = {**self._settings, **candidate.settings}
        try:
            stack = open_stack(self._runtime, name=NAME, env=settings)
            stack.down(volumes=True)
            try:
                self._up(stack)
                self._pin(stack)
                server = KitServer(stack, settings)
                server.fill()
                yield server
            finally:
                stack.down(volumes=True)
        except StackError as error:
            raise ServerError(f"{candidate.name}: {error.message}", error.hint) from None
        except httpx.HTTPError as error:
            raise ServerError(f"{candidate.name}: {error}") from None

    def _up(self, stack: Stack) -> None:
        """Start; what a start says (what differs from Compose) is worth hearing once, not for each cell."""
        with redirect_stdout(StringIO()) if self._started else nullcontext():
            stack.up(build=not self._started and self._runtime == "compose")
        self._started = True

    def _pin(self, stack: Stack) -> None:
        """Keep the server under test on processors of its own, so that the generator cannot take its time."""
        if stack.runtime != "local" or not self.cpus or not hasattr(psutil.Process(), "cpu_affinity"):
            return
        others = [cpu for cpu in _cpus() if cpu not in self.cpus]
        for unit in stack.processes():
            for process in _tree(int(unit.id)):
                process.cpu_affinity(others if unit.service == "app" else _cpus())


def _cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def process_usage(pid: int) -> Usage:
    """Return what a process and its children have used; memory they share is counted once where the system tells (Linux)."""
    cpu_s, memory, number = 0.0, 0, 0
    for process in _tree(pid):
        try:
            times, full = process.cpu_times(), process.memory_full_info()
        except psutil.Error:
            continue
        # Of children that have ended the system tells too: a worker that was replaced has cost what it cost.
        cpu_s += times.user + times.system + (times.children_user + times.children_system if process.pid == pid else 0.0)
        memory += getattr(full, "pss", full.rss)
        number += 1
    return Usage(cpu_s=cpu_s, memory_bytes=memory, processes=number)


def _sum(parts: Sequence[Usage]) -> Usage:
    def total(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if not values or None in values else sum(values)

    return Usage(cpu_s=total("cpu_s"), memory_bytes=total("memory_bytes"), throttled_s=total("throttled_s"), processes=total("processes"))


def _null_urls(nginx_config: str) -> Iterator[str]:
    """Find the listener of the health check in what nginx reads."""
    listen = ""
    for line in nginx_config.splitlines():
        words = line.split("#")[0].strip().rstrip(";").split()
        if words[:1] == ["listen"]:
            listen = words[1]
        if words[:3] == ["location", "=", "/nginx-health"]:
            yield f"http://{listen}/nginx-health"
