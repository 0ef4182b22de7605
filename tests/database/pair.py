"""Two PostgreSQLs with compose/database/start, in a network of their own, and their clients."""

import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event

from kit_flask.breaker import Breaker
from kit_flask.deadline import DEADLINE_S, Connection, deadline
from tests.clients import wait_until
from tests.conftest import ROOT
from tests.nginx.containers import docker

START = ROOT / "compose/database/start"
PASSWORD = r'with "quotes", a : and a \ too'  # noqa: S105 - of these tests alone
PEERS = {"database": "replica", "replica": "database"}


class Pair:
    """`database` and `replica`, each with a volume that outlives its container."""

    def __init__(self, exits: ExitStack, folder: Path) -> None:
        self.name, self.exits, self.folder = f"kit-pair-{uuid.uuid4().hex[:8]}", exits, folder
        folder.chmod(0o755)
        (folder / "database_password").write_text(PASSWORD)
        self.refusal = ""  # of the last write
        self.settings: dict[str, object] = {}  # of the nodes that run as they should
        docker("network", "create", "--internal", self.name)
        exits.callback(docker, "network", "rm", self.name)
        for node in (*PEERS, "archive"):
            exits.callback(docker, "volume", "rm", "--force", f"{self.name}-{node}")

    def run(self, node: str, *, wait: bool = True, edit: tuple[str, str] = ("", ""), **settings: str) -> None:
        """Start a node, in place of the container that it had; `edit`: a pattern of compose/database/start, and what replaces it."""
        start = self.folder / f"start-{uuid.uuid4().hex}"
        start.write_text(re.sub(*edit, START.read_text(), flags=re.DOTALL) if edit[0] else START.read_text())
        start.chmod(0o755)
        assert bool(edit[0]) == (start.read_text() != START.read_text())
        given = {"PEER": PEERS[node], "FIRST": "yes" if node == "database" else "no", **settings}
        given |= {"POSTGRES_DB": "kit", "POSTGRES_USER": "kit", "POSTGRES_PASSWORD_FILE": "/run/secrets/database_password"}
        self.kill(node)
        self.exits.callback(docker, "rm", "--force", "--volumes", self.container(node), check=False)
        docker(
            *("run", "--detach", "--name", self.container(node), "--network", self.name, "--network-alias", node, "--user", "postgres"),
            *("--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp:mode=1777", "--tmpfs", "/var/run/postgresql:mode=1777"),  # noqa: S108
            *("--volume", f"{self.name}-{node}:/var/lib/postgresql", "--volume", f"{start}:/srv/start:ro"),
            *("--volume", f"{self.folder}:/run/secrets:ro", *(f"--env={name}={value}" for name, value in given.items())),
            *("--entrypoint", "/srv/start", "postgres:18-trixie", "postgres"),
        )
        self.settings |= {} if edit[0] else {node: settings}
        if wait:
            wait_until(lambda: self.tells(node, "SELECT 1") == "1", lambda: f"{node} answers: {self.logs(node)}")

    def archive(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run compose/database/archive: without arguments until it is killed, else to its end."""
        name = self.container("archive" if not arguments else "moment")
        self.exits.callback(docker, "rm", "--force", "--volumes", name, check=False)
        given = ["POSTGRES_DB=kit", "POSTGRES_USER=kit", "POSTGRES_PASSWORD_FILE=/run/secrets/database_password"]
        command = [
            *(
                "docker",
                "run",
                *(["--rm"] if arguments else ["--detach", "--restart=unless-stopped"]),
                "--name",
                name,
                "--network",
                self.name,
                "--user",
                "postgres",
                "--init",
            ),
            *("--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp:mode=1777", "--volume", f"{self.folder}:/run/secrets:ro"),  # noqa: S108
            *("--volume", f"{self.name}-archive:/var/lib/postgresql", "--volume", f"{START.with_name('archive')}:/srv/archive:ro"),
            *(f"--env={one}" for one in (*given, "ARCHIVE_HOURS=24", "ARCHIVE_COPIES=2")),
            *("--entrypoint", "/srv/archive", "postgres:18-trixie", *arguments),
        ]
        return subprocess.run(command, capture_output=True, check=False)

    def container(self, node: str) -> str:
        return f"{self.name}-{node}"

    def kill(self, node: str) -> None:
        self.settings.pop(node, None)
        docker("rm", "--force", self.container(node), check=False)

    def cut_off(self, node: str) -> None:
        docker("network", "disconnect", self.name, self.container(node))

    def reconnect(self, node: str) -> None:
        docker("network", "connect", "--alias", node, self.name, self.container(node))

    def logs(self, node: str) -> str:
        done = docker("logs", "--tail", "20", self.container(node))
        return done.stdout + done.stderr

    def address(self, node: str) -> str:
        return docker(
            "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", self.container(node)
        ).stdout.strip()

    def tells(self, node: str, query: str) -> str:
        """What a node answers to psql inside its container, or what psql says of it."""
        done = docker("exec", self.container(node), "psql", "-XqAt", "-U", "kit", "-d", "kit", "-c", query, check=False)
        return (done.stdout or done.stderr).strip()

    def leads(self, node: str) -> bool:
        return self.tells(node, "SELECT pg_is_in_recovery()") == "f"

    def followed(self, node: str) -> bool:
        """Whether the other one has all of this one."""
        query = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'standby' AND replay_lsn = pg_current_wal_lsn()"
        return self.tells(node, query) == "1"

    def settle(self, **settings: Any) -> tuple[str, str]:
        """Have both run with these settings, one following the other; return the primary and its replica."""
        for node in PEERS:
            if self.settings.get(node) != settings:
                self.run(node, **settings)
        primary, replica = sorted(PEERS, key=self.leads, reverse=True)
        wait_until(lambda: self.followed(primary), lambda: f"{replica} follows: {self.logs(replica)}")
        assert self.tells(primary, "DROP TABLE IF EXISTS ledger; CREATE TABLE ledger (key text)").count("ERROR") == 0
        wait_until(lambda: self.followed(primary), lambda: f"{replica} follows: {self.logs(replica)}")
        return primary, replica

    def promote(self, node: str) -> None:
        assert self.tells(node, "SELECT pg_promote()") == "t"

    def acknowledges(self, node: str, key: str) -> bool:
        """Write as the application does, which waits for 1.5 s; whether it is told that this is stored."""
        try:
            with (
                deadline(Breaker(lambda: None)),
                Connection.connect(host=self.address(node), user="kit", dbname="kit", password=PASSWORD) as connection,
            ):
                connection.execute("INSERT INTO ledger VALUES (%s)", [key])
        except psycopg.Error as error:
            self.refusal = str(error)
            return False
        return True

    @contextmanager
    def engine(self, **arguments: str) -> Iterator[Engine]:
        """SQLAlchemy's engine as docs/database.md has it; the names are addresses, as this process is in no network of the engine's."""
        given = {"options": f"-c statement_timeout={int(DEADLINE_S * 1000)}", "tcp_user_timeout": int(DEADLINE_S * 1000)}
        hosts = ",".join(map(self.address, PEERS))
        made = create_engine(f"postgresql+psycopg://kit@{hosts}/kit", connect_args={"password": PASSWORD, **given, **arguments})
        event.listen(made, "do_connect", lambda _, __, args, kw: Connection.connect(*args, **kw))
        try:
            yield made
        finally:
            made.dispose()
