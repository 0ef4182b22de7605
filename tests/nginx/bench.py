"""What a request costs through the gateway, against a plain nginx with `proxy_pass` before the same gunicorn (`make bench-gateway`).

CPU time of nginx's only worker and of gunicorn's, for /lab/json, with the firewall off. Slices of one second in random order, so what else
the machine does meets both sides alike; the median of the pairs is told, with the range of their middle half. Then the whole site on one
core, with and without WAF, against gunicorn alone. With the names of a gateway's and of a WAF's image as its arguments it measures the
nginx in there, else this machine's. Needs wrk.
"""

import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from tests.clients import wait_until
from tests.gateways import box_of
from tests.nginx.gateway import HOST, PATH, ROOT, Gateway
from tests.waf.cost import ONE_WORKER, worker_of
from tests.waf.site import Site
from tools.stack.machine import free_ports

PAIRS = 40
ENOUGH = 100  # requests in a slice
CONNECTIONS = 8  # as many as one gthread worker has threads
# What Debian's file has, and the location that every tutorial shows.
PLAIN = """worker_processes 1; pid {folder}/nginx.pid; error_log stderr; daemon off;
events {{ worker_connections 768; }}
http {{ sendfile on; tcp_nopush on; access_log /dev/stdout; gzip on; types_hash_max_size 2048;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{app}; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; }} }} }}
"""


class Slice(NamedTuple):
    """One second of requests to one side."""

    cpu_us: float  # for one request: nginx and gunicorn
    nginx_us: float
    rate: float


class Side(NamedTuple):
    """What is measured beside others: where it answers, and the nginx workers that every request passes."""

    url: str
    nginx: list[psutil.Process]


class PlainNginx(Gateway):
    """An nginx with a few lines."""

    def __init__(self, folder: Path, box: str, app: str) -> None:
        self.folder, self._box, self.runtime, self._env = folder, box, "compose" if box else "local", {}
        (self.port,) = free_ports(1)
        self.url = f"http://{HOST}:{self.port}"
        (folder / "conf").mkdir()
        (folder / "conf/nginx.conf").write_text(PLAIN.format(folder=folder, port=self.port, app=app))

    def start(self) -> None:
        with (self.folder / "access.log").open("ab") as access, (self.folder / "error.log").open("ab") as errors:
            self._process = subprocess.Popen(self._command("nginx", "-e", "stderr", "-c", self._conf), stdout=access, stderr=errors)
        wait_until(self._listens, "nginx listens")


def cpu_us(process: psutil.Process) -> float:
    """CPU time of all threads so far (schedstat: running, waiting, slices)."""
    tasks = list(Path(f"/proc/{process.pid}/task").iterdir())  # FileNotFoundError when it ended
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000


def gunicorn(exits: ExitStack, folder: Path, worker_class: str) -> tuple[str, psutil.Process]:
    """Start one worker with the kit's settings; return its address and process."""
    (port,) = free_ports(1)
    env = {
        "PATH": PATH,
        "APP_ENV": "development",
        "LAB_ENABLED": "1",
        "DATABASE_URL": f"sqlite:///{folder}/bench.db",
        "WEB_CONCURRENCY": "1",
    }
    env |= {"GUNICORN_WORKER_CLASS": worker_class, "PYTHONPATH": str(ROOT / "app"), "GUNICORN_CMD_ARGS": "--max-requests 0"}
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py"), "--bind", f"{HOST}:{port}"]
    process = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    exits.callback(process.wait)
    exits.callback(process.terminate)

    def answers() -> bool:
        try:
            return httpx.get(f"http://{HOST}:{port}/lab/json").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "gunicorn answers")
    (worker,) = psutil.Process(process.pid).children()
    return f"{HOST}:{port}", worker


def wrk(url: str, connections: int, *around: str) -> tuple[int, float]:
    """Send for a second, every answer a good one; return how many requests, and how many per second. `around`: what starts wrk."""
    command = [*around, "wrk", "-t1", f"-c{connections}", "-d1", "-H", "Host: localhost", url]  # a name that the gateway knows
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not re.search("Non-2xx|Socket errors", said), said
    return int(re.findall(r"(\d+) requests in", said)[0]), float(re.findall(r"Requests/sec: +([\d.]+)", said)[0])


