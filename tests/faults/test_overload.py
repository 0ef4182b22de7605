"""What the figures of an overload are worked out from, without a stack; tests/nginx/test_overload.py shows the refusals themselves."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tools.reliability import report
from tools.reliability.__main__ import main
from tools.reliability.judge.figures import OverloadFigures
from tools.reliability.judge.timeline import goodput
from tools.reliability.records import LoadResult, Overload, Request, Write
from tools.reliability.report.words import said

# Ten seconds of overload, from 10 to 20: each second 8 answers in time, one late, three refused, the last of them slowly.
DURING = [
    Request("GET", 10 + second + part / 20, 10 + second + part / 20 + waited_s, error)
    for second in range(10)
    for part, (waited_s, error) in enumerate([(0.1, "")] * 8 + [(2.5, "")] + [(0.01, "status 503")] * 2 + [(0.5, "status 503")])
]
AFTER = [Request("GET", 20.5, 20.6, ""), Request("GET", 21.5, 24.0, ""), Request("GET", 25.0, 25.1, "")]


def test_what_is_late_is_no_goodput() -> None:
    assert goodput(DURING, 10, 20) == pytest.approx(8)
    assert goodput(DURING, 10, 15) == pytest.approx(8)


def load(started_s: float, stopped_s: float, requests: list[Request]) -> LoadResult:
    return LoadResult(started_s=started_s, stopped_s=stopped_s, requests=requests, writes=[], dropped=0)


def overload(peak_per_s: int = 9, during: list[Request] = DURING, after: list[Request] = AFTER, **changes: Any) -> OverloadFigures:
    """An overload as the command keeps it, after a ladder that came to a peak."""
    answered = [Request("GET", number / peak_per_s, number / peak_per_s, "") for number in range(peak_per_s)]
    facts: dict[str, Any] = {
        "worker_class": "gthread",
        "event": "overload",
        "title": "3 times the peak",
        "expect": "what cannot be answered in time",
        "promised": False,
        "command": "python -m tools.reliability overload",
        "machine": "2 cores",
        "rate_per_s": 10.0,
        "max_in_flight": "192",
        "began_s": 10.0,
        "ended_s": 20.0,
        "loads": [load(10, 26, after), load(10, 20, during)],
        "stored": {},
        "notable": [],
        "answers": [],
        "factor": 3.0,
        "ladder": [(10.0, load(0, 1, answered))],
        "memory": {"app": (200 * 2**20, 512 * 2**20)},
        "steal_share": 0.04,
    }
    return OverloadFigures(Overload(**facts | changes))


def test_the_figures_of_an_overload() -> None:
    seen = overload()

    assert seen.offered_per_s == pytest.approx(12)
    assert seen.goodput_per_s == pytest.approx(8)
    assert seen.refused == {"status 503": 30}
    assert seen.refused_after_s == pytest.approx((0.01, 0.5))
    assert seen.slowest_right_s == pytest.approx(2.5)
    assert seen.recovery_s == pytest.approx(1.5)
    assert seen.kept
    assert "8/s were answered in time; 89% of the peak; refused: 30 status 503" in said(seen)


def test_what_breaks_the_promise() -> None:
    late = [*AFTER, Request("GET", 25.1, 28.0, "")]
    lost = [replace(load(10, 20, DURING), writes=[Write("a", 201, "")])]

    assert not overload(peak_per_s=11).kept
    assert not overload(during=[*DURING, Request("GET", 15.0, 15.1, "timeout")]).kept
    assert not overload(after=late).kept
    assert not overload(after=[]).kept
    assert not overload(loads=[load(10, 26, AFTER), *lost]).kept


def test_who_is_never_refused_has_no_time_of_refusal() -> None:
    assert math.isnan(overload(during=AFTER, began_s=20.0, ended_s=26.0).refused_after_s[0])


def test_the_report_has_the_figures(tmp_path: Path) -> None:
    html, markdown = report.write("overload", [overload()], tmp_path)
    text = markdown.read_text()

    assert html.read_text().count("<svg") == 2
    assert "| gthread | 192 | 9/s | 12/s for 10 s | 8/s | 89 % | 30 status 503 | 10.0 ms, 500 ms | 2.50 s | 1.5 s | 0 |" in text
    assert "0 acknowledged, 0 lost, 0 doubled | 4 % |" in text
    assert "| gthread | 10 → 9 |" in text
    assert "| gthread | app | 200.00 MiB | 512.00 MiB |" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--factor", "0.5"), "0.5 is not in the range"),
        (("--seconds", "0"), "0.0 is not in the range"),
        (("--max-in-flight", "many"), "'many' is not a valid integer"),
        (("--class", "meinheld"), "'meinheld' is not one of"),
    ],
)
def test_a_wrong_wish_is_refused(arguments: tuple[str, ...], says: str) -> None:
    answer = CliRunner().invoke(main, ["overload", *arguments])

    assert answer.exit_code == 2
    assert says in answer.output


def test_a_plan_starts_nothing() -> None:
    answer = CliRunner().invoke(main, ["overload", "--plan", "--class", "sync"])

    assert answer.exit_code == 0
    assert "overload: 3 times the peak for 60 s, worker classes: 1: about 4 minutes." in answer.output
