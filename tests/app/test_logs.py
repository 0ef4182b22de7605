"""One line for each request, which nobody can forge."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
from flask import json
from flask.testing import FlaskClient

from kit_flask.logs import init_app
from tests.app.conftest import MakeApp

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


class Client(FlaskClient):
    """Asks as if pytest did not listen to the log: what nobody else listens to is written by a shorter way."""

    def open(self, *arguments: Any, **named: Any) -> Any:
        heard = [*logging.root.handlers]
        logging.root.handlers[:] = [handler for handler in heard if not type(handler).__module__.startswith("_pytest")]
        try:
            return super().open(*arguments, **named)
        finally:
            logging.root.handlers[:] = heard


@pytest.fixture
def lab(make_app: MakeApp) -> FlaskClient:
    """A client of an app with its laboratory open."""
    app = make_app(LAB_ENABLED=True)
    app.test_client_class = Client
    return app.test_client()


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


REQUEST = logging.getLogger("request")


def ours() -> logging.Handler:
    [handler] = [handler for handler in logging.root.handlers if handler.get_name() == "kit_app"]
    return handler


@pytest.fixture
def others() -> Iterator[list[logging.LogRecord]]:
    """What others make of the log of requests; they go with the test."""
    root, factory = [*logging.root.handlers], logging.getLogRecordFactory()
    yield []
    logging.root.handlers[:], REQUEST.handlers[:], REQUEST.filters[:], REQUEST.propagate = root, [], [], True
    logging.setLogRecordFactory(factory)
    logging.root.setLevel(logging.INFO)


def test_the_shorter_way_says_the_same(lab: FlaskClient, log: Log, others: list[logging.LogRecord]) -> None:
    lab.get("/healthz", headers={"X-Request-ID": "request-12345678"}, buffered=True)
    logging.setLogRecordFactory(lambda *given, **named: others.append(logging.LogRecord(*given, **named)) or others[-1])  # type: ignore[func-returns-value]
    lab.get("/healthz", headers={"X-Request-ID": "request-12345678"}, buffered=True)

    short, long = log.lines()
    assert len(others) == 1
    assert [*short] == [*long]
    assert {name: value for name, value in short.items() if name not in {"time", "duration_ms"}}.items() <= long.items()


def test_another_handler_gets_the_record_of_a_request(lab: FlaskClient, log: Log, others: list[logging.LogRecord]) -> None:
    for logger in (logging.root, REQUEST):
        handler = logging.Handler()
        handler.emit = others.append  # type: ignore[method-assign,assignment]
        logger.addHandler(handler)

    lab.get("/healthz", buffered=True)

    assert [(record.getMessage(), vars(record)["path"]) for record in others] == [("request", "/healthz")] * 2
    assert len(log.lines()) == 1


def test_extra_cannot_replace_what_a_line_begins_with(lab: FlaskClient, log: Log) -> None:
    lab.application.logger.warning("paid", extra={"level": "INFO", "time": 3, "sum": 5})

    [pairs] = [json.loads(line, object_pairs_hook=list) for line in log.raw()]
    assert {("level", "WARNING"), ("level_", "INFO"), ("time_", 3), ("sum", 5)} <= {*map(tuple, pairs)}
    assert len(dict(pairs)) == len(pairs)


def test_a_factory_of_records_adds_to_the_line_of_a_request(lab: FlaskClient, log: Log, others: list[logging.LogRecord]) -> None:
    def with_trace(*given: Any, **named: Any) -> logging.LogRecord:
        others.append(logging.LogRecord(*given, **named))
        others[-1].trace = "abc"
        return others[-1]

    logging.setLogRecordFactory(with_trace)
    lab.get("/healthz", buffered=True)

    assert log.lines()[0]["trace"] == "abc"


@pytest.mark.parametrize(
    "silence",
    [
        lambda: logging.root.setLevel(logging.WARNING),
        lambda: ours().setLevel(logging.WARNING),
        lambda: ours().addFilter(lambda _: False),
        lambda: REQUEST.addFilter(lambda _: False),
        lambda: setattr(REQUEST, "propagate", False),
    ],
    ids=["level", "handler's level", "handler's filter", "filter", "propagate"],
)
@pytest.mark.usefixtures("others")
def test_the_line_of_a_request_can_be_silenced(lab: FlaskClient, log: Log, silence: Callable[[], None]) -> None:
    silence()
    lab.get("/healthz", buffered=True)

    assert log.raw() == []


def test_a_log_that_cannot_be_written_fails_no_request(lab: FlaskClient, log: Log) -> None:
    log.output.close()

    assert lab.get("/healthz", buffered=True).status_code == 200
