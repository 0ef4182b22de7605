"""Every worker class serves the whole site and the laboratory, is the class it says, and keeps requests apart.

One worker process in each of three instances: what one process does with several requests at once is the class.
LIMITS=off because sixteen requests at once from one address are more than one visitor's budget.
"""

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from tests.clients import Reply, at_once
from tools.stack import Stack

CLASSES = ("sync", "gthread", "gevent", "tornado")
# Requests that one process has in work at once: with these classes several, with the others one after the other.
COOPERATIVE = ("gthread", "gevent")
AT_ONCE = 16

pytestmark = pytest.mark.parametrize("worker_class", CLASSES, scope="session")

Lifecycle = list[str]


@pytest.fixture
def stack(stack_factory: Callable[..., Stack], worker_class: str) -> Stack:
    """A stack whose gunicorns run this worker class."""
    settings = {"LAB_ENABLED": "1", "LIMITS": "off", "GUNICORN_WORKER_CLASS": worker_class}
    # Uploads here are plain bytes, which the firewall refuses unless they are named. The list replaces the default one.
    types = "application/json application/x-www-form-urlencoded application/octet-stream"
    return stack_factory({**settings, "WAF_CONTENT_TYPES": types})


def answers(replies: Sequence[Reply]) -> list[dict[str, Any]]:
    """Return the JSON of all replies, none of which may have failed."""
    assert [reply for reply in replies if reply.failed] == []
    return [json.loads(reply.body) for reply in replies]


# --- The site ---------------------------------------------------------------------------------------------------------


def test_pages_form_and_static_files(client: httpx.Client) -> None:
    front = client.get("/")
    token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', front.text)
    style = re.search(r'<link rel="stylesheet" href="([^"]+)"', front.text)
    assert front.status_code == 200
    assert token
    assert style

    message = f"signed {secrets.token_hex(8)}"
    signed = client.post("/entries", data={"csrf_token": token[1], "name": "Ada", "message": message}, follow_redirects=True)
    assert signed.status_code == 200
    assert message in signed.text
    assert client.post("/entries", data={"name": "Ada", "message": message}).status_code == 400

    entry = re.search(r'href="(/entries/\d+)"', signed.text)
    assert entry
    assert client.get(entry[1]).status_code == 200
    assert client.get("/about").status_code == 200
    assert client.get(style[1]).headers["content-type"].startswith("text/css")
    assert client.get("/no-such-page").status_code == 404


def test_api_and_idempotency(client: httpx.Client) -> None:
    key = secrets.token_hex(16)
    body = {"name": "Grace", "message": f"sent {key}"}
    first = client.post("/api/entries", json=body, headers={"Idempotency-Key": key})
    again = client.post("/api/entries", json=body, headers={"Idempotency-Key": key})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert client.post("/api/entries", json={**body, "name": "Eve"}, headers={"Idempotency-Key": key}).status_code == 422

    assert client.get(f"/api/entries/{first.json()['id']}").json() == first.json()
    listed = client.get("/api/entries", params={"limit": 5}).json()["entries"]
    assert [entry for entry in listed if entry["message"] == body["message"]] == [first.json()]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


