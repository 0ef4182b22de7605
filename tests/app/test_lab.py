"""The laboratory: work of every kind, each with a cap, and nothing of it unless it is asked for."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from flask.testing import FlaskClient

from kit_lab import wait
from tests.app.conftest import MakeApp, Serve
from tests.app.server import ROOT, environment
from tests.clients import wait_until

ROUTES = [
    "hello",
    "json",
    "cpu?ms=1",
    "wait?ms=1",
    "db",
    "page",
    "payload?kib=1",
    "stream?chunks=1",
    "process",
    "lifecycle",
    "context?ms=1",
]
WAITS = 200


@pytest.fixture(scope="session")
def downstream() -> Iterator[str]:
    """Address of the slow service, running."""
    settings = environment(HOST="127.0.0.1", PORT="0", PYTHONPATH=str(ROOT / "app"))
    process = subprocess.Popen([sys.executable, "-m", "kit_lab.downstream"], env=settings, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout:
        yield process.stdout.readline().split()[-1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("route", [*ROUTES, "upload", ""])
def test_without_being_asked_for_there_is_no_laboratory(lite: FlaskClient, route: str) -> None:
    assert lite.get(f"/lab/{route}").status_code == 404
    assert lite.post(f"/lab/{route}").status_code == 404


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_answers(make_app: MakeApp, downstream: str, route: str) -> None:
    client = make_app(LAB_ENABLED="1", LAB_DOWNSTREAM_URL=downstream).test_client()

    assert client.get(f"/lab/{route}", buffered=True).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "cpu?ms=2001",
        "cpu?ms=-1",
        "cpu?ms=x",
        "wait?ms=10001",
        "payload?kib=49153",
        "stream?chunks=51",
        "stream?interval_ms=501",
        "stream?chunks=0",
        "context?ms=2001",
    ],
)
def test_more_than_the_cap_is_refused(lab: FlaskClient, query: str) -> None:
    answer = lab.get(f"/lab/{query}")

    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == query.partition("?")[2].partition("=")[0]


def test_cpu_computes_for_the_time_it_was_asked_to(lab: FlaskClient) -> None:
    before = os.times()
    lab.get("/lab/cpu?ms=300")
    after = os.times()

    # CPU time, so it does not matter what else this machine does.
    assert after.user + after.system - before.user - before.system >= 0.28


def test_payload_has_its_size(lab: FlaskClient) -> None:
    answer = lab.get("/lab/payload?kib=300")

    assert answer.content_length == len(answer.data) == 300 * 1024


def test_upload_is_read_to_its_end(lab: FlaskClient) -> None:
    body = os.urandom(1_000_000)

    answer = lab.post("/lab/upload", data=body).get_json()

    assert answer == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_upload_over_the_limit_is_413(make_app: MakeApp) -> None:
    client = make_app(LAB_ENABLED="1", MAX_CONTENT_LENGTH=5000).test_client()

    assert client.post("/lab/upload", data=b"x" * 5001).status_code == 413


def test_stream_asks_the_gateway_not_to_collect_it(lab: FlaskClient) -> None:
    answer = lab.get("/lab/stream?chunks=2&interval_ms=0")

    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.text == "chunk 1 of 2\nchunk 2 of 2\n"


def test_wait_without_a_service_is_503(make_app: MakeApp) -> None:
    unset = make_app(LAB_ENABLED="1").test_client()
    away = make_app(LAB_ENABLED="1", LAB_DOWNSTREAM_URL="http://127.0.0.1:1").test_client()

    assert "LAB_DOWNSTREAM_URL" in unset.get("/lab/wait").get_json()["detail"]
    assert [client.get("/lab/wait").status_code for client in (unset, away)] == [503, 503]


@pytest.fixture
def hanging() -> Iterator[socket.socket]:
    """A service that hangs: its kernel accepts, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "statuses",
    [[504, 503, 503, 503], [504, 504, 504, 504]],
    ids=["one request finds out for all", "without the breaker each finds out by waiting"],
)
def test_a_service_that_hangs(make_app: MakeApp, hanging: socket.socket, monkeypatch: pytest.MonkeyPatch, statuses: list[int]) -> None:
    monkeypatch.setattr(wait, "_MARGIN_S", 0.1)
    app = make_app(LAB_ENABLED="1", LAB_DOWNSTREAM_URL=url_of(hanging))
    breaker = app.extensions[wait.DOWNSTREAM].breaker
    if 503 not in statuses:
        monkeypatch.setattr(breaker, "failure", lambda: None)
    client = app.test_client()
    try:
        answers = [client.get("/lab/wait?ms=0") for _ in statuses]
    finally:
        breaker.success()  # the thread that finds out ends with it

    assert [answer.status_code for answer in answers] == statuses
    assert {answer.content_type for answer in answers} == {"application/problem+json"}
    assert {answer.headers.get("Retry-After") for answer in answers if answer.status_code == 503} <= {"5"}


