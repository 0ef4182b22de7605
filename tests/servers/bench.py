"""What a server, or a setting of one, costs for a request: python -m tests.servers.bench uwsgi uwsgi-pass "uwsgi UWSGI_THUNDER_LOCK=0".

A stack for each, 2 processes of 8 threads, WAF off; slices of a second in random order, so what else the machine does meets all alike.
Where there are two processors, the last one has wrk and nothing else. `peer` (`make bench-peers`) is what many have: an nginx of a few
lines before the same application under uWSGI, by `uwsgi_pass`.
For each: CPU of gateway and app for a request and requests per second, as ratios to the first (the median of the pairs, with the range
of their middle half); how often the app's threads were woken for a request; its memory (PSS). Needs wrk, and root.
"""

import os
import random
import re
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

from loadtest.measure import kit
from tests.nginx.bench import ratios, wrk
from tests.servers.behaviours import description
from tools.reliability.measure.stacks import gateway_address, keep_apart
from tools.stack import REPOSITORY, StackError, open_stack
from tools.stack.base import other_server
from tools.stack.compose import ComposeStack, docker
from tools.stack.machine import free_ports, processors_apart

SLICES = int(os.environ.get("SLICES", "30"))
ENOUGH = 50  # requests in a slice
CONNECTIONS = int(os.environ.get("CONNECTIONS", "16"))
# The load test's, and the same room for each.
SETTINGS = {
    **kit.SETTINGS,
    "GUNICORN_WORKER_CLASS": "gthread",
    "WEB_CONCURRENCY": "2",
    "GUNICORN_THREADS": "8",
    "GUNICORN_CMD_ARGS": "--max-requests 0",  # a worker that is replaced takes its counters with it, and none of the others replaces any
    "APP_CPUS": "2.0",
}
# Of them those that not every server takes.
KNOWN = ("WEB_CONCURRENCY", "GUNICORN_THREADS", "GUNICORN_WORKER_CLASS", "GUNICORN_CMD_ARGS")
# What Debian's nginx.conf and uwsgi_params have, where the tutorials use them.
PEER = """worker_processes 1; daemon off; pid /tmp/nginx.pid; error_log stderr;
events { worker_connections 768; }
http { sendfile on; tcp_nopush on; access_log /dev/stdout; gzip on; client_body_temp_path /tmp/b; uwsgi_temp_path /tmp/u;
  proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; scgi_temp_path /tmp/s;
  server { listen 8080; location / { uwsgi_pass app:8000;
    uwsgi_param QUERY_STRING $query_string; uwsgi_param REQUEST_METHOD $request_method; uwsgi_param CONTENT_TYPE $content_type;
    uwsgi_param CONTENT_LENGTH $content_length; uwsgi_param REQUEST_URI $request_uri; uwsgi_param PATH_INFO $document_uri;
    uwsgi_param DOCUMENT_ROOT $document_root; uwsgi_param SERVER_PROTOCOL $server_protocol; uwsgi_param REQUEST_SCHEME $scheme;
    uwsgi_param REMOTE_ADDR $remote_addr; uwsgi_param REMOTE_PORT $remote_port; uwsgi_param SERVER_PORT $server_port;
    uwsgi_param SERVER_NAME $server_name; } } }
"""


class Slice(NamedTuple):
    """A second of requests to one server."""

    app_us: float
    gateway_us: float
    woken: float
    rate: float


class Side(NamedTuple):
    """Where a server answers, and its containers."""

    url: str
    app: str
    gateway: str


def stack_of(variant: str, number: int) -> ComposeStack:
    """Describe a stack with a server, or with that of `peer`."""
    server, *settings = variant.split()
    env = {**SETTINGS, "SERVER": server.replace("peer", "uwsgi-pass"), "GATEWAY_PORT": str(free_ports(1)[0])}
    if name := other_server(env, REPOSITORY):  # it refuses what it does not take
        env |= dict.fromkeys({*KNOWN} - {*description(name)["reads"]}, "")
    env |= {f"{image.upper()}_IMAGE": f"kit-bench-{image}-{server}" for image in ("app", "gateway", "waf")}  # the next run has them
    env |= dict(one.split("=", 1) for one in settings)
    stack = open_stack("compose", name=f"kit-bench-servers-{os.getpid()}-{number}", env=env)
    assert isinstance(stack, ComposeStack)
    return stack


