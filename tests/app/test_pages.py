"""The pages, as a browser without JavaScript uses them."""

import errno
import os
import re
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.app.conftest import MakeApp
from tests.app.server import ROOT


def token(page: TestResponse) -> str:
    """Return the token of the form on the page."""
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def sign(client: FlaskClient, name: str, message: str) -> TestResponse:
    """Fill in the form and send it."""
    form = {"csrf_token": token(client.get("/")), "name": name, "message": message}
    return client.post("/entries", data=form)


def test_signing_shows_the_entry_on_the_list_and_on_its_page(client: FlaskClient) -> None:
    answer = sign(client, "Ada", "first\r\nsecond")

    assert answer.status_code == 303
    assert answer.location == "/"
    page = client.get("/").text
    assert "Thank you for signing." in page
    assert "<bdi>Ada</bdi>" in page
    assert "first\nsecond" in page
    assert "<bdi>Ada</bdi>" in client.get("/entries/1").text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "'; DROP TABLE entry; --", "{{ 7 * 7 }}", '" onmouseover="x'])
def test_code_is_stored_and_shown_as_text(client: FlaskClient, text: str) -> None:
    sign(client, text, text)

    assert client.get("/api/entries/1").get_json()["message"] == text
    page = client.get("/")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert 'onmouseover="x' not in page.text
    assert ">49<" not in page.text


@pytest.mark.parametrize(
    ("name", "message", "complaint"),
    [
        ("", "hello", "Your name must not be empty."),
        (" ", "hello", "Your name must not be blank"),
        ("x" * 81, "hello", "Your name must have at most 80 characters."),
        ("a\0b", "hello", "Your name must not be blank or contain control characters."),
        ("Ada", "x" * 2001, "Your message must have at most 2000 characters."),
        ("Ada", "a\x1b[31m", "Your message must not be blank or contain control characters."),
    ],
)
def test_an_error_stands_with_its_field_and_the_rest_is_kept(lite: FlaskClient, name: str, message: str, complaint: str) -> None:
    answer = sign(lite, name, message)

    assert answer.status_code == 422
    assert complaint in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert "<title>Error: Guestbook</title>" in answer.text
    assert 'role="alert" tabindex="-1" autofocus>' in answer.text
    assert message.replace("\x1b", "") in answer.text.replace("\x1b", "")
    assert lite.get("/api/entries").get_json()["entries"] == []


@pytest.mark.parametrize("forged", [None, "", "forged", "ImFiYyI.awGL6A.Y1YqoLnqGw_vG29M3T2kiKsjG0M"])
def test_a_form_without_its_own_token_is_refused(lite: FlaskClient, forged: str | None) -> None:
    lite.get("/")
    form = {"name": "Mallory", "message": "hello"} | ({} if forged is None else {"csrf_token": forged})

    answer = lite.post("/entries", data=form)

    assert answer.status_code == 400
    assert answer.content_type.startswith("text/html")
    assert lite.get("/api/entries").get_json()["entries"] == []


def test_the_token_of_another_browser_is_refused(make_app: MakeApp) -> None:
    app = make_app()
    mine, theirs = app.test_client(), app.test_client()
    mine.get("/")

    answer = mine.post("/entries", data={"csrf_token": token(theirs.get("/")), "name": "Mallory", "message": "hello"})

    assert answer.status_code == 400


def walk(client: FlaskClient, address: str, rel: str) -> list[tuple[str, list[str]]]:
    """Follow the links of this kind to the end; return each page's title and entries."""
    pages = []
    while address:
        page = client.get(address).text
        title = re.search("<title>(.*)</title>", page)
        assert title
        pages.append((title[1], re.findall(r"visitor-\d+", page)))
        link = re.search(rf'rel="{rel}" href="([^"]+)"', page)
        address = link[1].replace("&amp;", "&") if link else ""
    return pages


def test_paging_shows_every_entry_once_in_both_directions(client: FlaskClient) -> None:
    for number in range(35):
        client.post("/api/entries", json={"name": f"visitor-{number}", "message": "hello"})

    older = walk(client, "/", "next")
    newer = walk(client, "/?after=0000000000000006&page=4", "prev")

    assert [entry for _, entries in older for entry in entries] == [f"visitor-{number}" for number in reversed(range(35))]
    assert [title for title, _ in older] == ["Guestbook", *(f"Guestbook, page {number}" for number in (2, 3, 4))]
    assert newer == older[::-1]