# --- The laboratory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/lab/hello",
        "/lab/json",
        "/lab/cpu?ms=5",
        "/lab/wait?ms=5",
        "/lab/db",
        "/lab/page",
        "/lab/process",
        "/lab/lifecycle",
        "/lab/context?ms=5",
    ],
)
def test_lab_route(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_large_bodies_arrive_whole(client: httpx.Client) -> None:
    assert len(client.get("/lab/payload?kib=1024").content) == 1024 * 1024
    sent = client.post("/lab/upload", content=b"x" * 1024 * 1024, headers={"Content-Type": "application/octet-stream"})
    assert sent.json()["bytes"] == 1024 * 1024


def test_a_stream_arrives_whole(client: httpx.Client) -> None:
    text = client.get("/lab/stream?chunks=5&interval_ms=10").text
    assert text.splitlines() == [f"chunk {number} of 5" for number in range(1, 6)]


# --- The class is what it says ---------------------------------------------------------------------------------------------


def test_the_class_that_was_asked_for_runs(client: httpx.Client, stack: Stack, worker_class: str) -> None:
    process = client.get("/lab/process").json()
    assert process["worker_class"] == worker_class
    assert process["gevent_patched"] == (worker_class == "gevent")
    # SQLite waits inside C code; PostgreSQL's driver lets other greenlets run when it was imported after the patch.
    assert process["database_driver"]["cooperative"] == (worker_class == "gevent" and stack.runtime == "compose")


def test_waits_overlap_as_the_class_says(stack: Stack, worker_class: str) -> None:
    """The server's own clock decides, so that a busy machine cannot: it can delay a wait, not make two of them overlap."""
    waits = answers(at_once(stack.url, "/lab/wait?ms=500", requests=AT_ONCE))
    processes = defaultdict(list)
    for wait in waits:
        processes[wait["container"], wait["pid"]].append((wait["started_s"], wait["ended_s"]))
    peaks = [most_at_once(spans) for spans in processes.values()]

    if worker_class in COOPERATIVE:
        # Sixteen in three processes: one of them has six or more, and waits for several at the same time.
        assert max(peaks) >= 2
    else:
        assert peaks == [1] * len(processes)


def most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """Return how many of these spans of time, at most, have one moment in common."""
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


# --- Requests stay apart ------------------------------------------------------------------------------------------------------


def test_context_locals_do_not_mix(stack: Stack) -> None:
    for answer in answers(at_once(stack.url, "/lab/context?ms=100", requests=2 * AT_ONCE)):
        assert {name: answer["own"][name] for name in ("request", "g", "session", "context_variable", "thread_local")} == {
            "request": True,
            "g": True,
            "session": True,
            "context_variable": True,
            "thread_local": True,
        }


def test_a_module_global_does(stack: Stack, worker_class: str) -> None:
    """The negative twin: what the check above would show if the locals were one value for all requests."""
    found = answers(at_once(stack.url, "/lab/context?ms=100", requests=2 * AT_ONCE))
    mixed = [answer for answer in found if not answer["own"]["module_global"]]
    # One request at a time keeps even a global right, which is why such a bug is found late.
    assert bool(mixed) == (worker_class in COOPERATIVE)


# --- The order of hooks and signals -------------------------------------------------------------------------------------------

ORDER = [
    "wsgi middleware: in",
    "signal appcontext_pushed",
    "signal request_started",
    "url_value_preprocessor",
    "before_request",
    "blueprint before_request",
    "view",
    "signal template_rendered",
    "after_this_request",
    "blueprint after_request",
    "after_request",
    "signal request_finished",
    "blueprint teardown_request",
    "teardown_request",
    "signal request_tearing_down",
    "teardown_appcontext",
    "signal appcontext_tearing_down",
    "wsgi middleware: out",
]


def test_hooks_fire_in_flasks_order(client: httpx.Client) -> None:
    events: Lifecycle = client.get("/lab/lifecycle").json()["events"]
    assert [event for event in events if event in ORDER] == ORDER
    assert "signal got_request_exception" not in events


def test_an_error_takes_the_views_place(client: httpx.Client) -> None:
    answer = client.get("/lab/lifecycle?fail=1")
    events: Lifecycle = answer.json()["events"]
    assert answer.status_code == 500
    assert events.index("view") < events.index("signal got_request_exception") < events.index("after_request")
    assert "signal template_rendered" not in events


def test_the_first_request_of_a_process_is_noted_once(stack: Stack) -> None:
    """What `before_first_request` promised until Flask 2.3: once in each process, whatever the number of requests."""
    found = answers(at_once(stack.url, "/lab/lifecycle", requests=3 * AT_ONCE))
    first = [answer["pid"] for answer in found if "first request of this process" in answer["events"]]
    assert len(first) <= stack.replicas
