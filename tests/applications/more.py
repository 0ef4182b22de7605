"""More applications than CI runs: `make applications`. Each is used by a browser through gateway and WAF, with the limits on.

Pytest does not find this file by itself.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import socketio
from playwright.sync_api import Browser, Page, expect

from tests.applications.project import Project, watch

pytestmark = pytest.mark.timeout(900)

Start = Callable[..., AbstractContextManager[tuple[Project, Page]]]

# Code and markup on purpose: what the WAF refuses without an exclusion for the field (docs/applications.md).
RICH_TEXT = '<p style="text-align: center">Hello <strong>world</strong></p>'
EXCLUSION = """
SecRule REQUEST_URI "@beginsWith /admin/article/" \\
    "id:1001,phase:1,pass,nolog,ctl:ruleRemoveTargetById=941100;ARGS:text,ctl:ruleRemoveTargetById=941160;ARGS:text"
"""
# Where a client on the user's own machine waits to be called back (RFC 8252): to the WAF an address of an internal service.
CALLBACK = "http://127.0.0.1:5000/oauth/callback"
CALLBACKS = """
SecRule REQUEST_FILENAME "@rx ^/(?:admin/client/|oauth/)" \\
    "id:1002,phase:1,pass,nolog,ctl:ruleRemoveTargetById=10240;ARGS:redirect_uris-0,\\
    ctl:ruleRemoveTargetById=931100;ARGS:redirect_uris-0,ctl:ruleRemoveTargetById=10241;ARGS:redirect_uri"
"""


@pytest.fixture
def start(tmp_path: Path, chromium: Callable[..., Browser], unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Start:
    """Return a function that starts an application and opens a browser, and at the end replaces its containers while it is used.

    Afterwards nothing may have gone wrong on its pages; `noise` is what its own scripts log.
    """
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")

    @contextmanager
    def starting(
        name: str, module: str, settings: Mapping[str, str], *overlays: str, exclusions: str = "", noise: str = "/favicon.ico"
    ) -> Iterator[tuple[Project, Page]]:
        project = Project.of(name, tmp_path, module, settings, *overlays)
        with (project.folder / "waf/rules/user-before.conf").open("a") as rules:
            rules.write(exclusions)
        with project.up():
            page = chromium(project.inside()).new_context(base_url="http://127.0.0.1:8080").new_page()
            troubles = watch(page)
            yield project, page
            page.context.close()
            assert [trouble for trouble in troubles if noise not in trouble] == []
            assert project.release_in_use() == []
            assert project.refused() == []

    return starting


def test_ihatemoney(start: Start) -> None:
    """Shared budgets: forms, statistics, export, a JSON API with basic authentication; PostgreSQL."""
    settings = {"MIGRATE_COMMAND": 'python -c "import money"'}
    with start("ihatemoney", "money:app", settings) as (project, page):
        page.goto("/")
        page.goto("/create")
        page.fill("#name", "Summer '26 & friends")
        page.fill("#id", "summer")
        page.fill("#password", "it's secret; -- really")
        page.fill("#contact_email", "ana@example.org")
        page.locator("form [type=submit]").last.click()
        account = ("summer", "it's secret; -- really")
        api = f"{project.url}/api/projects/summer"
        members = [httpx.post(f"{api}/members", auth=account, json={"name": name}).json() for name in ("Zoë", "O'Neil")]
        bill = {
            "date": "2026-08-01",
            "what": "Drinks & dinner at Zoë's, 50% off",
            "payer": members[0],
            "payed_for": members,
            "amount": "12.50",
        }
        assert httpx.post(f"{api}/bills", auth=account, json={**bill, "bill_type": "Expense"}).status_code == 201
        for place in ("", "statistics", "settle_bills", "history", "edit"):
            page.goto(f"/summer/{place}")
        assert "Drinks & dinner" in page.evaluate("fetch('/summer/export/bills.json').then(answer => answer.text())")


def test_a_dashboard_by_dash(start: Start) -> None:
    """Callbacks as JSON, a hundred scripts; no database, no key."""
    with start("dashboard", "dashboard:server", {}, "sqlite") as (_, page):
        page.goto("/")
        expect(page.locator("#count")).to_have_text("200 rows")
        page.locator("#filter").press_sequentially("product 19", delay=50)
        expect(page.locator("#count")).to_have_text("11 rows")
        page.fill("#filter", "it's; select x from y")
        expect(page.locator("#count")).to_have_text("0 rows")


def test_a_back_office_by_flask_admin(start: Start) -> None:
    """Rich text (with an exclusion for the field), inline editing, search, export, managed files; SQLite."""
    settings = {"MIGRATE_COMMAND": "flask init"}
    with start("backoffice", "backoffice:create_app()", settings, "sqlite", exclusions=EXCLUSION) as (_, page):
        page.goto("/admin/article/new/")
        page.fill("[name=title]", "Tom's & Ana's")
        page.fill("[name=text]", RICH_TEXT)
        page.click("[type=submit]")
        page.goto("/admin/article/?search=Tom%27s+%26")
        expect(page.locator("tbody tr")).to_have_count(1)
        with page.expect_download() as export:
            page.evaluate("location = '/admin/article/export/csv/'")
        assert "Hello" in Path(export.value.path()).read_text()
        page.goto("/admin/fileadmin/upload/")
        page.set_input_files("[name=upload]", {"name": "résumé.txt", "mimeType": "text/plain", "buffer": b"a file"})
        page.click("[type=submit]")
        expect(page.get_by_text("résumé.txt")).to_be_visible()


def test_an_identity_provider(start: Start) -> None:
    """Canaille: forms that ask the server at each key, a photo, and OpenID Connect with a client on the user's machine; PostgreSQL."""
    settings = {"MIGRATE_COMMAND": "python accounts.py"}
    with start("accounts", "accounts:create_app()", settings, "instance", exclusions=CALLBACKS, noise="/htmx.min.js") as (project, page):
        page.goto("/")
        page.fill("[name=login]", "ana")
        page.keyboard.press("Enter")
        page.fill("[name=password]", "correct horse")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/profile/ana"))
        page.goto("/profile")
        page.locator("[name=family_name]").press_sequentially("O'Neil & sons", delay=30)
        for field, text in (
            ("user_name", "zoe"),
            ("emails-0", "zoe@example.org"),
            ("password1", "it's; -- 100%"),
            ("password2", "it's; -- 100%"),
        ):
            page.fill(f"[name={field}]", text)
        page.set_input_files("[name=photo]", {"name": "it's me.jpg", "mimeType": "image/jpeg", "buffer": b"a photo"})
        page.locator("[name=action]").last.click()
        expect(page).to_have_url(re.compile("/profile/zoe"))
        page.goto("/admin/client/add")
        page.locator("[name=client_name]").press_sequentially("Shop's & Co", delay=30)
        page.fill("[name=client_uri]", "https://shop.example.org/")
        page.fill("[name=redirect_uris-0]", CALLBACK)
        page.click("[name=action][value=add]")
        expect(page).to_have_url(re.compile("/edit/"))
        client = page.input_value("[name=client_id]"), page.locator("input[readonly]:not([name])").last.input_value()

        asked = {"response_type": "code", "scope": "openid profile", "nonce": "n", "state": "it's"}
        page.route("http://127.0.0.1:5000/**", lambda route: route.fulfill(body="called back"))
        page.goto(f"/oauth/authorize?{urlencode({**asked, 'client_id': client[0], 'redirect_uri': CALLBACK})}")
        page.click("#accept")
        expect(page.get_by_text("called back")).to_be_visible()
        called = parse_qs(urlsplit(page.url).query)
        assert called["state"] == ["it's"]

        with httpx.Client(base_url=project.url, headers={"Host": "127.0.0.1:8080"}) as api:
            form = {"grant_type": "authorization_code", "code": called["code"][0], "redirect_uri": CALLBACK}
            tokens = api.post("/oauth/token", data=form, auth=client).raise_for_status().json()
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            assert api.get("/oauth/userinfo", headers=bearer).json()["sub"] == "ana"
            assert {api.get("/oauth/jwks.json").text for _ in range(8)} == {api.get("/oauth/jwks.json").text}
            assert api.post("/oauth/introspect", data={"token": tokens["access_token"]}, auth=client).json()["active"]