def test_the_newest_page_is_the_one_with_the_form(lite: FlaskClient) -> None:
    for number in range(12):
        lite.post("/api/entries", json={"name": f"visitor-{number}", "message": "hello"})

    second = lite.get("/?after=0000000000000003&page=2").text

    assert "<form" in lite.get("/").text
    assert "<form" not in second
    assert 'rel="prev" href="/">' in second


@pytest.mark.parametrize(
    "address", ["/nothing", "/?after=nonsense", "/?page=x", "/entries/1", "/entries/9223372036854775808", f"/entries/{'9' * 5000}"]
)
def test_what_is_not_there_is_a_page_with_the_request_id(client: FlaskClient, address: str) -> None:
    answer = client.get(address, headers={"X-Request-ID": "request-12345678"})

    assert answer.status_code == 404
    assert answer.content_type.startswith("text/html")
    assert "<code>request-12345678</code>" in answer.text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("*/*", "text/html"),
        ("application/json", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
    ],
)
def test_the_kind_of_an_error_follows_accept(lite: FlaskClient, accept: str, kind: str) -> None:
    answer = lite.get("/nothing", headers={"Accept": accept})

    assert answer.mimetype == kind


def test_a_failing_view_answers_with_a_page_and_the_request_id(make_app: MakeApp) -> None:
    app = make_app()
    app.add_url_rule("/fail", view_func=lambda: str(1 / 0))

    answer = app.test_client().get("/fail", headers={"X-Request-ID": "request-12345678"})

    assert answer.status_code == 500
    assert "request-12345678" in answer.text
    assert "ZeroDivisionError" not in answer.text


@pytest.mark.parametrize("address", ["/", "/about", "/nothing"])
def test_pages_work_under_a_policy_without_scripts(lite: FlaskClient, address: str) -> None:
    answer = lite.get(address)

    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)


def test_about_says_what_nothing_told_it(client: FlaskClient) -> None:
    page = client.get("/about", headers={"X-Gateway-Time": "0.004", "X-Request-ID": "request-12345678"}).text

    assert "4.0 ms" in page
    assert "request-12345678" in page
    assert page.count("no nginx in front") == 2  # the queue and gunicorn: X-Request-Start is missing


@pytest.mark.parametrize(("fields", "shared"), [({}, ["queue", "gunicorn"]), ({"X-Waf-Time": "0.000"}, ["firewall", "queue", "gunicorn"])])
def test_the_bars_of_about_are_to_scale(lite: FlaskClient, fields: dict[str, str], shared: list[str]) -> None:
    page = lite.get("/about", headers={"X-Gateway-Time": "300", "X-Request-Start": f"t={time.time() - 100:.3f}", **fields}).text

    found = re.findall(r'<li class="(\w+)[ \w]*">(?:(?!</li>).)*<rect x="([^"]+)%" width="([^"]+)%"', page, re.DOTALL)
    bars = {name: (float(start), float(width)) for name, start, width in found}
    assert list(bars) == ["gateway", *shared, "flask", "database"]
    assert len({bars[name] for name in shared}) == 1
    assert bars["gateway"][0] == 0
    assert bars["queue"][0] == pytest.approx(bars["gateway"][1], abs=0.02)
    assert bars["gateway"][1] / bars["queue"][1] == pytest.approx(3, rel=0.2)  # the clock went on
    assert bars["flask"][0] == pytest.approx(sum(bars["queue"]), abs=0.02)


def test_the_session_cookie_is_secure_exactly_over_tls(lite: FlaskClient) -> None:
    plain = lite.get("/").headers["Set-Cookie"]
    tls = lite.get("/", base_url="https://localhost").headers["Set-Cookie"]

    assert plain.startswith("session=")
    assert "Secure" not in plain
    assert tls.startswith("__Host-session=")
    assert "; Secure; HttpOnly; Path=/; SameSite=Lax" in tls
    assert "; HttpOnly; Path=/; SameSite=Lax" in plain


