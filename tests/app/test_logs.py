"""One line for each request, which nobody can forge."""

import io
import logging
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
from flask import json
from flask.testing import FlaskClient

from kit_flask.logs import init_app

FORGED = '{"level": "INFO", "message": "request", "path": "/forged"}'


@dataclass(frozen=True)
class Log:
    """What the site has written to stdout since the last look at it."""

    output: io.StringIO

    def raw(self) -> list[str]:
        """Return the lines."""
        text = self.output.getvalue()
        self.output.seek(0)
        self.output.truncate()
        return text.splitlines()

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines as JSON."""
        return [json.loads(line) for line in self.raw()]


def log_to(log_format: str) -> Log:
    """Let the site log to us."""
    with redirect_stdout(io.StringIO()) as output:
        init_app(log_format)
    return Log(output)


@pytest.fixture
def log(lab: FlaskClient) -> Log:  # noqa: ARG001 - making the site sets its log up; ours comes after that
    """The site's log as JSON."""
    return log_to("json")


def test_a_request_writes_one_line(lab: FlaskClient, log: Log) -> None:
    answer = lab.post("/lab/upload?secret=1", data=b"x" * 10, headers={"X-Request-ID": "request-12345678"}, buffered=True)

    [line] = log.lines()
    expected = {
        "level": "INFO",
        "logger": "request",
        "message": "request",
        "request_id": "request-12345678",
        "method": "POST",
        "path": "/lab/upload",
        "status": 200,
        "bytes": len(answer.data),
        "client": "127.0.0.1",
        "db_ms": 0.0,
    }
    assert expected.items() <= line.items()
    assert line["duration_ms"] > 0
    assert "secret" not in str(line)


def test_time_in_the_database_is_told_apart(lab: FlaskClient, log: Log) -> None:
    lab.get("/readyz", buffered=True)

    [line] = log.lines()
    assert 0 < line["db_ms"] <= line["duration_ms"]


@pytest.mark.parametrize("given", ["short", "x" * 65, 'quote"quote-quote', "line\nline-line", "semi;colon-colon", ""])
def test_a_malformed_request_id_is_replaced(lab: FlaskClient, log: Log, given: str) -> None:
    answer = lab.get("/healthz", environ_overrides={"HTTP_X_REQUEST_ID": given}, buffered=True)

    [line] = log.lines()
    assert line["request_id"] == answer.headers["X-Request-ID"] != given


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\u2028", "\x85", '"}\n'])
def test_a_line_cannot_be_forged(lab: FlaskClient, log_format: str, line_end: str) -> None:
    log = log_to(log_format)
    text = f"{line_end}{FORGED}"

    lab.get(f"/{text}", headers={"Accept": "text/plain"}, environ_overrides={"REMOTE_ADDR": text}, buffered=True)

    assert len(log.raw()) == 1


def test_an_exception_is_one_line_with_its_traceback(lab: FlaskClient, log: Log) -> None:
    lab.get("/lab/lifecycle?fail=1", headers={"X-Request-ID": "request-12345678"}, buffered=True)

    error, request = log.lines()
    assert error["level"] == "ERROR"
    assert "RuntimeError: the view failed because it was asked to" in error["exc_info"]
    assert error["exc_info"].startswith("Traceback")
    assert request["error"] == "RuntimeError('the view failed because it was asked to')"
    assert {error["request_id"], request["request_id"]} == {"request-12345678"}


def test_a_stack_that_was_asked_for_is_in_the_line(log: Log) -> None:
    logging.getLogger("shop").warning("how did we get here?", stack_info=True)

    [line] = log.lines()
    assert "test_a_stack_that_was_asked_for_is_in_the_line" in line["stack_info"]


def test_an_exception_in_text_cannot_be_taken_for_other_lines(lab: FlaskClient) -> None:
    log = log_to("text")

    lab.get("/lab/lifecycle?fail=1", buffered=True)

    starts = [line for line in log.raw() if not line.startswith("    ")]
    assert len(starts) == 2


def test_a_streamed_answer_is_logged_when_it_ends(lab: FlaskClient, log: Log) -> None:
    answer = lab.get("/lab/stream?chunks=3&interval_ms=0", buffered=False)
    before = log.lines()
    body = answer.get_data()
    answer.close()

    assert before == []
    [line] = log.lines()
    assert line["bytes"] == len(body)
    assert "complete" not in line


def test_an_answer_that_the_client_did_not_wait_for_is_marked(lab: FlaskClient, log: Log) -> None:
    lab.get("/lab/stream?chunks=3&interval_ms=0", buffered=False).close()

    [line] = log.lines()
    assert line["complete"] is False


def test_lines_after_a_request_do_not_carry_its_id(lab: FlaskClient, log: Log) -> None:
    lab.get("/healthz", buffered=True)
    lab.application.logger.warning("something else")

    assert [bool(line["request_id"]) for line in log.lines()] == [True, False]
