"""What one request costs nginx: CPU time of its only worker, from the kernel's own count."""

from http.client import HTTPConnection
from pathlib import Path

import psutil

from tests.clients import wait_until
from tests.nginx.gateway import Gateway
from tests.waf.corpus import FORM, JSON, Request
from tools.local.nginx import Edit

# One worker, so that all work of a request is done by the process that is looked at.
ONE_WORKER = {"NGINX_WORKER_PROCESSES": "1"}
# Without waf/lighten.py.
AS_WRITTEN = Edit("docker-entrypoint.d/30-lighten.sh", r"^python3 .*", "")


def worker_of(server: Gateway) -> psutil.Process:
    """The worker of an nginx with one; the master's title names its configuration file, in a container too."""

    def found() -> list[psutil.Process]:
        # A worker that has just been made still bears its master's title, and has no children.
        # Looked at anew by their number: psutil keeps the processes of earlier rounds, and a number may be another one's by now.
        masters = [psutil.Process(process.pid) for process in psutil.process_iter(["cmdline"]) if _is_master(process, server)]
        return [child for master in masters for child in master.children() if "worker process" in " ".join(child.cmdline())]

    (worker,) = wait_until(found, "nginx has its worker")
    return worker


def _is_master(process: psutil.Process, server: Gateway) -> bool:
    title = " ".join(process.info["cmdline"] or [])
    return "master process" in title and f"{server.folder}/" in title


def cpu_ms(worker: psutil.Process) -> float:
    """CPU time of a process so far, in milliseconds, to the nanosecond (schedstat: running, waiting, slices)."""
    return int(Path(f"/proc/{worker.pid}/schedstat").read_text().split()[0]) / 1e6


def cost_ms(connection: HTTPConnection, worker: psutil.Process, request: Request, *, times: int = 1) -> tuple[float, int]:
    """Send a request `times` times; return the worker's CPU time for one, in milliseconds, and the last status."""
    before = cpu_ms(worker)
    status = 0
    for _ in range(times):
        connection.request(request.method, request.path, body=request.body or None, headers={"Host": "localhost", **request.headers})
        answer = connection.getresponse()
        answer.read()
        status = answer.status
    return (cpu_ms(worker) - before) / times, status


def _form(kind: str, body: bytes, content_type: str = FORM) -> Request:
    return Request("worst", kind, kind, "POST", "/api/v1/entries", {"Content-Type": content_type}, body)


def _json(values: int, length: int, letter: str) -> bytes:
    return b"{" + b",".join(f'"k{number}":"{letter * length}"'.encode() for number in range(values)) + b"}"


# Repeated, these make expressions of the Core Rule Set go back and forth.
PIECES: tuple[str, ...] = (
    "a ",
    "1 ",
    "' ",
    "< ",
    "(",
    "../",
    "=",
    "a=",
    "&#",
    "/*",
    "%",
    "select ",
    "on",
    "; ",
    "|",
    "|a",
    "a|",
    "|abcd",
    "$(",
    "`",
)
PIECES += ("union ", "or 1 ", "x;", "<a=", "&&a", "<a", "{a", "'a ")
# Of the limits: WAF_BODY_LIMIT and WAF_VALUES are larger, and cost grows with them (docs/waf.md).
ROOM = 65_300
MOST = 949


def plain() -> Request:
    """As many letters as fit, in one value."""
    return _form("64 KB of letters", _json(1, ROOM - 20, "a"), JSON)


def worst() -> list[Request]:
    """Requests within the limits of size that were found to cost the most: many arguments, long ones, and many special characters."""
    room = ROOM
    found = [
        _form(f"JSON, {MOST} arguments, full", _json(MOST, room // MOST - 12, "a"), JSON),
        _form(f"JSON, {MOST} short arguments", _json(MOST, 1, "a"), JSON),
        _form("JSON, one string", _json(1, room - 20, "a"), JSON),
        _form("JSON, 30 strings", _json(30, room // 30 - 12, "a"), JSON),
        _form(f"form, {MOST} arguments, full", b"&".join(b"k%d=" % n + b"a" * (room // MOST - 8) for n in range(MOST))),
        _form("form, long names", b"&".join(b"k%d" % n + b"a" * (room // MOST - 8) + b"=" for n in range(MOST))),
    ]
    for encoded in (b"%41&amp;", b"/u0041 ", b"it's (a) "):
        values = (b'"k%d":"%s"' % (number, encoded * (48 // len(encoded))) for number in range(MOST))
        found.append(_form(f"JSON, {MOST} arguments of {encoded.decode()!r}", b"{" + b",".join(values) + b"}", JSON))
    for piece in PIECES:
        text = (piece * room)[: room - 20].encode()
        found.append(_form(f"JSON, one string of {piece!r}", b'{"k":"' + text + b'"}', JSON))
    cookies = "; ".join(f"c{number}={'a' * 60}" for number in range(99))
    found.append(Request("worst", "cookies", "99 cookies", headers={"Cookie": cookies}))
    query = "&".join(f"k{number}={'a' * 20}" for number in range(255))
    found.append(Request("worst", "query", "255 arguments in the query", path=f"/?{query}"))
    return found
