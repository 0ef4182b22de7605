"""What the firewall refuses of the attacks and lets pass of ordinary use, counted by class (docs/waf.md has the table)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from typing import NamedTuple

import pytest

from tests.nginx.backends import RawBackend
from tests.nginx.gateway import Gateway
from tests.sites import Sites
from tests.waf.conftest import rules_of
from tests.waf.corpus import Request, attacks, benign
from tests.waf.site import Site

REFUSED = frozenset({400, 403, 413, 415, 422})
BROWSER = {"Host": "localhost", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Accept": "*/*"}
# Of each class of attacks.toml, which holds what was refused when it was written: Debian's rules change.
AT_LEAST = 0.9
PASSING = 0.99


class Outcome(NamedTuple):
    request: Request
    request_id: str
    status: int


@pytest.fixture(scope="module")
def attacked(site: Site) -> list[Outcome]:
    return send(site, attacks(), "attack")


@pytest.fixture(scope="module")
def used(site: Site) -> list[Outcome]:
    return send(site, benign(), "benign")


def send(gateway: Gateway, requests: Sequence[Request], name: str) -> list[Outcome]:
    """Send them one after the other on one connection."""
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    outcomes = []
    for number, request in enumerate(requests):
        request_id = f"{name}-{number:05}"
        headers: Mapping[str, str] = {**BROWSER, "X-Request-ID": request_id, **request.headers}
        connection.request(request.method, request.path, body=request.body or None, headers=headers)
        answer = connection.getresponse()
        answer.read()
        outcomes.append(Outcome(request, request_id, answer.status))
    connection.close()
    return outcomes


def explain(site: Site, outcome: Outcome) -> tuple[int, str, str, str, list[int]]:
    """What was refused, and by which rules."""
    rules = rules_of(site.waf.audited().get(outcome.request_id, {"messages": []}))
    return outcome.status, outcome.request.kind, outcome.request.place, outcome.request.text[:60], rules


def test_the_corpora_are_as_large_as_the_claim() -> None:
    assert len(attacks()) >= 300
    assert len(benign()) >= 400
    assert {request.place for request in attacks()} >= {"query", "path", "form", "json", "multipart", "header", "cookie"}


def test_attacks_are_refused(attacked: list[Outcome], runtime: str, note: Callable[[str], None]) -> None:
    sent = Counter(outcome.request.kind for outcome in attacked)
    refused = Counter(outcome.request.kind for outcome in attacked if outcome.status in REFUSED)
    for kind in sent:
        note(f"firewall ({runtime}): {kind}: {refused[kind]} of {sent[kind]} refused ({100 * refused[kind] / sent[kind]:.0f} %)")
    note(f"firewall ({runtime}): all attacks: {refused.total()} of {sent.total()} ({100 * refused.total() / sent.total():.0f} %)")

    assert {kind: refused[kind] for kind in sent if refused[kind] < AT_LEAST * sent[kind]} == {}


def test_ordinary_use_passes(used: list[Outcome], site: Site, runtime: str, note: Callable[[str], None]) -> None:
    refused = [explain(site, outcome) for outcome in used if outcome.status != 200]
    note(f"firewall ({runtime}): ordinary use: {len(used) - len(refused)} of {len(used)} passed")
    for line in refused:
        note(f"firewall ({runtime}): refused although ordinary: {line}")

    assert len(refused) <= (1 - PASSING) * len(used)


def test_without_the_firewall_attacks_reach_the_app(shared_sites: Sites, backend: RawBackend) -> None:
    """The twin: nothing else in the gateway would stop them."""
    bare = shared_sites(backend.address, {"WAF_MODE": "Off"})
    sample = [request for request in attacks() if request.place in {"query", "form", "json"}][::8]

    assert {outcome.status for outcome in send(bare, sample, "bare")} == {200}