def side(exits: ExitStack, stack: ComposeStack, *, peer: bool) -> Side:
    """Start a stack until the end of the block; with `peer`, a plain nginx before its app too."""
    exits.callback(stack.down, volumes=True)
    stack.up()
    keep_apart(stack)
    found = {unit.service: unit.id for unit in stack.processes()}
    if not peer:
        return Side(gateway_address(stack), found["app"], found["gateway"])
    network, cpus = f"{stack.name}_web", ",".join(map(str, processors_apart()[0]))
    command = ["run", "--detach", "--rm", "--network", network, "--cpuset-cpus", cpus, "--entrypoint", "sh", stack.image("gateway")]
    nginx = docker(*command, "-c", 'printf %s "$0" >/tmp/peer.conf; exec nginx -c /tmp/peer.conf', PEER)
    exits.callback(docker, "rm", "--force", nginx)
    address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", nginx)
    return Side(f"http://{address}:8080", found["app"], nginx)


def tasks(container: str) -> list[Path]:
    """All threads of a container."""
    first = psutil.Process(int(docker("inspect", "--format", "{{.State.Pid}}", container)))
    return [task for process in (first, *first.children(recursive=True)) for task in Path(f"/proc/{process.pid}/task").iterdir()]


def used(found: list[Path]) -> tuple[float, int]:
    """CPU time so far, and how often they were woken."""
    woken = sum(int(re.findall(r"\nvoluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text())[0]) for task in found)
    return sum(int((task / "schedstat").read_text().split()[0]) for task in found) / 1000, woken


def memory_mb(found: list[Path]) -> float:
    """PSS of their processes."""
    rollups = [(process / "smaps_rollup").read_text() for process in {task.parents[1] for task in found}]
    return sum(int(re.findall(r"Pss:\s+(\d+)", text)[0]) for text in rollups) / 1024


def load(one: Side, path: str) -> Slice:
    """Load one server for a second; again, when the machine was too busy for enough requests to tell."""
    app, gateway = tasks(one.app), tasks(one.gateway)
    before = used(app), used(gateway)
    generator = ",".join(map(str, processors_apart()[1]))
    count, rate = wrk(f"{one.url}{path}", CONNECTIONS, *(("taskset", "--cpu-list", generator) if generator else ()))
    after = used(app), used(gateway)
    if count < ENOUGH:
        return load(one, path)
    (app_us, woken), (gateway_us, _) = ([new - old for old, new in zip(*pair, strict=True)] for pair in zip(before, after, strict=True))
    return Slice(app_us / count, gateway_us / count, woken / count, rate)


def main(*variants: str) -> None:
    """Measure and print; what is given is a name of servers/, gunicorn or peer, and settings."""
    path = os.environ.get("BENCH_PATH", "/lab/json")
    with ExitStack() as exits:
        stacks = {variant: stack_of(variant, number) for number, variant in enumerate(variants)}  # an unknown one is refused first
        sides = {variant: side(exits, stack, peer=variant.startswith("peer")) for variant, stack in stacks.items()}
        found: dict[str, list[Slice]] = {variant: [] for variant in variants}
        for _ in range(SLICES + 1):
            for variant in random.sample(variants, len(variants)):
                found[variant].append(load(sides[variant], path))
        print(f"{path}, {CONNECTIONS} connections, {SLICES} slices of a second each, load of the machine {psutil.getloadavg()[0]:.1f}\n")
        print("| server | CPU | of it the app's | requests/s | woken for a request | memory |\n|---|---|---|---|---|---|")
        first = found[variants[0]][1:]  # the first slice of each warms up
        for variant, (_, *slices) in found.items():
            columns = [
                ratios(slices, first, lambda one: one.app_us + one.gateway_us),
                ratios(slices, first, lambda one: one.app_us),
                ratios(slices, first, lambda one: one.rate),
                f"{statistics.median(one.woken for one in slices):.2f}",
                f"{memory_mb(tasks(sides[variant].app)):.0f} MB",
            ]
            print(f"| {variant} | {' | '.join(columns)} |")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except StackError as error:
        sys.exit(f"bench: {error.message}; {error.hint}\n{error.details}")
