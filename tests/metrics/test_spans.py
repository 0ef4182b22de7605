"""gunicorn_hooks/spans.py in a real gunicorn, and a receiver that reads what OpenTelemetry's exporter posts."""

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.clients import wait_until
from tests.gunicorn_conf.process import Gunicorn
from tests.metrics.conftest import Serve
from tools.stack.machine import free_ports

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Receiver(ThreadingHTTPServer):
    """An OTLP endpoint on loopback (HTTP, protobuf)."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                server.spans += [span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = self
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def of(self, trace: str) -> dict[str, Any]:
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever).start()
        yield receiver
        receiver.shutdown()


def settings(endpoint: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100", "WEB_CONCURRENCY": "1"}


def ask(gunicorn: Gunicorn, path: str, trace: str, flag: str = "01") -> httpx.Response:
    headers = {"traceparent": f"00-{trace}-{SPAN}-{flag}", "X-Request-ID": trace}
    return httpx.get(f"http://127.0.0.1:{gunicorn.port}{path}", headers=headers)


def told(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_sampled_request_has_spans_of_its_view_and_its_statements(serve: Serve, receiver: Receiver) -> None:
    gunicorn = serve(**settings(receiver.url), METRICS="")
    others = [f"{number:032x}" for number in range(1, 20)]
    assert {ask(gunicorn, "/stock/1", other, "00").text for other in others} == {"41"}
    assert ask(gunicorn, "/stock/1", TRACE).text == "41"
    assert ask(gunicorn, "/things/0", "b" * 32).status_code == 500
    assert ask(gunicorn, "/stock/none-such", "c" * 32).status_code == 404
    assert ask(gunicorn, "/broken", "d" * 32).status_code == 500
    wait_until(lambda: len(receiver.of("d" * 32)) == 2, lambda: f"spans of the last request: {receiver.spans}")

    found = receiver.of(TRACE)
    view, statement = found["GET /stock/<int:number>"], found["SELECT"]
    assert (view.parent_span_id.hex(), statement.parent_span_id) == (SPAN, view.span_id)
    assert view.start_time_unix_nano <= statement.start_time_unix_nano <= statement.end_time_unix_nano <= view.end_time_unix_nano
    assert told(view) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/stock/<int:number>",
        "request_id": TRACE,
        "url.path": "/stock/1",
    }
    assert told(statement) == {"db.system.name": "sqlite", "db.query.text": "SELECT ? + 40"}  # not what was asked with
    assert [span.status.code for span in (view, receiver.of("b" * 32)["GET /things/<int:number>"], *receiver.of("d" * 32).values())] == [
        0,
        2,
        2,
        2,
    ]
    assert set(receiver.of("c" * 32)) == {"GET"}
    assert [other for other in others if receiver.of(other)] == []


def test_what_was_recorded_is_sent_when_a_worker_ends(serve: Serve, receiver: Receiver) -> None:
    gunicorn = serve(**{**settings(receiver.url), "OTEL_BSP_SCHEDULE_DELAY": "600000"})
    ask(gunicorn, "/", TRACE)
    assert receiver.spans == []
    gunicorn.signal(signal.SIGTERM)
    gunicorn.wait()

    assert set(receiver.of(TRACE)) == {"GET /"}


def test_requests_do_not_wait_for_an_endpoint_that_is_away(serve: Serve) -> None:
    gunicorn = serve(**settings(f"http://127.0.0.1:{free_ports(1)[0]}"))

    assert {ask(gunicorn, "/", f"{number:032x}").status_code for number in range(1, 50)} == {200}


def test_without_an_endpoint_nothing_is_imported(serve: Serve) -> None:
    assert httpx.get(f"http://127.0.0.1:{serve().port}/imported").text == "False"
    assert httpx.get(f"http://127.0.0.1:{serve(**settings('http://127.0.0.1:9')).port}/imported").text == "True"
