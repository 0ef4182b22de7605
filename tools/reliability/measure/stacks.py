"""A Compose stack of a run's own, and what is read from it."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from tools.reliability.measure.event import Event
from tools.reliability.measure.releases import forget_versions
from tools.reliability.records import LoadResult, Write
from tools.stack import REPOSITORY, Stack, StackError, open_stack
from tools.stack.base import other_servers
from tools.stack.compose import GATEWAY_PORT_IN_CONTAINER, ORDER, ComposeStack, addresses, docker
from tools.stack.machine import free_ports, processors_apart
from tools.stack.waiting import alive_path, answers_ok, ready_path, wait_until

STACK_S = 60.0  # what starting a stack takes, about
NOTABLE_LINES = 10  # of so many kinds
ANSWER_LINES = 40
# Words of the lines that an operator would look for.
NOTABLE = ("[error]", "[alert]", "[crit]", '"ERROR"', '"CRITICAL"', '"WARNING"', "FATAL", "PANIC", "level=error")
# What the gateway's log says of an answer that failed, and, with the same request_id, the firewall of one that it refused.
ANSWER = ("msec", "method", "uri", "status", "upstream", "upstream_status", "upstream_connect_s", "upstream_response_s", "request_s")
REFUSAL = ("request_id", "score", "rules")
# Where lines of one kind differ: the request and its client, the container's number, moments, addresses and names made of digits.
_PARTICULARS = re.compile(r", client: .*|[0-9a-f]*[0-9][0-9a-f]*")
_FAILED = re.compile(r'"status":(?:403|5\d\d)\b')
# An entry of the ledger carries its key as its text, so that one that was stored twice shows as two rows.
_STORED = "SELECT message, count(*) FROM entry WHERE name = 'ledger' GROUP BY message"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. `kind`: "faults", "releases", …; `mix`: visitors and their shares; `command`: how it was asked for."""

    kind: str
    events: Sequence[Event]
    mix: Mapping[str, float]
    command: str
    machine: str
    classes: Sequence[str]
    rate_per_s: float
    replicas: int
    waf: str
    max_in_flight: str
    cpus: Sequence[int] = ()  # for the load; empty: any

    def facts(self, worker_class: str, event: Event) -> dict[str, Any]:
        """Return what a record has of these."""
        named = {name: getattr(event, name) for name in ("title", "expect", "promised")}
        asked = {name: getattr(self, name) for name in ("command", "machine", "rate_per_s", "max_in_flight")}
        return {"worker_class": worker_class, "event": event.name, **named, **asked}


@contextmanager
def stack_for(options: Options, worker_class: str) -> Iterator[ComposeStack]:
    """A stack of this run's own, with a worker class or server, and images under names of its own: releases move them."""
    settings = {
        "GATEWAY_PORT": str(free_ports(1)[0]),
        "LIMITS": "off",
        "WAF_MODE": options.waf,
        "WAF_REPLICAS": "0" if options.waf == "Off" else "1",
        "MAX_IN_FLIGHT": options.max_in_flight,
        "APP_REPLICAS": str(options.replicas),
        **({"SERVER": worker_class} if worker_class in other_servers(REPOSITORY) else {"GUNICORN_WORKER_CLASS": worker_class}),
    }
    if any(event.lab for event in options.events):
        settings["LAB_ENABLED"] = "1"
    images = {f"{service.upper()}_IMAGE": f"flask-kit-{service}:{options.kind}-{worker_class}" for service in ("app", "gateway")}
    stack = open_stack("compose", name=f"kit-{options.kind}-{worker_class}", env={**settings, **images})
    assert isinstance(stack, ComposeStack)  # noqa: S101 - it was asked for
    try:
        stack.up()
        yield stack
    finally:
        stack.down(volumes=True)
        forget_versions(stack)


def gateway_address(stack: ComposeStack) -> str:
    """Return the address of the gateway's container, where it can be reached, else the published one.

    What is published on 127.0.0.1 is served by docker-proxy, a process that copies every byte and takes 0.7 ms of a processor for each
    new connection: from visitors it would take more than a refusal costs nginx, and those from outside do not meet it.
    """
    (gateway,) = (unit for unit in stack.processes() if unit.service == "gateway")
    for address in addresses(gateway.id):
        url = f"http://{address}:{GATEWAY_PORT_IN_CONTAINER}"
        if answers_ok(url + alive_path(stack.settings), stack.settings):
            return url
    return stack.url


def keep_apart(stack: ComposeStack) -> list[int]:
    """Keep a stack off the last processor, and return that one, for the generator; [], where there is only one, or no choice.

    Each refusal costs the client a connection too. On processors that both use, what is left of the site would be what the client
    leaves it.
    """
    site, generator = processors_apart()
    if not generator or not hasattr(psutil.Process, "cpu_affinity"):
        return []
    docker("update", "--cpuset-cpus", ",".join(map(str, site)), *(unit.id for unit in stack.processes()))
    return generator


def ready(stack: ComposeStack) -> None:
    """Return when the stack answers and all its containers are healthy."""
    url = stack.url + ready_path(stack.settings)
    wait_until(lambda: answers_ok(url, stack.settings), 90, "the stack is not ready again")
    wait_until(lambda: all(unit.state == "healthy" for unit in stack.units() if unit.service in ORDER), 90, "not healthy")


def let_run(duration_s: float) -> None:
    """Let the load run: this is the measured time itself, not a wait for something."""
    time.sleep(max(duration_s, 0))


def stored_writes(stack: Stack) -> dict[str, int]:
    """Return {key: rows} of all ledger entries in a Compose stack's database; StackError when it does not answer."""
    command = ["psql", "--host=127.0.0.1", "--username=kit", "--dbname=kit", "--no-align", "--tuples-only", "--command", _STORED]
    answer = stack.exec("database", ["sh", "-ec", 'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") exec "$@"', "sh", *command])
    if answer.returncode:
        raise StackError("the database does not tell what it has stored", details=answer.stderr)
    return {key: int(rows) for key, _, rows in (line.partition("|") for line in answer.stdout.splitlines() if line)}


def outcome(stack: ComposeStack, loads: Sequence[LoadResult], since: str = "") -> dict[str, Any]:
    """Return what is in database and logs after these loads, as a record has it."""
    keys = {Write(*write).key for load in loads for write in load.writes}
    lines = stack.compose("logs", "--no-color", *(("--since", since) if since else ())).stdout.splitlines()
    return {
        "loads": list(loads),
        "stored": {key: rows for key, rows in stored_writes(stack).items() if key in keys},
        "notable": notable_lines(lines)[:NOTABLE_LINES],
        "answers": list(failed_answers(lines))[:ANSWER_LINES],
    }


def notable_lines(lines: Sequence[str]) -> list[str]:
    """The lines that an operator would look for, the first of each kind: a hundred refused connections must not hide the one reset."""
    kinds: dict[str, str] = {}
    for line in lines:
        if any(word in line for word in NOTABLE):
            kinds.setdefault(_PARTICULARS.sub("", line), line)
    return [line[:300] for line in kinds.values()]


def failed_answers(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What the gateway's log says of each answer that failed, since that tells which server was asked for how long."""
    for line in lines:
        source, _, text = line.partition("| ")
        if source.startswith(("gateway", "waf")) and _FAILED.search(text):
            entry = json.loads(text)
            yield {name: entry[name] for name in (*ANSWER, *REFUSAL) if name in entry}
