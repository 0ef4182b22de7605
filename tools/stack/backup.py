"""Backup and restore of the stack's own PostgreSQL, while it runs."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from tools.stack.base import StackError, last_lines
from tools.stack.compose import ComposeStack
from tools.stack.failover import primary

# Every PostgreSQL dump in this format begins so; a wrong file is refused before the database is touched.
MAGIC = b"PGDMP"
_LOGIN = 'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") exec "$@" --host=127.0.0.1 --username="$POSTGRES_USER"'


def backup(stack: ComposeStack, file: Path | None = None, at: str = "") -> Path:
    """Write a dump of the database as it is at one moment; requests go on meanwhile. Returns the file, readable by its owner alone.

    `at`: as it was then (compose/archive.yaml). A dump that fails leaves no file that could be taken for one.
    """
    moment = re.sub(r"\W+", "-", f"at-{at}") if at else f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    file = file or stack.root / "backups" / f"{stack.name}-{moment}.dump"
    services = stack.compose("config", "--services").stdout.split()
    if at and "archive" not in services:
        raise StackError(f"{stack.name} has no archive", hint="lay compose/archive.yaml over the stack, before it is needed", exit_code=2)
    if "database" not in services:
        hint = "pg_dump where DATABASE_URL leads, or copy the volume `instance`"
        raise StackError(f"{stack.name} has no database container", hint=hint, exit_code=2)
    command = ("pg_dump", "--format=custom", "--dbname=kit")
    # Not in the archive's own container, which ends with the primary.
    dump = ("run", "--rm", "--no-deps", "--no-TTY", "archive", "at", at) if at else _in_database(primary(stack), *command)
    if file.exists():
        raise StackError(f"{file} is there already", hint="name another file", exit_code=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as target:
            answer = stack.pipe(*dump, stdout=target)
            os.fsync(target.fileno())
        if answer.returncode:
            raise StackError("the database was not dumped", details=last_lines(answer.stderr.decode(errors="replace")))
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)
    return file


def restore(stack: ComposeStack, file: Path) -> None:
    """Put the database back to what the dump holds, in one transaction: all of it, or nothing when it fails.

    What was written after the backup is gone. Requests that need the tables meanwhile wait, and get 503 after 1.5 s.
    """
    try:
        with file.open("rb") as source:
            if source.read(len(MAGIC)) != MAGIC:
                raise StackError(f"{file} is no backup of this kit", hint="name a file that `make backup` wrote", exit_code=2)
    except OSError as error:
        raise StackError(f"{file} cannot be read ({error.strerror})", hint="name a file that `make backup` wrote", exit_code=2) from None
    command = ("pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error", "--dbname=kit")
    with file.open("rb") as source:
        answer = stack.pipe(*_in_database(primary(stack), *command), stdin=source)
    if answer.returncode:
        raise StackError(
            "the backup was not restored; the database is as it was", details=last_lines(answer.stderr.decode(errors="replace"))
        )


def _in_database(node: str, *command: str) -> tuple[str, ...]:
    return ("exec", "--no-TTY", node, "sh", "-ec", _LOGIN, "sh", *command)
