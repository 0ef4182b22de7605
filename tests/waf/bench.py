"""CPU time and latency of the WAF, and of the gateway with the WAF on and off, interleaved (`make bench-waf`); best on a quiet machine.

With the names of a gateway's and of a WAF's image as its arguments it measures the nginx in there, else this machine's.

Prints a Markdown table for docs/waf.md and the costliest requests that are known. Times are of this machine, ratios travel better.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.gateways import box_of
from tests.nginx.backends import RawBackend, answer
from tests.nginx.gateway import HOST
from tests.waf.corpus import JSON, Request
from tests.waf.cost import ONE_WORKER, cost_ms, cpu_ms, worker_of, worst
from tests.waf.site import Site

ROUNDS = 7


def workloads() -> dict[str, tuple[Request, int]]:
    """Each with how often it is sent in one round."""

    def post(document: object) -> Request:
        return Request("bench", "json", "", "POST", "/api/v1/entries", {"Content-Type": JSON}, json.dumps(document).encode())

    small = {"name": "Anna", "message": "A lovely evening", "tags": "garden", "rating": 5, "public": True}
    cookies = {"Cookie": "session=eyJhIjoxfQ.aSB1Yg.3bqV0sQ1mJ; theme=dark; lang=en"}
    return {
        "GET, 4 arguments, 3 cookies": (
            Request("bench", "query", "", path="/?page=2&q=red+shoes&sort=price&lang=en", headers=cookies),
            100,
        ),
        "POST, small JSON": (post(small), 100),
        "POST, 10 KB JSON, 2 arguments": (post({"name": "Anna", "message": "some words " * 900}), 30),
        "POST, 10 KB JSON, 420 arguments": (post({f"field_{number}": "some words" for number in range(420)}), 10),
        "POST, 36 KB JSON, 900 arguments": (post({f"field_{number}": "It is a lovely evening" for number in range(900)}), 5),
    }


class Side(NamedTuple):
    """One site, with the WAF or past it."""

    connection: HTTPConnection
    gateway: psutil.Process
    waf: psutil.Process


def start(exits: ExitStack, backend: RawBackend, mode: str, images: Sequence[str]) -> Side:
    """Start a site with this WAF_MODE."""
    folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
    gateway_box, waf_box = [exits.enter_context(box_of(image, folder)) for image in images] or ["", ""]
    env = {"LIMITS": "off", "WAF_MODE": mode, **ONE_WORKER}
    site = Site(folder / "site", (gateway_box, waf_box), upstreams=[backend.address], env=env)
    exits.callback(site.stop)
    site.start()
    connection = HTTPConnection(HOST, site.port, timeout=60)
    exits.callback(connection.close)
    return Side(connection, worker_of(site), worker_of(site.waf))


class Cost(NamedTuple):
    """Milliseconds for one request."""

    gateway: float
    waf: float
    latency: float


def measure(side: Side, request: Request, times: int) -> Cost:
    """Send a request `times` times."""
    before, began = cpu_ms(side.waf), time.monotonic()
    gateway, status = cost_ms(side.connection, side.gateway, request, times=times)
    latency = (time.monotonic() - began) * 1000 / times
    assert status == 200, status
    return Cost(gateway, (cpu_ms(side.waf) - before) / times, latency)


def main(*images: str) -> None:
    """Measure and print."""
    with ExitStack() as exits:
        backend = exits.enter_context(RawBackend(answer))
        on, off = (start(exits, backend, mode, images) for mode in ("On", "Off"))
        load = psutil.getloadavg()[0]
        print(f"One worker each, median of {ROUNDS} rounds, On and Off in turn; load of the machine before: {load:.1f}\n")
        print("| request | WAF, CPU | gateway, CPU | gateway with WAF_MODE=Off, CPU | latency | with WAF_MODE=Off |")
        print("|---|---|---|---|---|---|")
        for name, (request, times) in workloads().items():
            rounds = [(measure(on, request, times), measure(off, request, times)) for _ in range(ROUNDS)]
            with_waf, without = (Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*rounds, strict=True))
            print(
                f"| {name} | {with_waf.waf:.2f} ms | {with_waf.gateway:.3f} ms | {without.gateway:.3f} ms"
                f" | {with_waf.latency:.2f} ms | {without.latency:.2f} ms |"
            )
        costs = sorted(((min(cost_ms(on.connection, on.waf, one)[0] for _ in range(3)), one.text) for one in worst()), reverse=True)
        print("\nThe costliest requests that are known, CPU time of the WAF's worker:\n")
        print("\n".join(f"- {milliseconds:.0f} ms: {text}" for milliseconds, text in costs[:6]))


if __name__ == "__main__":
    main(*sys.argv[1:3])
