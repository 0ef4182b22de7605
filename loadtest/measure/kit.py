"""The kit's own stack as the server under test: gateway, server, database, in either runtime; a whole one for each candidate."""

import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click
import httpx
import psutil

from loadtest.measure.servers import Reading, Server, ServerError
from loadtest.measure.usage import ContainerMeter, ProcessMeter, meter
from loadtest.records.model import Candidate
from loadtest.records.slices import Usage
from tools.stack import Stack, StackError, choose, open_stack
from tools.stack.base import last_lines, read_settings
from tools.stack.compose import docker
from tools.stack.machine import free_ports, processors_apart

ROOT = Path(__file__).resolve().parents[2]
NAME = "flask-kit-loadtest"
OVERRIDE = ROOT / "loadtest" / "compose.loadtest.yaml"
SAMPLE_SITE = "kit_app:create_app()"
# All that differs from a site in production: the laboratory is open, clients are not limited, the WAF is off (it would cost the same for
# all, and hide the differences), and there is one instance. Then, neutral, what a candidate may set: a .env must not decide.
SETTINGS = {
    "LAB_ENABLED": "1",
    "LIMITS": "off",
    "MAX_IN_FLIGHT": "0",
    "WAF_MODE": "Off",
    "WAF_REPLICAS": "0",
    "APP_REPLICAS": "1",
    "SERVER": "",
    "GUNICORN_WORKER_CLASS": "sync",
    "GUNICORN_THREADS": "",
    "GUNICORN_CMD_ARGS": "",
    "WEB_CONCURRENCY": "1",
    "DATABASE_POOL_SIZE": "",
}
# A page has something to show, and a second page to go to.
ENTRIES = 30
TIMEOUT_S = 30
# A server that is replaced does not wait for the gateway's idle connections, and no worker is replaced in the middle of a slice.
AT_ONCE = "--graceful-timeout 0 --max-requests 0"
GUNICORN_TIMEOUT_S = 30  # as gunicorn.conf.py sets it


# Imports an application as the server will, and asks it for its health path. Only a 404 is certain: the rest may need what is not started.
CHECK = """
import sys
from wsgiref.util import setup_testing_defaults
from gunicorn.util import import_app

name, path = sys.argv[1:]
app, said, request = import_app(name), [], {"PATH_INFO": path}
setup_testing_defaults(request)
try:
    list(app(request, lambda status, *_: said.append(status)))
except Exception:
    pass
if said and said[0].startswith("404"):
    sys.exit("404")
"""


