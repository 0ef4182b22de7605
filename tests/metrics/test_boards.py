"""The boards against a real Prometheus that scraped the kit under load with faults, as Grafana would ask it and as the page does."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser

from tests.charts import unreadable
from tests.clients import Background, wait_until
from tests.conftest import ROOT, StackFactory
from tests.docs.test_logs import KILL_A_WORKER
from tools.boards import BOARDS, grafana, page
from tools.boards.__main__ import main
from tools.stack import Stack
from tools.stack.machine import free_ports

DASHBOARDS = ROOT / "docs/dashboards"
COMMITTED = sorted(DASHBOARDS.glob("*.json"))
OVERLAYS = [ROOT / "compose/metrics.yaml", ROOT / "compose/metrics-database.yaml"]
SENT = [
    ("GET", "/"),
    ("GET", "/api/entries"),
    ("GET", "/lab/lifecycle?fail=1"),
    ("GET", "/nowhere"),
    ("GET", "/lab/cpu?ms=900"),
]
SETTINGS = {"LAB_ENABLED": "1", "APP_REPLICAS": "2", "LIMIT_REQUESTS": "5", "LIMIT_BURST": "5"}


def queries(dashboard: Path) -> list[tuple[str, str]]:
    """Return the title and the query of each series of each panel."""
    panels = json.loads(dashboard.read_text())["panels"]
    return [(panel["title"], target["expr"].replace("$__rate_interval", "1m")) for panel in panels for target in panel["targets"]]


def empty(prometheus: str, asked: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those that have no data, or none that is a number."""

    def values(query: str) -> set[str]:
        answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).raise_for_status().json()
        return {one["value"][1] for one in answer["data"]["result"]}

    return [(title, query) for title, query in asked if not values(query) - {"NaN"}]


@contextmanager
def faults(stack: Stack) -> Iterator[None]:
    """Each kind of answer again and again, of an impatient client, and one worker after the other killed."""
    url = stack.url

    def send(method: str, path: str) -> None:
        with suppress(httpx.TransportError):
            httpx.request(method, url + path, timeout=0.5)

    with ThreadPoolExecutor(len(SENT) * 4) as pool:

        def once() -> None:
            send("GET", "/?q=<script>alert(1)</script>")  # alone: among the others it would get 429
            sent = [pool.submit(send, method, path) for method, path in SENT * 4]
            stack.exec("app", ["python", "-c", KILL_A_WORKER])
            wait(sent)

        with Background(once, pause_s=1):
            yield


def test_the_dashboards_are_what_the_code_makes(tmp_path: Path) -> None:
    grafana.write(tmp_path)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {file.name: file.read_text() for file in COMMITTED}
    assert {file.stem for file in COMMITTED} == {board.name for board in BOARDS}


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.runtimes("compose")
def test_no_panel_is_empty_after_a_load_with_faults(stack_factory: StackFactory, browser: Browser, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    stack = stack_factory(SETTINGS | {"PROMETHEUS_PORT": str(port)}, OVERLAYS)
    prometheus = f"http://127.0.0.1:{port}"
    asked = [query for dashboard in COMMITTED for query in queries(dashboard)]
    with faults(stack):
        wait_until(lambda: not empty(prometheus, asked), lambda: f"no data: {empty(prometheus, asked)}", timeout_s=240)
        nothing = ("none such", "rate(kit_none_such_total[1m])")
        assert empty(prometheus, [nothing, *asked]) == [nothing]  # what looks for empty ones finds one
        written = page.write(tmp_path / "overview", prometheus, 10)

    text = written.read_text()
    assert "No data." not in text
    assert [panel.title for board in BOARDS for panel in board.panels if panel.title not in text] == []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1180, "height": 900}, offline=True)
        shown = context.new_page()
        shown.goto(written.as_uri())
        assert unreadable(shown) == []
        shown.screenshot(path=ROOT / f"tests/artifacts/overview-{scheme}.png", full_page=True)


def test_without_prometheus_one_line_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["overview", "--url", f"http://127.0.0.1:{free_ports(1)[0]}", "--out", str(tmp_path / "page")])

    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "compose/metrics.yaml" in done.stderr
    assert list(tmp_path.iterdir()) == []