def test_when_it_answers_again_all_go_on(make_app: MakeApp, downstream: str) -> None:
    app = make_app(LAB_ENABLED="1", LAB_DOWNSTREAM_URL=downstream)
    breaker = app.extensions[wait.DOWNSTREAM].breaker
    breaker.failure()

    wait_until(lambda: not breaker.is_open, "the probe was answered")
    assert app.test_client().get("/lab/wait?ms=0").status_code == 200


def test_a_service_that_hangs_costs_no_worker(serve: Serve, hanging: socket.socket, sqlite_url: str) -> None:
    """A sync worker has one request, and gunicorn kills it when that takes longer than its timeout."""
    lab = {"DATABASE_URL": sqlite_url, "LAB_ENABLED": "1", "LAB_DOWNSTREAM_URL": url_of(hanging), "GUNICORN_WORKER_CLASS": "sync"}
    patient, hasty = serve("--workers", "1", **lab), serve("--workers", "1", GUNICORN_TIMEOUT="2", **lab)
    with httpx.Client(timeout=60) as client:
        assert [client.get(f"{patient.url}/lab/wait?ms=0").status_code, client.get(f"{patient.url}/healthz").status_code] == [504, 200]
        # The same with a timeout of gunicorn that is below the client's own: the worker is killed in the middle of the request.
        assert client.get(f"{hasty.url}/lab/wait?ms=8000").status_code == 500
    assert "WORKER TIMEOUT" not in patient.log.read_text()
    assert "WORKER TIMEOUT" in hasty.log.read_text()


def test_downstream_waits_for_many_at_once(downstream: str) -> None:
    # One after the other they would take seven minutes: far more than this test may.
    with ThreadPoolExecutor(WAITS) as threads, httpx.Client(limits=httpx.Limits(max_connections=WAITS), timeout=60) as client:
        answers = list(threads.map(lambda _: client.get(f"{downstream}/wait?ms=2000"), range(WAITS)))

    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("query", ["ms=10001", "ms=-1", "ms=x", "ms=", "ms=9999999999999", "ms=\u0661"])
def test_downstream_has_a_cap(downstream: str, query: str) -> None:
    assert httpx.get(f"{downstream}/wait?{query}").status_code == 400


@pytest.mark.parametrize("port", ["x", "-1", "65536"])
def test_downstream_refuses_a_wrong_port(port: str) -> None:
    settings = environment(PORT=port, PYTHONPATH=str(ROOT / "app"))

    done = subprocess.run([sys.executable, "-m", "kit_lab.downstream"], env=settings, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("PORT: must be a number")


BEGIN = ["wsgi middleware: in", "signal appcontext_pushed", "signal request_started", "url_value_preprocessor", "before_request"]
END = [
    "blueprint after_request",
    "after_request",
    "signal request_finished",
    "blueprint teardown_request",
    "teardown_request",
    "signal request_tearing_down",
    "teardown_appcontext",
    "signal appcontext_tearing_down",
    "signal appcontext_popped",
    "wsgi middleware: out",
]
VIEW = ["view", "signal before_render_template", "signal template_rendered", "after_this_request"]


def test_lifecycle_shows_hooks_and_signals_in_their_order(lab: FlaskClient) -> None:
    lab.get("/lab/lifecycle", buffered=True)

    events = lab.get("/lab/lifecycle", buffered=True).get_json()["events"]

    assert events == [*BEGIN, "blueprint before_request", *VIEW, *END]


def test_lifecycle_of_a_view_that_fails(lab: FlaskClient) -> None:
    lab.get("/lab/lifecycle", buffered=True)

    answer = lab.get("/lab/lifecycle?fail=1", buffered=True)

    events = answer.get_json()["events"]
    assert answer.status_code == 500
    assert events == [*BEGIN, "blueprint before_request", "view", "signal got_request_exception", *events[8:]]
    assert events[-len(END) :] == END


def test_other_requests_leave_no_events(lab: FlaskClient) -> None:
    first = lab.get("/lab/lifecycle")
    lab.get("/", buffered=True)

    assert first.get_json()["events"].count("view") == 1
    assert "signal before_render_template" in first.get_json()["events"]
