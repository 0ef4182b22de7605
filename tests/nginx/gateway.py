"""The kit's nginx alone, in front of backends of the test's own: rendered by nginx/render, with the nginx of this machine or of the image.

A negative twin is the same rendered configuration with one `Edit`.
"""

import json
import os
import re
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import httpx

from tests.clients import wait_until
from tools.stack.machine import MORE_FOLDERS, free_ports

ROOT = Path(__file__).resolve().parents[2]
RENDER = ROOT / "nginx" / "render"
PATH = f"{os.environ['PATH']}:{MORE_FOLDERS}"
HOST = "127.0.0.1"


class Edit(NamedTuple):
    """Replace every match of `pattern` in one file of the rendered tree."""

    file: str
    pattern: str
    replacement: str


def render(dest: Path, env: Mapping[str, str], *, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run nginx/render with these settings and nothing else from the environment; `before` is a shell command that precedes it."""
    command = ["/bin/sh", "-c", f'{before}{" && " if before else ""}exec /bin/sh "$@"', "sh", str(RENDER), str(dest)]
    return subprocess.run(command, env={"PATH": PATH, **env}, capture_output=True, text=True, timeout=60, check=False)


class Answer(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: list[tuple[str, str]]  # in their order, names in lower case
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of one header: a doubled one shows."""
        return [value for key, value in self.headers if key == name.lower()]

    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """One running nginx. `runtime` "local": this machine's; "compose": the gateway image's, in the running container `box`."""

    def __init__(self, folder: Path, runtime: str, box: str, env: Mapping[str, str], edits: Sequence[Edit] = ()) -> None:
        self.folder, self.runtime = folder, runtime
        self._box = box
        self.name = f"kitn-{uuid.uuid4().hex[:12]}"
        self.port, self.status_port = free_ports(2)
        self.url = f"http://{HOST}:{self.port}"
        self._env = {
            "NGINX_RUNTIME": "local",
            "LISTEN": f"{HOST}:{self.port}",
            "STATUS_LISTEN": f"{HOST}:{self.status_port}",
            "NGINX_PREFIX": str(folder / "run"),
            "STATIC_ROOT": str(folder / "static"),
            **env,
        }
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "static").mkdir(exist_ok=True)
        self._render()
        for edit in edits:
            self._edit(edit)

    # --- its life

    def start(self) -> None:
        """Start nginx and wait until it listens."""
        with (self.folder / "access.log").open("ab") as access, (self.folder / "error.log").open("ab") as errors:
            self._process = subprocess.Popen(self._command("nginx", "-e", "stderr", "-c", self._conf), stdout=access, stderr=errors)
        wait_until(self._listens, f"nginx listens\n{self.logs()}")

    def stop(self) -> None:
        """End nginx. From then on its logs are complete: docker's client brings the two in no particular order."""
        if self._process and self._process.poll() is None:
            # In the container the process that was started here is only docker's client.
            subprocess.run(self._command("nginx", "-e", "stderr", "-s", "stop", "-c", self._conf), capture_output=True, check=True)
            self._process.wait(30)

    def _listens(self) -> bool:
        assert self._process
        assert self._process.poll() is None, f"nginx ended\n{self.logs()}"
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False

    @property
    def _conf(self) -> str:
        return str(self.folder / "conf" / "nginx.conf")

    def _command(self, *command: str) -> list[str]:
        if self.runtime == "local":
            return ["env", f"PATH={PATH}", *command]
        variables = [word for key, value in self._env.items() for word in ("--env", f"{key}={value}")]
        return ["docker", "exec", *variables, self._box, *command]

    def _render(self) -> None:
        if self.runtime == "local":
            done = render(self.folder / "conf", self._env)
        else:
            command = self._command("/opt/gateway/render", str(self.folder / "conf"))
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _edit(self, edit: Edit) -> None:
        path = self.folder / "conf" / edit.file
        text, count = re.subn(edit.pattern, edit.replacement, path.read_text(), flags=re.MULTILINE)
        assert count, f"nothing in {edit.file} matches {edit.pattern!r}"
        path.write_text(text)

    # --- what it shows (the names are those of a Stack: tests/conftest.py attaches them to a failure)

    def nginx_config(self) -> str:
        done = subprocess.run(self._command("nginx", "-e", "stderr", "-T", "-c", self._conf), capture_output=True, text=True, check=False)
        return done.stdout + (done.stderr if done.returncode else "")

    def logs(self) -> str:
        files = [self.folder / "error.log", self.folder / "access.log"]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in files if path.exists())

    def error_log(self) -> str:
        return (self.folder / "error.log").read_text()

    def access_log(self) -> list[dict[str, Any]]:
        """All lines so far. A line that is no JSON is an error: that is part of every test that reads them."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text(errors="replace").splitlines()]

    def logged(self, request_id: str) -> dict[str, Any]:
        """The log line of one request; it is written after the answer was sent."""
        found = wait_until(lambda: [line for line in self.access_log() if line["request_id"] == request_id], f"{request_id} is logged")
        (line,) = found
        return line

    # --- its clients

    def client(self, **headers: str) -> httpx.Client:
        """A client that repeats nothing."""
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=20)

    def send(self, request: bytes) -> Answer:
        """Send these very bytes and read one answer until its end."""
        with closing(self.connect()) as connection:
            connection.sendall(request)
            return read_answer(connection)

    def request(self, method: str, path: str, *headers: str, body: bytes = b"", host: str = "localhost") -> Answer:
        """Send a well-formed request on a connection of its own, headers written as "Name: value"; a body is a form unless they say so."""
        length = [f"Content-Length: {len(body)}"] if body or method in {"POST", "PUT", "PATCH"} else []
        named = any(header.lower().startswith("content-type:") for header in headers)
        kind = ["Content-Type: application/x-www-form-urlencoded"] if body and not named else []
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *length, *kind, *headers]
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def get(self, path: str, *headers: str, host: str = "localhost") -> Answer:
        return self.request("GET", path, *headers, host=host)


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer; its body ends where Content-Length or the chunks say so, or with the connection."""
    with connection.makefile("rb") as stream:
        return read_answer_from(stream)


def read_answer_from(stream: BinaryIO, *, bodiless: bool = False) -> Answer:
    """The same from a stream that more answers may follow in; `bodiless` for the answer to a HEAD."""
    status_line = stream.readline()
    assert status_line.startswith(b"HTTP/1.1 "), status_line
    headers = []
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.lower(), value.strip()))
    fields = dict(headers)
    status = int(status_line.split()[1])
    if bodiless or status in {204, 304} or status < 200:
        body = b""
    elif fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read(int(fields["content-length"])) if "content-length" in fields else stream.read()
    return Answer(status, headers, body)