def test_the_form_works_over_tls(lite: FlaskClient) -> None:
    page = lite.get("/", base_url="https://localhost")

    answer = lite.post("/entries", base_url="https://localhost", data={"csrf_token": token(page), "name": "Ada", "message": "hello"})

    assert answer.status_code == 303


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_field_over_its_limit_is_refused(lite: FlaskClient, kind: str) -> None:
    """Flask bounds the second kind alone."""
    statuses = [lite.post("/entries", data={"name": "x" * size}, content_type=kind).status_code for size in (99_000, 101_000)]

    assert statuses == [400, 413]  # the first lacks its token


def test_a_smaller_limit_of_bodies_holds_for_forms_too(make_app: MakeApp) -> None:
    client = make_app(MAX_CONTENT_LENGTH=2048).test_client()

    assert [client.post("/entries", data={"name": "x" * size}).status_code for size in (1_500, 3_000)] == [400, 413]


def test_a_form_that_is_too_large_is_refused(lite: FlaskClient) -> None:
    assert lite.post("/entries", data={"name": "x" * 11_000_000}).status_code == 413
    assert (
        lite.post("/entries", data={f"field-{number}": "x" for number in range(30)}, content_type="multipart/form-data").status_code == 413
    )


@pytest.mark.parametrize("address", ["/", "/nothing", "/api/entries"])
def test_no_cache_chooses_how_long_it_keeps_an_answer(lite: FlaskClient, address: str) -> None:
    assert lite.get(address).headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(("address", "current"), [("/", ["Entries"]), ("/about", ["The way of a request"]), ("/nothing", [])])
def test_the_navigation_marks_the_page(lite: FlaskClient, address: str, current: list[str]) -> None:
    assert re.findall('aria-current="page">([^<]+)<', lite.get(address).text) == current


def test_an_entrys_page_is_about_its_name(lite: FlaskClient) -> None:
    sign(lite, "Ada", "hello")

    page = lite.get("/entries/1").text
    assert "<h1><bdi>Ada</bdi></h1>" in page
    assert "<title>Ada \u2013 Guestbook</title>" in page
    assert re.search(r'<time datetime="[-0-9]+T[:0-9]+\.\d{3}\+00:00">', page)


def test_crawlers_are_told_what_to_leave_out(lite: FlaskClient) -> None:
    assert lite.get("/robots.txt").text == "User-agent: *\nDisallow: /api/\n"


def test_the_gateways_error_page_has_the_sites_colours() -> None:
    colours = re.compile(r"light-dark\([^)]+\)")
    own = (ROOT / "app/kit_app/static/site.css").read_text()

    assert set(colours.findall((ROOT / "nginx/errors/page.html").read_text())) <= set(colours.findall(own))


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EIO, 500)])
def test_a_full_disk_is_507(make_app: MakeApp, number: int, status: int) -> None:
    """Any other error of a file stays one."""

    def fail() -> str:
        raise OSError(number, os.strerror(number))

    app = make_app()
    app.add_url_rule("/fail", view_func=fail)
    answer = app.test_client().get("/fail")

    assert answer.status_code == status
    assert answer.headers["X-Request-ID"] in answer.text


def test_a_session_outlives_its_key_when_it_was_used_meanwhile(make_app: MakeApp, tmp_path: Path) -> None:
    """Flask takes a session that an old key signed, and writes it anew only when it changes: ours is written at once."""

    def app(key: str, *accepted: str) -> FlaskClient:
        (tmp_path / "key").write_text(key)
        (tmp_path / "key_fallbacks").write_text("\n".join(accepted))
        return make_app(SECRET_KEY="", SECRET_KEY_FILE=str(tmp_path / "key")).test_client()

    def form(page: TestResponse) -> dict[str, str]:
        return {"csrf_token": token(page), "name": "Ada", "message": "hello"}

    old, new = "the old key, long enough", "the new key, long enough"
    visitor, idle = app(old), app(old)
    page, left = visitor.get("/"), idle.get("/")
    first, unused = visitor.get_cookie("session"), idle.get_cookie("session")
    assert first
    assert unused

    both = app(new, old)
    both.set_cookie("session", first.value)
    assert both.post("/entries", data=form(page)).status_code == 303
    signed_anew = both.get_cookie("session")
    assert signed_anew
    later = both.get("/")

    alone = app(new)
    alone.set_cookie("session", signed_anew.value)
    assert alone.post("/entries", data=form(later)).status_code == 303
    alone.set_cookie("session", unused.value)
    assert alone.post("/entries", data=form(left)).status_code == 400
