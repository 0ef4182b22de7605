"""How much of a request is nginx, the WAF, gunicorn, Flask, the template, the database: python -m tests.app.parts (`make bench-parts`).

Gateway, WAF and gunicorn have one worker each, on one processor, and a PostgreSQL of their own; wrk sends to the gateway. What a part costs
is the difference of two requests that differ by it, from the kernel's count of processor time; rounds of one-second slices in random order,
and the median of the rounds. With the names of a gateway's and of a WAF's image it measures the nginx in there, else this machine's.
"""

import os
import random
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.app.bench import BARE_APP, CONNECTIONS, Site
from tests.app.postgres import cluster
from tests.app.server import ROOT
from tests.gateways import box_of
from tests.nginx.bench import ENOUGH, cpu_us, wrk
from tests.nginx.gateway import Gateway
from tests.waf.cost import ONE_WORKER, worker_of
from tests.waf.site import Site as Inspected

ROUNDS = int(os.environ.get("ROUNDS", "21"))
CALLABLE = {"APP_MODULE": "simple_app:simple_app", "PYTHONPATH": str(ROOT / "servers/bare")}
BACKEND = "postgres: kit kit_"
SETTINGS = {"LIMITS": "off", "MAX_IN_FLIGHT": "0", **ONE_WORKER}
# (what answers, path): each differs from another by one part.
LEAST, FLASK, DB = ("callable", "/lab/json"), ("flask", "/lab/json"), ("site", "/lab/db")
JSON, PAGE = ("site", "/lab/json"), ("site", "/lab/page")
REQUESTS = [LEAST, FLASK, DB, JSON, PAGE, ("waf", "/lab/json"), ("waf", "/lab/page")]


class Cost(NamedTuple):
    """Microseconds of one request."""

    nginx: float
    app: float
    database: float


class Way(NamedTuple):
    """A way through gateway, and WAF, to an application."""

    url: str
    nginx: list[psutil.Process]
    app: psutil.Process

    def cost(self, path: str, backends: list[psutil.Process], generator: int) -> Cost:
        """Load it for a second; again, when too few were answered to tell: at first the site's own connections, idle, hold its threads."""
        parts = (self.nginx, [self.app], backends)
        before = [sum(map(cpu_us, part)) for part in parts]
        count, _ = wrk(f"{self.url}{path}", CONNECTIONS, "taskset", "--cpu-list", str(generator))
        if count < ENOUGH:
            return self.cost(path, backends, generator)
        return Cost(*((sum(map(cpu_us, part)) - old) / count for part, old in zip(parts, before, strict=True)))


def open_way(exits: ExitStack, folder: Path, boxes: list[str], site: Site, *, waf: bool) -> Way:
    """Start what is between visitors and a site."""
    folder.mkdir()
    gateway = (
        Inspected(folder, (boxes[0], boxes[1]), upstreams=[site.address], env=SETTINGS)
        if waf
        else Gateway(folder, boxes[0], upstreams=[site.address], env=SETTINGS)
    )
    exits.callback(gateway.stop)
    gateway.start()
    return Way(gateway.url, [worker_of(one) for one in (gateway, *([gateway.waf] if isinstance(gateway, Inspected) else []))], site.worker)


def main(*images: str) -> None:
    """Measure and print."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as exits:
        server_url = exits.enter_context(cluster()).url
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        boxes = [exits.enter_context(box_of(image, folder)) for image in images] or ["", ""]
        os.sched_setaffinity(0, cores[:1])  # all that is started inherits it
        sites = {name: Site(exits, server_url, ROOT, app) for name, app in (("site", None), ("flask", BARE_APP), ("callable", CALLABLE))}
        ways = {name: open_way(exits, folder / name, boxes, sites.get(name, sites["site"]), waf=name == "waf") for name in (*sites, "waf")}
        for process in (process for way in ways.values() for process in way.nginx):
            process.cpu_affinity(cores[:1])  # those in containers
        found: dict[tuple[str, str], list[Cost]] = {request: [] for request in REQUESTS}
        for number in range(ROUNDS + 1):
            for name, path in random.sample(REQUESTS, len(REQUESTS)):
                backends = [one for one in psutil.process_iter(["cmdline"]) if "".join(one.info["cmdline"] or []).startswith(BACKEND)]
                cost = ways[name].cost(path, backends, cores[-1])
                found[name, path] += [cost] if number else []  # the first warms up

    def median(part: str, *requests: tuple[str, str]) -> float:
        """The first request's, less the second's."""
        first, *others = ([float(getattr(cost, part)) for cost in found[request]] for request in requests)
        return statistics.median([a - b for a, b in zip(first, others[0], strict=True)] if others else first)

    shared = {
        "gunicorn": median("app", LEAST),
        "Flask": median("app", FLASK, LEAST),
        "the site around its view: log line, header fields, session": median("app", JSON, FLASK),
    }
    columns = []
    for one in (JSON, PAGE):
        parts = {"nginx": median("nginx", one), "WAF": median("nginx", ("waf", one[1]), one), **shared}
        if one is PAGE:
            parts |= {
                "the application asks the database": median("app", DB, JSON),
                "template, with 25 entries": median("app", PAGE, DB),
                "PostgreSQL": median("database", PAGE),
            }
        columns.append(parts)
    print(f"{ROUNDS} rounds; load of the machine at the end {psutil.getloadavg()[0]:.1f}\n")
    print("| part | /lab/json | /lab/page |\n|---|---|---|")
    for part in columns[1]:
        cells = [f"{parts[part]:.0f} µs, {parts[part] / sum(parts.values()):.0%}" if part in parts else "-" for parts in columns]
        print(f"| {part} | {' | '.join(cells)} |")
    print(f"| all | {' | '.join(f'{sum(parts.values()):.0f} µs' for parts in columns)} |")


if __name__ == "__main__":
    main(*sys.argv[1:3])
