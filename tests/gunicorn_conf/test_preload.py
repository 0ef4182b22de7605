"""Libraries are imported once, by the master; the application by each worker, so that SIGHUP loads new code."""

import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import CONF, HERE, Edited, Gunicorn, Start, run
from tests.gunicorn_conf.test_settings import PREFLIGHT

WORKERS = 2
# Each says by whom it is imported: one line with a process id.
LIBRARY = """
import os
with open("imported", "a") as file:
    print(os.getpid(), file=file)
KEPT = [[] for _ in range(100_000)]
"""
APP = """
import gc, os
import heavy

with open("born", "a") as file:
    print(os.getpid(), file=file)

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


def pids(folder: Path, name: str) -> list[int]:
    return [int(line) for line in (folder / name).read_text().split()]


def release(gunicorn: Gunicorn, folder: Path, workers: int = WORKERS) -> None:
    """Write version 2 of the application and tell gunicorn, until all workers are new ones."""
    # One that has not come as far would not hear that it shall stop.
    wait_until(lambda: len(pids(folder, "born")) == workers, "the workers are there")
    (folder / "shop.py").write_text(APP.format(version=2))
    gunicorn.signal(signal.SIGHUP)
    wait_until(lambda: gunicorn.log().count("Booting worker") == 2 * workers, "new workers")
    wait_until(lambda: gunicorn.log().count("Worker exiting") == workers, "the old ones have gone")


def test_the_master_imports_for_all_workers(start: Start, tmp_path: Path, settings: dict[str, str]) -> None:
    gunicorn = start({**settings, "PRELOAD_LIBRARIES": "json heavy"})
    release(gunicorn, tmp_path)
    assert gunicorn.get("/") == (200, 2)  # new code

    assert pids(tmp_path, "imported") == [gunicorn.pid]
    assert gunicorn.get("/collected")[1] < 100_000  # what its garbage collector looks through


def test_without_it_each_worker_imports(start: Start, tmp_path: Path, settings: dict[str, str]) -> None:
    gunicorn = start(settings)
    release(gunicorn, tmp_path)
    wait_until(lambda: len(pids(tmp_path, "born")) == 2 * WORKERS, "the new ones are there")

    assert gunicorn.get("/") == (200, 2)
    assert sorted(pids(tmp_path, "imported")) == sorted(pids(tmp_path, "born"))
    assert gunicorn.get("/collected")[1] > 100_000


def test_preload_app_would_keep_the_old_code(start: Start, tmp_path: Path, settings: dict[str, str]) -> None:
    gunicorn = start({**settings, "GUNICORN_CMD_ARGS": "--preload", "WEB_CONCURRENCY": "1"})
    release(gunicorn, tmp_path, workers=1)

    assert gunicorn.get("/") == (200, 1)


# Takes as long as the test wants, 20 s at most.
SLOW = """
from pathlib import Path
from tiny_app import wait
Path("imports").touch()
wait(Path("go-on").exists)
"""


def importing(start: Start, folder: Path, conf: Path = CONF) -> Gunicorn:
    """Return a gunicorn whose master is just importing a library."""
    (folder / "slow.py").write_text(SLOW)
    gunicorn = start({"PRELOAD_LIBRARIES": "slow"}, conf=conf, ready=False)
    wait_until((folder / "imports").exists, "the master imports")
    return gunicorn


def test_a_connection_waits_in_the_backlog_while_the_master_imports(start: Start, tmp_path: Path) -> None:
    with closing(importing(start, tmp_path).connect()) as visitor:
        visitor.request("GET", "/")
        (tmp_path / "go-on").touch()
        assert visitor.getresponse().status == 200


def test_before_it_listens_it_would_be_refused(start: Start, tmp_path: Path, edited: Edited) -> None:
    """The twin: the hook that runs first."""
    earlier = edited("on_starting = lambda server: gunicorn_hooks.preload.import_libraries()\n")
    with closing(importing(start, tmp_path, earlier).connect()) as visitor, pytest.raises(ConnectionRefusedError):
        visitor.request("GET", "/")


BIND = ["--bind", "127.0.0.1:0"]


@pytest.mark.parametrize("command", [["-m", "gunicorn", *BIND, "--config", str(CONF)], PREFLIGHT], ids=["gunicorn", "preflight"])
@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("no_such_library", None, ["No module named 'no_such_library'", "can be imported here"]),
        ("broken", "raise OSError('no libpq here')", ["broken: no libpq here"]),
        ("busy", "import threading\nthreading.Timer(999, print).start()", ["started a thread", "Thread-1"]),
    ],
)
def test_what_cannot_be_preloaded_is_refused(tmp_path: Path, command: list[str], name: str, source: str | None, words: list[str]) -> None:
    """In one line, before there is a worker; gunicorn has said by then that it starts."""
    if source is not None:
        (tmp_path / f"{name}.py").write_text(source)
    ended = run(command, {"PRELOAD_LIBRARIES": name, "PYTHONPATH": f"{HERE}:{tmp_path}", "LOG_FORMAT": "text"})

    *_, line = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert [word for word in ["gunicorn.conf.py: PRELOAD_LIBRARIES", *words] if word not in line] == []
    assert "Traceback" not in ended.stderr
    assert "Booting worker" not in ended.stderr


def test_the_preflight_imports_the_application_too_when_asked() -> None:
    """So that `make up` finds out before it stops what runs."""
    broken = {"APP_MODULE": "no_such_app:app"}

    assert run(PREFLIGHT, broken).returncode == 0
    assert run([*PREFLIGHT, "--check-config"], {}).returncode == 0
    assert run([*PREFLIGHT, "--check-config"], broken).returncode != 0


def test_threads_of_a_preloaded_application_are_its_own(start: Start, tmp_path: Path) -> None:
    thread = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (tmp_path / "shop.py").write_text(thread + APP.format(version=1))
    (tmp_path / "heavy.py").write_text(LIBRARY)

    assert start({"APP_MODULE": "shop:application", "GUNICORN_CMD_ARGS": "--preload"}).get("/") == (200, 1)