def load(side: Side, app: psutil.Process, cores: str) -> Slice:
    """Load one side for a second; again, when the machine was too busy for enough requests to tell."""
    processes = [*side.nginx, app]
    before = [cpu_us(process) for process in processes]
    count, rate = wrk(f"{side.url}/lab/json", CONNECTIONS, "taskset", "--cpu-list", cores)
    after = [cpu_us(process) for process in processes]
    if count < ENOUGH:
        return load(side, app, cores)
    used = [(new - old) / count for old, new in zip(before, after, strict=True)]
    return Slice(sum(used), sum(used[:-1]), rate)


def compare(images: Sequence[str], worker_class: str, names: Sequence[str], nginx_core: int) -> dict[str, list[Slice]]:
    """Measure "plain", "kit", "kit-waf", "gunicorn" in turn; gunicorn has core 1, and wrk core 0 where nginx is on 1 too."""
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        gateway_box, waf_box = [exits.enter_context(box_of(image, folder)) for image in images] or ["", ""]
        app, worker = gunicorn(exits, folder, worker_class)
        env = {"LIMITS": "off", "MAX_IN_FLIGHT": "0", **ONE_WORKER}
        sides = {}
        for name in names:
            (folder / name).mkdir()
            servers: list[Gateway] = []
            if name == "plain":
                servers = [PlainNginx(folder / name, gateway_box, app)]
            elif name == "kit":
                servers = [Gateway(folder / name, gateway_box, upstreams=[app], env=env)]
            elif name == "kit-waf":
                site = Site(folder / name, (gateway_box, waf_box), upstreams=[app], env=env)
                servers = [site, site.waf]
            for server in servers[:1]:
                exits.callback(server.stop)
                server.start()
            workers = [worker_of(server) for server in servers]
            for process in workers:
                process.cpu_affinity([nginx_core])
            sides[name] = Side(servers[0].url if servers else f"http://{app}", workers)
        if (os.cpu_count() or 1) > 1:
            worker.cpu_affinity([1])
        cores = "0,1" if nginx_core == 0 else "0"
        found: dict[str, list[Slice]] = {name: [] for name in names}
        for _ in range(PAIRS + 1):
            for name in random.sample(names, len(names)):
                found[name].append(load(sides[name], worker, cores))
        return {name: slices[1:] for name, slices in found.items()}  # the first one warms up


def ratios(kit: Sequence[Any], plain: Sequence[Any], of: Callable[[Any], float]) -> str:
    """Say the median of the pairs, and the range of their middle half."""
    low, middle, high = statistics.quantiles((of(one) / of(other) for one, other in zip(kit, plain, strict=True)), n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main(*images: str) -> None:
    """Measure and print."""
    print(f"{PAIRS} pairs, load of the machine before: {psutil.getloadavg()[0]:.1f}\n")
    print("| worker class | CPU per request, kit / plain | requests per second, kit / plain | CPU of nginx alone |")
    print("|---|---|---|---|")
    for worker_class in ("gthread", "sync"):
        found = compare(images, worker_class, ["kit", "plain"], nginx_core=0)
        kit, plain = found["kit"], found["plain"]
        alone = " and ".join(f"{statistics.median(one.nginx_us for one in side):.0f} µs" for side in (kit, plain))
        cost, rate = ratios(kit, plain, lambda one: one.cpu_us), ratios(kit, plain, lambda one: one.rate)
        print(f"| {worker_class} | {cost} | {rate} | {alone} |", flush=True)
    print("\nAll of the server on one core, as a share of what gunicorn alone answers on it:\n")
    print("| worker class | requests per second, WAF off | WAF on |")
    print("|---|---|---|")
    for worker_class in ("gthread", "sync"):
        found = compare(images, worker_class, ["gunicorn", "kit", "kit-waf"], nginx_core=1)
        shares = [ratios(found[name], found["gunicorn"], lambda one: one.rate) for name in ("kit", "kit-waf")]
        print(f"| {worker_class} | {shares[0]} | {shares[1]} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
