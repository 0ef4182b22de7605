"""What the figures of a fault are worked out from: ledger, timeline and report, without a stack."""

import math
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser

from tests.charts import unreadable
from tools.reliability import report
from tools.reliability.__main__ import main
from tools.reliability.judge.figures import EventFigures
from tools.reliability.judge.ledger import reconcile
from tools.reliability.judge.timeline import effect, goodput, p99, seconds
from tools.reliability.measure.stacks import failed_answers, notable_lines
from tools.reliability.records import LoadResult, Observation, Records, Request, Write
from tools.reliability.report.words import moment, said

WRITES = [("a", 201, ""), ("b", 201, ""), ("c", 502, "status 502"), ("d", 0, "TimeoutError"), ("e", 201, "")]


def test_the_ledger_tells_lost_doubled_and_unknown_writes() -> None:
    balance = reconcile(WRITES, {"a": 1, "b": 2, "d": 1, "from another run": 1})

    assert (balance.sent, balance.acknowledged) == (5, 3)
    assert balance.lost == ("e",)
    assert balance.doubled == ("b",)
    assert balance.stored_unknown == ("d",)
    assert not balance.holds


def test_a_write_without_an_answer_breaks_nothing_whether_it_was_stored_or_not() -> None:
    assert reconcile(WRITES, {"a": 1, "b": 1, "e": 1}).holds
    assert reconcile(WRITES, {"a": 1, "b": 1, "e": 1, "c": 1, "d": 1}).holds


def test_a_stored_failure_that_is_there_twice_is_found() -> None:
    assert reconcile(WRITES, {"a": 1, "b": 1, "e": 1, "d": 2}).doubled == ("d",)


REQUESTS = [
    Request("GET", 10.2, 10.3, ""),
    Request("GET", 10.9, 11.0, ""),
    Request("POST", 12.1, 14.1, "status 502"),
    Request("POST", 12.5, 12.6, ""),
    Request("GET", 13.9, 14.0, "timeout"),
]


def test_each_second_counts_what_was_due_in_it() -> None:
    rows = seconds(REQUESTS, 10.0, 14.0)

    assert [(row.right, row.errors) for row in rows] == [(2, {}), (0, {}), (1, {"status 502": 1}), (0, {"timeout": 1})]
    assert math.isnan(rows[1].p99_s)
    assert rows[2].p99_s == pytest.approx(2.0)


def test_the_effect_counts_from_the_beginning_of_the_fault() -> None:
    seen = effect(REQUESTS, 12.0)

    assert seen.failed == {"POST status 502": 1, "GET timeout": 1}
    assert seen.first_failure_s == pytest.approx(0.1)
    assert seen.last_failure_s == pytest.approx(1.9)
    assert seen.p99_before_s == pytest.approx(0.1)
    assert seen.slowest_s == pytest.approx(2.0)
    assert seen.slow == 0
    assert effect([*REQUESTS, Request("GET", 13.0, 15.5, "")], 12.0).slow == 1


def test_what_is_late_is_no_goodput() -> None:
    late = [Request("GET", 12.2, 15.0, "")]

    assert goodput([*REQUESTS, *late], 10.0, 13.0) == pytest.approx(1)
    assert goodput(REQUESTS, 10.0, 11.0) == pytest.approx(2)


def test_the_percentile_is_the_nearest_rank() -> None:
    assert p99([float(n) for n in range(1, 101)]) == 99
    assert p99([1.0]) == 1


def record(title: str = "A worker is killed <-9>", **changes: Any) -> Observation:
    """One fault as chaos keeps it."""
    facts: dict[str, Any] = {
        "worker_class": "gthread",
        "event": "kill-worker",
        "title": title,
        "expect": "requests in flight",
        "promised": False,
        "command": "python -m tools.reliability chaos",
        "machine": "2 cores",
        "rate_per_s": 1.5,
        "max_in_flight": "64",
        "began_s": 12.0,
        "ended_s": 13.0,
        "loads": [LoadResult(started_s=10.0, stopped_s=14.5, requests=REQUESTS, writes=[Write(*one) for one in WRITES], dropped=0)],
        "stored": {"a": 1, "b": 1, "e": 1},
        "notable": ["gateway-1 | <script>alert(1)</script>\n[x](http://elsewhere)"],
        "answers": [{"method": "POST", "uri": "/<b>", "status": 502}],
    }
    return Observation(**facts | changes)


