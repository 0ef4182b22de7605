"""gunicorn's own lines: JSON for machines, text for people, and none for each request."""

import json
import socket
from pathlib import Path

import pytest

from tests.clients import wait_until
from tests.gunicorn_conf.process import PATIENCE_S, Edited, Start


def test_each_line_is_json_when_nobody_watches(start: Start) -> None:
    lines = [json.loads(line) for line in start().log().splitlines()]

    assert {"Using worker: gthread"} <= {line["message"] for line in lines}
    assert {frozenset(line) for line in lines} == {frozenset(["time", "level", "logger", "pid", "message"])}


def test_text_when_it_is_asked_for(start: Start) -> None:
    assert "[INFO] Using worker: gthread" in start({"LOG_FORMAT": "text"}).log()


def test_without_the_library_it_says_so_and_logs_text(start: Start, tmp_path: Path) -> None:
    # What importing a package that is not installed looks like to find_spec().
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pythonjsonlogger'] = None\n")
    log = start({"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent}"}).log()

    assert log.startswith("gunicorn.conf.py: python-json-logger is not installed")
    assert "[INFO] Using worker: gthread" in log


def test_there_is_no_line_for_each_request(start: Start) -> None:
    gunicorn = start()
    gunicorn.get("/some-page")

    assert "some-page" not in gunicorn.log()


def test_unless_it_is_asked_for(start: Start) -> None:
    gunicorn = start({"GUNICORN_CMD_ARGS": "--access-logfile -"})
    gunicorn.get("/some-page")

    wait_until(lambda: "GET /some-page HTTP/1.1" in gunicorn.log(), "the line", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_statsd_works_with_either(start: Start, log_format: str) -> None:
    """Left alone, gunicorn picks its statsd logger only while logger_class is its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE_S)
        start({"LOG_FORMAT": log_format, "GUNICORN_CMD_ARGS": f"--statsd-host 127.0.0.1:{receiver.getsockname()[1]}"})

        while not receiver.recv(1024).startswith(b"gunicorn.request"):
            pass  # the timeout of the socket bounds this


def test_no_statsd_message_is_made_where_there_is_no_statsd(start: Start, edited: Edited) -> None:
    """Left alone Statsd makes three for each request, and throws them away."""
    told = """
from gunicorn.instrument.statsd import Statsd
Statsd._sock_send = lambda self, message: print("made", message, file=sys.stderr, flush=True)
"""
    conf = edited(told)
    gunicorn = start(conf=conf)
    gunicorn.get("/some-page")
    gunicorn.get("/")  # by then the first request is over

    assert "made gunicorn.request" not in gunicorn.log()
    gunicorn = start({"GUNICORN_CMD_ARGS": "--statsd-host 127.0.0.1:9"}, conf=conf)
    gunicorn.get("/")
    wait_until(lambda: "made gunicorn.request" in gunicorn.log(), "a message", timeout_s=PATIENCE_S)
