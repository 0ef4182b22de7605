"""servers/start.py with Werkzeug's development server, which by itself is ended by SIGTERM in the middle of its answers."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.clients import PATIENCE_S, Session, wait_until
from tools.stack import StackError, open_stack

ROOT = Path(__file__).resolve().parents[2]
# It answers /slow when the file "go" is there, and makes one file for each /slow that has begun.
APP = """
import pathlib, time, uuid
here = pathlib.Path(__file__).parent
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        (here / f"begun-{uuid.uuid4().hex}").touch()
        while not (here / "go").exists():
            time.sleep(0.02)
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]
"""


def environment(**settings: str) -> dict[str, str]:
    unset = ("WEB_CONCURRENCY", "GUNICORN_THREADS", "GUNICORN_WORKER_CLASS", "GUNICORN_CMD_ARGS", "GUNICORN_TIMEOUT")
    return {**{name: value for name, value in os.environ.items() if name not in unset}, **settings}


def check(name: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "servers/start.py", name, "--check"]
    return subprocess.run(argv, cwd=ROOT, env=environment(**settings), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("nope", {}, "SERVER=nope is unknown; right is one of gunicorn asgi"),
        ("waitress", {"WEB_CONCURRENCY": "2"}, "SERVER=waitress takes no WEB_CONCURRENCY (it is 2); it takes GUNICORN_THREADS"),
        ("werkzeug", {"GUNICORN_THREADS": "4"}, "SERVER=werkzeug takes no GUNICORN_THREADS (it is 4)"),
        ("uwsgi", {"GUNICORN_WORKER_CLASS": "gevent"}, "SERVER=uwsgi takes no GUNICORN_WORKER_CLASS"),
        ("granian", {"GUNICORN_CMD_ARGS": "--preload"}, "SERVER=granian takes no GUNICORN_CMD_ARGS"),
        ("uwsgi", {"WEB_CONCURRENCY": "many"}, "WEB_CONCURRENCY=many: right is a whole number from 1"),
        ("uwsgi", {"GUNICORN_THREADS": "0"}, "GUNICORN_THREADS=0: right is a whole number from 1"),
    ],
)
def test_what_a_server_does_not_take_is_refused_in_one_line(name: str, settings: Mapping[str, str], said: str) -> None:
    answer = check(name, **settings)

    assert answer.returncode == 2
    assert answer.stderr.startswith(said)
    assert answer.stderr.count("\n") == 1


def test_what_it_takes_is_not_refused() -> None:
    assert check("uwsgi", WEB_CONCURRENCY="2", GUNICORN_THREADS="4").returncode == 0


def test_an_unknown_server_starts_nothing(runtime: str) -> None:
    with pytest.raises(StackError, match="SERVER=nope is unknown") as refused:
        open_stack(runtime, name=f"kit-test-{os.getpid()}-nope", env={"SERVER": "nope"}).up()

    assert "use one of gunicorn, asgi" in refused.value.hint
    assert refused.value.exit_code == 2


@pytest.mark.runtimes("local")
@pytest.mark.parametrize("name", ["modwsgi", "uwsgi-pass"])
def test_one_that_needs_containers_is_refused_without_them(runtime: str, name: str) -> None:
    with pytest.raises(StackError, match=f"SERVER={name} needs containers") as refused:
        open_stack(runtime, name=f"kit-test-{os.getpid()}-only", env={"SERVER": name}).up()

    assert (refused.value.hint, refused.value.exit_code) == ("use RUNTIME=compose", 2)


def test_a_setting_that_it_does_not_take_is_refused_before_anything_is_built_or_installed(
    runtime: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StackError, match=r"^SERVER=waitress takes no WEB_CONCURRENCY \(it is 2\); it takes GUNICORN_THREADS$") as refused:
        open_stack(runtime, name=f"kit-test-{os.getpid()}-takes", env={"SERVER": "waitress", "WEB_CONCURRENCY": "2"}).up()

    assert refused.value.exit_code == 2
    assert not re.search("Install|Built|building", "".join(capfd.readouterr()))


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[tuple[psutil.Process, int]]:
    (tmp_path / "tiny_slow.py").write_text(APP)
    argv = [sys.executable, "servers/start.py", "werkzeug", f"127.0.0.1:{free_port}"]
    settings = environment(APP_MODULE="tiny_slow:app", PYTHONPATH=str(tmp_path))
    with subprocess.Popen(argv, cwd=ROOT, env=settings, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: Session(f"http://127.0.0.1:{free_port}").get("/").status, "it answers")
            yield psutil.Process(process.pid), free_port
        finally:
            for one in (*psutil.Process(process.pid).children(), psutil.Process(process.pid)):
                one.kill()


def in_flight(pool: ThreadPoolExecutor, folder: Path, port: int) -> "list[Future[int | None]]":
    """Return four requests that the application has begun to answer."""
    asked = [pool.submit(lambda: Session(f"http://127.0.0.1:{port}").get("/slow").status) for _ in range(4)]
    wait_until(lambda: len(list(folder.glob("begun-*"))) == len(asked), "all are in flight")
    return asked


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_is_in_flight_is_answered_and_what_is_new_is_refused(server: tuple[psutil.Process, int], tmp_path: Path) -> None:
    process, port = server
    with ThreadPoolExecutor(4) as pool:
        asked = in_flight(pool, tmp_path, port)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: refused(port), "new connections are refused")
        assert process.is_running()
        (tmp_path / "go").touch()
        assert [one.result() for one in asked] == [200] * 4


def test_the_server_itself_cuts_them_off(server: tuple[psutil.Process, int], tmp_path: Path) -> None:
    """The twin: the signal goes past start.py."""
    process, port = server
    with ThreadPoolExecutor(4) as pool:
        asked = in_flight(pool, tmp_path, port)
        process.children()[0].send_signal(signal.SIGTERM)
        assert [one.result() for one in asked] == [None] * 4


# Runs start.py and tells it to stop in the moment in which its server has just been started; writes that one's id down.
AT_ONCE = """
import os, runpy, signal, subprocess, sys
file, start = sys.argv.pop(), subprocess.Popen.__init__
def hasty(self, *arguments, **named):
    start(self, *arguments, **named)
    open(file, "w").write(str(self.pid))
    os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen.__init__ = hasty
