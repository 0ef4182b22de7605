"""Change one directive of a running gateway, and look at what nginx and gunicorn hold: what negative twins need.

The configuration is the kit's own, as nginx/render wrote it for this very stack, and stays so but for the change:
the rendered file is edited in place, nginx reloads, and afterwards the file is put back. Both runtimes work alike.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from stack import Stack, Unit
from tests.clients import wait_until

# What nginx calls a process that answers requests, and one that a reload has told to finish what it has.
WORKER = "nginx: worker process"
LEAVING = "nginx: worker process is shutting down"

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


def gateway_files(stack: Stack) -> dict[str, str]:
    """Map the path of each file that nginx reads to its text."""
    parts = re.split(r"(?m)^# configuration file (.+):\n", stack.nginx_config())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def setting(stack: Stack, name: str) -> str:
    """Return the value of a directive that stands once in the gateway's configuration, without quotes."""
    (value,) = re.findall(rf"(?m)^ *{name}\s+([^;{{]*);", "".join(gateway_files(stack).values()))
    return str(value).strip('"')


@contextmanager
def edited_gateway(stack: Stack, *edits: Edit) -> Iterator[None]:
    """Let the gateway run with these changes for a while; fail when a change finds nothing to change."""
    originals = gateway_files(stack)
    changed: dict[str, str] = {}
    for edit in edits:
        hits = {path: re.sub(edit.pattern, edit.replacement, text) for path, text in {**originals, **changed}.items()}
        hits = {path: text for path, text in hits.items() if text != {**originals, **changed}[path]}
        assert hits, f"nothing in the gateway's configuration matches {edit.pattern!r}"
        changed |= hits
    try:
        _write(stack, changed)
        _reload(stack)
        yield
    finally:
        _write(stack, {path: originals[path] for path in changed})
        _reload(stack)


def _write(stack: Stack, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        if stack.runtime == "local":
            Path(path).write_text(text)
        else:
            answer = stack.exec("gateway", ["sh", "-c", 'printf %s "$2" > "$1"', "sh", path, text])
            assert answer.returncode == 0, answer.stderr


def _reload(stack: Stack) -> None:
    """Make nginx read its files again; returns when only processes that have read them take connections."""
    stack.nginx_config()  # raises for a configuration that nginx would refuse, and then go on with the old one
    old = gateway_workers(stack)
    answer = stack.exec("gateway", ["sh", "-c", 'kill -HUP "$(cat "$1")"', "sh", setting(stack, "pid")])
    assert answer.returncode == 0, answer.stderr

    def taken_over() -> bool:
        now = gateway_workers(stack)
        serving = {pid for pid, title in now.items() if title == WORKER}
        return bool(serving) and not serving & set(old)

    wait_until(taken_over, "new nginx workers serve")


def gateway_workers(stack: Stack) -> dict[int, str]:
    """Map the pid of each nginx worker, as this machine sees it, to what the process calls itself."""
    (gateway,) = unit_list(stack, "gateway")
    if stack.runtime == "local":
        titles = {}
        for child in psutil.Process(int(gateway.id)).children():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                titles[child.pid] = " ".join(child.cmdline()).strip()
    else:
        command = ["docker", "top", gateway.id, "-o", "pid,args"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        titles = {int(pid): title.strip() for pid, title in (line.strip().split(maxsplit=1) for line in lines)}
    return {pid: title for pid, title in titles.items() if title in {WORKER, LEAVING}}


def held_connections(stack: Stack) -> list[int]:
    """Return, for each gunicorn instance, how many connections its workers have accepted and not closed.

    With the sync class, which closes after each answer, that is the number of requests in the hands of a worker.
    """
    return [_held_locally(unit) if stack.runtime == "local" else _held_in_container(unit) for unit in unit_list(stack, "app")]


def _held_locally(unit: Unit) -> int:
    port = int(unit.address.rpartition(":")[2])
    held = 0
    for worker in psutil.Process(int(unit.id)).children():
        with suppress(psutil.NoSuchProcess):  # a worker that gunicorn has just replaced holds nothing
            connections = worker.net_connections("tcp")
            held += sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in connections)
    return held


def _held_in_container(unit: Unit) -> int:
    command = ["docker", "exec", unit.id, "cat", "/proc/net/tcp"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    return sum(_is_accepted(line.split()) for line in lines)


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
    template = "{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{$network.IPAddress}}\n{{end}}"
    command = ["docker", "inspect", "--format", template, app.id]
    networks = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    (address,) = [line.split()[1] for line in networks if line and line.split()[0].endswith("_web")]
    return f"http://{address}:{GUNICORN_PORT_IN_CONTAINER}"
