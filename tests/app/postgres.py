"""A real PostgreSQL of the tests' own: a private cluster in a temporary folder, which can be stopped and frozen."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

MISSING = "these tests need PostgreSQL's server programs: apt-get install postgresql (or brew install postgresql)"


def _program(name: str) -> Path:
    """Find a server program: Debian keeps them off the PATH."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *map(Path, os.get_exec_path())]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise RuntimeError(MISSING)


def _owner() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("neither a user postgres nor nobody exists to run PostgreSQL as")


class Cluster:
    """One database server on loopback. `url` stays the same over stop and start."""

    def __init__(self, folder: Path, port: int) -> None:
        self._data = folder / "data"
        self._port = port
        self.url = f"postgresql://kit@127.0.0.1:{port}/postgres"

    def _run(self, program: str, *arguments: str) -> None:
        # check=True would hide what the program said.
        done = subprocess.run(
            [str(_program(program)), *arguments],
            user=_owner(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stdout}"

    def create(self) -> None:
        """Make the cluster; without fsync, as it need not survive a power cut."""
        self._run("initdb", "--pgdata", str(self._data), "--username", "kit", "--auth", "trust", "--no-sync", "--encoding", "UTF8")

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        # The log must not be our pipe: the server would hold it open, and we would wait for its end.
        self._run("pg_ctl", "start", "--wait", "--silent", "--pgdata", str(self._data), "-l", str(self._data / "log"), "-o", options)

    def stop(self) -> None:
        """Stop at once, with connections open."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", "immediate", "--pgdata", str(self._data))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Be down for the length of the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes as they are: its kernel still takes connections, and nobody answers."""
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        frozen: list[psutil.Process] = []
        try:
            # The parent first: it can then start no child that we would not see.
            postmaster.suspend()
            frozen = [postmaster, *postmaster.children(recursive=True)]
            for process in frozen[1:]:
                process.suspend()
            yield
        finally:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a cluster for the length of the block. RuntimeError with the command that installs what is missing."""
    _program("initdb")
    folder = Path(tempfile.mkdtemp(prefix="kit-postgres-"))
    try:
        if owner := _owner():
            shutil.chown(folder, owner)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        server = Cluster(folder, port)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """Make an empty database on that server for the length of the block; the value is its URL."""
    name = f"kit_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0".encode())
        yield f"{server_url.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
