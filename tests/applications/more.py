"""More applications than CI runs: `make applications`. Each is used by a browser through gateway and WAF, with the limits on.

Pytest does not find this file by itself.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
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


@pytest.fixture
def start(tmp_path: Path, chromium: Callable[..., Browser], unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Start:
    """Return a function that starts an application and opens a browser; afterwards nothing may have gone wrong on its pages."""
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")

    @contextmanager
    def starting(
        name: str, module: str, settings: Mapping[str, str], *overlays: str, exclusions: str = ""
    ) -> Iterator[tuple[Project, Page]]:
        project = Project.of(name, tmp_path, module, settings, *overlays)
        with (project.folder / "waf/rules/user-before.conf").open("a") as rules:
            rules.write(exclusions)
        with project.up():
            page = chromium(project.inside()).new_context(base_url="http://127.0.0.1:8080").new_page()
            troubles = watch(page)
            yield project, page
            page.context.close()
            assert troubles == []
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