sys.argv[0] = "servers/start.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_told_to_stop_at_once_it_leaves_no_server_behind(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "tiny_slow.py").write_text(APP)
    file = tmp_path / "child"
    argv = [sys.executable, "-c", AT_ONCE, "werkzeug", f"127.0.0.1:{free_port}", str(file)]
    settings = environment(APP_MODULE="tiny_slow:app", PYTHONPATH=str(tmp_path))
    try:
        ended = subprocess.run(argv, cwd=ROOT, env=settings, timeout=PATIENCE_S, check=False)
        assert ended.returncode == 0
        assert not psutil.pid_exists(int(file.read_text()))
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("prefix", "given", "expected"),
    [
        ("/shop", {"SCRIPT_NAME": "", "PATH_INFO": "/shop/cart"}, ["/shop", "/cart"]),
        ("/shop", {"SCRIPT_NAME": "/shop", "PATH_INFO": "/shop/cart"}, ["/shop", "/shop/cart"]),  # gunicorn's: below the prefix is another
        ("/shop", {"SCRIPT_NAME": "", "PATH_INFO": "/shopping"}, ["", "/shopping"]),
        ("", {"SCRIPT_NAME": "", "PATH_INFO": "/shop/cart"}, ["", "/shop/cart"]),
    ],
)
def test_the_path_of_the_site_is_taken_off(tmp_path: Path, prefix: str, given: Mapping[str, str], expected: list[str]) -> None:
    (tmp_path / "flag").write_bytes(b"\0")
    (tmp_path / "told.py").write_text("def app(environ, _start): return [environ['SCRIPT_NAME'], environ['PATH_INFO']]\n")
    path = os.pathsep.join(map(str, (ROOT / "servers", ROOT, tmp_path)))
    settings = environment(APP_MODULE="told:app", PYTHONPATH=path, DRAIN_FLAG=str(tmp_path / "flag"), SCRIPT_NAME=prefix)
    code = f"import wsgi; print(wsgi.application({dict(given)!r}, None))"
    printed = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True).stdout

    assert printed == f"{expected}\n"


def test_while_it_drains_an_answer_closes_its_connection(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.write_bytes(b"\0")
    (tmp_path / "tiny_slow.py").write_text(APP)
    code = (
        "import os, wsgi\n"
        "def headers():\n"
        "    seen = []\n"
        "    wsgi.application({'PATH_INFO': '/'}, lambda status, headers, *rest: seen.extend(headers))\n"
        "    return dict(seen).get('Connection', 'kept')\n"
        "print(headers())\n"
        "open(os.environ['DRAIN_FLAG'], 'r+b').write(b'\\x01')\n"
        "print(headers())\n"
    )
    path = os.pathsep.join(map(str, (ROOT / "servers", ROOT, tmp_path)))
    settings = environment(APP_MODULE="tiny_slow:app", PYTHONPATH=path, DRAIN_FLAG=str(flag))
    printed = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True).stdout

    assert printed.split() == ["kept", "close"]
