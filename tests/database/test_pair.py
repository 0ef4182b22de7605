"""compose/database/start: what a PostgreSQL is when it starts, and that never two of them take writes."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, text

from tests.clients import wait_until
from tests.database.pair import START, Pair
from tests.nginx.containers import docker

# What fences a primary that was replaced: it asks the other one, and believes what `make failover` wrote on its volume.
WITHOUT_FENCE = (r"elif \[ -e \$demoted \].*\nfi\n", "fi\n")
# What keeps the write-ahead log since both were the same, on a running server and at the end of its recovery.
WITHOUT_LOG = (r" \$\{PEER:\+-c \"wal_keep_size=[^}]+}|wal_keep_size = \S+(?=\")", "")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, unavailable: Mapping[str, str], not_run: Callable[[str], None]) -> Iterator[Pair]:
    if unavailable["compose"]:
        not_run(unavailable["compose"])
    with ExitStack() as exits:
        yield Pair(exits, tmp_path_factory.mktemp("pair"))


def replaced(pair: Pair, edit: tuple[str, str] = ("", "")) -> tuple[str, str]:
    """The primary dies with writes that its replica does not have, and the replica takes over; return them, the old one first."""
    old, new = pair.settle()
    if edit[0]:
        pair.run(old, edit=edit)
    for query in ("SELECT pg_switch_wal()", "SELECT pg_current_xact_id()"):  # the slot does not keep the last checkpoint of both
        pair.tells(old, query)
    wait_until(lambda: pair.followed(old), lambda: f"{new} follows: {pair.logs(new)}")
    pair.cut_off(new)
    for query in ["INSERT INTO ledger VALUES ('never arrived')", "SELECT pg_switch_wal()", "CHECKPOINT"] * 2:
        pair.tells(old, query)
    pair.kill(old)
    pair.reconnect(new)
    pair.promote(new)
    wait_until(lambda: pair.acknowledges(new, "after"), "it takes writes")
    return old, new


def test_who_was_replaced_follows(pair: Pair) -> None:
    """It asks the other one, goes back to where both were the same, and takes no write."""
    old, new = replaced(pair)
    pair.run(old)
    wait_until(lambda: pair.followed(new), lambda: f"{old} follows: {pair.logs(old)}")

    assert not pair.acknowledges(old, "two primaries")
    assert pair.tells(old, "SELECT DISTINCT key FROM ledger") == "after"


def test_alone_it_keeps_no_log_for_another(pair: Pair) -> None:
    """With compose/archive.yaml there is no PEER; the archive has its slot."""
    old, new = pair.settle()
    pair.run(new, PEER="")
    assert [pair.tells(node, "SHOW wal_keep_size") for node in (old, new)] == ["1GB", "0"]


def test_without_its_log_it_cannot_go_back(pair: Pair) -> None:
    """The twin: a checkpoint has removed what pg_rewind reads."""
    old, _ = replaced(pair, WITHOUT_LOG)
    pair.run(old, edit=WITHOUT_LOG, wait=False)

    wait_until(lambda: "remove the volume of this service" in pair.logs(old), lambda: f"it says so: {pair.logs(old)}")
    pair.kill(old)
    docker("volume", "rm", f"{pair.name}-{old}")


def test_without_the_fence_both_take_writes(pair: Pair) -> None:
    """The twin."""
    old, new = replaced(pair)
    pair.run(old, edit=WITHOUT_FENCE)

    wait_until(lambda: pair.acknowledges(old, "here"), "the old one takes writes")
    wait_until(lambda: pair.acknowledges(new, "there"), "the new one does too")


def test_who_was_replaced_waits_while_the_other_one_is_away(pair: Pair) -> None:
    """By what `make failover` wrote: there is nobody to ask."""
    old, new = pair.settle()
    assert docker("exec", pair.container(old), "touch", "/var/lib/postgresql/demoted").returncode == 0
    pair.kill(old)
    pair.promote(new)
    pair.kill(new)
    pair.run(old, wait=False)
    wait_until(lambda: f"waiting for {new} to be the primary" in pair.logs(old), lambda: f"it waits: {pair.logs(old)}")

    assert not pair.acknowledges(old, "alone")
    pair.run(new)
    wait_until(lambda: pair.followed(new), lambda: f"{old} follows: {pair.logs(old)}")


def test_an_application_finds_the_primary(pair: Pair) -> None:
    """By target_session_attrs, in any order of the names; and reads come from the replica while there is one."""
    _, replica = pair.settle()
    is_replica = text("SELECT pg_is_in_recovery()")

    def ask(engine: Engine) -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(is_replica).scalar_one())

    for order in ("disable", "random"):
        with pair.engine(target_session_attrs="read-write", load_balance_hosts=order, application_name="writes") as engine:
            for _ in range(4):
                assert ask(engine) is False
                engine.dispose()
    with pair.engine(target_session_attrs="prefer-standby") as engine:
        assert ask(engine) is True
        engine.dispose()
        pair.kill(replica)
        assert ask(engine) is False


@pytest.mark.parametrize(("synchronous", "acknowledged"), [("on", False), ("off", True)])
def test_what_is_acknowledged_survives_the_primary(pair: Pair, *, synchronous: str, acknowledged: bool) -> None:
    """Synchronous: nothing is acknowledged that the replica does not have. The twin: it is, and is lost with the primary."""
    old, new = pair.settle(DATABASE_SYNCHRONOUS=synchronous)
    wait_until(lambda: pair.acknowledges(old, "both"), lambda: f"it takes writes: {pair.refusal}")
    wait_until(lambda: pair.followed(old), "the replica has it")
    pair.cut_off(new)

    assert pair.acknowledges(old, "stalled") is acknowledged

    pair.kill(old)
    pair.reconnect(new)
    pair.promote(new)
    assert pair.tells(new, "SELECT DISTINCT key FROM ledger") == "both"


@pytest.mark.bench
def test_a_replica_that_is_too_far_behind_says_so_and_copies_anew_when_its_volume_is_gone(pair: Pair) -> None:
    """What is kept for it is bounded."""
    old, new = pair.settle(DATABASE_WAL_KEPT="32MB")
    pair.kill(new)
    for query in ["INSERT INTO ledger SELECT repeat('x', 1000) FROM generate_series(1, 9000)", "SELECT pg_switch_wal()", "CHECKPOINT"] * 5:
        pair.tells(old, query)
    kept = "SELECT wal_status FROM pg_replication_slots"
    wait_until(lambda: pair.tells(old, kept) == "lost", lambda: f"no longer kept: {pair.tells(old, kept)}")
    pair.run(new, DATABASE_WAL_KEPT="32MB")
    wait_until(lambda: 'can no longer access replication slot "standby"' in pair.logs(new), lambda: f"it says so: {pair.logs(new)}")

    pair.kill(new)
    docker("volume", "rm", f"{pair.name}-{new}")
    assert pair.settle(DATABASE_WAL_KEPT="32MB") == (old, new)


@pytest.mark.bench
def test_an_archive_that_was_away_too_long_goes_on_after_a_gap(pair: Pair) -> None:
    """Moments before the gap can still be had, those in it cannot, and a new copy begins what is after it."""
    old, _ = pair.settle(DATABASE_WAL_KEPT="64MB")

    def copied(times: int) -> bool:
        done = docker("exec", pair.container("archive"), "sh", "-c", "ls -d /var/lib/postgresql/base/2*", check=False)
        return len(done.stdout.split()) >= times

    def moment_of(table: str) -> str:
        """Make a table, whose name a dump has in plain text, and drop it; return a moment between the two."""
        pair.tells(old, f"CREATE TABLE {table} ()")
        moment = pair.tells(old, "SELECT clock_timestamp()")
        pair.tells(old, f"DROP TABLE {table}")
        return moment

    pair.archive()
    wait_until(lambda: copied(1), "the first copy")
    before = moment_of("before")
    pair.kill("archive")
    inside = moment_of("inside")
    for query in ["INSERT INTO ledger SELECT repeat('x', 1000) FROM generate_series(1, 9000)", "SELECT pg_switch_wal()", "CHECKPOINT"] * 9:
        pair.tells(old, query)
    pair.archive()
    wait_until(lambda: "there is a gap" in pair.logs("archive"), lambda: f"it says so: {pair.logs('archive')}")
    wait_until(lambda: copied(2), lambda: f"a new copy: {pair.logs('archive')}")
    after = moment_of("after")

    for key, moment in (("before", before), ("after", after)):
        done = pair.archive("at", moment)
        assert done.returncode == 0, done.stderr
        assert key.encode() in done.stdout
    refused = pair.archive("at", inside)
    assert refused.returncode == 2
    assert b"what is here does not lead to" in refused.stderr.splitlines()[-1]
    kept = docker("exec", pair.container("archive"), "ls", "/var/lib/postgresql").stdout
    assert "restore." not in kept


@pytest.mark.parametrize(
    ("setting", "right"),
    [("DATABASE_SYNCHRONOUS=yes", "on or off"), ("DATABASE_WAL_KEPT=-1", "a size such as 512MB or 1GB"), ("DATABASE_WAL_KEPT=9", "a size")],
)
def test_a_wrong_setting_is_refused_in_a_line(setting: str, right: str) -> None:
    done = subprocess.run(["/usr/bin/env", "-i", setting, "/bin/sh", str(START)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"start: {setting}: right is {right}" in done.stderr
