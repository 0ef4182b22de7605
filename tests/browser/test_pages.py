"""The pages in a real browser, on a phone and on a desktop: usable, without console errors, within the content security policy."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tools.stack import Stack

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
SIZES = {"phone": (390, 844), "desktop": (1280, 800)}

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LIMITS="off", LAB_ENABLED="1")]


class Visit:
    """A page, and everything that went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url} {request.failure}"))

    def _note(self, message: ConsoleMessage) -> None:
        # The browser's own note that the page asked for is an error page; that it is one, is what the test is about.
        if message.type in {"error", "warning"} and message.location.get("url") != self.page.url:
            self.troubles.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def fits(self) -> bool:
        """Whether nothing sticks out sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@pytest.fixture(params=list(SIZES))
def visit(request: pytest.FixtureRequest, browser: Browser, stack: Stack) -> Iterator[Visit]:
    """A new visitor with a phone or a desktop."""
    width, height = SIZES[request.param]
    context = browser.new_context(base_url=stack.url, viewport={"width": width, "height": height}, has_touch=request.param == "phone")
    visit = Visit(context.new_page())
    yield visit
    ARTIFACTS.mkdir(exist_ok=True)
    name = request.node.name.replace("[", "-").replace("]", "")
    visit.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)
    context.close()
    assert visit.troubles == []


def sign(page: Page, name: str, message: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Your message").fill(message)
    page.get_by_role("button", name="Sign the guestbook").click()


def test_sign_and_read(visit: Visit) -> None:
    page = visit.page
    page.goto("/")
    assert visit.fits()
    sign(page, "Ana 👋", "Grüße, שלום, <b>not bold</b>")

    expect(page.get_by_role("status")).to_have_text("Thank you for signing.")
    first = page.get_by_role("article").first
    expect(first).to_contain_text("Ana 👋")
    expect(first).to_contain_text("<b>not bold</b>")
    first.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(r"/entries/\d+$"))
    expect(page.locator("main")).to_contain_text("שלום")
    assert visit.fits()


def test_a_long_word_does_not_stick_out(visit: Visit) -> None:
    visit.page.goto("/")
    sign(visit.page, "W" * 80, "M" * 2000)
    expect(visit.page.get_by_role("status")).to_be_visible()
    assert visit.fits()


def test_a_mistake_is_shown_at_its_field(visit: Visit) -> None:
    page = visit.page
    page.goto("/")
    sign(page, "Ana", "   ")
    message = page.get_by_label("Your message")
    expect(message).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Your name")).to_have_value("Ana")
    assert visit.fits()


def test_paging_leads_on_and_back(visit: Visit, stack: Stack) -> None:
    for number in range(12):
        answer = httpx.post(f"{stack.url}/api/entries", json={"name": "Bo", "message": f"entry {number}"})
        assert answer.status_code == 201
    page = visit.page
    page.goto("/")
    newest = page.get_by_role("article").first.inner_text()
    page.get_by_role("link", name="Older entries").click()
    expect(page.get_by_role("article").first).not_to_have_text(newest)
    page.get_by_role("link", name="Newer entries").click()
    assert page.get_by_role("article").first.inner_text() == newest


def test_about_shows_what_this_request_met(visit: Visit) -> None:
    page = visit.page
    answer = page.goto("/about")
    assert answer
    assert answer.status == 200
    timing = answer.headers["server-timing"]
    for stage in ("nginx", "queue", "app", "db"):
        assert stage in timing
    expect(page.locator("main")).to_contain_text(answer.headers["x-request-id"])
    assert visit.fits()


@pytest.mark.parametrize(("path", "status"), [("/no-such-page", 404), ("/entries/999999", 404), (f"/?after={'x' * 9000}", 414)])
def test_an_error_page_names_the_request(visit: Visit, path: str, status: int) -> None:
    """The last one is nginx's own page."""
    answer = visit.page.goto(path)
    assert answer
    assert answer.status == status
    expect(visit.page.locator("body")).to_contain_text(answer.headers["x-request-id"])
    assert visit.fits()


def test_a_violation_of_the_policy_is_noticed(visit: Visit) -> None:
    """The negative twin of every "no troubles" here: an inline script is refused, and the listener hears of it."""
    visit.page.goto("/")
    visit.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))")
    assert visit.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in trouble for trouble in visit.troubles)
    visit.troubles.clear()


def test_everything_works_without_javascript(browser: Browser, stack: Stack) -> None:
    context = browser.new_context(base_url=stack.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    sign(page, "Cleo", "no script")
    expect(page.get_by_role("article").first).to_contain_text("no script")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser: Browser, stack: Stack, scheme: str) -> None:
    """Contrast of the text with the page of at least 4.5 (WCAG 2.2 AA)."""
    context = browser.new_context(base_url=stack.url, color_scheme="dark" if scheme == "dark" else "light")
    page = context.new_page()
    page.goto("/")
    colours = page.evaluate("""() => {
        const style = element => getComputedStyle(element);
        return [style(document.body).color, style(document.documentElement).backgroundColor, style(document.body).backgroundColor];
    }""")
    context.close()
    text, *backgrounds = [[float(part) for part in colour[colour.index("(") + 1 : -1].split(",")] for colour in colours]
    background = next((colour for colour in backgrounds if len(colour) == 3 or colour[3]), [255.0, 255.0, 255.0])
    light, dark = sorted((luminance(text), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: list[float]) -> float:
    """Relative luminance of an sRGB colour, as WCAG defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (value / 255 for value in colour[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
