"""Every kind of report, as checkers see it that are none of ours."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from loadtest.report import make_report
from tests.charts import unreadable
from tests.faults.test_figures import record as event
from tests.faults.test_soak import soak
from tests.loadtest.synthetic import manifest, run, stored
from tests.web import checkers
from tools.reliability import report
from tools.reliability.judge.figures import EventFigures

WORKLOADS = ("json", "wait", "slow-clients")
KINDS: dict[str, list[EventFigures]] = {
    "faults": [EventFigures(event()), EventFigures(event(event="other"))],
    "soak": [soak()],
}


@pytest.fixture(scope="module", params=["load test", *KINDS])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    if request.param in KINDS:
        return report.write(request.param, KINDS[request.param], folder)[0]
    plan = manifest(("sync", "gthread", "gevent", "tornado"), WORKLOADS, blocks=3)
    return make_report(stored(folder / "run", plan, run(plan, {("wait", "sync"): 40.0})))[0]


def test_nu_finds_nothing(page: Path) -> None:
    assert checkers.nu(page, *page.parent.glob("*.svg")) == []


def test_axe_finds_nothing(page: Path, browser: Browser) -> None:
    with checkers.looks(browser, page.as_uri()) as pages:
        for one in pages:
            one.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true })")
            assert checkers.axe(one) == []


def test_no_text_of_a_chart_lies_over_another(page: Path, browser: Browser) -> None:
    with checkers.looks(browser, page.as_uri()) as pages:
        assert [line for one in pages for line in unreadable(one)] == []