def check_app(app: str) -> None:
    """See whether a server will find the application and its health path; raises ServerError when not."""
    settings = read_settings(ROOT, {})
    health_path = settings.get("HEALTH_PATH") or "/healthz"
    path = os.pathsep.join([str(ROOT / "app"), str(Path.cwd()), settings.get("PYTHONPATH", "")])
    answer = subprocess.run(
        [sys.executable, "-c", CHECK, app, health_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": path, "APP_ENV": "development"},
    )
    last = answer.stderr.strip().rpartition("\n")[2]
    if answer.returncode and last == "404":
        raise ServerError(f"{app} answers GET {health_path} with 404", "name the path that it answers with 200: HEALTH_PATH=/up", 2)
    if answer.returncode:
        raise ServerError(f"{app} cannot be imported: {last}", "right is package.module:app")


def gateway_address() -> str:
    """Return the address of this machine on which the gateway's ports are published for the generator.

    What is published on 127.0.0.1 is served by docker-proxy, a process that copies every byte: it takes a seventh of a processor
    and more, and visitors from outside do not meet it. The engine's own bridge is an address of this machine as well,
    which other machines do not reach, and from there the kernel itself forwards. Where there is none (an engine in a virtual machine, or
    one that is told to make no bridge), it is 127.0.0.1.
    """
    try:
        address = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
        with socket.create_server((address, 0)):
            return address
    except (StackError, OSError):
        return "127.0.0.1"


class KitServer:
    def __init__(self, name: str, stack: Stack, settings: Mapping[str, str], cpus: list[int]) -> None:
        self._name, self._stack, self._settings, self._cpus = name, stack, settings, cpus
        self.url = stack.url  # once: Compose is asked for it by a command
        self._find()

    def _find(self) -> None:
        """Find out where the counters are, and keep all processes off the generator's processor; containers have a cpuset."""
        self._meters: dict[str, list[ContainerMeter | ProcessMeter]] = {"app": [], "gateway": []}
        for unit in self._stack.processes():
            self._meters.setdefault(unit.service, []).append(meter(self._stack, unit))
            if self._stack.runtime == "local" and self._cpus and hasattr(psutil.Process(), "cpu_affinity"):
                master = psutil.Process(int(unit.id))
                for process in (master, *master.children(recursive=True)):
                    process.cpu_affinity(self._cpus)

    @property
    def null_url(self) -> str | None:
        """The status listener's answer; in containers it is published for the load test alone."""
        if self._stack.runtime != "local":
            return f"http://{self._settings['GATEWAY_BIND']}:{self._settings['LOADTEST_STATUS_PORT']}/nginx-health"
        before, found, _ = self._stack.nginx_config().partition("location = /nginx-health")
        return f"http://{re.findall(r'listen +([^ ;]+)', before)[-1]}/nginx-health" if found else None

    def renew(self) -> None:
        with _plainly(self._name):
            self._stack.restart("app", {})
            self._find()

    def proof(self) -> dict[str, Any]:
        known: dict[str, Any] = {"timeout_s": float(self._settings.get("GUNICORN_TIMEOUT") or GUNICORN_TIMEOUT_S)}
        for name, setting in (("slots_per_process", "GUNICORN_THREADS"), ("database_pool_size", "DATABASE_POOL_SIZE")):
            if self._settings.get(setting):
                known[name] = int(self._settings[setting])
        return {**self._said(), **known}

    def _said(self) -> dict[str, Any]:
        """What the running server says of itself: the laboratory knows, of another application only gunicorn's log."""
        if self._settings.get("APP_MODULE", SAMPLE_SITE) != SAMPLE_SITE:
            classes = re.findall(r"Using worker: (\w+)", self._stack.logs("app"))
            return {"worker_class": classes[-1]} if classes else {}
        try:
            answer = httpx.get(f"{self.url}/lab/process", timeout=TIMEOUT_S)
            answer.raise_for_status()
            said: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServerError(f"{self._name}: GET /lab/process: {error}", "the load test needs LAB_ENABLED=1") from None
        return said

    def look(self) -> None:
        with _plainly(self._name):
            for one in (one for service in self._meters.values() for one in service):
                one.look()

    def read(self) -> Reading:
        with _plainly(self._name):
            usage = {service: Usage.total([one.read() for one in meters]) for service, meters in self._meters.items()}
        server, gateway = usage.pop("app"), usage.pop("gateway")
        return Reading(server, gateway, Usage.total(list(usage.values())))

    def cpu_ns(self) -> int | None:
        with _plainly(self._name):
            used = [one.cpu_ns() for service in ("app", "gateway") for one in self._meters[service]]
        return None if None in used else sum(filter(None, used))

    def memory_bytes(self) -> int | None:
        with _plainly(self._name):
            held = [one.memory_bytes() for one in self._meters["app"]]
        return None if None in held else sum(filter(None, held))

    def fill(self) -> None:
        """Write some entries: an empty guestbook would make an untypically small page."""
        with _plainly(self._name), httpx.Client(base_url=self.url, timeout=TIMEOUT_S) as client:
            for number in range(ENTRIES):
                entry = {"name": f"Guest {number}", "message": "Written before the load test. " * 3}
                client.post("/api/entries", json=entry).raise_for_status()

    def stop(self) -> None:
        with _plainly(self._name):
            self._stack.down(volumes=True)


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    try:
        yield
    except StackError as error:
        raise ServerError(f"{name}: {error.message}", error.hint or last_lines(error.details, 3)) from None
    except httpx.HTTPError as error:
        raise ServerError(f"{name}: {error}") from None
    except ProcessLookupError:
        raise ServerError(f"{name}: its processes have ended") from None


class KitServers:
    """A stack for each candidate, all up at once: what is idle costs nothing (docs/loadtest-method.md). `reason`: for the runtime.

    `reached_at`: the address of this machine for generators elsewhere; then all of its processors are the servers'.
    """

    def __init__(self, runtime: str = "auto", settings: Mapping[str, str] | None = None, reached_at: str = "") -> None:
        self._settings = {**SETTINGS, **(settings or {})}
        self._running: list[KitServer] = []
        self._built: set[str] = set()
        try:
            self.runtime, self.reason = choose(runtime, name=NAME, root=ROOT, settings=read_settings(ROOT, self._settings))
        except StackError as error:
            raise ServerError(error.message, error.hint, error.exit_code) from None
        if self.runtime == "compose":
            bind = reached_at or gateway_address()
            # The names are set whatever a .env has: the generator calls the gateway by its address.
            self._settings |= {"GATEWAY_BIND": bind, "SERVER_NAMES": f"localhost {bind}"}
        # The generator has the last processor, where there are two: all parts of the stack are kept off it.
        self._server_cpus, self.cpus = ([], []) if reached_at else processors_apart()
        if self.cpus:
            self._settings["LOADTEST_CPUSET"] = ",".join(map(str, self._server_cpus))

    def start(self, candidate: Candidate) -> Server:
        settings = self._settings_of(candidate)
        with _plainly(candidate.name):
            overrides = [OVERRIDE] if self.runtime == "compose" else []
            stack = open_stack(self.runtime, name=f"{NAME}-{candidate.name}", env=settings, overrides=overrides)
            with redirect_stdout(io.StringIO() if self._running else sys.stdout):  # the first one has said it
                stack.down(volumes=True)  # what a killed run left
                try:
                    stack.up(build=settings["APP_IMAGE"] not in self._built)
                    self._built.add(settings["APP_IMAGE"])
                    server = KitServer(candidate.name, stack, settings, self._server_cpus if self.cpus else [])
                except BaseException:
                    with suppress(StackError):
                        stack.down(volumes=True)
                    raise
        self._running.append(server)
        if settings.get("APP_MODULE", SAMPLE_SITE) == SAMPLE_SITE:
            server.fill()
        return server

    def _settings_of(self, candidate: Candidate) -> dict[str, str]:
        """Return all settings of a candidate's stack: ports of its own, and images that the stacks of a run share."""
        gateway, status = map(str, free_ports(2))
        settings = {**self._settings, "GATEWAY_PORT": gateway, "LOADTEST_STATUS_PORT": status, **candidate.settings}
        server = settings.get("SERVER", "")
        if server:
            settings["GUNICORN_WORKER_CLASS"] = ""
        else:
            settings["GUNICORN_CMD_ARGS"] = f"{AT_ONCE} {settings['GUNICORN_CMD_ARGS']}"
        given = read_settings(ROOT, settings)
        image = given.get("APP_IMAGE") or f"{NAME}-app"
        images = {name: given.get(name) or f"{NAME}-{name.partition('_')[0].lower()}" for name in ("GATEWAY_IMAGE", "WAF_IMAGE")}
        return {**settings, **images, "APP_IMAGE": f"{image}-{server}" if server else image}

    def close(self) -> None:
        """Take everything down; says so when that fails, and leaves the reason of the end to whoever had it first."""
        while self._running:
            try:
                self._running.pop().stop()
            except ServerError as error:
                click.echo(f"a server could not be stopped: {error.message}", err=True)
