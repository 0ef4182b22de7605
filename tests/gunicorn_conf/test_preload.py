"""Libraries are imported once, by the master; the application by each worker, so that SIGHUP loads new code."""

import signal
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import CONF, HERE, Gunicorn, Start, run

WORKERS = 2
# Each says by whom it is imported: one line with a process id.
LIBRARY = """
import os
with open("imported", "a") as file:
    print(os.getpid(), file=file)
KEPT = [[] for _ in range(100_000)]
"""
APP = """
import gc
import heavy

def application(environ, start_response):
    answer = b"{version}" if environ["PATH_INFO"] == "/" else str(len(gc.get_objects())).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
"""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """An application of version 1 and the library that it imports, in gunicorn's current folder."""
    (tmp_path / "heavy.py").write_text(LIBRARY)
    (tmp_path / "shop.py").write_text(APP.format(version=1))
    return {"APP_MODULE": "shop:application", "WEB_CONCURRENCY": str(WORKERS), "PYTHONDONTWRITEBYTECODE": "1"}


def importers(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "imported").read_text().split()]


def release(gunicorn: Gunicorn, folder: Path) -> None:
    """Write version 2 of the application and tell gunicorn, until all workers are new ones."""
    (folder / "shop.py").write_text(APP.format(version=2))
    gunicorn.signal(signal.SIGHUP)
    wait_until(lambda: gunicorn.log().count("Booting worker") == 2 * WORKERS, "new workers")
    wait_until(lambda: gunicorn.log().count("Worker exiting") == WORKERS, "the old ones have gone")


def test_the_master_imports_for_all_workers(start: Start, tmp_path: Path, settings: dict[str, str]) -> None:
    gunicorn = start({**settings, "PRELOAD_LIBRARIES": "json heavy"})
    release(gunicorn, tmp_path)
    assert gunicorn.get("/") == (200, 2)  # new code

    assert importers(tmp_path) == [gunicorn.pid]
    assert gunicorn.get("/collected")[1] < 100_000  # what its garbage collector looks through


def test_without_it_each_worker_imports(start: Start, tmp_path: Path, settings: dict[str, str]) -> None:
    gunicorn = start(settings)
    wait_until(lambda: len(importers(tmp_path)) == WORKERS, "both have imported")
    release(gunicorn, tmp_path)
    wait_until(lambda: len(importers(tmp_path)) == 2 * WORKERS, "and both new ones")

    assert gunicorn.get("/") == (200, 2)
    assert gunicorn.pid not in importers(tmp_path)
    assert gunicorn.get("/collected")[1] > 100_000


def test_preload_app_would_keep_the_old_code(start: Start, tmp_path: Path, settings: dict[str, str]) -> None:
    gunicorn = start({**settings, "GUNICORN_PRELOAD_APP": "true"})
    release(gunicorn, tmp_path)

    assert gunicorn.get("/") == (200, 1)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("no_such_library", None, ["No module named 'no_such_library'", "can be imported here"]),
        ("broken", "raise OSError('no libpq here')", ["broken: no libpq here"]),
        ("busy", "import threading\nthreading.Timer(999, print).start()", ["started a thread", "Thread-1"]),
    ],
)
def test_what_cannot_be_preloaded_is_refused(tmp_path: Path, name: str, source: str | None, words: list[str]) -> None:
    """In one line, before it listens; gunicorn has said by then that it starts."""
    if source is not None:
        (tmp_path / f"{name}.py").write_text(source)
    settings = {"PRELOAD_LIBRARIES": name, "PYTHONPATH": f"{HERE}:{tmp_path}", "LOG_FORMAT": "text"}
    ended = run(["-m", "gunicorn", "--config", str(CONF), "--bind", "127.0.0.1:0"], settings)

    *_, line = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert [word for word in ["gunicorn.conf.py: PRELOAD_LIBRARIES", *words] if word not in line] == []
    assert "Traceback" not in ended.stderr
    assert "Listening" not in ended.stderr
