"""The site's pages, the gateway's error pages and the API's document, as checkers see them that are none of ours."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.web import checkers
from tools.stack import Stack

# The pages are the same files in both runtimes; in the images is the nginx that visitors meet.
pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LIMITS="off", LAB_ENABLED="1")]

ENTRIES = ["Grüße & <b>not bold</b>", "שלום. Mixed with English.", "W" * 300, "👩‍👩‍👧‍👦"]
# What each address shows to GET; /entries/1 is the first that was ever signed here.
PAGES = {"/": 200, "/?after=0000000000000005&page=2": 200, "/entries/1": 200, "/about": 200, "/lab/page": 200, "/no-such-page": 404}
# How a client meets nginx's own error page (all statuses have the same file), as (method, target, header fields).
REFUSED = {
    403: ("GET", f"/?q={quote('<script>alert(1)</script>')}", {}),
    405: ("TRACE", "/", {}),
    414: ("GET", f"/{'x' * 9000}", {}),
    421: ("GET", "/", {"Host": "other.example"}),
}


@pytest.fixture
def site(stack: Stack) -> str:
    """Address of a site with entries for two pages."""
    sign(stack.url)
    return stack.url


@cache  # a stack serves many tests
def sign(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for number in range(14):
            answer = client.post("/api/entries", json={"name": f"Ana {number}", "message": ENTRIES[number % len(ENTRIES)]})
            assert answer.status_code == 201


@pytest.fixture
def texts(site: str, tmp_path: Path) -> Path:
    """A folder with each page, as it was sent."""
    with httpx.Client(base_url=site) as client:
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
        assert token
        answers = {f"{status} {address}": client.get(address) for address, status in PAGES.items()}
        answers["422 /entries"] = client.post("/entries", data={"csrf_token": token[1], "name": " ", "message": ""})
        for status, (method, target, fields) in REFUSED.items():
            answers[f"{status} {method}"] = client.request(method, target, headers={"Accept": "text/html", **fields})
    for name, answer in answers.items():
        assert (answer.status_code, answer.headers["Content-Type"]) == (int(name[:3]), "text/html; charset=utf-8")
        (tmp_path / f"{quote(name, safe='')}.html").write_bytes(answer.content)
    return tmp_path


def test_nu_finds_nothing(texts: Path, site: str) -> None:
    for address in set(re.findall(r'"(/static/[^"]+)"', "".join(path.read_text() for path in texts.glob("*.html")))):
        (texts / Path(address).name).write_bytes(httpx.get(f"{site}{address}").content)

    assert checkers.nu(*texts.iterdir()) == []


@pytest.mark.parametrize("address", [*PAGES, REFUSED[403][1], REFUSED[414][1]], ids=lambda address: address[:30])
def test_axe_finds_nothing(browser: Browser, site: str, address: str) -> None:
    assert checkers.axe_in_all_looks(browser, f"{site}{address}") == []


def test_axe_finds_nothing_on_the_form_with_errors(browser: Browser, site: str) -> None:
    with checkers.looks(browser, site) as pages:
        for page in pages:
            send_blanks(page)
            assert checkers.axe(page) == []


def send_blanks(page: Page) -> None:
    page.get_by_label("Your name").fill(" ")
    page.get_by_label("Your message").fill(" ")
    page.get_by_role("button").click()


def test_the_form_with_errors_says_so_first(browser: Browser, site: str) -> None:
    """The summary has the focus, the title begins with it, and both fields have a red border."""
    with checkers.looks(browser, site) as pages:
        for page in pages:
            send_blanks(page)
            assert page.title() == "Error: Guestbook"
            assert page.evaluate("document.activeElement.getAttribute('role')") == "alert"
            borders = {page.locator(field).evaluate("field => getComputedStyle(field).border") for field in ("#name", "#message")}
            assert len(borders) == 1
            assert borders != {page.locator("article").first.evaluate("entry => getComputedStyle(entry).border")}


def test_redocly_finds_nothing(site: str, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(httpx.get(f"{site}/api/openapi.json").content)

    assert checkers.redocly(document) == []