class Page(HTMLParser):
    """The elements of a page, its ids, and whatever it would fetch from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.fetched: list[str] = []
        self.jumps: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"aria-labelledby", "aria-describedby"}:
                self.named += (value or "").split()
            if name == "href" and (value or "").startswith("#"):
                self.jumps.append(value or "")
            elif name in {"src", "href"} and not (value or "").startswith("data:"):
                self.fetched.append(value or "")


def test_a_record_is_judged_anew_from_its_file(tmp_path: Path) -> None:
    """The file holds what was seen: a request is a row, and no sentence, ledger or verdict is in it."""
    Records(tmp_path, "faults").save(record())
    (read,) = Records(tmp_path, "faults").read()

    assert read == record()
    assert said(EventFigures(read)) == said(EventFigures(record()))
    assert EventFigures(read).kept
    assert not EventFigures(replace(read, promised=True)).kept
    assert {"said", "effect", "ledger", "verdict", "seconds"}.isdisjoint(asdict(read))


def test_the_report_is_one_offline_file_whose_charts_have_words(tmp_path: Path) -> None:
    html, markdown = report.write("faults", [EventFigures(record())], tmp_path)
    page = Page(html.read_text())

    assert page.tags.count("svg") == page.tags.count("desc") == 2
    assert page.tags.count("details") == 2
    assert page.fetched == []
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.named) <= set(page.ids)
    assert {address.removeprefix("#") for address in page.jumps} <= set(page.ids)
    assert "script" not in page.tags
    assert "2 of 5 requests failed" in html.read_text()
    assert "Failures: 1 POST status 502, 1 GET timeout." in html.read_text()
    assert "| gthread | A worker is killed &lt;-9> | 1.5 | 64 | 1.0 s | 2 of 5 requests failed (the last was sent" in markdown.read_text()


@pytest.mark.parametrize(("after_s", "words"), [(-0.04, "at its end"), (1.25, "1.2 s after its end"), (-43.3, "43.3 s before its end")])
def test_a_moment_is_said_in_words(after_s: float, words: str) -> None:
    assert moment(after_s, "end") == words


@pytest.mark.parametrize("width", [390, 1280])
def test_the_text_of_every_chart_can_be_read(browser: Browser, tmp_path: Path, width: int) -> None:
    """Short events and long ones, that begin at once, or end where the load ends."""
    times = [(10.0, 10.0, 14.5), (12.0, 12.1, 60.0), (12.0, 189.0, 190.0), (15.0, 60.0, 75.0)]
    seen = [
        record(event=f"event{n}", began_s=began_s, ended_s=ended_s, loads=[replace(record().loads[0], stopped_s=stopped_s)])
        for n, (began_s, ended_s, stopped_s) in enumerate(times)
    ]
    html, _ = report.write("faults", [EventFigures(one) for one in seen], tmp_path)
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(html.as_uri())

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert unreadable(page) == []


def test_an_event_that_lasts_has_a_goodput_and_failures_a_time() -> None:
    seen = EventFigures(record(began_s=12.0, ended_s=14.0))

    assert seen.in_time_per_s == pytest.approx(0.5)
    assert seen.failed_after_s == pytest.approx((2.0, 2.0))
    assert math.isnan(EventFigures(record(began_s=12.0, ended_s=12.5)).in_time_per_s)
    assert math.isnan(EventFigures(record(loads=[replace(record().loads[0], requests=REQUESTS[:2])])).failed_after_s[0])


def test_a_promise_is_broken_by_a_failed_request_one_that_was_not_sent_and_a_lost_write() -> None:
    load = record().loads[0]
    harmless = replace(load, requests=[request for request in load.requests if not request.error])

    def kept(**changes: Any) -> bool:
        return EventFigures(record(**changes)).kept

    assert kept()
    assert kept(promised=True, loads=[harmless])
    assert not kept(promised=True)
    assert not kept(promised=True, loads=[replace(harmless, dropped=1)])
    assert not kept(stored={"a": 1, "b": 1})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chaos", "--fault", "no-such-fault"), "'no-such-fault' is not one of"),
        (("chaos", "--class", "meinheld"), "'meinheld' is not one of"),
        (("chaos", "--rate", "0"), "0.0 is not in the range"),
        (("chaos", "--replicas", "many"), "'many' is not a valid integer"),
        (("releases", "--release", "no-such"), "'no-such' is not one of"),
        (("releases", "--rounds", "0"), "0 is not in the range"),
        (("releases", "--replicas", "1"), "1 is not in the range"),
        (("releases", "--class", "bare"), "'bare' is not one of"),
        (("releases", "--class", "uwsgi", "--release", "hup"), "--class uwsgi: only gunicorn has hup"),
        (("soak", "--minutes", "0"), "0 is not in the range"),
        (("soak", "--replicas", "1"), "1 is not in the range"),
        (("overload", "--factor", "0.5"), "0.5 is not in the range"),
        (("overload", "--seconds", "0"), "0.0 is not in the range"),
        (("overload", "--max-in-flight", "many"), "'many' is not a valid integer"),
    ],
)
def test_a_wrong_wish_is_refused(arguments: tuple[str, ...], says: str) -> None:
    answer = CliRunner().invoke(main, arguments)

    assert answer.exit_code == 2
    assert says in answer.output


@pytest.mark.parametrize("kind", ["faults", "releases"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "gthread.nothing.json").write_text("something else")
    answer = CliRunner().invoke(main, ["chaos" if kind == "faults" else kind, "--out", str(tmp_path)])

    assert answer.exit_code == 2
    assert "give a folder that is empty or holds a run" in answer.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chaos", "--fault", "nothing", "--fault", "power-cut"), "faults: 2, worker classes: 1, 200 requests/s: about 2 minutes"),
        (("soak", "--minutes", "5"), "soak: 1, worker classes: 1, 15 requests/s: about 7 minutes"),
        (("overload",), "overload: 3 times the peak for 60 s, worker classes: 1: about 4 minutes."),
    ],
)
def test_a_plan_starts_nothing(arguments: tuple[str, ...], says: str) -> None:
    answer = CliRunner().invoke(main, [*arguments, "--plan", "--class", "sync"])

    assert answer.exit_code == 0
    assert says in answer.output


def test_more_rounds_take_longer() -> None:
    said = [
        CliRunner().invoke(main, ["releases", "--plan", "--class", "sync", "--release", "rollout", "--rounds", rounds]).output
        for rounds in ("1", "20")
    ]

    assert "releases: 1, worker classes: 1, 200 requests/s: about 2 minutes" in said[0]
    assert "about 10 minutes" in said[1]


def test_what_the_gateway_says_of_an_answer_that_failed() -> None:
    lines = [
        'gateway-1  | {"msec":1.5,"request_id":"a","method":"POST","uri":"/entries","status":403,"upstream":"","host":"localhost"}',
        'gateway-1  | {"waf":"refused","request_id":"a","method":"POST","uri":"/entries","status":403,"score":5,"rules":[{"id":942360}]}',
        'gateway-1  | {"msec":2.5,"request_id":"b","method":"GET","uri":"/","status":200,"upstream":"10.0.0.2:8000"}',
        'app-1  | {"status":500}',
        "gateway-1  | 2026/11/22 03:00:00 [error] 7#7: no live upstreams",
    ]

    assert list(failed_answers(lines)) == [
        {"msec": 1.5, "request_id": "a", "method": "POST", "uri": "/entries", "status": 403, "upstream": ""},
        {"request_id": "a", "method": "POST", "uri": "/entries", "status": 403, "score": 5, "rules": [{"id": 942360}]},
    ]


def test_a_rare_line_of_the_log_is_not_hidden_by_a_hundred_others() -> None:
    asked = ', client: 172.19.0.1, server: _, request: "POST / HTTP/1.1"'
    refused = [
        f"gateway-1  | 2026/11/22 06:00:{second:02} [error] 135#135: *{second} connect() failed (111: Connection refused){asked}"
        for second in range(60)
    ]
    reset = f"gateway-1  | 2026/11/22 06:01:00 [error] 135#135: *77 recv() failed (104: Connection reset by peer){asked}"
    quiet = 'app-1  | {"level": "INFO", "message": "ready"}'

    assert notable_lines([*refused, quiet, reset]) == [refused[0], reset]
