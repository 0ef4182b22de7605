"""Flask-AppBuilder 5.3, through gateway and WAF with the limits on: what its users click, what its API clients send, and a release."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.applications.project import Project, watch
from tools.stack.compose import ComposeStack
from tools.stack.rollout import Rollout, Wish

pytestmark = pytest.mark.timeout(600)

USER, PASSWORD = "admin", "correct horse"
# What docs/applications.md tells its user to write into .env.
SETTINGS = {
    "MIGRATE_COMMAND": "mkdir -p instance/uploads && flask fab create-db && flask fab create-admin --username admin --firstname Ana"
    ' --lastname Admin --email ana@example.org --password "correct horse"',
    "PRELOAD_LIBRARIES": "flask sqlalchemy",
}
# What people write, most of it in the words of SQL and of a shell.
NOTES = (
    "Select the blue one from the catalogue, or drop a line and update the address on file.",
    "Use git pull and then run: python app.py --debug",
    "Who is there? Let's see what we need; 50% off & more.",
    "Zoë O'Neil -- see ../reports/2026, 北京, résumé.docx",
)
# Rison, as the pages' own scripts write it.
SEARCHES = ("and", "like", "order by", "--", "a=b", "it!'s", "50%", "北京")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[Project]:
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    project = Project.of("flask_appbuilder", tmp_path_factory.mktemp("fab"), "crm:create_app()", SETTINGS, "instance")
    with project.up():
        yield project


@pytest.fixture(scope="module")
def browser(project: Project, chromium: Callable[..., Browser]) -> Iterator[Browser]:
    browser = chromium(project.inside())
    yield browser
    browser.close()


@pytest.fixture(params=["127.0.0.1", "localhost"])
def page(request: pytest.FixtureRequest, project: Project, browser: Browser) -> Iterator[Page]:
    """A visitor's browser at one of the site's addresses, logged in; whatever went wrong on its pages fails the test."""
    context = browser.new_context(base_url=f"http://{request.param}:8080")
    page = context.new_page()
    troubles = watch(page)
    page.goto("/contactview/list/")
    expect(page).to_have_url(re.compile(r"/login/\?next="))
    page.fill("[name=username]", USER)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    expect(page).to_have_url(re.compile(r"/contactview/list/"))
    yield page
    context.close()
    assert troubles == []
    assert project.refused() == []


def save(page: Page) -> None:
    page.locator("form button[type=submit]").last.click()
    expect(page.locator(".alert").get_by_text(re.compile(r"(Added|Changed) Row"))).to_be_visible()


def test_a_person_lists_adds_edits_searches_uploads_downloads_and_exports(page: Page) -> None:
    group = f"Friends & family of {page.url.split('/')[2]}"
    page.goto("/groupview/add")
    page.fill("[name=name]", group)
    save(page)
    for number, notes in enumerate(NOTES):
        page.goto("/contactview/add")
        page.fill("[name=name]", f"O'Neil {number}")
        page.select_option("[name=contact_group]", label=group, force=True)
        page.fill("[name=birthday]", "1990-02-03")
        page.fill("[name=notes]", notes)
        page.set_input_files("[name=document]", {"name": f"it's résumé {number}.txt", "mimeType": "text/plain", "buffer": b"a file"})
        save(page)
    page.goto("/contactview/list/?_flt_0_name=O%27Neil&_flt_2_notes=select&_oc_ContactView=name&_od_ContactView=asc")
    page.locator("a[href*='/edit/']").first.click()
    expect(page.locator("[name=notes]")).to_have_value(re.compile(NOTES[0]))
    page.fill("[name=notes]", NOTES[0] + " Or 1=1 of them?")
    save(page)
    page.goto("/contactview/list/")
    with page.expect_download() as file:
        page.get_by_role("link", name="Download").first.click()
    assert Path(file.value.path()).read_bytes() == b"a file"
    page.check("#check_all")
    page.get_by_role("button", name="Actions").click()
    with page.expect_download() as export:
        page.get_by_role("link", name="Export").click()
    assert "Use git pull" in Path(export.value.path()).read_text()


def test_a_person_clicks_faster_than_pages_load(page: Page) -> None:
    """With the limits on: each of its pages is some twenty files."""
    for place in ("/contactview/list/", "/groupview/list/", "/users/list/", "/roles/list/", "/swagger/v1") * 4:
        page.goto(place, wait_until="commit")
        page.wait_for_timeout(200)
    page.wait_for_load_state("networkidle")


@contextmanager
def client(project: Project) -> Iterator[httpx.Client]:
    """An API client, logged in."""
    account = {"username": USER, "password": PASSWORD, "provider": "db", "refresh": True}
    with httpx.Client(base_url=f"{project.url}/api/v1", timeout=60) as api:
        tokens = api.post("/security/login", json=account).raise_for_status().json()
        api.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield api


def test_an_api_client(project: Project) -> None:
    with client(project) as api:
        group = api.post("/contactgroup/", json={"name": "From the API"}).raise_for_status().json()["id"]
        known = [
            api.post("/contact/", json={"name": f"API {number}", "notes": notes, "contact_group": group}).raise_for_status().json()["id"]
            for number, notes in enumerate(NOTES)
        ]
        for word in SEARCHES:
            query = f"(filters:!((col:notes,opr:ct,value:'{word}')),order_column:name,page_size:100)"
            api.get("/contact/", params={"q": query}).raise_for_status()
        api.put(
            f"/contact/{known[0]}", json={"notes": "# Order by\n\n- **and** one\n- [two](https://example.org/a?b=c)\n"}
        ).raise_for_status()
        for one in known:
            api.delete(f"/contact/{one}").raise_for_status()
        for place in ("/_openapi", "/contact/_info", "/security/users/", "/security/roles/"):
            assert api.get(place, follow_redirects=True).status_code in {200, 404}, place
    assert project.refused() == []


def test_a_release_loses_nothing(project: Project) -> None:
    """Three clients over connections that they keep, each repeating nothing, read and write while all containers are replaced."""
    stack = ComposeStack(project.name, root=project.folder, settings=os.environ)
    failed: list[str] = []
    sent: list[int] = []
    over = threading.Event()

    def use(number: int) -> None:
        with client(project) as api:
            group = api.post("/contactgroup/", json={"name": f"Release {number}"}).json()["id"]
            while not over.is_set():
                for method, path, body in (
                    ("GET", "/contact/", None),
                    ("POST", "/contact/", {"name": f"{number}", "notes": "", "contact_group": group}),
                ):
                    try:
                        status = api.request(method, path, json=body).status_code
                    except httpx.TransportError as error:
                        failed.append(f"{method} {error!r}")
                    else:
                        failed.extend([f"{method} {status}"] if status >= 400 else [])
                        sent.append(status)
                over.wait(1)  # three clients of one address stay below its limit of writes

    clients = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for one in clients:
        one.start()
    try:
        Rollout(stack, Wish()).run()
    finally:
        over.set()
        for one in clients:
            one.join()

    assert failed == []
    assert len(sent) > 30
