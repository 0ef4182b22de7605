"""gunicorn_hooks/metrics.py in a real gunicorn, the gateway in front of it, and compose/metrics/exporter.py."""

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from gunicorn_hooks import metrics
from tests.clients import wait_until
from tests.gunicorn_conf.process import Gunicorn
from tests.metrics.conftest import Export, Exporter, Front, Serve
from tests.sites import Sites
from tools.local.nginx import Edit

pytestmark = pytest.mark.runtimes("compose")

# How often workers are replaced; 500 were tried by hand (docs/metrics.md).
TIMES = int(os.environ.get("METRICS_TIMES", "15"))


def test_requests_are_counted_by_route_method_and_status(serve: Serve, front: Front, exporter: Exporter) -> None:
    """Over both workers and whatever is asked for: the labels are a few."""
    gateway = front(serve())
    statuses = [gateway.get(f"/things/{number}").status for number in range(20)]
    statuses += [gateway.request(method, f"/unknown/{method}").status for method in ("GET", "MADE", "FIND", "TRACK")]
    assert statuses == [500, *[200] * 19, *[404] * 4]

    assert exporter.counted("kit_request_seconds_count", 24) == {
        ("GET", "/things/<int:number>", "2xx"): 19,
        ("GET", "/things/<int:number>", "5xx"): 1,
        ("GET", "", "4xx"): 1,
        ("other", "", "4xx"): 3,
    }
    assert exporter.labelled("kit_answers_total") == {("", "app", "200"): 19, ("", "app", "404"): 4, ("", "app", "500"): 1}
    assert exporter.labelled("kit_stage_seconds_sum") == {("app",): pytest.approx(0.001 * 19), ("db",): 0.25 * 19}
    assert exporter.labelled("kit_stage_seconds_count") == {("app",): 19, ("db",): 19, ("sold",): 19}  # without a duration it is counted
    assert exporter.labelled("kit_workers_begun_total") in ({(): 1}, {(): 2})
    assert exporter.labelled("kit_queue_seconds_count") == exporter.labelled("kit_view_seconds_count") == {(): 24}


def test_what_the_gateway_answers_by_itself(serve: Serve, front: Front, exporter: Exporter) -> None:
    gateway = front(serve(), LIMITS="on", LIMIT_REQUESTS="1", LIMIT_BURST="1")
    statuses = [gateway.get("/").status for _ in range(10)]
    assert statuses[0] == 200
    gateway.get("/", host="elsewhere")

    counted = exporter.counted("kit_answers_total", 11)
    assert counted[("requests", "gateway", "429")] == statuses.count(429) > 0
    assert counted[("", "gateway", "421")] == 1
    assert sum(exporter.labelled("kit_view_seconds_count").values()) == statuses.count(200)


# Without the WAF's own word its refusals look like the application's.
UNTOLD = Edit("conf.d/11-logging-waf.conf", r"\A(?s:.*)\Z", "\n")


@pytest.mark.parametrize("edits", [[], [UNTOLD]], ids=["told", "untold"])
def test_what_the_waf_refuses(serve: Serve, start_site: Sites, counting: list[Edit], exporter: Exporter, edits: list[Edit]) -> None:
    site = start_site(f"127.0.0.1:{serve().port}", gateway_edits=[*counting, *edits])
    assert site.get("/things/1?q=%3Cscript%3Ealert(1)%3C/script%3E").status == 403
    assert site.get("/things/1").status == 200

    assert exporter.counted("kit_answers_total", 2) == {("", "app" if edits else "waf", "403"): 1, ("", "app", "200"): 1}


def test_a_worker_that_dies_and_an_application_that_is_away(serve: Serve, front: Front, exporter: Exporter) -> None:
    """The one is a fault; the other happens in each release, and nginx asks the next container."""
    gunicorn = serve()
    gateway = front(gunicorn)
    assert gateway.get("/die").status == 502
    cut = exporter.counted("kit_failed_tries_total", 1)
    assert set(cut) == {("cut",)}
    gunicorn.signal(signal.SIGTERM)
    gunicorn.wait()
    assert gateway.get("/").status == 502

    counted = exporter.counted("kit_failed_tries_total", cut[("cut",)] + 1)
    assert counted[("cut",)] == cut[("cut",)]
    assert set(counted) == {("cut",), ("refused",)}
    assert exporter.labelled("kit_answers_total") == {("", "gateway", "502"): 2}


