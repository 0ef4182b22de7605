"""What a request may cost the worker that inspects it, and that a refusal by a limit costs next to nothing.

`make bench-waf` prints the times; here only ratios within one run are judged, of CPU time, which a busy machine cannot turn around.
"""

from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import psutil
import pytest

from tests.gateways import Gateways
from tests.nginx.backends import RawBackend
from tests.nginx.gateway import Gateway
from tests.waf.corpus import JSON, Request
from tests.waf.cost import ONE_WORKER, cost_ms, plain, worker_of, worst
from tools.local.nginx import Edit

# The costliest that is known costs two to three times as much as plain text of the same size; what was found without bounds cost a
# hundred times as much, and grew with its square or cube.
AT_MOST = 10.0


@pytest.fixture(scope="module")
def measured(gateway: Gateway, shared_gateways: Gateways, backend: RawBackend) -> Iterator[tuple[HTTPConnection, psutil.Process]]:
    assert gateway
    one = shared_gateways(backend.address, ONE_WORKER)
    connection = HTTPConnection("127.0.0.1", one.port, timeout=60)
    yield connection, worker_of(one)
    connection.close()


def test_no_request_costs_far_more_than_plain_text_of_its_size(
    measured: tuple[HTTPConnection, psutil.Process], runtime: str, note: Callable[[str], None]
) -> None:
    reference, _ = cost_ms(*measured, plain())
    ratios = {request.text: cost_ms(*measured, request)[0] / reference for request in worst()}
    name = max(ratios, key=lambda text: ratios[text])
    note(f"firewall ({runtime}): the costliest of {len(ratios)}: {name}: {ratios[name]:.1f} x the CPU time of 64 KB of plain text")

    assert {text: ratio for text, ratio in ratios.items() if ratio > AT_MOST} == {}


def test_without_the_bound_for_signs_one_value_would_hold_a_worker(
    shared_gateways: Gateways, backend: RawBackend, gateway: Gateway
) -> None:
    """The twin: the cost grows with the cube of the length."""
    assert gateway
    edit = Edit("waf/user-before.conf", r"\Z", "\nSecRuleRemoveById 10131\n")
    unbound = shared_gateways(backend.address, ONE_WORKER, [edit])
    connection, worker = HTTPConnection("127.0.0.1", unbound.port, timeout=60), worker_of(unbound)
    signs, letters = (
        Request("worst", "json", letter, "POST", "/", {"Content-Type": JSON}, b'{"k":"' + letter.encode() * 500 + b'"}')
        for letter in ("< ", "ab")
    )
    cost_ms(connection, worker, letters)

    assert cost_ms(connection, worker, signs)[0] > 5 * cost_ms(connection, worker, letters)[0]
    connection.close()


def test_refusal_by_a_limit_costs_next_to_nothing(gateway: Gateway, shared_gateways: Gateways, backend: RawBackend) -> None:
    """Against an accepted request with 420 values; the exact share is in docs/waf.md."""
    assert gateway
    limited = shared_gateways(backend.address, {**ONE_WORKER, "LIMITS": "on"}, [Edit("conf.d/30-limits.conf", r"rate=5r/s", "rate=1r/m")])
    connection, worker = HTTPConnection("127.0.0.1", limited.port, timeout=60), worker_of(limited)
    values = ",".join(f'"field_{number}":"some words"' for number in range(420))
    request = Request("write", "json", "420 values", "POST", "/api/v1/entries", {"Content-Type": JSON}, f"{{{values}}}".encode())
    accepted, first = cost_ms(connection, worker, request, times=20)
    cost_ms(connection, worker, request, times=20)
    refused, last = cost_ms(connection, worker, request, times=20)
    connection.close()

    assert (first, last) == (200, 429)
    assert refused < 0.05 * accepted
