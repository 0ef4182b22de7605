"""One event after the other under a steady load; what is kept of each is written as JSON at once."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.reliability.event import Event
from tools.reliability.ledger import Balance, reconcile, stored_writes
from tools.reliability.load import Load, Outcome
from tools.reliability.releases import forget_versions
from tools.reliability.timeline import effect, seconds
from tools.stack import open_stack
from tools.stack.compose import GATEWAY_PORT_IN_CONTAINER, ORDER, ComposeStack, docker
from tools.stack.machine import free_ports
from tools.stack.rollout import addresses, app_image, gateway_image
from tools.stack.waiting import alive_path, answers_ok, ready_path, wait_until

BEFORE_S = 5.0
# Starting, being ready again and closing the ledger, per event; and a stack of its own, per worker class.
AROUND_S = 8.0
STACK_S = 60.0
OPERATOR_LINES = 10  # of so many kinds
ANSWER_LINES = 40
# Who comes beside the others when the fault is one of the slow service: one in six.
LAB_MIX = {"caller": 1.0}
# Words of the lines that an operator would look for.
TELLING = ("[error]", "[alert]", "[crit]", '"ERROR"', '"CRITICAL"', '"WARNING"', "FATAL", "PANIC", "level=error")
# What the gateway's log says of an answer that failed.
ANSWER = ("msec", "method", "uri", "status", "upstream", "upstream_status", "upstream_connect_s", "upstream_response_s", "request_s")
# And, with the same request_id, what the firewall says of one that it refused.
REFUSAL = ("request_id", "score", "rules")
# Where lines of one kind differ: the request and who asked, the container's number, moments, addresses and names made of digits.
_PARTICULARS = re.compile(r", client: .*|[0-9a-f]*[0-9][0-9a-f]*")
_FAILED = re.compile(r'"status":(?:403|5\d\d)\b')

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `kind`: "faults", "releases" or "soak"; `mix`: visitors and their shares; `command`: how it was asked for."""

    kind: str
    events: Sequence[Event]
    mix: Mapping[str, float]
    command: str
    classes: Sequence[str]
    rate_per_s: float
    replicas: int
    waf: str
    max_in_work: str
    build: bool

    @property
    def lasts_s(self) -> float:
        """About how long all of it takes."""
        return len(self.classes) * (STACK_S + sum(map(duration_s, self.events)))


def duration_s(event: Event) -> float:
    """About how long one event takes, with what is around it."""
    return BEFORE_S + event.lasts_s + event.after_s + AROUND_S + (STACK_S / 2 if event.prepare else 0)


def run(wish: Wish, folder: Path, machine: str, say: Callable[[str], None]) -> list[Record]:
    """Let every event happen to a stack of each class.

    Returns the records of the folder: those that it held before (of other events, or of other classes) and these. They are
    written to it as they come.
    """
    book = Book(folder / f"{wish.kind}.json")
    left_s, number = wish.lasts_s, 0
    for worker_class in wish.classes:
        with stack_for(wish, worker_class) as stack:
            left_s -= STACK_S
            for event in wish.events:
                number += 1
                say(
                    f"[{number}/{len(wish.classes) * len(wish.events)}, about {left_s / 60:.0f} min left] {worker_class}: {event.title} ..."
                )
                record = {
                    "worker_class": worker_class,
                    "rate_per_s": wish.rate_per_s,
                    "max_in_work": wish.max_in_work,
                    "command": wish.command,
                    "machine": machine,
                    **observe(stack, event, folder, rate_per_s=wish.rate_per_s, mix=wish.mix),
                }
                book.add(record)
                say(f"    {record['said']}")
                left_s -= duration_s(event)
    return book.records


class Book:
    """The records of a folder's file: those that it held, and those that are added, each in place of an older one of its kind."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records: list[Record] = json.loads(path.read_text())["records"] if path.exists() else []

    def add(self, record: Record) -> None:
        """Take in a record, of one worker class and one event where there are several, and write the file."""
        self.records = [other for other in self.records if _place(other) != _place(record)] + [record]
        self._path.write_text(json.dumps({"records": self.records}, separators=(",", ":"), allow_nan=False))


def as_json(pairs: list[tuple[str, Any]]) -> Record:
    """JSON has no NaN, which here is the latency of no request at all."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in pairs}


def _place(record: Record) -> tuple[str, str]:
    return record["worker_class"], record.get("event", "")


@contextmanager
def stack_for(wish: Wish, worker_class: str, more: Mapping[str, str] | None = None) -> Iterator[ComposeStack]:
    """A stack of this run's own, with more settings, and images under names of its own: releases move them."""
    settings = {
        **(more or {}),
        "GATEWAY_PORT": str(free_ports(1)[0]),
        "LIMITS": "off",
        "WAF_MODE": wish.waf,
        "MAX_IN_WORK": wish.max_in_work,
        "APP_REPLICAS": str(wish.replicas),
        "GUNICORN_WORKER_CLASS": worker_class,
    }
    if any(event.lab for event in wish.events):
        settings["LAB_ENABLED"] = "1"
    images = {f"{service.upper()}_IMAGE": f"flask-kit-{service}:{wish.kind}-{worker_class}" for service in ("app", "gateway")}
    stack = open_stack("compose", name=f"kit-{wish.kind}-{worker_class}", env={**settings, **images})
    assert isinstance(stack, ComposeStack)  # noqa: S101 - it was asked for
    if not wish.build:
        present = open_stack("compose", name=stack.name, env=settings)
        assert isinstance(present, ComposeStack)  # noqa: S101 - it was asked for
        docker("tag", app_image(present), images["APP_IMAGE"])
        docker("tag", gateway_image(present), images["GATEWAY_IMAGE"])
    try:
        stack.up(build=wish.build)
        yield stack
    finally:
        stack.down(volumes=True)
        forget_versions(stack)