def test_a_wait_for_a_thread_is_queue_and_none_in_a_view(serve: Serve, front: Front, exporter: Exporter, tmp_path: Path) -> None:
    gateway = front(serve(WEB_CONCURRENCY="1", GUNICORN_THREADS="1"))
    asked = [threading.Thread(target=gateway.get, args=("/slow",)) for _ in range(2)]
    for one in asked:
        one.start()
    status = f"http://127.0.0.1:{gateway.status_port}/nginx-status"
    wait_until(lambda: "Writing: 3 " in httpx.get(status).text, "both are in flight, and this question")
    (tmp_path / "release").touch()
    for one in asked:
        one.join()

    exporter.counted("kit_queue_seconds_count", 2)
    assert exporter.labelled("kit_view_seconds_count") == {(): 2}
    assert exporter.labelled("kit_queue_seconds_sum")[()] > 0


def test_without_the_exporter_requests_are_served_and_then_counted(serve: Serve, front: Front, export: Export) -> None:
    """It is replaced while the gateway runs on: what came meanwhile is counted, and nothing twice."""
    gateway = front(serve())
    assert gateway.get("/").status == 200
    first = export()
    assert first.counted("kit_request_seconds_count", 1) == {("GET", "/", "2xx"): 1}
    first.process.kill()
    first.process.wait()
    assert [gateway.get("/").status for _ in range(2)] == [200, 200]
    second = export()
    assert second.counted("kit_request_seconds_count", 2) == {("GET", "/", "2xx"): 2}
    assert gateway.get("/").status == 200
    assert second.counted("kit_request_seconds_count", 3) == {("GET", "/", "2xx"): 3}


@pytest.mark.parametrize("place", [Path("/dev/full")])
def test_where_there_is_no_room_for_lines_requests_are_served(serve: Serve, front: Front) -> None:
    gateway = front(serve())
    assert gateway.get("/").status == 200
    wait_until(lambda: "No space left on device" in gateway.logs(), "it says that lines are lost")
    assert gateway.get("/").status == 200


def test_labels_are_bounded_and_nonsense_is_left_out(exporter: Exporter) -> None:
    line = (
        '{"method":"GET","status":200,"msec":1.5,"request_s":0.5,"received_s":0.0,"header_s":"-, 0.2",'
        '"response_s":"0.1, 0.3","upstream_status":"502, 200","connect_s":"-, 0.0","waf":"0.003","requests":"","connections":"",'
        '"cache":"","timing":"","app":"1.250 0.125 /ROUTE"}'
    )
    for number in range(400):
        exporter.send(line.replace("ROUTE", str(number)).replace('"timing":""', f'"timing":"own{number};dur=250"').encode())
    before = exporter.counted("kit_request_seconds_count", 400)
    unread = exporter.numbers()[("kit_unread_lines_total",)]
    for nonsense in (b"", b"\xff" * 2000, b"[]", b"{}", b'{"status":1}', line.replace("1.250", "x").encode()):
        exporter.send(nonsense)

    assert before[("GET", "other", "2xx")] == 100
    assert len(before) == 301
    wait_until(lambda: exporter.numbers()[("kit_unread_lines_total",)] == unread + 6, "six are left out")
    assert exporter.labelled("kit_request_seconds_sum")[("GET", "/0", "2xx")] == pytest.approx(0.3)  # both tries
    assert exporter.labelled("kit_queue_seconds_sum")[()] == pytest.approx(0.25 * 400)
    stages = exporter.labelled("kit_stage_seconds_sum")
    assert (len(stages), stages[("own0",)], stages[("other",)]) == (21, 0.25, 0.25 * 380)
    assert exporter.labelled("kit_failed_tries_total")[("refused",)] >= 400


def test_replaced_workers_leave_nothing(serve: Serve, front: Front, exporter: Exporter) -> None:
    """Not even a line more to scrape."""
    gateway = front(serve("--max-requests", "1", "--max-requests-jitter", "0"))
    assert gateway.get("/").status == 200
    exporter.counted("kit_request_seconds_count", 1)
    lines = len(exporter.numbers())
    assert {gateway.get("/").status for _ in range(TIMES)} == {200}

    assert exporter.counted("kit_request_seconds_count", TIMES + 1) == {("GET", "/", "2xx"): TIMES + 1}
    assert len(exporter.numbers()) == lines


def test_no_client_sees_the_header_and_without_metrics_there_is_none(serve: Serve, front: Front) -> None:
    def fields(gunicorn: Gunicorn) -> httpx.Headers:
        return httpx.get(f"http://127.0.0.1:{gunicorn.port}/things/1").headers

    measured = serve(APP_MODULE="shop:create_app")  # a factory is called first
    assert "X-Kit-App" in fields(measured)
    assert front(measured).get("/things/1").values("X-Kit-App") == []
    assert "X-Kit-App" not in fields(serve(METRICS=""))


def test_what_the_application_returns_is_passed_on() -> None:
    """A file is sent by sendfile() only where gunicorn gets its own wrapper back."""
    file = object()

    assert metrics.measured(lambda _environ, _start: file)({}, None) is file  # type: ignore[arg-type, return-value]
