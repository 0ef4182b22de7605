"""What visitors send wrongly, by mistake or on purpose: each gets a clear refusal, and nothing breaks behind it."""

import json
import re
import uuid
from collections.abc import Mapping

import httpx
import pytest

from tests.conftest import StackFactory
from tools.stack import Stack
from tools.stack.waiting import wait_until

MAX_BODY = 10_485_760
HTML = {"Accept": "text/html"}
JSON = {"Content-Type": "application/json"}
LONGEST_NAME, LONGEST_MESSAGE = 80, 2000

# This file sends more requests in a second than one visitor may.
# Without the firewall: what the application itself makes of hostile text is tried here.
pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LIMITS="off", LAB_ENABLED="1", WAF_MODE="Off")]


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    """The problem of an answer with this status; it names the request, so that it can be found in the logs."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["X-Request-ID"]
    return body


def fields(answer: httpx.Response) -> set[str]:
    errors = problem(answer, 422)["errors"]
    assert isinstance(errors, list)
    return {error["field"] for error in errors}


def token_of(page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found
    return found[1]


def sign(client: httpx.Client, name: str, message: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    token = token_of(client.get("/").text)
    return client.post("/entries", data={"csrf_token": token, "name": name, "message": message}, headers=headers)


def create(client: httpx.Client, body: object) -> httpx.Response:
    return client.post("/api/entries", json=body)


class TestSizes:
    def test_a_body_over_the_limit_gets_413(self, client: httpx.Client) -> None:
        problem(client.post("/api/entries", content=b"x" * (MAX_BODY + 1), headers=JSON), 413)
        page = client.post("/entries", content=b"x" * (MAX_BODY + 1), headers=HTML)
        assert page.status_code == 413
        assert page.headers["Content-Type"].startswith("text/html")

    def test_a_body_just_below_the_limit_passes(self, client: httpx.Client) -> None:
        """One byte below: of a body that is as long as the limit, Werkzeug cannot know under gunicorn that it has ended."""
        answer = client.post("/lab/upload", content=b"x" * (MAX_BODY - 1), headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["bytes"] == MAX_BODY - 1

    def test_a_chunked_body_over_the_limit_gets_413(self, client: httpx.Client) -> None:
        parts = (b"x" * 65536 for _ in range(MAX_BODY // 65536 + 1))
        problem(client.post("/api/entries", content=parts, headers=JSON), 413)

    def test_a_header_over_the_limit_gets_431(self, client: httpx.Client) -> None:
        problem(client.get("/api/entries", headers={"X-Long": "x" * 9000}), 431)

    def test_too_many_headers_get_431(self, client: httpx.Client) -> None:
        """From nginx, or (nginx before 1.29.8, in the local runtime) from gunicorn."""
        assert client.get("/api/entries", headers=[(f"X-Number-{number}", "x") for number in range(150)]).status_code == 431

    def test_an_address_over_the_limit_gets_414(self, client: httpx.Client) -> None:
        """As a page: nginx has not read the address, so it cannot know that a program asks."""
        answer = client.get("/api/entries", params={"cursor": "x" * 9000})
        assert answer.status_code == 414
        assert answer.headers["X-Request-ID"] in answer.text


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", ""])
def test_an_unknown_host_is_refused_before_the_app(client: httpx.Client, host: str) -> None:
    answer = client.get("/api/entries", headers={"Host": host})
    assert answer.status_code in {400, 421}
    assert client.get("/api/entries").status_code == 200  # and its twin, the known one, is not


class TestJson:
    @pytest.mark.parametrize("body", [b"", b"{", b"[1, 2", b'{"name": "a" "message": "b"}', b"\xff\xfe", b"NaN", b"{'name': 'a'}"])
    def test_what_is_no_json_gets_400(self, client: httpx.Client, body: bytes) -> None:
        problem(client.post("/api/entries", content=body, headers=JSON), 400)

    def test_another_type_gets_415(self, client: httpx.Client) -> None:
        problem(client.post("/api/entries", content=b"name=a", headers={"Content-Type": "text/plain"}), 415)

    @pytest.mark.parametrize(
        ("body", "wrong"),
        [
            ({"name": 1, "message": "b"}, {"name"}),
            ({"name": ["a"], "message": None}, {"name", "message"}),
            ({"message": "b"}, {"name"}),
            ({"name": "", "message": "   "}, {"name", "message"}),
            ({"name": "a" * (LONGEST_NAME + 1), "message": "b"}, {"name"}),
            ({"name": "a", "message": "b" * (LONGEST_MESSAGE + 1)}, {"message"}),
            ({"name": "a\x00b", "message": "b"}, {"name"}),
            ({"name": "a", "message": "\x1b[31mred"}, {"message"}),
            ({"name": "a\nb", "message": "c"}, {"name"}),
            ({"name": "a", "message": "b", "admin": True}, {"admin"}),
        ],
    )
    def test_a_wrong_field_is_named(self, client: httpx.Client, body: object, wrong: set[str]) -> None:
        assert fields(create(client, body)) == wrong

    def test_half_a_surrogate_pair_is_no_character(self, client: httpx.Client) -> None:
        answer = client.post("/api/entries", content=rb'{"name": "\ud800", "message": "b"}', headers=JSON)
        assert answer.status_code in {400, 422}


KEPT = {
    "emoji": "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 🇨🇭",
    "right-to-left": "שלום עולם, مرحبا بالعالم",
    "chinese": "请不要丢失任何字符",
    "combining": "é is not é, and ﬁ is a ligature",
    "sql": "'); DROP TABLE entries; -- \" OR 1=1",
    "script": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7}",
    "lines": "one\ntwo\n\tthree",
}


class TestTextIsKept:
    @pytest.mark.parametrize("message", KEPT.values(), ids=list(KEPT))
    def test_by_the_api(self, client: httpx.Client, message: str) -> None:
        created = create(client, {"name": "Ana", "message": message})
        assert created.status_code == 201, created.text
        assert client.get(created.headers["Location"]).json()["message"] == message

    @pytest.mark.parametrize("message", KEPT.values(), ids=list(KEPT))
    def test_by_the_form_and_shown_as_text(self, client: httpx.Client, message: str) -> None:
        assert sign(client, "Ana", message).status_code == 303
        stored = client.get("/api/entries", params={"limit": 1}).json()["entries"][0]
        page = client.get(f"/entries/{stored['id']}").text

        assert stored["message"] == message
        assert "<script>" not in page
        assert "<img src=x" not in page
        assert "49 49" not in page


class TestForm:
    @pytest.mark.parametrize("token", [None, "", "forged", "ImZvcmdlZCI.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb"])
    def test_a_missing_or_forged_csrf_token_gets_400(self, client: httpx.Client, token: str | None) -> None:
        client.get("/")
        data = {"name": "Ana", "message": "forged"} | ({} if token is None else {"csrf_token": token})
        answer = client.post("/entries", data=data, headers=HTML)
        assert answer.status_code == 400
        assert answer.headers["X-Request-ID"] in answer.text

    def test_a_token_of_another_session_gets_400(self, client: httpx.Client, stack: Stack) -> None:
        token = token_of(httpx.get(stack.url).text)
        client.get("/")
        data = {"csrf_token": token, "name": "Ana", "message": "stolen"}
        assert client.post("/entries", data=data, headers=HTML).status_code == 400

    def test_what_was_typed_is_kept_beside_the_error(self, client: httpx.Client) -> None:
        answer = sign(client, "Ana", " ")
        assert answer.status_code == 422
        assert 'value="Ana"' in answer.text
        assert "must not be blank" in answer.text


def seen_client(stack: Stack, request_id: str) -> str:
    """The client's address in the app's log line of this request; the line is written after the answer."""

    def seen() -> list[str]:
        lines = [line[line.index("{") :] for line in stack.logs("app").splitlines() if request_id in line and "{" in line]
        return [record["client"] for record in map(json.loads, lines) if "client" in record]

    wait_until(lambda: bool(seen()), 30, f"the app logs no line for the request {request_id}")
    return seen()[0]


SPOOFED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Real-IP": "203.0.113.9"}


class TestSpoofedForwarding:
    def test_from_outside_changes_nothing(self, stack: Stack, client: httpx.Client) -> None:
        request_id = uuid.uuid4().hex
        answer = client.get("/", headers={**SPOOFED, "X-Request-ID": request_id})

        assert "Secure" not in answer.headers["Set-Cookie"]
        assert "evil.example" not in answer.text
        assert seen_client(stack, request_id) != SPOOFED["X-Forwarded-For"]

    def test_from_a_trusted_load_balancer_is_believed(self, stack_factory: StackFactory) -> None:
        """The positive twin: the same headers, and the peer is named in TRUSTED_PROXIES."""
        stack = stack_factory({"LIMITS": "off", "TRUSTED_PROXIES": "127.0.0.1,172.16.0.0/12,192.168.0.0/16,10.0.0.0/8"})
        request_id = uuid.uuid4().hex
        answer = httpx.get(stack.url, headers={**SPOOFED, "X-Request-ID": request_id})

        assert "Secure" in answer.headers["Set-Cookie"]
        assert "evil.example" not in answer.text
        assert seen_client(stack, request_id) == SPOOFED["X-Forwarded-For"]


@pytest.mark.parametrize(
    "path",
    [
        "/entries/999999999",
        "/entries/9999999999999999999999",
        "/entries/-1",
        "/entries/abc",
        "/entries/1'--",
        "/%2e%2e/etc/passwd",
        "/%00",
        "/lab/nothing",
        "/static/../settings.py",
    ],
)
def test_an_address_that_is_not_there_gets_404_or_400(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code in {400, 404}


def test_a_method_that_is_not_there_gets_405_with_the_right_ones(client: httpx.Client) -> None:
    answer = client.delete("/api/entries")
    problem(answer, 405)
    assert "GET" in answer.headers["Allow"]


def test_a_method_that_nginx_refuses_gets_405_with_others(client: httpx.Client) -> None:
    answer = client.request("TRACE", "/api/entries")
    problem(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD"
