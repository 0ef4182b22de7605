"""Backup and restore, tried with data written meanwhile."""

import os
from pathlib import Path

import httpx
import pytest

from tests.clients import wait_until
from tools.reliability.measure.load import Load
from tools.reliability.measure.stacks import stored_writes
from tools.stack import Stack, StackError
from tools.stack.backup import _in_database, backup, restore
from tools.stack.compose import ComposeStack

pytestmark = [pytest.mark.runtimes("compose"), pytest.mark.stack_env(LIMITS="off", APP_REPLICAS="2", LAB_ENABLED="0")]


@pytest.fixture
def compose(stack: Stack) -> ComposeStack:
    """The stack that the tests with a database that goes away use."""
    assert isinstance(stack, ComposeStack)
    return stack


def test_what_was_acknowledged_before_the_backup_is_there_after_the_restore(compose: ComposeStack, tmp_path: Path) -> None:
    file = tmp_path / "kit.dump"
    with Load(compose.url, rate_per_s=10, mix={"writer": 1}) as load:
        wait_until(lambda: len(stored_writes(compose)) >= 10, "some writes", timeout_s=60)
        before = set(stored_writes(compose))
        backup(compose, file)
        after = set(stored_writes(compose))
        wait_until(lambda: len(stored_writes(compose)) > len(after), "writes after the backup", timeout_s=60)
    assert {request.error for request in load.result().failed} <= {"status 503"}  # the database was slow, on a busy machine
    assert file.stat().st_mode & 0o077 == 0

    restore(compose, file)

    held = set(stored_writes(compose))
    assert before <= held <= after
    # The next number comes from the restored sequence: a new entry does not collide.
    with httpx.Client(base_url=compose.url, timeout=30) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "ready", timeout_s=30)
        assert client.post("/api/entries", json={"name": "Ana", "message": "after the restore"}).status_code == 201


def test_a_file_that_is_no_backup_is_refused(compose: ComposeStack, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a dump")
    with pytest.raises(StackError, match="is no backup of this kit"):
        restore(compose, file)
    with pytest.raises(StackError, match="cannot be read"):
        restore(compose, tmp_path / "missing")
    with pytest.raises(StackError, match="is there already"):
        backup(compose, file)


def test_a_backup_that_is_cut_off_changes_nothing(compose: ComposeStack, tmp_path: Path) -> None:
    whole = backup(compose, tmp_path / "whole.dump").read_bytes()
    half = tmp_path / "half.dump"
    half.write_bytes(whole[: len(whole) // 2])
    before = stored_writes(compose)
    with pytest.raises(StackError, match="the database is as it was"):
        restore(compose, half)
    assert stored_writes(compose) == before


def test_a_backup_that_fails_leaves_no_file(compose: ComposeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.stack.backup._in_database", lambda *command: _in_database(*command, "--table=nowhere"))
    with pytest.raises(StackError, match="was not dumped"):
        backup(compose, tmp_path / "kit.dump")
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_runs_it_says_what_to_do(tmp_path: Path) -> None:
    stack = ComposeStack("kit-test-not-there", root=Path(__file__).resolve().parents[2], settings=dict(os.environ))
    with pytest.raises(StackError, match="does not run") as refused:
        backup(stack, tmp_path / "kit.dump")
    assert refused.value.hint == "run make up"
