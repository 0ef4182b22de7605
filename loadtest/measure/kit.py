"""The kit's own stack as the server under test: gateway, gunicorn, database, in either runtime."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import httpx
import psutil

from loadtest.measure.cgroups import container_usage
from loadtest.measure.servers import Reading, Server, ServerError
from loadtest.records.model import Candidate, Usage
from tools.stack import Stack, StackError, Unit, choose, open_stack
from tools.stack.base import last_lines, read_settings
from tools.stack.compose import ComposeStack, docker
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
    "GUNICORN_WORKER_CLASS": "sync",
    "GUNICORN_THREADS": "",
    "WEB_CONCURRENCY": "1",
    "DATABASE_POOL_SIZE": "",
}
# A page has something to show, and a second page to go to.
ENTRIES = 30
TIMEOUT_S = 30
# A server that is replaced does not wait for the gateway's idle connections.
AT_ONCE = "--graceful-timeout 0"
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
    """A running stack."""

    def __init__(self, stack: Stack, settings: Mapping[str, str]) -> None:
        self._stack, self._settings = stack, settings
        self._units = stack.processes()
        self.read()  # finds out where the counters are; not while something is measured

    @property
    def url(self) -> str:
        return self._stack.url

    @property
    def null_url(self) -> str | None:
        """The status listener's answer; in containers it is published for the load test alone."""
        if self._stack.runtime != "local":
            return f"http://{self._settings['GATEWAY_BIND']}:{self._settings['LOADTEST_STATUS_PORT']}/nginx-health"
        before, found, _ = self._stack.nginx_config().partition("location = /nginx-health")
        return f"http://{re.findall(r'listen +([^ ;]+)', before)[-1]}/nginx-health" if found else None

    def proof(self) -> dict[str, Any]:
        known = {"gateway_buffers": True, "timeout_s": float(self._settings.get("GUNICORN_TIMEOUT") or GUNICORN_TIMEOUT_S)}
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
            raise ServerError(f"GET /lab/process: {error}", "the load test needs LAB_ENABLED=1") from None
        return said

    def read(self) -> Reading:
        usage: dict[str, list[Usage]] = {}
        for unit in self._units:
            usage.setdefault(unit.service, []).append(usage_of(self._stack, unit))
        server, gateway = (Usage.total(usage.pop(service, [])) for service in ("app", "gateway"))
        rest = [one for all_of in usage.values() for one in all_of]
        return Reading(server, gateway, Usage.total(rest).cpu_s if rest else 0.0)

    def fill(self) -> None:
        """Write some entries: an empty guestbook would make an untypically small page."""
        with httpx.Client(base_url=self.url, timeout=TIMEOUT_S) as client:
            for number in range(ENTRIES):
                entry = {"name": f"Guest {number}", "message": "Written before the load test. " * 3}
                client.post("/api/entries", json=entry).raise_for_status()


class KitServers:
    """The stack, started once; its app is replaced by fresh processes or containers for each cell. `reason`: for the runtime."""

    def __init__(self, runtime: str = "auto", settings: Mapping[str, str] | None = None) -> None:
        gateway, status = free_ports(2)
        # Whoever names a port wants that one; else any that is free, so that a site on the usual one is left alone.
        ports = {"GATEWAY_PORT": os.environ.get("GATEWAY_PORT") or str(gateway), "LOADTEST_STATUS_PORT": str(status)}
        self._settings = {**ports, **SETTINGS, **(settings or {})}
        self._stack: Stack | None = None
        self._images: dict[str, str] = {}  # of other servers, by name
        try:
            self.runtime, self.reason = choose(runtime, name=NAME, root=ROOT, settings=read_settings(ROOT, self._settings))
        except StackError as error:
            raise ServerError(error.message, error.hint, error.exit_code) from None
        if self.runtime == "compose":
            bind = gateway_address()
            # The names are set whatever a .env has: the generator calls the gateway by its address.
            self._settings |= {"GATEWAY_BIND": bind, "SERVER_NAMES": f"localhost {bind}"}
        # The generator has the last processor, where there are two: the server is kept off it.
        self._server_cpus, self.cpus = processors_apart()
        if self.cpus:
            self._settings["LOADTEST_APP_CPUSET"] = ",".join(map(str, self._server_cpus))

    def versions(self) -> dict[str, str]:
        return {"gunicorn": metadata.version("gunicorn"), "flask": metadata.version("flask")}

    @contextmanager
    def start(self, candidate: Candidate) -> Iterator[Server]:
        try:
            stack = self._stack or self._up()
            if server := candidate.settings.get("SERVER"):
                more = {"GUNICORN_WORKER_CLASS": "", **self._build(stack, server)}
            else:
                more = {"GUNICORN_CMD_ARGS": f"{AT_ONCE} {candidate.settings.get('GUNICORN_CMD_ARGS', '')}"}
            stack.restart("app", {**candidate.settings, **more})
            self._pin(stack)
            yield KitServer(stack, {**self._settings, **candidate.settings})
        except StackError as error:
            raise ServerError(f"{candidate.name}: {error.message}", error.hint or last_lines(error.details, 3)) from None
        except httpx.HTTPError as error:
            raise ServerError(f"{candidate.name}: {error}") from None

    def close(self) -> None:
        """Take everything down; says so when that fails, and leaves the reason of the end to whoever had it first."""
        if self._stack:
            try:
                self._stack.down(volumes=True)
            except StackError as error:
                click.echo(f"the servers could not be stopped: {error.message}", err=True)
            self._stack = None

    def _up(self) -> Stack:
        overrides = [OVERRIDE] if self.runtime == "compose" else []
        stack = open_stack(self.runtime, name=NAME, env=self._settings, overrides=overrides)
        stack.down(volumes=True)  # what a killed run left
        self._stack = stack
        stack.up()
        if self._settings.get("APP_MODULE", SAMPLE_SITE) == SAMPLE_SITE:
            KitServer(stack, self._settings).fill()
        return stack

    def _build(self, stack: Stack, server: str) -> dict[str, str]:
        """Return the settings that name the image with another server; it is built when it is first asked for."""
        if not isinstance(stack, ComposeStack):
            return {}
        if server not in self._images:
            settings = read_settings(ROOT, {**self._settings, "SERVER": server})
            settings["APP_IMAGE"] = f"{settings.get('APP_IMAGE') or f'{NAME}-app'}-{server}"
            click.echo(f"Building {settings['APP_IMAGE']}")
            answer = ComposeStack(NAME, root=ROOT, settings=settings, overrides=[OVERRIDE]).compose("build", "app")
            if answer.returncode:
                raise StackError(f"the image of {server} cannot be built", details=last_lines(answer.stderr))
            self._images[server] = settings["APP_IMAGE"]
        return {"APP_IMAGE": self._images[server]}

    def _pin(self, stack: Stack) -> None:
        """Keep the server under test on processors of its own, so that the generator cannot take its time; containers have a cpuset."""
        if stack.runtime != "local" or not self.cpus or not hasattr(psutil.Process(), "cpu_affinity"):
            return
        for unit in stack.processes():
            for process in _tree(int(unit.id)) if unit.service == "app" else ():
                process.cpu_affinity(self._server_cpus)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage_of(stack: Stack, unit: Unit) -> Usage:
    """Return the counters of one unit of a stack: of its container, or of its processes."""
    return container_usage(unit.id) if stack.runtime == "compose" else process_usage(int(unit.id))


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
