"""compose/replica.yaml and compose/archive.yaml in the whole stack: `make failover` under load, and a moment of the past."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, cast

import httpx
import pytest

from tests.clients import wait_until
from tests.conftest import ROOT, StackFactory
from tools.reliability.judge.ledger import Balance, reconcile
from tools.reliability.judge.timeline import Effect, effect
from tools.reliability.measure.load import Load
from tools.reliability.measure.stacks import stored_writes
from tools.reliability.records import LoadResult
from tools.stack import StackError
from tools.stack.backup import backup, restore
from tools.stack.compose import ComposeStack, docker
from tools.stack.failover import NODES, Failover, ask, primary

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.timeout(600)]
OVERLAYS = [ROOT / "compose/replica.yaml", ROOT / "compose/archive.yaml"]
SETTINGS = {"LIMITS": "off", "APP_REPLICAS": "2", "LAB_ENABLED": "0", "WAF_MODE": "Off", "WAF_REPLICAS": "0"}
ENTRY = {"name": "Ana", "message": "before"}
Note = Callable[[str], None]


class Ledger:
    """Asks the primary, whichever it is."""

    def __init__(self, stack: ComposeStack) -> None:
        self.stack = stack

    def exec(self, _service: str, argv: list[str]) -> CompletedProcess[str]:
        return self.stack.exec(primary(self.stack), argv)


def said(result: LoadResult, seen: Effect, balance: Balance) -> str:
    failed = ", ".join(f"{count} {kind}" for kind, count in seen.failed.items()) or "none failed"
    last = f" until {seen.last_failure_s:.1f} s after it began" if seen.last_failure_s is not None else ""
    return f"{seen.requests} requests, {failed}{last}, slowest {seen.slowest_s:.1f} s, {result.dropped} dropped; {balance}"


def under_load(stack: ComposeStack, act: Callable[[], object], rate_per_s: float = 20, after_s: float = 6) -> tuple[str, Effect, Balance]:
    """Let something happen under load; return it in words, what became of the requests, and of the writes."""
    with Load(stack.url, rate_per_s=rate_per_s) as load:
        wait_until(load.sent_for(3), "the load goes on")
        began_s = time.monotonic()
        act()
        wait_until(load.sent_for(after_s), "the load goes on")
    result = load.result()
    seen, balance = effect(result.requests, began_s), reconcile(result.writes, stored_writes(cast("Any", Ledger(stack))))
    return said(result, seen, balance), seen, balance


def kill(stack: ComposeStack) -> str:
    """Kill the primary for good; return the other one."""
    old = primary(stack)
    docker("kill", stack.units(old)[0].id)
    return next(node for node in NODES if node != old)


@pytest.mark.bench
@pytest.mark.parametrize("synchronous", ["on", "off"])
def test_figures_of_failover(stack_factory: StackFactory, note: Note, synchronous: str) -> None:
    """`pytest -m bench tests/database`: three planned ones, and three after the primary was killed, at 100 requests/s."""
    stack = stack_factory({**SETTINGS, "DATABASE_SYNCHRONOUS": synchronous}, OVERLAYS)
    assert isinstance(stack, ComposeStack)

    lines: list[str] = []

    def planned() -> None:
        Failover(stack).run(lines.append)

    def killed() -> None:
        kill(stack)
        planned()

    for act in (planned, killed) * 3:
        lines.clear()
        wait_until(lambda: follows(stack), "both are there")
        words, _, balance = under_load(stack, act, rate_per_s=100, after_s=10)
        note(f"DATABASE_SYNCHRONOUS={synchronous}, {act.__name__}; {'; '.join(lines)}: {words}")
        assert not balance.doubled
        assert synchronous == "off" or balance.holds


@pytest.mark.bench
def test_figures_of_a_replica_that_is_away(stack_factory: StackFactory, note: Note) -> None:
    """Synchronous: no write is acknowledged, and those that wait keep their connections."""
    stack = stack_factory({**SETTINGS, "DATABASE_SYNCHRONOUS": "on"}, OVERLAYS)
    assert isinstance(stack, ComposeStack)
    wait_until(lambda: follows(stack), "both are there")
    replica = stack.units(next(node for node in NODES if node != primary(stack)))[0].id
    waiting: list[str] = []

    def away() -> None:
        docker("stop", replica)
        until_s = time.monotonic() + 30
        wait_until(lambda: time.monotonic() > until_s, "the load goes on")
        waiting.append(docker("exec", stack.units(primary(stack))[0].id, "sh", "-c", "ps -e -o args | grep -c 'waiting for'"))
        docker("start", replica)

    words, _, balance = under_load(stack, away, rate_per_s=20, after_s=10)
    note(f"no replica for 30 s: {words}; {waiting[0]} connections waited")
    assert balance.holds


@pytest.fixture
def stack(stack_factory: StackFactory) -> ComposeStack:
    """The two of them, synchronous."""
    stack = stack_factory({**SETTINGS, "DATABASE_SYNCHRONOUS": "on"}, OVERLAYS)
    assert isinstance(stack, ComposeStack)
    wait_until(lambda: follows(stack), "both are there")
    return stack


def follows(stack: ComposeStack) -> bool:
    query = "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'standby' AND state = 'streaming'"
    return ask(stack, primary(stack), query) != ""


@pytest.mark.bench  # the next one shows as much
def test_a_planned_failover_loses_nothing(stack: ComposeStack, note: Note) -> None:
    new = next(node for node in NODES if node != primary(stack))
    lines: list[str] = []
    words, seen, balance = under_load(stack, lambda: Failover(stack).run(lines.append))
    note(f"make failover, {'; '.join(lines)}: {words}")

    assert primary(stack) == new
    assert balance.holds
    assert balance.acknowledged
    assert {kind.rpartition(" ")[2] for kind in seen.failed} <= {"503"}


def test_after_the_primary_was_killed_nothing_acknowledged_is_missing(stack: ComposeStack, note: Note) -> None:
    """Writes are refused with 503 and problem+json until somebody runs `make failover`."""
    answers: list[httpx.Response] = []
    lines: list[str] = []

    def act() -> None:
        new = kill(stack)
        with httpx.Client(base_url=stack.url, timeout=30) as client:
            answers.append(client.post("/api/entries", json=ENTRY))
        change = Failover(stack)
        assert str(change) == f"{new} takes over from {change.old}, with all that was acknowledged"
        change.run(lines.append)

    words, seen, balance = under_load(stack, act)
    note(f"killed, then make failover, {'; '.join(lines)}: {words}")

    assert answers[0].status_code == 503
    assert answers[0].headers["Content-Type"] == "application/problem+json"
    assert int(answers[0].headers["Retry-After"]) > 0
    assert balance.holds
    assert balance.acknowledged
    assert {kind.rpartition(" ")[2] for kind in seen.failed} <= {"503"}


def test_a_moment_of_the_past_is_dumped_and_restored(stack: ComposeStack, tmp_path: Path) -> None:
    """A table is dropped; what was there a moment before comes back, on both."""
    assert stack.compose("exec", "--no-TTY", "archive", "/srv/archive", "copy").returncode == 0
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "ready")
        place = client.post("/api/entries", json=ENTRY).headers["Location"]
        moment = ask(stack, primary(stack), "SELECT clock_timestamp()")
        ask(stack, primary(stack), "DROP TABLE idempotency_key, entry")
        assert client.get(place).status_code >= 500

        file = backup(stack, tmp_path / "past.dump", moment)
        restore(stack, file)

        assert client.get(place).json()["message"] == ENTRY["message"]
    assert file.stat().st_mode & 0o077 == 0
    standby = next(node for node in NODES if node != primary(stack))
    wait_until(lambda: ask(stack, standby, "SELECT count(*) > 0 FROM entry") == "t", "the replica has it too")


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("when it was right", "when it was right: right is a time, such as 2026-12-02 16:00:00+00"),
        ("2020-01-01", "nothing was copied before 2020-01-01 00:00:00.000000+00; the oldest copy is"),
        ("2999-01-01", "is yet to come"),
    ],
)
def test_a_moment_that_cannot_be_had_is_refused_in_a_line(stack: ComposeStack, tmp_path: Path, at: str, said: str) -> None:
    with pytest.raises(StackError, match="the database was not dumped") as refused:
        backup(stack, tmp_path / "past.dump", at)
    assert refused.value.details.splitlines()[-1].startswith("archive: ")
    assert said in refused.value.details.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_without_a_replica_nothing_is_touched(stack: ComposeStack) -> None:
    old = primary(stack)
    new = next(node for node in NODES if node != old)
    docker("stop", stack.units(new)[0].id)
    try:
        with pytest.raises(StackError, match=f"there is no replica to take over: {old} is the primary"):
            Failover(stack)
    finally:
        docker("start", stack.units(new)[0].id)


def test_where_there_is_none_it_says_what_to_lay_over(tmp_path: Path) -> None:
    stack = ComposeStack("kit-test-not-there", root=ROOT, settings={**os.environ, **SETTINGS})
    with pytest.raises(StackError, match="has no replica") as replica:
        Failover(stack)
    with pytest.raises(StackError, match="has no archive") as archive:
        backup(stack, tmp_path / "past.dump", "2026-12-02")
    assert (replica.value.exit_code, archive.value.exit_code) == (2, 2)
    assert "compose/replica.yaml" in replica.value.hint
    assert "compose/archive.yaml" in archive.value.hint
