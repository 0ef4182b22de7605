"""CPU time of nginx and latency with the firewall on and off, interleaved, as ratios (`make bench-waf`); best on a quiet machine.

With the name of a gateway's image as its argument it measures the nginx in there, else this machine's.

Prints a Markdown table for docs/waf.md and the costliest requests that are known. Times are of this machine, ratios travel better.
"""

import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import psutil

from tests.gateways import box_of
from tests.nginx.backends import RawBackend, answer
from tests.nginx.gateway import HOST, Gateway
from tests.waf.corpus import JSON, Request
from tests.waf.cost import ONE_WORKER, cost_ms, worker_of, worst

ROUNDS = 7


def workloads() -> dict[str, tuple[Request, int]]:
    """Each with how often it is sent in one round."""

    def post(document: object) -> Request:
        return Request("bench", "json", "", "POST", "/api/v1/entries", {"Content-Type": JSON}, json.dumps(document).encode())

    small = {"name": "Anna", "message": "A lovely evening", "tags": "garden", "rating": 5, "public": True}
    cookies = {"Cookie": "session=eyJhIjoxfQ.aSB1Yg.3bqV0sQ1mJ; theme=dark; lang=en"}
    return {
        "GET, 4 values, 3 cookies": (Request("bench", "query", "", path="/?page=2&q=red+shoes&sort=price&lang=en", headers=cookies), 100),
        "POST, small JSON": (post(small), 100),
        "POST, 10 KB JSON, 2 values": (post({"name": "Anna", "message": "some words " * 900}), 30),
        "POST, 10 KB JSON, 420 values": (post({f"field_{number}": "some words" for number in range(420)}), 10),
        "POST, 36 KB JSON, 900 values": (post({f"field_{number}": "It is a lovely evening" for number in range(900)}), 5),
    }


def start(exits: ExitStack, backend: RawBackend, mode: str, image: str) -> tuple[HTTPConnection, psutil.Process]:
    folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
    env = {"LIMITS": "off", "WAF_MODE": mode, **ONE_WORKER}
    box = exits.enter_context(box_of(image, folder)) if image else ""
    gateway = Gateway(folder, box, upstreams=[backend.address], env=env)
    exits.callback(gateway.stop)
    gateway.start()
    connection = HTTPConnection(HOST, gateway.port, timeout=60)
    exits.callback(connection.close)
    return connection, worker_of(gateway)


def main(image: str = "") -> None:
    """Measure and print."""
    with ExitStack() as exits:
        backend = exits.enter_context(RawBackend(answer))
        sides = {mode: start(exits, backend, mode, image) for mode in ("On", "Off")}
        load = psutil.getloadavg()[0]
        print(f"One nginx worker, {ROUNDS} rounds, On and Off in turn; load of the machine before: {load:.1f}\n")
        print("| request | CPU off | CPU on | ratio | latency off | latency on | ratio |\n|---|---|---|---|---|---|---|")
        for name, (request, times) in workloads().items():
            cpu: dict[str, list[float]] = {"On": [], "Off": []}
            wall: dict[str, list[float]] = {"On": [], "Off": []}
            for _ in range(ROUNDS):
                for mode, (connection, worker) in sides.items():
                    began = time.monotonic()
                    milliseconds, status = cost_ms(connection, worker, request, times=times)
                    wall[mode].append((time.monotonic() - began) * 1000 / times)
                    cpu[mode].append(milliseconds)
                    assert status == 200, f"{name}: {status}"
            off, on, slow, slower = (statistics.median(values) for values in (cpu["Off"], cpu["On"], wall["Off"], wall["On"]))
            print(f"| {name} | {off:.3f} ms | {on:.2f} ms | {on / off:.0f} | {slow:.2f} ms | {slower:.2f} ms | {slower / slow:.1f} |")
        connection, worker = sides["On"]
        costs = sorted(
            ((min(cost_ms(connection, worker, request)[0] for _ in range(3)), request.text) for request in worst()), reverse=True
        )
        print("\nThe costliest requests that are known, CPU time of the worker:\n")
        print("\n".join(f"- {milliseconds:.0f} ms: {text}" for milliseconds, text in costs[:6]))


if __name__ == "__main__":
    main(*sys.argv[1:2])