def observe(stack: ComposeStack, event: Event, folder: Path, *, rate_per_s: float, mix: Mapping[str, float]) -> Record:
    """Let one event happen under load and return what it did, as JSON values."""
    if event.prepare:
        event.prepare(stack)
    ready(stack)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    visitors = {**mix, **(LAB_MIX if event.lab else {})}
    with Load(stack.url if event.moves_gateway else way_in(stack), folder, rate_per_s=rate_per_s, mix=visitors) as load:
        let_run(BEFORE_S)
        began_s = time.monotonic()
        event.begin(stack)
        if event.end:
            let_run(event.lasts_s - (time.monotonic() - began_s))
            event.end(stack)
        ended_s = time.monotonic()
        let_run(event.after_s)
    ready(stack)
    seen = load.result()
    balance = reconcile(seen.writes, stored_writes(stack))
    told = stack.compose("logs", "--no-color", "--since", since).stdout.splitlines()
    if event.clear:
        event.clear(stack)
    return {
        "event": event.name,
        "title": event.title,
        "expect": event.expect,
        "promised": event.promised,
        "began_s": began_s - seen.started_s,
        "ended_s": ended_s - seen.started_s,
        "seconds": [asdict(second, dict_factory=as_json) for second in seconds(seen.requests, seen.started_s, seen.stopped_s)],
        "effect": asdict(effect(seen.requests, began_s), dict_factory=as_json),
        "ledger": {**asdict(balance), "holds": balance.holds},
        "dropped": seen.dropped,
        "operator": telling(told)[:OPERATOR_LINES],
        "answers": list(failed_answers(told))[:ANSWER_LINES],
        "said": _sentence(seen, balance, began_s, ended_s),
    }


def broken(records: Sequence[Record]) -> list[str]:
    """Say which promises were not kept: a write that was lost or doubled, a request that failed or was not even sent."""
    return [
        f"{record['worker_class']}, {record['title']}: {record['said']}"
        for record in records
        if not record["ledger"]["holds"] or (record["promised"] and (record["effect"]["failed"] or record["dropped"]))
    ]


def telling(lines: Sequence[str]) -> list[str]:
    """The lines that an operator would look for, the first of each kind: a hundred refused connections must not hide the one reset."""
    kinds: dict[str, str] = {}
    for line in lines:
        if any(word in line for word in TELLING):
            kinds.setdefault(_PARTICULARS.sub("", line), line)
    return [line[:300] for line in kinds.values()]


def failed_answers(lines: Sequence[str]) -> Iterator[Record]:
    """What the gateway's log says of each answer that failed, since that tells which server was asked for how long."""
    for line in lines:
        source, _, text = line.partition("| ")
        if source.startswith("gateway") and _FAILED.search(text):
            entry = json.loads(text)
            yield {name: entry[name] for name in (*ANSWER, *REFUSAL) if name in entry}


def _sentence(seen: Outcome, balance: Balance, began_s: float, ended_s: float) -> str:
    failed = seen.failed
    words = f"{len(failed)} of {len(seen.requests)} requests failed"
    if failed:
        last_s = max(request.due_s for request in failed)
        words += f" (the last was sent {last_s - began_s:.1f} s after it began, {last_s - ended_s:+.1f} s from its end)"
    if seen.dropped:
        words += f"; {seen.dropped} more were not sent, because so many were open"
    return words + ("; ledger holds" if balance.holds else f"; LEDGER BROKEN: {balance}")


def way_in(stack: ComposeStack) -> str:
    """Return the address of the gateway's container, where it can be reached, else the published one.

    What is published on 127.0.0.1 is served by docker-proxy, a process that copies every byte and takes 0.7 ms of a processor for each
    new connection: from visitors it would take more than a refusal costs nginx, and those from outside do not meet it.
    """
    (gateway,) = (unit for unit in stack.processes() if unit.service == "gateway")
    for address in addresses(gateway):
        url = f"http://{address}:{GATEWAY_PORT_IN_CONTAINER}"
        if answers_ok(url + alive_path(stack.settings), stack.settings):
            return url
    return stack.url


def ready(stack: ComposeStack) -> None:
    """Return when the stack answers and all its containers are healthy."""
    url = stack.url + ready_path(stack.settings)
    wait_until(lambda: answers_ok(url, stack.settings), 90, "the stack is not ready again")
    wait_until(lambda: all(unit.state == "healthy" for unit in stack.units() if unit.service in ORDER), 90, "not healthy")


def let_run(duration_s: float) -> None:
    """Let the load run: this is the measured time itself, not a wait for something."""
    time.sleep(max(duration_s, 0))
