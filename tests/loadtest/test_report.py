"""The report is drawn from records alone, opens without a network, and says in words what it shows in pictures."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from loadtest.records.slices import Loss, Slice, Usage
from loadtest.records.store import Store
from loadtest.report import make_report
from tests.charts import unreadable
from tests.loadtest.synthetic import load, manifest, run, stored

ALL = ("sync", "gthread", "gevent", "tornado")
WORKLOADS = ("json", "page", "wait", "mixed", "cpu", "write", "upload", "stream", "slow-clients", "journey", "hello")
TRUTH = {(work, name): 40.0 for work in ("wait", "stream") for name in ("sync", "tornado")} | {("wait", "gthread"): 240.0}
RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
LARGEST = 500_000  # bytes: it is sent by mail
FILES = ("report.html", "report.md", "summary.json", "overview.svg")
VOID = {"meta", "link", "br", "img"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that can go wrong in it."""
    plan = manifest(ALL, WORKLOADS, blocks=3)
    records = run(plan, TRUTH)
    chance = np.random.default_rng(1)
    work = plan.workloads[0]
    records = [one for one in records if not (isinstance(one, Slice) and (one.workload, one.candidate) == (work.name, "tornado"))]
    for number in range(15):
        rate = float(chance.choice((50.0, 500.0)))
        records.append(load(work, "tornado", rate, 10_000, chance, errors=int(rate * 0.7), block=number // 5, round=number))
    lying = load(work, "tornado", 50, 10_000, chance, generator=Usage(cpu_ns=910_000_000))
    records.append(replace(lying, recording=replace(lying.recording, errors={"generator: <script>": 1})))
    records.append(Loss(candidate="gevent", block=2, at_s=300.0, reason="gevent: its processes have <ended>"))
    store = stored(tmp_path_factory.mktemp("runs") / "run", plan, records)
    make_report(store)
    return store.folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Checks that elements are closed in order, and collects what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.addresses: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [named["id"]] if named.get("id") else []  # type: ignore[list-item]
        self.references += (named.get("aria-labelledby") or "").split()
        self.addresses += [named[name] or "" for name in ("href", "src") if name in named]
        if tag == "svg":
            self.pictures.append(named)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_one_file_that_needs_no_network(html: str) -> None:
    outline = Outline(html)

    assert len(html.encode()) <= LARGEST
    assert outline.open == []
    assert all(address.startswith("#") or address == "data:," for address in outline.addresses)
    assert not re.search(r"url\(|@import|https?://", html)


def test_every_picture_has_its_words(html: str) -> None:
    outline = Outline(html)

    assert len(outline.pictures) >= 4 * len(WORKLOADS)
    assert all(picture["role"] == "img" for picture in outline.pictures)
    assert set(outline.references) <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert all(re.search(r"\d", text) for text in re.findall(r"<desc[^>]*>([^<]*)</desc>", html))


def test_computed_figures_are_never_shown_as_results(html: str, folder: Path) -> None:
    assert "SYNTHETIC" in html
    assert "SYNTHETIC" in (folder / "report.md").read_text(encoding="utf-8")
    assert json.loads((folder / "summary.json").read_text())["synthetic"] is True


def test_what_went_wrong_is_shown_and_escaped(html: str) -> None:
    assert "the generator used 91% of a core (limit 70%); the generator failed: generator: &lt;script&gt;" in html
    assert "errors at 50/s, mostly status 502" in html
    assert "gevent died after 5.00 minutes" in html
    assert "died: gevent: its processes have &lt;ended&gt;" in html
    assert "<script" not in html


def test_no_percentile_stands_without_its_number_of_requests(folder: Path) -> None:
    """From fewer than ten beyond it there is none: "-" and the longest."""
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    rows = [row for row in markdown.splitlines() if re.match(r"\| \w+ \| [\d.]+ % \| ", row)]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows if "/s | " in row]

    assert len(cells) > 50
    for _, _, _, requests, p50, p99, longest, _ in cells:
        number = int(requests.replace(",", ""))
        assert (p50 == "-") == (number < 20)
        assert (p99 == "-") == (number < 1000)
        assert number == 0 or longest != "-"


def test_the_three_files_say_the_same(html: str, folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    markdown = (folder / "report.md").read_text(encoding="utf-8")

    for work in summary["workloads"].values():
        assert work["sentence"] in markdown
        assert work["sentence"] in html
    wait = summary["workloads"]["wait"]
    (gthread,) = (one for one in wait["candidates"] if one["candidate"]["name"] == "gthread")
    low, ratio, high = (gthread["against_baseline"]["knee"]["interval"][end] for end in ("low", "ratio", "high"))
    assert low < 6 < high
    assert f"{ratio:.2f} times [{low:.2f} to {high:.2f}]" in markdown
    assert f"{ratio:.2f} times [{low:.2f} to {high:.2f}]" in html


def test_the_picture_stands_alone(folder: Path) -> None:
    picture = (folder / "overview.svg").read_text(encoding="utf-8")
    outline = Outline(picture)

    assert outline.open == []
    assert set(outline.references) <= set(outline.ids)
    assert outline.pictures[0]["role"] == "img"
    assert not re.search(r"url\(|@import|href", picture)
    assert "times the throughput of sync" in picture


def test_it_is_drawn_again_the_same(folder: Path) -> None:
    before = [(folder / name).read_text(encoding="utf-8") for name in FILES]
    began_s = time.process_time()
    make_report(Store(folder))
    took_s = time.process_time() - began_s

    assert [(folder / name).read_text(encoding="utf-8") for name in FILES] == before
    # Processor time, not the clock: under 5 s on an idle machine is the promise, a busy one stretches processor time as well.
    assert took_s < 20


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser without a network."""
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_without_a_network_opens_it_without_complaint(
    page: Page, folder: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto((folder / "report.html").as_uri())

    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg[role=img]").count() >= 4 * len(WORKLOADS)
    assert unreadable(page) == []


def test_text_over_text_is_found(page: Page) -> None:
    """The twin: what the charts are looked at with sees what it should."""
    page.set_content("<svg role=img viewBox='0 0 300 50' width=300><text x=0 y=20>begin</text><text x=9 y=20>end</text></svg>")

    assert len(unreadable(page)) == 1


@pytest.mark.parametrize("run_", sorted(path.parent.name for path in RESULTS.glob("*/records.jsonl")))
def test_the_committed_runs_say_what_their_records_do(tmp_path: Path, run_: str) -> None:
    shutil.copytree(RESULTS / run_, tmp_path / run_)
    make_report(Store(tmp_path / run_))

    for name in ("report.md", "overview.svg"):
        assert (tmp_path / run_ / name).read_text() == (RESULTS / run_ / name).read_text()
    # numpy adds up in another order on another processor: of sixteen digits the last ones differ.
    made, committed = (
        json.loads(path.read_text(), parse_float=nine_digits)
        for path in (tmp_path / run_ / "summary.json", RESULTS / run_ / "summary.json")
    )
    assert made == committed


def nine_digits(number: str) -> str:
    return f"{float(number):.9g}"
