"""Flask-AppBuilder 5.3, through gateway and WAF with the limits on: what its users click, what its API clients send, and a release."""

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.applications.project import Project, watch
from tests.clients import wait_until

pytestmark = pytest.mark.timeout(600)

USER, PASSWORD = "admin", "correct horse"
# What docs/applications.md tells its user to write into .env.
SETTINGS = {
    "MIGRATE_COMMAND": "mkdir -p instance/uploads && flask fab create-db && flask fab create-admin --username admin --firstname Ana"
    ' --lastname Admin --email ana@example.org --password "correct horse"',
    "PRELOAD_LIBRARIES": "flask sqlalchemy",
    "SERVER_NAMES": "localhost 127.0.0.1 crm.example.org intranet",
    "TRUSTED_PROXIES": "172.16.0.0/12 192.168.0.0/16",  # where this machine's requests come from; the browser's do not
}
# What people write, most of it in the words of SQL and of a shell.
NOTES = (
    "Select the blue one from the catalogue, or drop a line and update the address on file.",
    "Use git pull and then run: python app.py --debug",
    "Use `git pull` and then run: python app.py --debug",
    "Who is there? Let's see what we need; 50% off & more.",
    "Zoë O'Neil -- see ../reports/2026, 北京, résumé.docx",
)
# As a browser writes the site's address: it stands in `next=` of the page for logging in, and in headers.
HOSTS = ("127.0.0.1:8080", "localhost:8080", "crm.example.org", "intranet:8080")
SEARCHES = ("and", "like", "order by", "--", "a=b", "it's", "50%", "北京", "see ../reports", "(x), [y]", "#1; 2")
PAGES = (
    *("/", "/contactview/list/", "/contactview/add", "/contactview/show/1", "/groupview/list/", "/groupview/show/1"),
    *("/users/list/", "/users/userinfo/", "/users/add", "/roles/list/", "/roles/show/1", "/roles/edit/1", "/swagger/v1"),
    *("/api/v1/_openapi", "/api/v1/contact/_info", "/api/v1/security/users/", "/api/v1/security/roles/"),
)
# Code and markup on purpose: refused (docs/applications.md), in a form as in JSON.
CODE = (
    "Select the blue one from the catalogue; update address on file",
    "<script>alert(1)</script>",
    "1 union select password from users",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[Project]:
    if unavailable["compose"]:
        not_run(f"runtime compose: {unavailable['compose']}")
    project = Project.of("flask_appbuilder", tmp_path_factory.mktemp("fab"), "crm:create_app()", SETTINGS, "instance", "load-balancers")
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
def client(project: Project, host: str = "localhost") -> Iterator[httpx.Client]:
    """An API client, logged in; each of its requests comes from another visitor, so that none meets a limit."""
    addresses = itertools.cycle(f"203.0.113.{number}" for number in range(1, 255))

    def come_from_another(request: httpx.Request) -> None:
        request.headers["X-Forwarded-For"] = next(addresses)

    account = {"username": USER, "password": PASSWORD, "provider": "db", "refresh": True}
    hooks = {"request": [come_from_another]}
    with httpx.Client(base_url=f"{project.url}/api/v1", timeout=60, headers={"Host": host}, event_hooks=hooks) as api:
        tokens = api.post("/security/login", json=account).raise_for_status().json()
        api.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield api


def rison(word: str, operator: str) -> str:
    """Return a search as the pages' own scripts write it."""
    quoted = word.replace("!", "!!").replace("'", "!'")
    return f"(filters:!((col:notes,opr:{operator},value:'{quoted}')),order_column:name,page_size:100)"


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_ordinary_is_refused_at_any_address(project: Project, host: str) -> None:
    with client(project, host) as api:
        sent: list[tuple[int, str, str]] = []

        def ask(method: str, path: str, **settings: Any) -> httpx.Response:
            answer = api.request(method, f"{project.url}{path}", **settings)
            sent.append((answer.status_code, method, path))
            return answer

        def fill(path: str, **values: Any) -> httpx.Response:
            token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', ask("GET", path).text)
            assert token, path
            return ask("POST", path, data={**values.pop("data"), "csrf_token": token[1]}, **values)

        login = urlsplit(ask("GET", "/contactview/list/").headers["Location"])
        assert host in unquote(login.query)
        fill(f"{login.path}?{login.query}", data={"username": USER, "password": PASSWORD})
        group = ask("POST", "/api/v1/contactgroup/", json={"name": f"Group of {host}"}).json()["id"]
        for path in PAGES:
            ask("GET", path)
        for number, notes in enumerate(NOTES):
            data = {"name": f"O'Neil {number}", "contact_group": group, "birthday": "1990-02-03", "notes": notes}
            fill("/contactview/add", data=data, files={"document": ("it's a;b résumé (1).txt", b"a file")})
            known = ask("POST", "/api/v1/contact/", json={"name": f"API {number}", "notes": notes, "contact_group": group}).json()["id"]
            ask("PUT", f"/api/v1/contact/{known}", json={"notes": f"# Order by\n\n- **and** one\n- [two](https://example.org/)\n{notes}"})
            ask("DELETE", f"/api/v1/contact/{known}")
        for word in SEARCHES:
            for column in ("0_name", "2_notes"):
                ask("GET", "/contactview/list/", params={f"_flt_{column}": word, "_oc_ContactView": "name", "_od_ContactView": "desc"})
            for operator in ("ct", "sw", "eq"):
                ask("GET", "/api/v1/contact/", params={"q": rison(word, operator)})

    assert len(sent) >= 326 / len(HOSTS)
    assert [one for one in sent if one[0] >= 400] == []
    assert project.refused() == []


def test_a_release_loses_nothing(project: Project) -> None:
    """Three clients over connections that they keep, each repeating nothing, read and write while all containers are replaced."""
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
        project.release()
    finally:
        over.set()
        for one in clients:
            one.join()

    assert failed == []
    assert len(sent) > 30


def test_code_and_markup_are_refused(project: Project) -> None:
    before = len(project.refused())
    with client(project) as api:
        refused = [api.post(f"{project.url}/contactview/add", data={"notes": text}).status_code for text in CODE]
        refused += [api.post("/contact/", json={"notes": text}).status_code for text in CODE]

    assert refused == [403] * 2 * len(CODE)
    wait_until(lambda: len(project.refused()) == before + len(refused), "the log has them")
