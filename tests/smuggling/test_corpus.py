"""Each request of the corpus is refused or served right, and never changes what another client is answered.

After each one a canary, a request with a token of its own, goes over the same connection and over another one; and
the application's own record says what arrived. What the canary and the record would show is shown by the twins below.
"""

import json
import uuid
from dataclasses import replace

import pytest

from tests.clients import wait_until
from tests.gateways import Gateways
from tests.nginx.gateway import HOST, Answer, Gateway
from tests.smuggling.corpus import CORPUS, EITHER, SERVED, SMUGGLED, UNFINISHED, Case
from tests.smuggling.lax import LaxServer
from tests.smuggling.wire import Line, Recorder, Witness, paths, revealing

# How nginx, the firewall and gunicorn say no; 0 is nginx's page without a header, for HTTP/0.9. Not 404: that would be an answer.
REFUSALS = {0, 400, 403, 405, 408, 411, 413, 414, 415, 421, 431, 501, 505}


BY_NAME = {case.name: case for group in CORPUS.values() for case in group}


def canary(line: Line) -> str:
    """Send a request of one's own, and insist that the answer is its own; returns its path."""
    path = f"/canary/{uuid.uuid4().hex}"
    line.say(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answer = line.hear()
    assert answer is not None, "the canary got no answer"
    assert answer.status == 200, answer
    assert json.loads(answer.body)["path"] == path
    return path


def test_the_corpus_has_no_name_twice() -> None:
    assert sum(map(len, CORPUS.values())) == len(BY_NAME) >= 60


@pytest.mark.parametrize("group", CORPUS)
def test_one_clean_answer_and_nobody_is_mixed_up(gateway: Gateway, recorder: Recorder, group: str, subtests: pytest.Subtests) -> None:
    for case in CORPUS[group]:
        with subtests.test(case.name):
            examine(gateway.port, recorder, case)


@pytest.mark.parametrize("group", CORPUS)
def test_the_hop_to_the_firewall_opens_no_other_way(guarded: Gateway, recorder: Recorder, group: str, subtests: pytest.Subtests) -> None:
    """What would be served may be refused by its rules; nothing else changes."""
    for case in CORPUS[group]:
        lenient = replace(case, fate=EITHER) if case.fate is SERVED else case
        with subtests.test(case.name):
            examine(guarded.port, recorder, lenient)


def examine(port: int, witness: Witness, case: Case, *, client: str = HOST) -> None:
    """Send one request of the corpus, and canaries before, beside and after it."""
    mark = witness.mark()
    with Line(port) as other, Line(port) as line:
        canaries = [canary(other)]
        line.say(case.wire)
        if case.fate is UNFINISHED:
            canaries.append(canary(other))
            assert line.is_silent()
            answer = None
        else:
            answer = line.hear(bodiless=case.method == "HEAD")
            if answer is not None and answer.values("connection") != ["close"]:
                canaries.append(canary(line))
            assert line.rest() == b""
        canaries.append(canary(other))
        assert other.rest() == b""
    arrived = witness.since(mark)

    assert sorted(path for path in paths(arrived) if path.startswith("/canary/")) == sorted(canaries)
    judge(case, answer, [record for record in arrived if not record["path"].startswith("/canary/")], client)


def judge(case: Case, answer: Answer | None, arrived: list[dict[str, str]], client: str) -> None:
    """Insist on the case's fate. `arrived`: what reached the application beside the canaries."""
    if answer is not None:
        assert revealing(answer) == []
    if answer is None or answer.status != 200:
        assert case.fate is not SERVED, answer
        assert answer is None or answer.status in REFUSALS, answer
        assert arrived == []
        return
    assert case.fate in {SERVED, EITHER}, (answer, arrived)
    assert [(record["method"], record["path"], record["body"].encode("latin-1")) for record in arrived] == [
        (case.method, case.path, case.body)
    ]
    if case.method != "HEAD":
        assert json.loads(answer.body) == arrived[0]
    assert_gateway_speaks(arrived[0], client)


def assert_gateway_speaks(record: dict[str, str], client: str) -> None:
    """What only the gateway may say of a request was said by the gateway."""
    headers: dict[str, str] = record["headers"]  # type: ignore[assignment]
    assert (headers["x_forwarded_for"], headers["x_forwarded_proto"]) == (client, "http")
    assert headers["host"].lower() == "localhost"
    assert len(headers["x_request_id"]) == 32
    assert not {"upgrade", "connection", "transfer_encoding"} & headers.keys()


# --- The twins: servers that read requests carelessly ----------------------------------------------------------------------


def test_a_server_that_prefers_chunks_to_the_length_mixes_answers_up() -> None:
    """Without nginx: the bytes hidden in one client's body are taken for a request, and the canary gets its answer."""
    with LaxServer(prefers_chunks=True) as lax, pytest.raises(AssertionError, match="/smuggled"):
        examine(lax.port, lax, BY_NAME["cl-te"])


def test_the_gateway_keeps_that_request_from_such_a_server(start_gateway: Gateways) -> None:
    with LaxServer(prefers_chunks=True) as lax:
        gateway = start_gateway(f"{HOST}:{lax.port}", {"NGINX_WORKER_PROCESSES": "1", "WAF_MODE": "Off"})
        with Line(gateway.port) as line:
            line.say(BY_NAME["cl-te"].wire)
            answer = line.hear()

        assert answer is not None
        assert answer.status == 400
        assert lax.since(0) == []


def test_a_server_that_ignores_the_body_of_a_get_is_seen_behind_the_gateway(start_gateway: Gateways) -> None:
    """What nginx passes on is right and still carried out twice: only the record of what arrived tells."""
    with LaxServer(reads_body_of_get=False) as lax:
        gateway = start_gateway(f"{HOST}:{lax.port}", {"NGINX_WORKER_PROCESSES": "1", "WAF_MODE": "Off"})
        with Line(gateway.port) as line:
            line.say(BY_NAME["cl-on-get"].wire.replace(b"0\r\n\r\n" + SMUGGLED, SMUGGLED + b"0\r\n\r\n"))
            line.hear()
        arrived = wait_until(lambda: lax.since(0) if len(lax.since(0)) > 1 else None, "the hidden request arrives")

    assert paths(arrived or []) == ["/case/cl-on-get", "/smuggled"]
