"""The kit's nginx alone, in front of backends of the test's own, with the nginx of this machine or of the image.

The files are those of nginx/, on ports of loopback (tools/local/nginx.py). A negative twin is the same with one `Edit`.
"""

import json
import os
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import httpx

from tests.clients import wait_until
from tools.local import nginx
from tools.local.nginx import Edit, Nginx
from tools.stack.machine import MORE_FOLDERS, find_command, free_ports

ROOT = Path(__file__).resolve().parents[2]
PATH = f"{os.environ['PATH']}:{MORE_FOLDERS}"
HOST = "127.0.0.1"
# At the certificate's files, in seconds; what looks ends at its next look after nginx has.
LOOK_OFTEN = {"TLS_CHECK_SECONDS": "1", "TLS_RELOAD_SECONDS": "1"}


def check(
    folder: Path,
    env: Mapping[str, str],
    *,
    edits: Sequence[Edit] = (),
    tls: Path | None = None,
    before: str = "",
    project: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run the container's entrypoint with these settings and nothing else from the environment, and `nginx -t`, on this machine.

    One server of the app, WAF_MODE=Off. `before` is a shell command that precedes it.
    """
    edits = [*nginx.servers("app", [f"{HOST}:8000"]), *edits]
    write(folder, ask(), edits, tls=tls, project=project)
    command = ["/bin/sh", "-c", f'{before}{" && " if before else ""}exec "$@"', "sh", *nginx.command(folder / "conf", "-t", "-q")]
    settings = {"PATH": PATH, "WAF_MODE": "Off", **LOOK_OFTEN, **env}
    # Files: what looks at the certificate holds a pipe open for as long as its nginx is not reaped.
    with (folder / "stdout").open("w+") as stdout, (folder / "stderr").open("w+") as stderr:
        done = subprocess.run(command, env=settings, stdout=stdout, stderr=stderr, timeout=60, check=False)
    texts = [(folder / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


@cache
def ask(*command: str) -> Nginx:
    """This machine's nginx, or with a command before it the one of a container."""
    return Nginx.ask(*command, "nginx") if command else Nginx.ask(find_command("nginx", os.environ) or "nginx")


def write(folder: Path, program: Nginx, edits: Sequence[Edit], *, tls: Path | None = None, project: Path = ROOT) -> list[str]:
    """Write the configuration to folder/conf, for temp files and static files beside it."""
    for name in ("run", "static", "files", "acme", "maintenance"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    places = {
        "/run/nginx": folder / "run",
        "/srv/static": folder / "static",
        "/srv/files": folder / "files",
        "/run/acme": folder / "acme",
        "/var/lib/maintenance": folder / "maintenance",
        "/run/tls": tls or folder / "tls",
    }
    return nginx.write("nginx", folder / "conf", nginx=program, places=places, edits=edits, as_root=os.geteuid() == 0, project=project)


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
    """One running nginx: the gateway image's, in the running container `box`, or this machine's ("")."""

    def __init__(
        self,
        folder: Path,
        box: str,
        *,
        upstreams: Sequence[str],
        env: Mapping[str, str],
        edits: Sequence[Edit] = (),
        tls: Path | None = None,
        project: Path = ROOT,
    ) -> None:
        self.folder, self._box = folder, box
        self.runtime = "compose" if box else "local"
        self.name = f"kitn-{uuid.uuid4().hex[:12]}"
        self.port, self.status_port, self.tls_port = free_ports(3)
        self.url = f"http://{HOST}:{self.port}"
        self._env = {"WAF_MODE": "Off", "GATEWAY_TLS_PORT": str(self.tls_port), **LOOK_OFTEN, **env}
        # Each server is in two sets, and each counts for itself; 17-derived.envsh has it for three.
        self._env.setdefault("APP_MAX_CONNS", str(-(-int(env.get("MAX_IN_FLIGHT", "128")) // (2 * len(upstreams)))))
        self._process: subprocess.Popen[bytes] | None = None
        ports = {8080: self.port, 8081: self.status_port}
        if (project / "nginx/templates/tls").exists():
            ports[8443] = self.tls_port
        program = ask("docker", "exec", box) if box else ask()
        write(folder, program, [*nginx.listen(ports), *nginx.servers("app", upstreams), *edits], tls=tls, project=project)

    # --- its life

    def start(self) -> None:
        """Start nginx and wait until it listens."""
        with (self.folder / "access.log").open("ab") as access, (self.folder / "error.log").open("ab") as errors:
            command = nginx.command(self.folder / "conf", "-g", "daemon off;")
            self._process = subprocess.Popen(self._command(*command), stdout=access, stderr=errors)
        wait_until(self._listens, lambda: f"nginx listens\n{self.logs()}")

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
        variables = {"PATH": PATH, **self._env} if self.runtime == "local" else self._env
        words = [f"{key}={value}" for key, value in variables.items()]
        if self.runtime == "local":
            return ["env", "-i", *words, *command]
        return ["docker", "exec", *(word for pair in words for word in ("--env", pair)), self._box, *command]

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
        """All whole lines so far. A line that is no JSON is an error: that is part of every test that reads them."""
        whole, _, _ = (self.folder / "access.log").read_text(errors="replace").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

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
