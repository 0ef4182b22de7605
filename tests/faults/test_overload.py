"""What the figures of an overload are worked out from, without a stack; tests/nginx/test_overload.py shows the refusals themselves."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tools.reliability.__main__ import main
from tools.reliability.ledger import reconcile
from tools.reliability.load import Request
from tools.reliability.overload import broken, goodput, judge, write
from tools.reliability.timeline import effect, seconds

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


def test_the_verdict_on_an_overload() -> None:
    verdict = judge([*DURING, *AFTER], 9, 10, 20)

    assert verdict.offered_per_s == pytest.approx(12)
    assert verdict.goodput_per_s == pytest.approx(8)
    assert verdict.refused == {"status 503": 30}
    assert verdict.refused_median_s == pytest.approx(0.01)
    assert verdict.refused_p99_s == pytest.approx(0.5)
    assert verdict.slowest_right_s == pytest.approx(2.5)
    assert verdict.recovery_s == pytest.approx(1.5)
    assert verdict.holds
    assert "8/s were answered in time, 89% of the peak; refused: 30 status 503" in str(verdict)


def test_what_breaks_the_promise() -> None:
    kept = judge([*DURING, *AFTER], 9, 10, 20)

    assert not replace(kept, peak_per_s=11).holds
    assert not replace(kept, refused={"status 503": 30, "timeout": 1}).holds
    assert not replace(kept, recovery_s=5.1).holds
    assert not judge(DURING, 9, 10, 20).holds


def test_who_is_never_refused_has_no_time_of_refusal() -> None:
    assert math.isnan(judge(AFTER, 1, 20, 26).refused_median_s)


def record(**verdict: object) -> dict[str, Any]:
    """One overload as the command writes it."""
    seen = judge([*DURING, *AFTER], 9, 10, 20)
    return {
        "worker_class": "gthread",
        "event": "overload",
        "title": "3 times the peak",
        "expect": "what cannot be answered in time",
        "rate_per_s": 27.0,
        "max_in_work": "192",
        "command": "python -m tools.reliability overload",
        "machine": "2 cores",
        "ladder": [{"rate_per_s": 10.0, "goodput_per_s": 9.0}],
        "said": str(seen),
        "began_s": 0.0,
        "ended_s": 10.0,
        "seconds": [asdict(row) for row in seconds(DURING, 10, 20)],
        "effect": asdict(effect(DURING, 10)),
        "verdict": {**asdict(seen), "share": seen.share, "holds": seen.holds, **verdict},
        "ledger": {**asdict(reconcile([], {})), "holds": True},
        "memory": {"app": {"peak_bytes": 200 * 2**20, "limit_bytes": 512 * 2**20}},
        "dropped": 0,
        "steal_share": 0.04,
        "operator": [],
        "answers": [],
    }


def test_the_report_has_the_figures(tmp_path: Path) -> None:
    html, markdown = write([record()], tmp_path)

    assert "<svg" in html.read_text()
    text = markdown.read_text()
    assert "| gthread | 192 | 9/s | 12/s for 10 s | 8/s | 89 % | 30 status 503 | 10 ms, 500 ms | 2500 ms | 1.5 s | 0 |" in text
    assert "0 acknowledged, 0 lost, 0 doubled | 4 % |" in text
    assert "| gthread | 10 → 9 |" in text
    assert "| gthread | app | 200.00 MiB | 512.00 MiB |" in text


def test_a_broken_promise_is_told() -> None:
    assert broken([record()]) == []
    assert len(broken([record(holds=False), record() | {"ledger": {"holds": False}}])) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--factor", "0.5"), "0.5 is not in the range"),
        (("--seconds", "0"), "0.0 is not in the range"),
        (("--max-in-work", "many"), "neither off nor a whole number"),
        (("--class", "eventlet"), "'eventlet' is not one of"),
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