SOCKET = """() => new Promise((done, failed) => {
    const socket = new WebSocket(`ws://${location.host}/ws`);
    socket.onopen = () => socket.send("it's <b>a message</b>");
    socket.onmessage = message => { done(message.data); socket.close(); };
    socket.onerror = failed;
})"""


def says(project: Project, *transports: str) -> list[str]:
    """Say three things over Socket.IO; return what is acknowledged."""
    client = socketio.Client(reconnection=False)
    client.connect(project.url, transports=list(transports), wait_timeout=10)
    try:
        return [client.call("say", text, timeout=10) for text in ("one", "it's", "three")]
    finally:
        client.disconnect()


def is_lost(project: Project) -> bool:
    """Tell whether a client that polls meets a container that does not know it."""
    try:
        says(project, "polling")
    except socketio.exceptions.SocketIOError:
        return True
    return False


def test_websockets_and_socketio(start: Start) -> None:
    """flask-sock and Flask-SocketIO in three containers: polling stays with one by compose/sticky.yaml, and fails without."""
    settings = {"WEBSOCKET_PATHS": "/ws /socket.io/", "WEB_CONCURRENCY": "1"}
    with start("chat", "chat:app", settings, "sqlite", "websockets", "sticky") as (project, page):
        page.goto("/")
        assert page.evaluate(SOCKET) == "it's <b>a message</b>"
        for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
            assert [says(project, *transports) for _ in range(4)] == [["one", "it's", "three"]] * 4

        files = ("--file", "docker-compose.yml", "--file", "compose/sqlite.yaml")
        assert project.compose(*files, "up", "--detach", "--wait", "--no-build", "gateway", "waf").returncode == 0
        assert any(is_lost(project) for _ in range(4))
        assert project.compose("up", "--detach", "--wait", "--no-build", "gateway", "waf").returncode == 0
