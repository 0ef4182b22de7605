"""docs/scale.md: its model reproduces what was measured, and its table is what the model says."""

import re
from itertools import takewhile

import numpy as np
import pytest

from tests.budgets import ROOT
from tests.docs import queueing

DOCS = ROOT / "docs"
CPU_MS, WAIT_MS = 11.4, 50  # a request of the workloads cpu ("CPU per request") and wait (the service that it calls)


def rows(page: str, heading: str, first: str) -> list[list[str]]:
    """Return the cells of the rows that begin so, from a heading to the next."""
    below = (DOCS / page).read_text().partition(f"\n{heading}\n")[2].splitlines()
    section = takewhile(lambda line: not line.startswith("## "), below)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section if line.startswith(f"| {first} |")]


def number(cell: str) -> float:
    found = re.search(r"[\d.]+", cell.replace(",", ""))
    assert found, cell
    return float(found[0])


def test_costs_are_measured() -> None:
    """Where another measurement moves them by more, docs/scale.md and queueing.py follow."""
    costs = next(row for row in rows("results/quick-seed-71/report.md", "## page", "gthread") if row[-3].endswith(" bytes"))
    (waf,) = re.findall(r"\| GET, 4 arguments, 3 cookies \| [^|]* \| ([\d.]+) ms \|", (DOCS / "waf.md").read_text())
    shares = re.findall(r"(?m)^\| (?!nginx|WAF)[^|]+ \| (?:\d+ %|-) \| (\d+) % \|$", (DOCS / "cost.md").read_text())
    *app, database = map(int, shares)

    assert number(costs[7]) == queueing.PAGE_BYTES
    assert queueing.PAGE_MS["app"] == pytest.approx(number(costs[1]) / 1000, rel=0.02)
    assert queueing.PAGE_MS["gateway"] == pytest.approx(number(costs[3]) / 1000, rel=0.02)
    assert queueing.PAGE_MS["WAF"] == pytest.approx(float(waf), rel=0.15)
    assert queueing.PAGE_MS["database"] == pytest.approx(queueing.PAGE_MS["app"] * database / sum(app), rel=0.15)


@pytest.mark.parametrize(
    ("report", "workload", "server", "servers", "ms"),
    [
        ("full-seed-41-cpu", "cpu", "gthread", 1, CPU_MS),
        ("quick-seed-71", "wait", "sync", 3, WAIT_MS),
        ("quick-seed-71", "wait", "gthread", 16, WAIT_MS),
    ],
)
def test_what_a_part_carries_is_what_was_measured(report: str, workload: str, server: str, servers: int, ms: float) -> None:
    """Processors or threads, divided by what a request takes, is within the interval of the measured throughput."""
    measured = rows(f"results/{report}/report.md", f"## {workload}", server)[0][2]
    low, high = map(float, re.findall(r"\[([\d.]+) to ([\d.]+)\]", measured.replace(",", ""))[0])

    assert low <= servers / ms * 1000 <= high


def test_the_median_latency_is_what_was_measured() -> None:
    """At 45 to 77 % of a processor, within 5 %."""
    steps = [row for row in rows("results/full-seed-41-cpu/report.md", "## cpu", "gthread") if "%)" in row[1]][:3]
    simulated = [np.median(queueing.latency_ms(number(row[2]), [(1, CPU_MS)])) for row in steps]

    assert simulated == pytest.approx([number(row[3]) for row in steps], rel=0.05)


def test_as_many_are_refused_as_were() -> None:
    """Three times the peak for a minute, with MAX_IN_FLIGHT=128 (docs/results/overload.md)."""
    row = next(
        iter(
            re.findall(
                r"(?m)^\| gthread \| 128 \| (\d+)/s \| (\d+)/s for 60 s .* \| (\d+) status 503", (DOCS / "results/overload.md").read_text()
            )
        )
    )
    peak, asked, refused = map(int, row)

    assert queueing.refused(asked, peak, 128) == pytest.approx(refused / (asked * 60), rel=0.02)
    assert queueing.refused(asked, peak, 10**9) == 0  # the twin: without the bound all wait, without end


def test_the_page_has_what_the_model_says() -> None:
    page = (DOCS / "scale.md").read_text()

    assert [row for row in queueing.rows() if row not in page] == []


def test_with_fewer_processors_they_would_wait() -> None:
    """The twin of the table: four fifths of what a request needs on average, and the queue grows without end."""
    needed = queueing.processors(10_000)
    parts = [(count, queueing.PAGE_MS[part]) for part, count in needed.items()]
    fewer = [(int(count * queueing.BUSY * 0.8) or 1, ms) for count, ms in parts]

    assert np.percentile(queueing.latency_ms(10_000, parts), 99) < 10
    assert np.percentile(queueing.latency_ms(10_000, fewer), 99) > 100
