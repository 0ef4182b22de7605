"""What the app's image holds for workers that start: bytecode of all that they import, and libraries that the master imports for them."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tools.stack import Stack
from tools.stack.compose import docker

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env()]

# Official images of Python come without: their makers take it out, because of its size.
WITHOUT_BYTECODE = r"""
FROM python:3.14-slim-trixie
RUN find "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" -name __pycache__ -prune -exec rm -r {} +
"""
# Names the modules that had to be compiled when the application was made.
COMPILED = """
import os, sys
import gunicorn.app.wsgiapp, gunicorn.workers.gthread, kit_app
kit_app.create_app({"SECRET_KEY": "0" * 64, "DATABASE_URL": "sqlite:////tmp/site.db"})
files = {name: getattr(module.__spec__, "cached", None) for name, module in sys.modules.items() if getattr(module, "__spec__", None)}
print(*[name for name, file in files.items() if file and not os.path.exists(file)])
"""
# Names the packages of the virtual environment that the application imports after those that the master imports for it.
LEFT = """
import importlib, os, sys
for name in os.environ["PRELOAD_LIBRARIES"].split():
    importlib.import_module(name)
import gunicorn.app.wsgiapp, gunicorn.workers.gthread
before = set(sys.modules)
import kit_app
kit_app.create_app({"SECRET_KEY": "0" * 64, "DATABASE_URL": "postgresql+psycopg://kit@database/kit"})
files = {name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}
came = {name.partition(".")[0] for name, file in files.items() if file.startswith("/srv/venv/")}
print(*came - {name.partition(".")[0] for name in before})
"""
# What a process has loaded of the virtual environment's compiled modules, for the master and its worker, one line for each.
LOADED = """
gunicorn --config /srv/gunicorn.conf.py > /tmp/log 2>&1 &
until python -I -S /srv/probe.py; do
    kill -0 $! || { cat /tmp/log >&2; exit 1; }
    sleep 0.1
done
for pid in $! $(cat /proc/$!/task/$!/children); do echo loaded $(grep -o '/srv/venv/.*[.]so' /proc/$pid/maps | sort -u); done
"""
SITE = {"DATABASE_URL": "sqlite:////tmp/site.db", "SECRET_KEY": "0" * 64, "WEB_CONCURRENCY": "1", "LOG_FORMAT": "text"}


@pytest.fixture(scope="module")
def without_bytecode(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Images on such a base: the app's own, and one whose recipe does not compile Python's library."""
    assert runtime == "compose"
    base = f"kit-test-base-{os.getpid()}"
    names = {"base": base, "ours": f"{base}:ours", "twin": f"{base}:twin"}
    recipe = (ROOT / "app/Dockerfile").read_text()
    line = next(line for line in recipe.splitlines() if line.startswith("RUN python -m compileall") and "stdlib" in line)
    path = tmp_path_factory.mktemp("recipe") / "Dockerfile"
    for kind, text in {"base": WITHOUT_BYTECODE, "ours": recipe, "twin": recipe.replace(line, "")}.items():
        path.write_text(text)
        on_it = [] if kind == "base" else ["--build-arg", f"PYTHON_IMAGE={base}"]
        docker("build", "--quiet", "--tag", names[kind], *on_it, "--file", str(path), str(ROOT))
    yield names
    docker("image", "rm", *names.values())


def run(image: str, *command: str, **settings: str) -> str:
    """Return what a container says, with a read-only root as in the Compose file."""
    closed = ["--init", "--read-only", "--tmpfs=/tmp", "--network=none"]
    given = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    return docker("run", "--rm", *closed, *given, image, *command)


def test_nothing_is_compiled_when_a_worker_starts(without_bytecode: dict[str, str]) -> None:
    assert run(without_bytecode["ours"], "python", "-c", COMPILED).split() == []


def test_without_our_line_pythons_own_library_is(without_bytecode: dict[str, str]) -> None:
    compiled = run(without_bytecode["twin"], "python", "-c", COMPILED).split()

    assert len(compiled) > 100
    assert {"logging", "ssl", "typing"} <= set(compiled)


@pytest.mark.parametrize("worker_class", ["gthread", "sync", "gevent"])
def test_a_worker_is_born_with_its_libraries(stack: Stack, worker_class: str) -> None:
    assert stack  # which built the image
    master, worker = loaded(GUNICORN_WORKER_CLASS=worker_class)

    assert worker - master == set()


def test_the_list_names_all_that_the_application_imports(stack: Stack) -> None:
    assert stack
    assert run(os.environ["APP_IMAGE"], "python", "-c", LEFT).split() == []
    assert "psycopg" in run(os.environ["APP_IMAGE"], "python", "-c", LEFT, PRELOAD_LIBRARIES="").split()


def test_nothing_in_the_compose_file_takes_that_back(stack: Stack) -> None:
    assert "pydantic_core" in stack.exec("app", ["grep", "/srv/venv/", "/proc/1/maps"]).stdout


def test_without_the_setting_it_loads_them(stack: Stack) -> None:
    assert stack
    master, worker = loaded(PRELOAD_LIBRARIES="")

    assert [library for library in ("psycopg", "pydantic_core", "sqlalchemy") if any(library in file for file in worker - master)] == [
        "psycopg",
        "pydantic_core",
        "sqlalchemy",
    ]


def loaded(**settings: str) -> list[set[str]]:
    """Return what the master and its worker have loaded."""
    return [set(line.split()) for line in run(os.environ["APP_IMAGE"], "sh", "-ec", LOADED, **SITE, **settings).splitlines()]
