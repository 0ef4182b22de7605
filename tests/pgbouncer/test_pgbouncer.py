"""compose/pgbouncer.yaml: many connections share a few, with the application's own arguments, psycopg 3 and SQLAlchemy."""

import re
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from kit_flask.deadline import DEADLINE_S
from tests.clients import wait_until
from tests.conftest import ROOT
from tests.doctor.kits import Kit
from tests.nginx.containers import docker

START = ROOT / "compose/pgbouncer/start"
PASSWORD = 'with "quotes" and blanks'  # noqa: S105 - of these tests alone
CLIENTS, POOL = 24, 2
# As app/kit_app/database.py.
ARGUMENTS = {"application_name": "kit_app", "options": f"-c statement_timeout={int(DEADLINE_S * 1000)}", "tcp_user_timeout": 1500}
Pooled = Callable[..., str]


def address(container: str) -> str:
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container).stdout.strip()


def engine(host: str, port: int = 6432, arguments: Mapping[str, object] = ARGUMENTS) -> Engine:
    url = f"postgresql+psycopg://kit@{host}:{port}/kit"
    return create_engine(url, pool_size=CLIENTS, max_overflow=0, connect_args={"password": PASSWORD, **arguments})


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[Pooled]:
    """Return a function (old="", new="") -> the address of a PgBouncer before one PostgreSQL, its start edited."""
    if unavailable["compose"]:
        not_run(unavailable["compose"])
    folder, name = tmp_path_factory.mktemp("s"), f"kit-pgbouncer-{uuid.uuid4().hex[:8]}"
    folder.chmod(0o755)
    (folder / "database_password").write_text(PASSWORD)
    secret = ["--volume", f"{folder}:/run/secrets/database:ro", "--network", name]
    with ExitStack() as exits:
        docker("build", "--quiet", "--tag", name, str(ROOT / "compose/pgbouncer"))
        exits.callback(docker, "image", "rm", "--no-prune", name)
        docker("network", "create", "--internal", name)
        exits.callback(docker, "network", "rm", name)

        def run(what: str, *arguments: str) -> str:
            exits.callback(docker, "rm", "--force", "--volumes", f"{name}-{what}", check=False)
            docker("run", "--detach", "--name", f"{name}-{what}", *secret, *arguments)
            return address(f"{name}-{what}")

        given = [f"--env=POSTGRES_{key}" for key in ("DB=kit", "USER=kit", "PASSWORD_FILE=/run/secrets/database/database_password")]
        run("database", "--network-alias", "database", *given, "postgres:18-trixie")

        def start(old: str = "", new: str = "") -> str:
            edited = folder / f"start-{uuid.uuid4().hex}"
            edited.write_text(START.read_text().replace(old, new) if old else START.read_text())
            edited.chmod(0o755)
            assert bool(old) == (edited.read_text() != START.read_text())
            sizes = [f"--env=PGBOUNCER_POOL_SIZE={POOL}", f"--env=PGBOUNCER_CLIENTS={CLIENTS + 2}"]
            hardened = ["--read-only", "--cap-drop", "ALL", "--tmpfs", "/run/pgbouncer:size=1m,mode=1777"]
            host = run(uuid.uuid4().hex[:8], *sizes, *hardened, "--volume", f"{edited}:/srv/start:ro", name)
            wait_until(lambda: answers(host), "PgBouncer and the database answer")
            return host

        yield start


@contextmanager
def connected(host: str) -> Iterator[Connection]:
    made = engine(host)
    try:
        with made.connect() as connection:
            yield connection
    finally:
        made.dispose()


def answers(host: str) -> bool:
    try:
        with psycopg.connect(host=host, port=6432, user="kit", password=PASSWORD, dbname="kit", connect_timeout=2) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def work(host: str, arguments: Mapping[str, object] = ARGUMENTS) -> tuple[set[int], list[str]]:
    """Ask in as many threads as there are clients; return the server's processes that were met, and what failed."""
    made = engine(host, arguments=arguments)
    failed = list[str]()

    def ask(number: int) -> set[int]:
        met = set()
        for _ in range(12):  # psycopg prepares what comes a sixth time
            try:
                with made.begin() as connection:
                    row = connection.execute(text("SELECT pg_backend_pid(), :n"), {"n": number}).one()
                    assert row[1] == number
                    met.add(row[0])
            except Exception as error:  # noqa: BLE001 - each is told
                failed.append(str(error).splitlines()[0])
        return met

    with ThreadPoolExecutor(CLIENTS) as threads:
        met = set().union(*threads.map(ask, range(CLIENTS)))
    made.dispose()
    return met, failed


def test_many_connections_share_a_few(pooled: Pooled) -> None:
    """With what psycopg prepares by itself."""
    met, failed = work(pooled())

    assert failed == []
    assert len(met) == POOL


def test_without_prepared_statements_of_its_own_some_fail(pooled: Pooled) -> None:
    """The twin: a name that psycopg gave is already there, or is not. prepare_threshold=None is the way out."""
    host = pooled("log_connections = 0", "log_connections = 0\nmax_prepared_statements = 0")
    _, failed = work(host)
    _, not_prepared = work(host, {**ARGUMENTS, "prepare_threshold": None})

    assert [one for one in failed if "prepared statement" in one] == failed != []
    assert not_prepared == []


def test_the_server_stops_for_a_client_that_no_longer_waits(pooled: Pooled) -> None:
    with connected(pooled()) as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == f"{int(DEADLINE_S * 1000)}ms"


def test_it_would_go_on(pooled: Pooled) -> None:
    """The twin: PgBouncer takes the application's option, and drops it."""
    query = re.findall(r" connect_query=.*", START.read_text())[0]
    with connected(pooled(query, "")) as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0"


def test_without_a_line_every_connection_of_the_application_is_refused(pooled: Pooled) -> None:
    host = pooled("ignore_startup_parameters = options", "")

    with pytest.raises(OperationalError, match="unsupported startup parameter"), connected(host):
        pass


@pytest.mark.parametrize("value", ["", "0", "many", "1; x"])
def test_a_wrong_number_is_refused_in_a_line(value: str, command: Callable[[str], str]) -> None:
    argv = [command("env"), "-i", f"PGBOUNCER_POOL_SIZE={value}", "PGBOUNCER_CLIENTS=10", "sh", str(START)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    said = f"PGBOUNCER_POOL_SIZE={value}: right is a number of connections, such as 20\n"
    assert (done.returncode, done.stderr) == (2, said)


# --- The doctor counts


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ("APP_REPLICAS=20\n", "BROKEN"),
        ("APP_REPLICAS=20\nCOMPOSE_FILE=docker-compose.yml:compose/pgbouncer.yaml\n", "ok"),
        ("APP_REPLICAS=70\nCOMPOSE_FILE=docker-compose.yml:compose/pgbouncer.yaml\n", "BROKEN"),
        ("PGBOUNCER_POOL_SIZE=98\nCOMPOSE_FILE=docker-compose.yml:compose/pgbouncer.yaml\n", "BROKEN"),
    ],
    ids=["without", "with", "more than its clients", "more than the database has"],
)
def test_the_doctor_counts_connections(tmp_path: Path, settings: str, verdict: str) -> None:
    kit = Kit(tmp_path / "kit", app=True)
    (kit.root / ".env").write_text(settings)

    assert kit.doctor("--json").rules()["database-connections"]["verdict"] == verdict
