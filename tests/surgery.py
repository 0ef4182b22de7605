"""Change one directive of a running gateway, and look at what nginx and gunicorn hold: what negative twins need.

The configuration is the kit's own, as it is in this very stack, and stays so but for the change: the file is edited in
place, nginx reloads, and afterwards the file is put back. Both runtimes work alike.
"""

import itertools
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.clients import wait_until
from tools.stack import Stack, Unit

# What nginx calls a process that answers requests, and one that a reload has told to finish what it has.
WORKER = "nginx: worker process"
LEAVING = "nginx: worker process is shutting down"

GATEWAY_PORT_IN_CONTAINER = 8080
GUNICORN_PORT_IN_CONTAINER = 8000
ESTABLISHED = "01"  # in /proc/net/tcp
LOOPBACK = "0100007F"  # the container's own health check


class Edit(NamedTuple):
    """One change of the configuration: every match of `pattern` becomes `replacement`."""

    pattern: str
    replacement: str


def directive(name: str, value: str) -> Edit:
    """Give a directive another value, wherever it stands."""
    return Edit(rf"(?m)^( *){name}\s[^;{{]*;", rf"\g<1>{name} {value};")


def without(name: str) -> Edit:
    """Leave a directive out, wherever it stands."""
    return Edit(rf"(?m)^ *{name}\b[^;{{]*;", "")


def unit_list(stack: Stack, service: str) -> list[Unit]:
    """Return the running instances of one service."""
    return [unit for unit in stack.processes() if unit.service == service]


@contextmanager
def edited_gateway(stack: Stack, *edits: Edit) -> Iterator[None]:
    """Let the gateway run with these changes for a while; fail when a change finds nothing to change."""
    (gateway,) = unit_list(stack, "gateway")
    # `nginx -T` prints each file after a line with its path.
    parts = re.split(r"(?m)^# configuration file (.+):\n", stack.nginx_config())
    originals = dict(zip(parts[1::2], parts[2::2], strict=True))
    files = dict(originals)
    for edit in edits:
        edited = {path: re.sub(edit.pattern, edit.replacement, text) for path, text in files.items()}
        assert edited != files, f"nothing in the gateway's configuration matches {edit.pattern!r}"
        files = edited
    changed = [path for path in files if files[path] != originals[path]]
    try:
        _apply(stack, gateway, {path: files[path] for path in changed})
        yield
    finally:
        _apply(stack, gateway, {path: originals[path] for path in changed})


def _apply(stack: Stack, gateway: Unit, files: Mapping[str, str]) -> None:
    """Write the files and make nginx read them; returns when only processes that have read them take connections."""
    old = gateway_workers(stack, gateway)
    if stack.runtime == "local":
        for path, text in files.items():
            Path(path).write_text(text)
        os.kill(int(gateway.id), signal.SIGHUP)
    else:
        # Most files lie in the image, which is read-only: a container with the host's rights goes into this one's files.
        pid, image = docker("inspect", "--format", "{{.State.Pid}} {{.Image}}", gateway.id).split()
        script = 'mount -o remount,rw /; while [ $# -gt 0 ]; do printf %s "$2" > "$1"; shift 2; done; mount -o remount,ro /'
        enter = ["nsenter", image, "--target", pid, "--mount", "sh", "-euc", script, "sh", *itertools.chain.from_iterable(files.items())]
        docker("run", "--rm", "--privileged", "--pid", "host", "--user", "0", "--network", "none", "--entrypoint", *enter)
        docker("kill", "--signal", "HUP", gateway.id)

    def taken_over() -> bool:
        now = gateway_workers(stack, gateway)
        serving = {pid for pid, title in now.items() if title == WORKER}
        return bool(serving) and not serving & set(old)

    wait_until(taken_over, "new nginx workers serve (with a wrong configuration nginx goes on with the old ones)")


def gateway_workers(stack: Stack, gateway: Unit) -> dict[int, str]:
    """Map the pid of each nginx worker, as this machine sees it, to what the process calls itself."""
    if stack.runtime == "local":
        titles = {}
        for child in psutil.Process(int(gateway.id)).children():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                titles[child.pid] = " ".join(child.cmdline()).strip()
    else:
        lines = docker("top", gateway.id, "-o", "pid,args").splitlines()[1:]
        titles = {int(pid): title.strip() for pid, title in (line.strip().split(maxsplit=1) for line in lines)}
    return {pid: title for pid, title in titles.items() if title in {WORKER, LEAVING}}


