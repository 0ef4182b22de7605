"""The JSON API: what it takes, and how it refuses."""

import pytest
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp

GOOD = {"name": "Ada", "message": "hello"}
BLANK = "must not be blank or contain control characters"


def fields(client: FlaskClient, entry: object) -> dict[str, str]:
    """Send an entry that is not valid, and return what is wrong with each field."""
    answer = client.post("/api/entries", json=entry)
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    return {error["field"]: error["detail"] for error in answer.get_json()["errors"]}


def test_an_entry_is_created_and_found(client: FlaskClient) -> None:
    answer = client.post("/api/entries", json=GOOD)

    assert answer.status_code == 201
    assert client.get(answer.location).get_json() == answer.get_json()
    assert answer.get_json()["created_at"].endswith("Z")


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧‍👦", "שלום", "a\u202eb", "\ufeff x", "\U0010ffff", " leading and trailing ", "'; DROP TABLE entry; --"]
)
def test_text_is_kept_exactly(client: FlaskClient, text: str) -> None:
    stored = client.post("/api/entries", json={"name": text, "message": f"{text}\n\t{text}\r\n"}).get_json()

    assert client.get("/api/entries").get_json()["entries"] == [stored]
    assert (stored["name"], stored["message"]) == (text, f"{text}\n\t{text}\r\n")


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("name", "", "must not be empty"),
        ("name", "\u2003", BLANK),
        ("name", "x" * 81, "must have at most 80 characters"),
        ("name", "a\nb", BLANK),
        ("name", "a\x00b", BLANK),
        ("name", "a\x85b", BLANK),
        ("name", 7, "Input should be a valid string"),
        ("name", None, "Input should be a valid string"),
        ("message", "x" * 2001, "must have at most 2000 characters"),
        ("message", "a\x7fb", BLANK),
        ("message", ["a"], "Input should be a valid string"),
        ("colour", "red", "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_named(client: FlaskClient, field: str, value: object, detail: str) -> None:
    assert fields(client, {**GOOD, field: value}) == {field: detail}
    assert client.get("/api/entries").get_json()["entries"] == []


def test_all_wrong_fields_are_named(lite: FlaskClient) -> None:
    assert fields(lite, {"colour": "red"}).keys() == {"name", "message", "colour"}


def test_the_longest_text_is_stored(client: FlaskClient) -> None:
    entry = {"name": "😀" * 80, "message": "😀" * 2000}

    assert client.post("/api/entries", json=entry).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff",
        b'{"name": "\\ud800", "message": "x"}',
        b'{"name": "\xed\xa0\x80", "message": "x"}',
        b"[" * 100_000,
        b"1" * 5000,
        b"NaN",
    ],
)
def test_what_is_not_json_is_400(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/api/entries", data=body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.get_json()["detail"].startswith("The body is not JSON")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [(body, "application/json", 422) for body in (b"null", b"7", b'"text"', b"[]")]
    + [(b"{}", kind, 415) for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")],
)
def test_what_is_no_object_in_json_is_refused(lite: FlaskClient, body: bytes, content_type: str | None, status: int) -> None:
    assert lite.post("/api/entries", data=body, content_type=content_type).status_code == status


def test_a_body_over_the_limit_is_413(make_app: MakeApp) -> None:
    client = make_app(MAX_CONTENT_LENGTH=5000).test_client()
    body = b'{"name": "Ada", "message": "hello"}'

    assert client.post("/api/entries", data=body.ljust(5000), content_type="application/json").status_code == 201
    assert client.post("/api/entries", data=body.ljust(5001), content_type="application/json").status_code == 413


@pytest.mark.parametrize("entry_id", ["1", "0", "9223372036854775807", "9223372036854775808", "9" * 5000, "-1", "abc", "\u0661"])
def test_an_id_that_no_entry_has_is_404(client: FlaskClient, entry_id: str) -> None:
    answer = client.get(f"/api/entries/{entry_id}")

    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(("method", "address"), [("PUT", "/api/entries"), ("DELETE", "/api/entries/1"), ("TRACE", "/api/entries")])
def test_another_method_is_405_and_says_which_are_allowed(lite: FlaskClient, method: str, address: str) -> None:
    answer = lite.open(address, method=method)

    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.content_type == "application/problem+json"


def test_a_problem_names_the_request(lite: FlaskClient) -> None:
    answer = lite.get("/api/nothing", headers={"X-Request-ID": "request-12345678"})

    problem = answer.get_json()
    assert (problem["status"], problem["title"], problem["request_id"]) == (404, "Not Found", "request-12345678")
    assert answer.headers["X-Request-ID"] == "request-12345678"


def test_following_next_shows_every_entry_once(client: FlaskClient) -> None:
    for number in range(7):
        client.post("/api/entries", json={"name": str(number), "message": "hello"})

    seen, address = [], "/api/entries?limit=3"
    while address:
        answer = client.get(address).get_json()
        seen += [entry["name"] for entry in answer["entries"]]
        address = answer["next"]

    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    assert client.get("/api/entries?cursor=7fffffffffffffff").get_json()["entries"][0]["name"] == "6"  # the largest


def test_an_entry_signed_meanwhile_does_not_shift_the_next_page(client: FlaskClient) -> None:
    for number in range(4):
        client.post("/api/entries", json={"name": str(number), "message": "hello"})
    following = client.get("/api/entries?limit=2").get_json()["next"]

    client.post("/api/entries", json={"name": "new", "message": "hello"})

    assert [entry["name"] for entry in client.get(following).get_json()["entries"]] == ["1", "0"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=", "cursor=", "cursor=nonsense", "cursor=8000000000000000", "other=1"]
)
def test_a_wrong_query_is_named(lite: FlaskClient, query: str) -> None:
    answer = lite.get(f"/api/entries?{query}")

    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == query.partition("=")[0]
