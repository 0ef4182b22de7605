"""The same key makes one entry, whoever is asked and however many ask at once."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from kit_app.database import db
from kit_app.models import IdempotencyKey
from tests.app.conftest import MakeApp, Serve
from tests.clients import wait_until

ENTRY = {"name": "Ada", "message": "hello"}
KEY = {"Idempotency-Key": "key-12345678"}
COPIES = 8


def test_a_repeated_request_gets_the_same_answer_and_makes_one_entry(client: FlaskClient) -> None:
    first = client.post("/api/entries", json=ENTRY, headers=KEY)
    second = client.post("/api/entries", json=ENTRY, headers=KEY)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.data == second.data
    assert first.location == second.location
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(client.get("/api/entries").get_json()["entries"]) == 1


def test_without_a_key_a_repeated_request_makes_a_second_entry(client: FlaskClient) -> None:
    for _ in range(2):
        client.post("/api/entries", json=ENTRY)

    assert len(client.get("/api/entries").get_json()["entries"]) == 2


def test_another_entry_under_the_same_key_is_refused(client: FlaskClient) -> None:
    client.post("/api/entries", json=ENTRY, headers=KEY)

    answer = client.post("/api/entries", json={**ENTRY, "message": "other"}, headers=KEY)

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.get_json()["detail"]
    assert len(client.get("/api/entries").get_json()["entries"]) == 1


@pytest.mark.parametrize("key", ["", "short", "x" * 129, "with space", "ключ-ключ", "semi;colon"])
def test_a_malformed_key_is_400(lite: FlaskClient, key: str) -> None:
    answer = lite.post("/api/entries", json=ENTRY, environ_overrides={"HTTP_IDEMPOTENCY_KEY": key})

    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.get_json()["detail"]


def test_an_entry_that_is_not_valid_does_not_use_up_its_key(client: FlaskClient) -> None:
    client.post("/api/entries", json={"name": "Ada"}, headers=KEY)

    assert client.post("/api/entries", json=ENTRY, headers=KEY).status_code == 201


@pytest.mark.parametrize("kind", ["sqlite_url", "postgres_url"])
def test_keys_older_than_a_day_are_deleted_as_new_ones_come(request: pytest.FixtureRequest, make_app: MakeApp, kind: str) -> None:
    app = make_app(DATABASE_URL=request.getfixturevalue(kind))
    client = app.test_client()

    def send(number: int) -> int:
        return client.post("/api/entries", json=ENTRY, headers={"Idempotency-Key": f"number-{number:04}"}).status_code

    assert {send(number) for number in range(1, 63)} == {201}
    with app.app_context():
        old = IdempotencyKey.key <= "number-0060"
        db.session.execute(update(IdempotencyKey).where(old).values(created_at=datetime.now(UTC) - timedelta(hours=25)))
        db.session.commit()
    assert {send(63), send(64)} == {201}

    with app.app_context():
        assert sorted(db.session.scalars(select(IdempotencyKey.key))) == [f"number-{number:04}" for number in (61, 62, 63, 64)]


@pytest.mark.parametrize("kind", ["sqlite_url", "postgres_url"])
def test_copies_that_race_on_two_servers_make_one_entry(request: pytest.FixtureRequest, make_app: MakeApp, serve: Serve, kind: str) -> None:
    url = request.getfixturevalue(kind)
    make_app(DATABASE_URL=url)  # makes the tables
    servers = [serve(DATABASE_URL=url), serve(DATABASE_URL=url)]
    together = threading.Barrier(COPIES)

    def send(number: int) -> httpx.Response:
        address = f"{servers[number % 2].url}/api/entries"
        together.wait()
        return httpx.post(address, json=ENTRY, headers=KEY, timeout=30)

    with ThreadPoolExecutor(COPIES) as threads:
        answers = list(threads.map(send, range(COPIES)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len(httpx.get(f"{servers[0].url}/api/entries").json()["entries"]) == 1


@pytest.fixture
def rival(make_app: MakeApp, postgres_url: str) -> Iterator[tuple[Flask, psycopg.Connection[Any]]]:
    """An app, and a transaction of somebody else that has stored the same entry under the same key."""
    app = make_app(DATABASE_URL=postgres_url)
    app.test_client().post("/api/entries", json=ENTRY, headers=KEY)
    with psycopg.connect(postgres_url) as connection:
        stored = connection.execute("DELETE FROM idempotency_key RETURNING key, fingerprint, entry_id, answer, created_at").fetchone()
        assert stored
        connection.commit()
        connection.execute(
            "INSERT INTO idempotency_key (key, fingerprint, entry_id, answer, created_at) VALUES (%s, %s, %s, %s, %s)", stored
        )
        yield app, connection


def send_and_wait(app: Flask, thread: ThreadPoolExecutor, url: str) -> Future[TestResponse]:
    """Send the entry, and return when the database lets it wait for the rival."""
    answer = thread.submit(app.test_client().post, "/api/entries", json=ENTRY, headers=KEY)
    with psycopg.connect(url, autocommit=True) as watcher:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: watcher.execute(waiting).fetchone() == (1,), "the request waits for the rival's transaction")
    return answer


def test_the_slower_of_two_answers_what_the_faster_stored(rival: tuple[Flask, psycopg.Connection[Any]], postgres_url: str) -> None:
    app, connection = rival
    with ThreadPoolExecutor(1) as thread:
        answer = send_and_wait(app, thread, postgres_url)
        connection.commit()

        assert answer.result().headers["Idempotency-Replayed"] == "true"
        assert answer.result().get_json()["id"] == 1
    assert len(app.test_client().get("/api/entries").get_json()["entries"]) == 1


def test_the_slower_of_two_stores_when_the_faster_gave_up(rival: tuple[Flask, psycopg.Connection[Any]], postgres_url: str) -> None:
    app, connection = rival
    with ThreadPoolExecutor(1) as thread:
        answer = send_and_wait(app, thread, postgres_url)
        connection.rollback()

        assert answer.result().status_code == 201
        assert "Idempotency-Replayed" not in answer.result().headers
    assert len(app.test_client().get("/api/entries").get_json()["entries"]) == 2