class Workers:
    """The gunicorn instances of a stack, and the connections in the hands of their workers.

    A connection counts from when a worker has accepted it until it is closed. The sync class closes after each answer:
    with it, the number of connections is the number of requests that hold a worker.
    """

    def __init__(self, stack: Stack) -> None:
        self._units = unit_list(stack, "app")
        self._held = _held_locally if stack.runtime == "local" else _held_in_container

    def held(self) -> list[int]:
        """Return how many connections each instance holds now."""
        return [self._held(unit) for unit in self._units]


def _held_locally(unit: Unit) -> int:
    port = int(unit.address.rpartition(":")[2])
    held = 0
    for worker in psutil.Process(int(unit.id)).children():
        with suppress(psutil.NoSuchProcess):  # a worker that gunicorn has just replaced holds nothing
            connections = worker.net_connections("tcp")
            held += sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in connections)
    return held


def _held_in_container(unit: Unit) -> int:
    rows = docker("exec", unit.id, "cat", "/proc/net/tcp").splitlines()[1:]
    return sum(_is_accepted(row.split()) for row in rows)


def _is_accepted(fields: list[str]) -> bool:
    """Say whether a row of /proc/net/tcp is a connection to gunicorn that a worker has accepted: only then it has an inode."""
    local, remote, state, inode = fields[1], fields[2], fields[3], fields[9]
    to_gunicorn = int(local.rpartition(":")[2], 16) == GUNICORN_PORT_IN_CONTAINER
    return to_gunicorn and state == ESTABLISHED and inode != "0" and not remote.startswith(LOOPBACK)


def bare_url(stack: Stack) -> str:
    """Return the address of the first gunicorn instance, around nginx: what no client outside can reach."""
    app = unit_list(stack, "app")[0]
    if stack.runtime == "local":
        return f"http://{app.address}"
    return f"http://{address_of(app, 'web')}:{GUNICORN_PORT_IN_CONTAINER}"


def gateway_url(stack: Stack) -> str:
    """Return the address at which nginx itself accepts connections.

    In Compose not the published port: connections from this machine to it end in Docker's own proxy process, which
    reads ahead up to 10 MB and more, so that nginx would hardly meet a slow reader. Clients from elsewhere come without it.
    """
    if stack.runtime == "local":
        return stack.url
    (gateway,) = unit_list(stack, "gateway")
    return f"http://{address_of(gateway, 'edge')}:{GATEWAY_PORT_IN_CONTAINER}"


def address_of(unit: Unit, network: str) -> str:
    """Return the address of a container on one of the stack's networks."""
    template = "{{range $name, $network := .NetworkSettings.Networks}}{{$name}}={{$network.IPAddress}} {{end}}"
    addresses = dict(item.split("=") for item in docker("inspect", "--format", template, unit.id).split())
    return next(address for name, address in addresses.items() if name.endswith(f"_{network}"))


class TempFiles:
    """The temp files that nginx has open; `kind` is "client_body" (of requests) or "proxy" (of answers).

    nginx removes the name as soon as it has made the file, so that nothing can be left behind: the file lives as long as
    the descriptor, and is to be found there alone (Linux).
    """

    def __init__(self, stack: Stack, kind: str) -> None:
        self._stack = stack
        folder = re.search(rf'(?m)^ *{kind}_temp_path "?([^";]+)"?;', stack.nginx_config())
        assert folder
        self.folder = folder[1]

    def count(self) -> int:
        """Return how many there are now."""
        listing = self._stack.exec("gateway", ["sh", "-c", "ls -l /proc/[0-9]*/fd 2> /dev/null || true"]).stdout
        return sum(f"-> {self.folder}/" in line for line in listing.splitlines())

    def used_bytes(self) -> int:
        """Return the bytes in use on their file system: in Compose it is theirs alone."""
        answer = self._stack.exec("gateway", ["df", "--output=used", "--block-size=1", self.folder])
        return int(answer.stdout.split()[-1])


def docker(*arguments: str) -> str:
    """Run a docker command, and return what it prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout
