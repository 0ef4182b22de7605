"""What a request may cost the worker that inspects it, and that a refusal by a limit costs next to nothing.

`make bench-waf` prints the times; here only ratios within one run are judged, of CPU time, which a busy machine cannot turn around.
"""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import psutil
import pytest

from tests.nginx.backends import RawBackend
from tests.sites import Sites
from tests.waf.corpus import JSON, Request
from tests.waf.cost import AS_WRITTEN, ONE_WORKER, cost_ms, cpu_ms, plain, worker_of, worst
from tests.waf.site import Site
from tools.local.nginx import Edit

pytestmark = pytest.mark.runtimes("compose")

# The costliest that is known costs two to three times as much as plain text of the same size; what was found without bounds cost a
# hundred times as much, and grew with its square or cube.
AT_MOST = 10.0


@pytest.fixture(scope="module")
def measured(site: Site, shared_sites: Sites, backend: RawBackend) -> Iterator[tuple[HTTPConnection, psutil.Process]]:
    assert site
    one = shared_sites(backend.address, ONE_WORKER)
    connection = HTTPConnection("127.0.0.1", one.port, timeout=60)
    yield connection, worker_of(one.waf)
    connection.close()


def test_no_request_costs_far_more_than_plain_text_of_its_size(
    measured: tuple[HTTPConnection, psutil.Process],
    shared_sites: Sites,
    backend: RawBackend,
    runtime: str,
    note: Callable[[str], None],
) -> None:
    """Plain text with all rules asked: most are not, of plain text, where they are as they are loaded."""
    written = shared_sites(backend.address, ONE_WORKER, [AS_WRITTEN])
    connection = HTTPConnection("127.0.0.1", written.port, timeout=60)
    reference, _ = cost_ms(connection, worker_of(written.waf), plain())
    connection.close()
    ratios = {request.text: cost_ms(*measured, request)[0] / reference for request in worst()}
    name = max(ratios, key=lambda text: ratios[text])
    note(f"firewall ({runtime}): the costliest of {len(ratios)}: {name}: {ratios[name]:.1f} x the CPU time of 64 KB of plain text")

    assert {text: ratio for text, ratio in ratios.items() if ratio > AT_MOST} == {}


def test_hundreds_of_special_characters_in_a_row_are_refused(site: Site, shared_sites: Sites, backend: RawBackend) -> None:
    """Expressions backtrack over them. Tried with a line of dashes, which costs nothing; without the rule it passes: the twin."""
    assert site
    unbound = shared_sites(backend.address, ONE_WORKER, [Edit("rules/user-before.conf", r"\Z", "\nSecRuleRemoveById 10131\n")])
    document = {"rule of dashes": "-" * 300}
    dashes = Request("worst", "json", "dashes", "POST", "/", {"Content-Type": JSON}, json.dumps(document).encode())

    for gateway, expected in ((shared_sites(backend.address, ONE_WORKER), 400), (unbound, 200)):
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        assert cost_ms(connection, worker_of(gateway.waf), dashes)[1] == expected
        connection.close()


def test_without_the_limit_on_values_a_body_would_cost_several_times_as_much(shared_sites: Sites, backend: RawBackend, site: Site) -> None:
    """The twin of test_arguments_are_counted; what the limit refuses costs less than what passes."""
    assert site
    costs = {}
    for values in ("6000", "900"):
        server = shared_sites(backend.address, {**ONE_WORKER, "WAF_VALUES": values})
        connection, worker = HTTPConnection("127.0.0.1", server.port, timeout=60), worker_of(server.waf)
        for number in (850, 5000):
            # Plain numbers would leave most rules unasked (waf/lighten.py).
            body = json.dumps(dict.fromkeys(map(str, range(number)), "50 %")).encode()
            request = Request("worst", "json", "", "POST", "/", {"Content-Type": JSON}, body)
            cost_ms(connection, worker, request)
            costs[values, number] = cost_ms(connection, worker, request)
        connection.close()
    few, many, refused = costs["6000", 850], costs["6000", 5000], costs["900", 5000]

    assert (few[1], many[1], refused[1]) == (200, 200, 422)
    assert many[0] > 3 * few[0]
    assert many[0] > 3 * refused[0]


def test_refusal_by_a_limit_costs_next_to_nothing(site: Site, shared_sites: Sites, backend: RawBackend) -> None:
    """Gateway and WAF together, against an accepted request with 420 arguments."""
    assert site
    tight = [Edit("templates/30-limits.conf.template", r"rate=\$\{LIMIT_WRITES\}r/s", "rate=1r/m")]
    limited = shared_sites(backend.address, {**ONE_WORKER, "LIMITS": "on"}, gateway_edits=tight)
    connection, gateway, waf = HTTPConnection("127.0.0.1", limited.port, timeout=60), worker_of(limited), worker_of(limited.waf)
    arguments = ",".join(f'"field_{number}":"some words"' for number in range(420))
    request = Request("write", "json", "420 arguments", "POST", "/api/v1/entries", {"Content-Type": JSON}, f"{{{arguments}}}".encode())

    def cost() -> tuple[float, int]:
        before = cpu_ms(waf)
        milliseconds, status = cost_ms(connection, gateway, request, times=20)
        return milliseconds + (cpu_ms(waf) - before) / 20, status

    accepted, first = cost()
    cost()
    refused, last = cost()
    connection.close()

    assert (first, last) == (200, 429)
    assert refused < 0.05 * accepted
