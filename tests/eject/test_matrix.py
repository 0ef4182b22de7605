"""What `make` does to an ejected project, in each form that projects have: up, doctor, an edit, rollout and backup.

In CI the one with the most at once; `make eject-matrix` runs all.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import httpx
import pytest

from tests.eject.conftest import ROOT, eject
from tests.surgery import docker
from tools.stack.machine import free_ports

MODULE = """
import flask

app = flask.Flask(__name__)


@app.get("/healthz")
@app.get("/")
def index():
    return "first"
"""
FACTORY = """
import flask


def create_app(config=None):
    app = flask.Flask(__name__)
    app.add_url_rule("/healthz", "healthz", lambda: "ok")
    app.add_url_rule("/", "index", lambda: "first")
    return app
"""
# Says "first" when the database answers.
WITH_DATABASE = """
import os
from pathlib import Path

import flask
import psycopg

app = flask.Flask(__name__)


@app.get("/healthz")
def healthz():
    return "ok"


@app.get("/")
def index():
    password = Path(os.environ["DATABASE_PASSWORD_FILE"]).read_text()
    with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", ""), password=password) as connection:
        return connection.execute("select 'first'").fetchone()[0]
"""
PYPROJECT = "[project]\nname = 'shop'\nversion = '1'\ndependencies = ['flask']\n"


class Form(NamedTuple):
    """How a project is laid out; `code` is the file to edit."""

    files: Mapping[str, str]
    code: str
    module: str
    overlay: str = ""
    folder: str = "shop"
    backup: str = "dump"


NO_CONTAINER = "has no database container"
FORMS = {
    # A folder with a blank, capitals and an umlaut, cloned by Git for Windows with umask 077, src layout, lists that include others.
    "names": Form(
        {
            "src/Läden/__init__.py": "",
            "src/Läden/web.py": WITH_DATABASE,
            "requirements.txt": "-r requirements/base.txt\r\n-c constraints.txt\r\n",
            "requirements/base.txt": "flask\npsycopg[binary]\n",
            "constraints.txt": "flask<4\n",
        },
        "src/Läden/web.py",
        "Läden.web:app",
        folder="Mein Laden für Ä",
    ),
    "factory": Form({"shop/__init__.py": FACTORY, "requirements.txt": "flask\n"}, "shop/__init__.py", "shop:create_app"),
    "module": Form({"shop.py": MODULE, "pyproject.toml": PYPROJECT}, "shop.py", "shop:app"),
    "src": Form({"src/shop/__init__.py": FACTORY, "pyproject.toml": PYPROJECT}, "src/shop/__init__.py", "shop:create_app"),
    "no-database": Form({"shop.py": MODULE, "requirements.txt": "flask\n"}, "shop.py", "shop:app", "sqlite", backup=NO_CONTAINER),
    "external-database": Form(
        {"shop.py": WITH_DATABASE, "requirements.txt": "flask\npsycopg[binary]\n"},
        "shop.py",
        "shop:app",
        "database",
        backup=NO_CONTAINER,
    ),
}
IN_CI = ["names"]


def as_windows_clones(folder: Path) -> None:
    """Replace the project by a clone of it: CRLF where nothing forbids it, and no right for anybody else."""
    git = ["git", "-C", str(folder), "-c", "user.name=kit", "-c", "user.email=kit@example.org", "-c", "core.safecrlf=false"]
    shutil.copy(folder / ".env", folder.parent)
    for arguments in (["init", "--quiet"], ["add", "--all", "--force"], ["commit", "--quiet", "--message", "project"]):
        subprocess.run([*git, *arguments], check=True)
    original = folder.rename(folder.parent / "original")
    clone = ["git", "-c", "core.autocrlf=true", "clone", "--quiet", str(original), str(folder)]
    subprocess.run(["sh", "-c", 'umask 077; exec "$@"', "sh", *clone], check=True)
    assert b"\r\n" in (folder / "docker-compose.yml").read_bytes()
    (folder / "secrets").chmod(0o711)  # app/make_secrets.py asks for it


def make(folder: Path, *arguments: str, tool: str = "stack") -> CompletedProcess[str]:
    """Run what `make PROJECT=folder` runs, without the names that the other tests give their images."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    argv = [sys.executable, "-m", f"tools.{tool}", "--project", str(folder), *arguments]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def worked(answer: CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    return answer.stdout


@pytest.fixture
def external(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """The settings for a PostgreSQL outside of the project, where the form asks for one."""
    if FORMS[request.node.callspec.params["name"]].overlay != "database":
        yield {}
        return
    name = f"kit-matrix-database-{os.getpid()}"
    environment = ["--env", "POSTGRES_USER=kit", "--env", "POSTGRES_PASSWORD=a password of the test"]
    # On the engine's own address of this machine: containers of different networks do not reach each other.
    address = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    docker("run", "--detach", "--name", name, *environment, "--publish", f"{address}::5432", "postgres:18-trixie")
    yield {"DATABASE_URL": f"postgresql://kit@{docker('port', name, '5432').strip()}/kit"}
    docker("rm", "--force", "--volumes", name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in IN_CI else [pytest.mark.bench]) for name in FORMS])
def test_it_is_started_checked_released_and_saved(
    tmp_path: Path, name: str, external: Mapping[str, str], unavailable: Mapping[str, str], not_run: Callable[[str], None]
) -> None:
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    form = FORMS[name]
    folder = tmp_path / form.folder
    for path, text in form.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, newline="")
    worked(eject(folder, form.module, *(["--with", form.overlay] if form.overlay else [])))
    project = f"kit-matrix-{os.getpid()}"
    port = free_ports(1)[0]
    settings = {"COMPOSE_PROJECT_NAME": project, "GATEWAY_PORT": str(port), "APP_REPLICAS": "1", **external}
    with (folder / ".env").open("a") as file:
        file.writelines(f"{key}={value}\n" for key, value in settings.items())
    if name == "names":
        as_windows_clones(folder)
    if external:
        (folder / "secrets" / "database_password").write_text("a password of the test")
        os.chown(folder / "secrets" / "database_password", 10001, -1)
    url = f"http://127.0.0.1:{port}/"
    try:
        assert f"Ready: {url.rstrip('/')}" in worked(make(folder, "up"))
        assert httpx.get(url, timeout=10).text == "first"
        report = worked(make(folder, tool="doctor"))
        assert "BROKEN" not in report

        code = folder / form.code
        code.write_text(code.read_text().replace("first", "second"))
        worked(make(folder, "up"))
        assert httpx.get(url, timeout=10).text == "second"
        code.write_text(code.read_text().replace("second", "third"))
        worked(make(folder, "rollout"))
        assert httpx.get(url, timeout=10).text == "third"
        saved = make(folder, "backup")
        assert form.backup in saved.stdout + saved.stderr
        assert saved.returncode == (0 if form.backup == "dump" else 2)
    finally:
        make(folder, "down", "--volumes")
        images = subprocess.run(["docker", "images", "--quiet", f"{project}-*"], capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(["docker", "image", "rm", "--force", *dict.fromkeys(images)], check=True, capture_output=True)
