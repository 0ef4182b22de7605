"""The pages, as a browser without JavaScript uses them."""

import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.app.conftest import MakeApp


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


@pytest.mark.parametrize("text", ["Zoë 👩‍👩‍👧‍👦", "שלום עולם", "مرحبا", "日本語", "e\u0301 \u202e reversed"])
def test_text_is_kept_as_sent(client: FlaskClient, text: str) -> None:
    sign(client, text, text)

    stored = client.get("/api/entries/1").get_json()
    assert (stored["name"], stored["message"]) == (text, text)
    assert text in client.get("/").text


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
        ("", "hello", "Your name: String should have at least 1 character"),
        (" ", "hello", "Your name: must not be blank"),
        ("x" * 81, "hello", "Your name: String should have at most 80 characters"),
        ("a\0b", "hello", "Your name: must not contain control characters (found U+0000)"),
        ("Ada", "x" * 2001, "Your message: String should have at most 2000 characters"),
        ("Ada", "a\x1b[31m", "Your message: must not contain control characters (found U+001B)"),
    ],
)
def test_an_error_stands_with_its_field_and_the_rest_is_kept(lite: FlaskClient, name: str, message: str, complaint: str) -> None:
    answer = sign(lite, name, message)

    assert answer.status_code == 422
    assert complaint in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
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


def test_paging_shows_every_entry_once(client: FlaskClient) -> None:
    for number in range(25):
        client.post("/api/entries", json={"name": f"visitor-{number}", "message": "hello"})

    seen: list[str] = []
    address = "/"
    for _ in range(3):
        page = client.get(address).text
        seen += re.findall(r"visitor-\d+", page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        address = older[1] if older else ""

    assert seen == [f"visitor-{number}" for number in reversed(range(25))]
    assert address == ""


@pytest.mark.parametrize(
    "address", ["/nothing", "/?after=nonsense", "/entries/1", "/entries/9223372036854775808", f"/entries/{'9' * 5000}"]
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


def test_about_shows_what_this_request_met(client: FlaskClient) -> None:
    headers = {"X-Gateway-Time": "0.004", "X-Request-ID": "request-12345678"}

    page = client.get("/about", headers=headers).text

    assert "4.0 ms" in page
    assert "request-12345678" in page
    assert page.count("not on the way") == 1  # the queue: nobody sent X-Request-Start


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


def test_a_form_that_is_too_large_is_refused(lite: FlaskClient) -> None:
    assert lite.post("/entries", data={"name": "x" * 11_000_000}).status_code == 413
    assert (
        lite.post("/entries", data={f"field-{number}": "x" for number in range(30)}, content_type="multipart/form-data").status_code == 413
    )
