"""The soak: what would be called a leak, and that a stack after load and fresh workers holds no more than before."""

import http.client
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import wait_until
from tests.faults.test_figures import record
from tools.reliability import report
from tools.reliability.judge.figures import EventFigures
from tools.reliability.judge.growth import FLAT, GROWS, TOO_FEW, drift, held, leaks
from tools.reliability.measure import samples
from tools.reliability.measure.load import Load
from tools.reliability.measure.releases import SOAK_MIX
from tools.reliability.measure.samples import at_rest
from tools.reliability.records import LoadResult, Request, Sample
from tools.reliability.report.words import said
from tools.stack import Stack
from tools.stack.rotation import reload_workers

MIB = 2**20
RATE_PER_S = 5


# --- A line through points ----------------------------------------------------------------------------------------------


def minutes(*values: float) -> list[tuple[float, float]]:
    return [(60.0 * number, value) for number, value in enumerate(values)]


def test_noise_is_flat_and_growth_beyond_it_is_not() -> None:
    dice = random.Random(1)  # noqa: S311 - no secret
    noise = [50 + dice.gauss(0, 1) for _ in range(20)]

    assert drift(minutes(*noise)).trend == FLAT
    growing = drift(minutes(*(value + 0.5 * number for number, value in enumerate(noise))))
    assert growing.trend == GROWS
    assert growing.low < 30 < growing.high  # per hour


def test_what_shrinks_does_not_grow() -> None:
    assert drift(minutes(10, 9, 8, 7, 6, 5)).trend == FLAT


@pytest.mark.parametrize(("rise", "verdict"), [(0.15, FLAT), (2.0, GROWS)])
def test_a_rise_within_the_margin_is_no_growth(rise: float, verdict: str) -> None:
    """However steady: 1 % of the mean over the whole run."""
    line = drift(minutes(*(20 + rise * number / 14 for number in range(15))))

    assert line.low > 0
    assert line.trend == verdict


def test_neighbours_that_resemble_each_other_make_the_interval_wider() -> None:
    """A heap that wanders: the same values in another order would be twenty pieces of news, these are few."""
    steps = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    shuffled = [0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    wandering, news = drift(minutes(*steps)), drift(minutes(*shuffled))

    assert wandering.high - wandering.low > 1.5 * (news.high - news.low)


def test_three_points_say_nothing() -> None:
    assert drift(minutes(1, 2, 3)).trend == TOO_FEW
    assert drift([]).trend == TOO_FEW


# --- What is left behind ------------------------------------------------------------------------------------------------


def sample(service: str = "app", container: str = "a", **values: Any) -> Sample:
    usual = {"at_s": 0.0, "age_s": 30.0, "heap_bytes": 60 * MIB, "processes": 3, "files": 30, "connections": 0}
    return Sample(service=service, container=container, **{**usual, **values})


def test_connections_that_are_kept_for_the_next_request_are_no_leak() -> None:
    before = held([sample(), sample("database", "d")])
    after = held([sample(files=34), sample("database", "d", connections=4)])

    assert leaks(before, after) == []


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ({"files": 31}, [("app", "files", 30, 31)]),
        ({"processes": 4}, [("app", "processes", 3, 4)]),
        ({"processes": 2}, [("app", "processes", 3, 2)]),
        ({"files": 29}, []),
    ],
)
def test_one_more_is_a_leak(after: dict[str, Any], found: list[tuple[str, str, int, int]]) -> None:
    assert leaks(held([sample()]), held([sample()._replace(**after)])) == found


def test_the_files_of_tables_are_no_leak() -> None:
    assert leaks(held([sample("database")]), held([sample("database", files=46)])) == []


def test_a_service_that_is_gone_is_found() -> None:
    assert leaks(held([sample()]), {}) == [("app", "processes", 3, 0)]


# --- The whole ----------------------------------------------------------------------------------------------------------


def soak(heap: Callable[[float], float] = lambda _: 60.0, requests: Sequence[Request] = (), **changes: Any) -> EventFigures:
    """A soak of 10 minutes: one app container a minute, a gateway, with heaps of `heap(minute)` MiB."""
    seen: list[Sample] = []
    for second in range(0, 600, 5):
        minute = second // 60
        heap_bytes = round(heap(minute) * MIB)
        seen += [
            sample(container=f"app{minute}", at_s=second, age_s=second % 60, heap_bytes=heap_bytes),
            sample("gateway", "g", at_s=second, age_s=second, heap_bytes=heap_bytes),
        ]
    counts = held(seen[-2:])
    load = LoadResult(started_s=0.0, stopped_s=600.0, requests=[Request("GET", 1.0, 1.1, ""), *requests], writes=[], dropped=0)
    facts: dict[str, Any] = {"event": "soak", "promised": True, "began_s": 0.0, "ended_s": 600.0, "loads": [load], "stored": {}}
    return EventFigures(record(**facts | {"before": counts, "after": counts, "samples": seen} | changes))


def test_a_soak_that_holds() -> None:
    held_up = soak(lambda minute: 60 + minute % 2)

    assert held_up.kept
    assert said(held_up) == "0 of 1 requests failed; left behind: nothing; memory grows: no; ledger holds"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heap": lambda minute: 60 + minute}, "memory grows: app, gateway"),
        ({"requests": [Request("POST", 2.0, 2.1, "status 502")]}, "1 of 2 requests failed"),
        ({"after": held([sample(), sample("gateway", files=32)])}, "left behind: gateway: files 30 before, 32 after"),
    ],
)
def test_a_soak_that_does_not(changes: dict[str, Any], says: str) -> None:
    assert not soak(**changes).kept
    assert says in said(soak(**changes))


def test_the_report_of_a_soak(tmp_path: Path) -> None:
    html, markdown = report.write("soak", [soak()], tmp_path)

    assert html.read_text().count("<svg") == html.read_text().count("<desc") == 3
    assert "| app | 3 → 3 | 30 → 30 | 10 | 60.00 | 0.00 | 0.00 to 0.00 | 0.00 | flat |" in markdown.read_text()


def test_a_run_of_seconds_has_a_report_too(tmp_path: Path) -> None:
    assert report.write("soak", [soak(samples=[])], tmp_path)[0].read_text().count("<svg") == 2


# --- A stack ------------------------------------------------------------------------------------------------------------


@contextmanager
def planted(stack: Stack) -> Iterator[None]:
    """A client that asks once and never lets go of its connection: nginx holds a socket for it."""
    with closing(http.client.HTTPConnection(stack.url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        connection.getresponse().read()
        yield


@pytest.mark.runtimes("compose")
@pytest.mark.stack_env(LIMITS="off", APP_REPLICAS="2", LAB_ENABLED="0")
def test_load_and_fresh_workers_leave_nothing_behind(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def visit() -> LoadResult:
        """Let visitors come until some have signed, and replace all workers meanwhile, as max_requests does one by one."""
        with Load(stack.url, rate_per_s=RATE_PER_S, mix=SOAK_MIX) as load:
            reload_workers([unit.id for unit in stack.processes() if unit.service == "app"])
            wait_until(load.sent_for(3), "some visits", timeout_s=60)
        return load.result()

    visit()  # the first visits open what is opened once
    before = at_rest(stack.name)
    assert visit().requests

    assert leaks(before, at_rest(stack.name, before)) == []
    monkeypatch.setattr(samples, "REST_S", 1.0)
    with planted(stack):
        found = leaks(before, at_rest(stack.name, before))
    # In the WAF too: the connection that the gateway keeps to it, for 5 s.
    assert {(service, what) for service, what, *_ in found} >= {("gateway", "files")}, found
