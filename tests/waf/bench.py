"""What the WAF costs, interleaved (`make bench-waf`); best on a quiet machine.

First CPU time of the WAF's worker against an unedited Core Rule Set in the same nginx, then CPU time and latency of WAF and gateway.

With the names of a gateway's and of a WAF's image as its arguments it measures the nginx in there, else this machine's.

Prints a Markdown table for docs/waf.md and the costliest requests that are known. Times are of this machine, ratios travel better.
"""

import dataclasses
import json
import os
import random
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
from tests.nginx.gateway import HOST, Gateway
from tests.waf.corpus import JSON, Request
from tests.waf.cost import AS_WRITTEN, ONE_WORKER, cost_ms, cpu_ms, worker_of, worst
from tests.waf.site import Site, Waf
from tools.local.nginx import Edit

ROUNDS = 7
# The median is between the second and the second last of so many with 96 %.
COMPARED = 9
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Proto": "https",
}
# All of a release, as its own documents say, with the methods of the other side.
STOCK = r"""
SecRuleEngine On
SecRequestBodyAccess On
SecPcreMatchLimit 100000
SecPcreMatchLimitRecursion 100000
SecDefaultAction "phase:1,log,auditlog,pass"
SecDefaultAction "phase:2,log,auditlog,pass"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/json" "id:200001,phase:1,pass,nolog,t:none,ctl:requestBodyProcessor=JSON"
SecAction "id:900990,phase:1,pass,nolog,t:none,setvar:tx.crs_setup_version=490"
SecAction "id:900200,phase:1,pass,nolog,t:none,setvar:'tx.allowed_methods=GET HEAD POST OPTIONS PUT PATCH DELETE'"
Include ../../run/crs/*.conf
"""
SIDES = {
    "stock": [Edit("rules/main.conf", r"\A(?s:.*)\Z", STOCK.replace("\\", r"\\")), AS_WRITTEN],
    "as written": [AS_WRITTEN],
    "as loaded": [],
}


def compared() -> dict[str, tuple[Request, int]]:
    """The requests of the comparison."""
    found = workloads()
    get, _ = found["GET, 4 arguments, 3 cookies"]
    chance = random.Random(1)  # noqa: S311 - the same values every time
    prose = "We stayed in the garden until ten, and they didn't like the rain; I will open the shop from nine to five. Is it far?"
    words = prose.split()
    values = {f"field_{n}": chance.randint(0, 9999) if n % 3 == 0 else " ".join(chance.choices(words, k=2)) for n in range(420)}
    return {
        "GET, 4 arguments, 3 cookies": (dataclasses.replace(get, headers={**BROWSER, **get.headers}), 100),
        "GET without arguments": (Request("bench", "path", "", headers=BROWSER), 100),
        "POST, small JSON": found["POST, small JSON"],
        "POST, 10 KB JSON, 420 values, prose and numbers": (
            Request("bench", "json", "", "POST", "/api/v1/entries", {"Content-Type": JSON}, json.dumps(values).encode()),
            10,
        ),
    }


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


def against_stock(exits: ExitStack, backend: RawBackend, image: str) -> None:
    """Print each side's CPU time, and its ratio to an unedited release."""
    sides: dict[str, tuple[HTTPConnection, psutil.Process]] = {}
    for name, edits in SIDES.items():
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        box = exits.enter_context(box_of(image, folder)) if image else ""
        rules = {"WAF_RULES_DIR": os.environ["WAF_RULES_DIR"]} if os.environ.get("WAF_RULES_DIR") else {}
        waf: Gateway = Waf(folder / "waf", box, upstreams=[backend.address], env={**ONE_WORKER, **rules}, edits=edits)
        exits.callback(waf.stop)
        waf.start()
        connection = HTTPConnection(HOST, waf.port, timeout=60)
        exits.callback(connection.close)
        sides[name] = connection, worker_of(waf)
    print(
        "| request | unedited release, CPU | the kit's rules as written | as loaded | as loaded / unedited (96 %) |\n|---|---|---|---|---|"
    )
    for name, (request, times) in compared().items():
        rounds = []
        for _ in range(COMPARED):
            costs = {side: cost_ms(*where, request, times=times) for side, where in sides.items()}
            assert {status for _, status in costs.values()} == {200}, costs
            rounds.append({side: milliseconds for side, (milliseconds, _) in costs.items()})
        stock, written, loaded = (statistics.median(one[side] for one in rounds) for side in SIDES)
        ratios = sorted(one["as loaded"] / one["stock"] for one in rounds)
        interval = f"{statistics.median(ratios):.2f} ({ratios[1]:.2f} to {ratios[-2]:.2f})"
        print(f"| {name} | {stock:.2f} ms | {written:.2f} ms | {loaded:.2f} ms | {interval} |")
    print()


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
        against_stock(exits, backend, images[1] if images else "")
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
